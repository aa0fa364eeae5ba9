public import Kernels
public import MarketData
internal import Trading

/// What a walk-forward found, as it is stored and read again: a way of making models, tested on the bars behind each of
/// several trainings.
public struct WalkForwardReport: Sendable, Codable {
    /// One training and the test behind it. Times are closes, ISO 8601.
    public struct Window: Sendable, Codable {
        public var trainFrom: String
        public var trainTo: String
        public var testFrom: String
        public var testTo: String
        public var chosenSeed: UInt64
        public var bestIteration: Int
        public var validationReturn: Double
        public var report: BacktestReport
        public var baselines: [String: BacktestReport]

        public init(
            trainFrom: String, trainTo: String, testFrom: String, testTo: String, chosenSeed: UInt64,
            bestIteration: Int, validationReturn: Double, report: BacktestReport, baselines: [String: BacktestReport]
        ) {
            self.trainFrom = trainFrom
            self.trainTo = trainTo
            self.testFrom = testFrom
            self.testTo = testTo
            self.chosenSeed = chosenSeed
            self.bestIteration = bestIteration
            self.validationReturn = validationReturn
            self.report = report
            self.baselines = baselines
        }
    }

    /// All tests one after the other, each begun with the capital.
    public struct Pooled: Sendable, Codable {
        public var totalReturn: Double
        /// Annualised.
        public var sharpe: Double?
        public var maxDrawdown: Double
        public var roundTrips: Int
        public var fees: Double
        public var days: Double
        public var profitableWindows: Int
        /// By block bootstrap.
        public var probabilityOfProfit: Double
        /// Of as many trials as have ever been made under the model's name.
        public var deflatedSharpe: Double?
        public var trials: Int
        /// Total returns.
        public var baselines: [String: Double]
    }

    public var stream: String
    public var symbol: String
    public var windows: [Window]
    public var pooled: Pooled

    /// `returns` are those of all tests, of one bar each; at least one.
    public init(
        stream: String, symbol: String, windows: [Window], returns: [Double], interval: Interval,
        trials: (count: Int, sharpeVariance: Double?), random: inout RandomGenerator
    ) {
        var curve = [1.0]
        for change in returns { curve.append(curve[curve.count - 1] * (1 + change)) }
        var baselines: [String: Double] = [:]
        for window in windows {
            for (name, report) in window.baselines {
                baselines[name] = (1 + (baselines[name] ?? 0)) * (1 + report.statistics.totalReturn) - 1
            }
        }
        self.stream = stream
        self.symbol = symbol
        self.windows = windows
        pooled = Pooled(
            totalReturn: (curve.last ?? 1) - 1,
            sharpe: PerformanceStatistics.sharpe(returns).map { $0 / interval.years.squareRoot() },
            maxDrawdown: PerformanceStatistics.maxDrawdown(curve),
            roundTrips: windows.reduce(0) { $0 + $1.report.statistics.roundTrips },
            fees: windows.reduce(0) { $0 + $1.report.statistics.fees },
            days: Double(returns.count) * interval.seconds / 86_400,
            profitableWindows: windows.count { $0.report.statistics.totalReturn > 0 },
            probabilityOfProfit: Significance.bootstrap(returns: returns, random: &random).probabilityOfProfit,
            deflatedSharpe: Significance.deflatedSharpe(
                returns: returns, trials: max(1, trials.count), trialSharpeVariance: trials.sharpeVariance),
            trials: trials.count, baselines: baselines)
    }
}
