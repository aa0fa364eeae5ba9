internal import Trading

/// A verdict as it is stored and read again, with all that it rests on.
public struct AcceptanceReport: Sendable, Equatable, Codable {
    public struct Check: Sendable, Equatable, Codable {
        public var name: String
        /// Absent where it is not defined.
        public var value: Double?
        public var bound: Double
        public var demand: Condition.Demand
        public var passed: Bool
        public var note: String
    }

    /// Percentiles 2.5, 50 and 97.5 over histories made of blocks of this one.
    public struct Bootstrap: Sendable, Equatable, Codable {
        public var samples: Int
        public var meanBlockBars: Double
        public var probabilityOfProfit: Double
        public var totalReturn: [Double]
        public var maxDrawdown: [Double]
    }

    /// One market: can it be traded with this capital?
    public struct Market: Sendable, Equatable, Codable {
        public var symbol: String
        public var price: Double
        public var minimumOrder: Double
        public var steps: Int
        public var roundTripCost: Double
        public var isTradable: Bool
    }

    public var passed: Bool
    public var checks: [Check]
    public var capital: Double
    public var days: Double
    public var trials: Int
    /// How many jobs had read bars of this block before.
    public var earlierReads: Int
    public var deflatedSharpe: Double?
    public var bootstrap: Bootstrap
    public var report: BacktestReport
    public var baselines: [String: BacktestReport]
    public var markets: [Market]
    /// The first of them.
    public var fills: [BacktestReport.FillRow]

    static let fillLimit = 5000

    public init(
        _ acceptance: Acceptance, of result: BacktestResult, baselines: [String: BacktestReport],
        markets: [Tradability], earlierReads: Int
    ) {
        passed = acceptance.passed
        checks = acceptance.conditions.map {
            Check(
                name: $0.name, value: $0.value, bound: $0.bound, demand: $0.demand, passed: $0.passed, note: $0.note)
        }
        capital = result.equity.first ?? 0
        days = acceptance.days
        trials = acceptance.trials
        self.earlierReads = earlierReads
        deflatedSharpe = acceptance.deflatedSharpe
        let found = acceptance.bootstrap
        func three(_ interval: BootstrapResult.Interval) -> [Double] { [interval.low, interval.median, interval.high] }
        bootstrap = Bootstrap(
            samples: found.sampleCount, meanBlockBars: found.meanBlockLength,
            probabilityOfProfit: found.probabilityOfProfit, totalReturn: three(found.totalReturn),
            maxDrawdown: three(found.maxDrawdown))
        report = BacktestReport(result)
        self.baselines = baselines
        self.markets = markets.map {
            Market(
                symbol: $0.symbol, price: $0.price, minimumOrder: $0.minimumOrder, steps: $0.steps,
                roundTripCost: $0.roundTripCost, isTradable: $0.isTradable)
        }
        fills = BacktestReport.fills(result, limit: Self.fillLimit)
    }

    /// One sentence.
    public var verdict: String {
        let change = BacktestReport.percent(report.statistics.totalReturn)
        let failures = checks.filter { !$0.passed }.map(\.name)
        return passed
            ? "ACCEPTED: \(change) over \(Int(days.rounded())) days out of sample, every condition met."
            : "NOT ACCEPTED: \(change) over \(Int(days.rounded())) days out of sample. Not met: "
                + failures.joined(separator: ", ") + "."
    }
}
