internal import Kernels
internal import MarketData
public import Trading

/// The strategies that stand beside every result: without them a number means nothing. Each goes through the same
/// session, with the same capital, fees, minima and limits.
public enum Baseline: Sendable, Equatable {
    /// All in at the first bar, then nothing.
    case buyAndHold
    /// Nothing at all.
    case flat
    /// Jumps between all in and nothing (and all short, where allowed) at random times, so often that on average
    /// `turnoverPerBar` of the equity is traded a bar: what the tested policy's trading would cost without its skill.
    case random(turnoverPerBar: Double, seed: UInt64)
    /// All in while the fast exponential average of closes is above the slow one, else out (or short, where allowed).
    /// Periods in bars; the averages start with the span's first row and count after `slow` rows.
    case emaCross(fast: Int, slow: Int)

    public var name: String {
        switch self {
        case .buyAndHold: "buy-and-hold"
        case .flat: "flat"
        case .random: "random"
        case .emaCross(let fast, let slow): "ema-cross-\(fast)-\(slow)"
        }
    }

    /// The usual four beside `result`: the random one trades as much as it did.
    public static func standard(beside result: BacktestResult, seed: UInt64) -> [Baseline] {
        let bars = Double(max(1, result.targets.count))
        let turnover = result.statistics.relativeTurnover / bars
        return [.buyAndHold, .flat, .random(turnoverPerBar: turnover, seed: seed), .emaCross(fast: 12, slow: 26)]
    }

    /// Curves of baselines are thinned to so many points.
    static let pointLimit = 500

    /// The usual four beside `result`, under the same conditions, by name. `willRun` is told each before it runs.
    public static func reports(
        beside result: BacktestResult, _ backtest: Backtest, on series: MarketSeries, span: Range<Int>, seed: UInt64,
        willRun: (Int, String) throws -> Void = { _, _ in }
    ) throws -> [String: BacktestReport] {
        var reports: [String: BacktestReport] = [:]
        for (index, baseline) in standard(beside: result, seed: seed).enumerated() {
            try willRun(index, baseline.name)
            let found = try baseline.run(backtest, on: series, span: span)
            reports[baseline.name] = BacktestReport(found, pointLimit: pointLimit)
        }
        return reports
    }

    /// Runs the baseline under the same conditions as a policy. Traps on periods or a turnover out of range.
    public func run(
        _ backtest: Backtest, on series: MarketSeries, span: Range<Int>
    ) throws(TradingError) -> BacktestResult {
        var backtest = backtest
        backtest.modelVersion = name
        let allowsShort = backtest.session.instruments.first { $0.rules.symbol == series.symbol }?.rules.allowsShort
        switch self {
        case .flat: return try backtest.run(on: series, span: span) { _, _ in nil }
        case .buyAndHold:
            // Asks again while the first order has not come through: a bar without trades lets it expire.
            return try backtest.run(on: series, span: span) { _, context in context.position == 0 ? 1 : nil }
        case .random(let turnoverPerBar, let seed):
            precondition(turnoverPerBar >= 0, "turnover is not negative")
            return try random(backtest, series, span, turnoverPerBar, seed, allowsShort ?? false)
        case .emaCross(let fast, let slow):
            precondition(fast >= 1 && slow > fast, "the slow average is slower than the fast one")
            return try emaCross(backtest, series, span, fast, slow, allowsShort ?? false)
        }
    }

    private func random(
        _ backtest: Backtest, _ series: MarketSeries, _ span: Range<Int>, _ turnoverPerBar: Double, _ seed: UInt64,
        _ allowsShort: Bool
    ) throws(TradingError) -> BacktestResult {
        var random = RandomGenerator(seed: seed)
        let states: [Double] = allowsShort ? [-1, 0, 1] : [0, 1]
        // The mean size of a jump to one of the other states: 1 between 0 and 1; (1 + 1.5 + 1.5)/3 among −1, 0, 1.
        let meanJump = allowsShort ? 4.0 / 3 : 1
        let probability = min(1, turnoverPerBar / meanJump)
        var state = 0.0
        return try backtest.run(on: series, span: span) { _, context in
            if random.uniform() < probability {
                let others = states.filter { $0 != state }
                state = others[random.index(below: others.count)]
                return state
            }
            // Repeats what did not come through, and is silent otherwise.
            return state != 0 && context.position == 0 || state == 0 && context.position != 0 ? state : nil
        }
    }

    private func emaCross(
        _ backtest: Backtest, _ series: MarketSeries, _ span: Range<Int>, _ fast: Int, _ slow: Int,
        _ allowsShort: Bool
    ) throws(TradingError) -> BacktestResult {
        var (quick, calm) = (series.bars[max(0, span.lowerBound)].close, series.bars[max(0, span.lowerBound)].close)
        var next = span.lowerBound + 1
        return try backtest.run(on: series, span: span) { _, context in
            while next <= context.row {
                quick += (series.bars[next].close - quick) * 2 / Double(fast + 1)
                calm += (series.bars[next].close - calm) * 2 / Double(slow + 1)
                next += 1
            }
            guard context.row - span.lowerBound >= slow else { return nil }
            let target = quick > calm ? 1.0 : allowsShort ? -1 : 0
            let isThere = target == 0 ? context.position == 0 : context.position * target > 0
            return isThere ? nil : target
        }
    }
}
