internal import Kernels
public import MarketData

/// Forward-looking columns of a series of bars, for supervised training and reports: the only ones that look ahead.
///
/// A type of its own that is no `FeatureVector` and holds none of its names: nothing that feeds a policy can contain
/// it. A target is `nil` where the bars it looks at are not there: at the end, and where one of them is missing (what
/// follows a hole is not "five bars later").
public struct Targets: Sendable, Equatable {
    public struct Configuration: Sendable, Equatable {
        /// Of one side of a trade, as a fraction of its notional. Default 0.001: Binance spot's 10 basis points.
        public var fee = 0.001
        /// Bars over which `future_max_dd` and `target_profit` look ahead. Default 60.
        public var holding = 60
        /// Bars of `target_dir_*`, `target_ret_*` and `target_binary_*`.
        public var horizons = [5, 15, 30, 60]

        public init() {}
    }

    public struct Column: Sendable, Equatable {
        public let name: String
        public let formula: String
        /// One a bar.
        public let values: [Double?]
    }

    /// Of the bars' closes.
    public let barTimes: [Timestamp]
    public let columns: [Column]

    public subscript(name: String) -> Column? { columns.first { $0.name == name } }

    /// `bars`: of one interval, in time order, prices positive. Traps unless all horizons and the fee are such.
    public init(_ bars: [Bar], _ configuration: Configuration = Configuration()) {
        precondition(
            configuration.holding > 0 && configuration.horizons.allSatisfy { $0 > 0 } && configuration.fee >= 0,
            "a target looks at least one bar ahead, and a fee is not negative")
        barTimes = bars.map(\.closeTime)
        let series = Series(bars)
        var columns: [Column] = []
        // 5 and 10 seconds, or the next coarser number of bars, named by its true length; one where they agree.
        var last = 1
        for seconds in [5.0, 10] {
            let interval = bars.first?.interval.seconds ?? seconds
            let horizon = max(1, Int((seconds / interval).rounded(.up)))
            last = horizon
            let length = Int((Double(horizon) * interval).rounded())
            let name = "future_return_\(length)s"
            if columns.contains(where: { $0.name == name }) { continue }
            columns.append(
                Column(
                    name: name, formula: "C[+\(horizon)]/C - 1",
                    values: series.map(ahead: horizon) { $0 / $1 - 1 }))
        }
        let cost = 2 * configuration.fee
        columns.append(
            Column(
                name: "future_signal", formula: "sign of C[+\(last)]/C - 1 beyond both fees (\(cost)), else 0",
                values: series.map(ahead: last) { later, now in
                    let change = later / now - 1
                    return change > cost ? 1 : change < -cost ? -1 : 0
                }))
        columns.append(
            Column(
                name: "future_max_dd",
                formula: "deepest fall of the close below its highest so far, \(configuration.holding) bars ahead",
                values: series.drawdowns(ahead: configuration.holding)))
        columns.append(
            Column(
                name: "target_profit", formula: "C[+\(configuration.holding)]/C - 1 - both fees (\(cost))",
                values: series.map(ahead: configuration.holding) { $0 / $1 - 1 - cost }))
        for horizon in configuration.horizons {
            columns.append(
                Column(
                    name: "target_dir_\(horizon)", formula: "sign(C[+\(horizon)] - C)",
                    values: series.map(ahead: horizon) { $0 > $1 ? 1 : $0 < $1 ? -1 : 0 }))
            columns.append(
                Column(
                    name: "target_ret_\(horizon)", formula: "ln(C[+\(horizon)]/C)",
                    values: series.map(ahead: horizon) { log($0 / $1) }))
            columns.append(
                Column(
                    name: "target_binary_\(horizon)", formula: "1 where C[+\(horizon)] > C, else 0",
                    values: series.map(ahead: horizon) { $0 > $1 ? 1 : 0 }))
        }
        self.columns = columns
    }
}

/// Closes, and how far from each bar on the series has no hole.
private struct Series {
    let closes: [Double]
    /// The last bar that follows bar by bar.
    let reach: [Int]

    init(_ bars: [Bar]) {
        closes = bars.map(\.close)
        var reach = [Int](repeating: 0, count: bars.count)
        for index in bars.indices.reversed() {
            let following = index + 1
            let goesOn = following < bars.count && bars[following].openTime == bars[index].closeTime
            reach[index] = goesOn ? reach[following] : index
        }
        self.reach = reach
    }

    /// `body` of the close `horizon` bars later and of the bar's own.
    func map(ahead horizon: Int, _ body: (Double, Double) -> Double) -> [Double?] {
        closes.indices.map { $0 + horizon <= reach[$0] ? body(closes[$0 + horizon], closes[$0]) : nil }
    }

    /// O(bars × horizon).
    func drawdowns(ahead horizon: Int) -> [Double?] {
        closes.indices.map { index in
            guard index + horizon <= reach[index] else { return nil }
            var highest = closes[index]
            var deepest = 0.0
            for later in closes[index...(index + horizon)] {
                highest = max(highest, later)
                deepest = min(deepest, later / highest - 1)
            }
            return deepest
        }
    }
}
