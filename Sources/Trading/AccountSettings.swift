/// The terms on which an account trades, as a person writes them (JSON: docs/configuration.md). One set of terms serves
/// training, backtest and paper trading alike.
public struct AccountSettings: Sendable, Equatable, Codable {
    /// Starting capital in the quote currency, as decimal text. Default `19.99`.
    public var capital: String
    /// The fraction of equity that is never invested. Default 0.005.
    public var reserve: Double
    /// Half the bid-ask spread paid by every market order, basis points. Default 1.
    public var halfSpreadBasisPoints: Double
    /// Further cost of every market order, basis points. Default 2.
    public var slippageBasisPoints: Double
    /// No new exposure beyond this loss since the start of the UTC day, fraction. Default 0.2.
    public var maxDailyLoss: Double
    /// No new exposure beyond this loss since the highest equity, fraction. Default 0.5.
    public var maxDrawdown: Double
    /// By event time. Default 60.
    public var maxOrdersPerMinute: Int

    public init(
        capital: String = "19.99", reserve: Double = 0.005, halfSpreadBasisPoints: Double = 1,
        slippageBasisPoints: Double = 2, maxDailyLoss: Double = 0.2, maxDrawdown: Double = 0.5,
        maxOrdersPerMinute: Int = 60
    ) {
        self.capital = capital
        self.reserve = reserve
        self.halfSpreadBasisPoints = halfSpreadBasisPoints
        self.slippageBasisPoints = slippageBasisPoints
        self.maxDailyLoss = maxDailyLoss
        self.maxDrawdown = maxDrawdown
        self.maxOrdersPerMinute = maxOrdersPerMinute
    }

    private enum CodingKeys: String, CodingKey, CaseIterable {
        case capital, reserve, halfSpreadBasisPoints, slippageBasisPoints, maxDailyLoss, maxDrawdown, maxOrdersPerMinute
    }

    private struct AnyKey: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    /// Absent keys have their defaults; an unknown key, or one of a wrong type, is an error.
    public init(from decoder: any Decoder) throws {
        for key in try decoder.container(keyedBy: AnyKey.self).allKeys
        where CodingKeys(stringValue: key.stringValue) == nil {
            throw DecodingError.dataCorrupted(
                .init(codingPath: [key], debugDescription: "there is no account setting “\(key.stringValue)”"))
        }
        let values = try decoder.container(keyedBy: CodingKeys.self)
        self.init()
        capital = try values.decodeIfPresent(String.self, forKey: .capital) ?? capital
        reserve = try values.decodeIfPresent(Double.self, forKey: .reserve) ?? reserve
        halfSpreadBasisPoints =
            try values.decodeIfPresent(Double.self, forKey: .halfSpreadBasisPoints) ?? halfSpreadBasisPoints
        slippageBasisPoints =
            try values.decodeIfPresent(Double.self, forKey: .slippageBasisPoints) ?? slippageBasisPoints
        maxDailyLoss = try values.decodeIfPresent(Double.self, forKey: .maxDailyLoss) ?? maxDailyLoss
        maxDrawdown = try values.decodeIfPresent(Double.self, forKey: .maxDrawdown) ?? maxDrawdown
        maxOrdersPerMinute = try values.decodeIfPresent(Int.self, forKey: .maxOrdersPerMinute) ?? maxOrdersPerMinute
    }

    /// The session of `account` under these terms, its equity shared equally between the instruments. Throws
    /// `invalidConfiguration` for a capital that is no amount; the session itself checks the rest.
    public func session(
        account: String, instruments: [InstrumentRules]
    ) throws(TradingError) -> TradingSession.Configuration {
        guard let cash = Amount(capital) else {
            throw .invalidConfiguration(reason: "capital “\(capital)” is not an amount such as 19.99")
        }
        let share = 1 / Double(max(1, instruments.count))
        return TradingSession.Configuration(
            account: account, initialCash: cash,
            instruments: instruments.map { .init(rules: $0, allocation: share) }, reserve: reserve,
            costs: ExecutionCosts(
                halfSpreadBasisPoints: halfSpreadBasisPoints, slippageBasisPoints: slippageBasisPoints),
            risk: RiskLimits(
                maxOrdersPerMinute: maxOrdersPerMinute, maxDailyLoss: maxDailyLoss, maxDrawdown: maxDrawdown))
    }
}
