internal import MarketData
internal import Trading

/// What a replay found, as it is written and read. Money is in the quote currency, quantities are in base units,
/// fractions are absolute (0.25 is 25 %); what is not defined is absent.
public struct BookReplayReport: Sendable, Equatable, Codable {
    /// Of some numbers in milliseconds or seconds, as the field says.
    public struct Distribution: Sendable, Equatable, Codable {
        public var count: Int
        public var mean: Double
        public var median: Double
        public var p95: Double
        public var maximum: Double

        /// `nil` for no values.
        public init?(_ values: [Double]) {
            guard let last = values.max() else { return nil }
            let sorted = values.sorted()
            count = values.count
            mean = values.reduce(0, +) / Double(values.count)
            median = sorted[values.count / 2]
            p95 = sorted[min(values.count - 1, values.count * 95 / 100)]
            maximum = last
        }
    }

    public struct Orders: Sendable, Equatable, Codable {
        public var sent: Int
        public var market: Int
        public var resting: Int
        public var filled: Int
        /// With at least one fill but not all of the quantity.
        public var partlyFilled: Int
        public var inSeveralFills: Int
        public var cancelled: Int
        /// By reason.
        public var failed: [String: Int]
    }

    public struct FillRow: Sendable, Equatable, Codable {
        public var orderId: String
        public var timeMicroseconds: Int64
        public var side: String
        /// `maker` or `taker`.
        public var liquidity: String
        /// Decimal texts; the fee in the quote currency, or its value in it.
        public var price: String
        public var quantity: String
        public var fee: String
        public var mid: Double
    }

    public var events: Int
    public var firstEvent: String?
    public var lastEvent: String?
    public var targets: Int
    public var idleTargets: Int
    public var unfinishedTargets: Int
    public var orders: Orders
    public var fills: Int
    /// Σ notional.
    public var turnover: Double
    /// Of the turnover.
    public var makerShare: Double?
    /// What was paid above (negative: below) the mid at the fill, and the mid when the target was decided on: basis
    /// points of the turnover.
    public var costAgainstMidBasisPoints: Double?
    public var costAgainstDecisionBasisPoints: Double?
    /// Of resting orders that were filled: from acceptance to the first fill, seconds.
    public var queueWaitSeconds: Distribution?
    /// Of resting orders: others' volume in front at acceptance, in base units.
    public var queueAhead: Distribution?
    public var orderLatencyMilliseconds: Distribution?
    public var acknowledgementLatencyMilliseconds: Distribution?
    public var marketDataLatencyMilliseconds: Distribution?
    /// The value of all fees.
    public var fees: Double
    /// What was charged, by asset: decimal texts.
    public var feesByAsset: [String: String]
    public var funding: Double
    public var capital: Double
    public var finalEquity: Double
    public var finalPosition: String
    public var dust: String

    public init(_ result: BookReplay.Result) {
        let records = result.orders
        let fills = records.flatMap(\.fills)
        let exchange = result.exchange
        events = result.events
        firstEvent = result.firstEvent?.description
        lastEvent = result.lastEvent?.description
        targets = result.targets
        idleTargets = result.idleTargets
        unfinishedTargets = result.unfinishedTargets
        var failed: [String: Int] = [:]
        for record in records {
            if let reason = record.order.reason { failed[reason.rawValue, default: 0] += 1 }
        }
        orders = Orders(
            sent: records.count, market: records.count { $0.isMarket },
            resting: records.count { $0.acceptedAt != nil }, filled: records.count { $0.order.state == .filled },
            partlyFilled: records.count { $0.order.fillCount > 0 && $0.order.state != .filled },
            inSeveralFills: records.count { $0.order.fillCount > 1 },
            cancelled: records.count { $0.order.state == .cancelled }, failed: failed)
        self.fills = fills.count
        let turnover = fills.reduce(0) { $0 + $1.notional.double }
        self.turnover = turnover
        let made = fills.reduce(0) { $0 + ($1.liquidity == .maker ? $1.notional.double : 0) }
        let against = records.reduce(0) { sum, record in
            record.fills.reduce(sum) {
                $0 + Double($1.side.sign) * ($1.price.double - record.decisionMid) * $1.quantity.double
            }
        }
        if turnover > 0 {
            makerShare = made / turnover
            costAgainstMidBasisPoints = fills.reduce(0) { $0 + $1.executionCost } / turnover * 1e4
            costAgainstDecisionBasisPoints = against / turnover * 1e4
        }
        queueWaitSeconds = Distribution(
            records.compactMap { record in
                guard let accepted = record.acceptedAt,
                    let first = record.fills.first(where: { $0.liquidity == .maker })
                else { return nil }
                return (first.time - accepted).seconds
            })
        queueAhead = Distribution(records.compactMap { $0.ahead?.double })
        orderLatencyMilliseconds = Distribution(
            records.map { Double(($0.arrival - $0.order.createdAt).microseconds) / 1000 })
        acknowledgementLatencyMilliseconds = Distribution(result.acknowledgementDelays.map { Double($0) / 1000 })
        marketDataLatencyMilliseconds = Distribution(result.marketDataDelays.map { Double($0) / 1000 })
        fees = exchange.ledger.fees.double
        feesByAsset = Self.feesByAsset(fills, exchange.rules)
        funding = exchange.ledger.funding.double
        capital = exchange.ledger.deposited.double
        finalEquity = exchange.equity
        finalPosition = exchange.position.description
        dust = exchange.dust.description
    }

    private static func feesByAsset(_ fills: [Fill], _ rules: InstrumentRules) -> [String: String] {
        var units: [String: Int64] = [:]
        for fill in fills {
            switch fill.charge {
            case .quote: units[rules.quoteAsset, default: 0] += fill.fee.units
            case .base(let quantity): units[rules.baseAsset, default: 0] += quantity.units
            case .other(let asset, let quantity): units[asset, default: 0] += quantity.units
            }
        }
        return units.mapValues { Quantity(units: $0).description }
    }

    /// At most `limit` fills, in order of time.
    public static func fills(_ result: BookReplay.Result, limit: Int) -> [FillRow] {
        result.orders.flatMap(\.fills).prefix(limit).map { fill in
            FillRow(
                orderId: fill.orderID.description, timeMicroseconds: fill.time.microseconds, side: fill.side.rawValue,
                liquidity: fill.liquidity.rawValue, price: fill.price.description,
                quantity: fill.quantity.description, fee: fill.fee.description, mid: fill.midPrice)
        }
    }
}
