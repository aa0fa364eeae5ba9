// What benchmarks/backtest/compare.py runs, one thread. Each command prints one JSON object.
//   backtest-bench market <file> <bars>       writes the bars and their signal as float64 [bars × 6]: open, high, low,
//                                             close, volume, target exposure
//   backtest-bench signal <bars> <rounds>     a crossing of moving averages, decided beforehand, through the engine:
//                                             bars a second, with a target at each bar (`signal`), with one where it
//                                             changes (`changes`), and asked for bar by bar (`closure`)
//   backtest-bench policy <bars> <rounds>     a 128-128 policy on 16 × 80 features: bars a second
import Evaluation
import Foundation
import Kernels
import MarketData
import Policies
import Trading

func seconds(_ body: () throws -> Void) rethrows -> Double {
    let clock = ContinuousClock()
    let start = clock.now
    try body()
    let duration = (clock.now - start).components
    return Double(duration.seconds) + Double(duration.attoseconds) * 1e-18
}

/// Bars a second in each of the rounds.
func rates(_ bars: Int, _ rounds: Int, _ body: () throws -> Void) rethrows -> [Double] {
    try (0..<rounds).map { _ in Double(bars) / (try seconds(body)) }
}

func write(_ path: String, _ count: Int) throws {
    let bars = market(count)
    var data = Data(capacity: count * 48)
    for (bar, target) in zip(bars, crossing(bars)) {
        for number in [bar.open, bar.high, bar.low, bar.close, bar.volume, target ?? 0] {
            unsafe withUnsafeBytes(of: number.bitPattern.littleEndian) { unsafe data.append(contentsOf: $0) }
        }
    }
    try data.write(to: URL(filePath: path))
    print("{\"bars\": \(count)}")
}

func signal(_ count: Int, _ rounds: Int) throws {
    let bars = market(count)
    let signal = crossing(bars)
    var changes = signal
    for row in 1..<count where signal[row] == signal[row - 1] { changes[row] = nil }
    let series = try MarketSeries(symbol: "XYZUSDT", bars: bars)
    let backtest = try backtest(window: 1)
    var results: [BacktestResult] = []
    let dense = try rates(count, rounds) {
        results = [try backtest.run(on: series, span: 0..<count, signal: signal)]
    }
    let sparse = try rates(count, rounds) {
        results = [results[0], try backtest.run(on: series, span: 0..<count, signal: changes)]
    }
    let general = try rates(count, rounds) {
        results = [
            results[0], results[1], try backtest.run(on: series, span: 0..<count) { _, context in signal[context.row] },
        ]
    }
    precondition(results[0].session.saveState() == results[2].session.saveState(), "one engine, one result")
    let found = results.map { result in
        "{\"equity\": \(result.equity.last ?? 0), \"fills\": \(result.fills.count), "
            + "\"refusals\": \(result.refusals.values.reduce(0, +))}"
    }
    print(
        "{\"signal\": \(dense), \"changes\": \(sparse), \"closure\": \(general), "
            + "\"results\": [\(found.joined(separator: ","))]}")
}

func policy(_ count: Int, _ rounds: Int) throws {
    let (window, features) = (16, 80)
    var random = RandomGenerator(seed: 2)
    let values = (0..<count * features).map { _ in Float(random.normal()) }
    let series = try MarketSeries(
        symbol: "XYZUSDT", bars: market(count), featureCount: features, features: values,
        mask: [UInt8](repeating: 1, count: values.count))
    let layout = ObservationLayout(window: window, featureCount: features)
    let policy = MLPPolicy(
        .init(observationSize: layout.count, window: window, featureCount: features), random: &random)
    let backtest = try backtest(window: window)
    var runner = PolicyRunner(policy)
    var fills = 0
    let found = try rates(count, rounds) {
        let result = try backtest.run(on: series, span: 0..<count) { observation, _ in
            (try? runner.decide(observation)).map { Double($0.action) }
        }
        fills = result.fills.count
    }
    print("{\"policy\": \(found), \"fills\": \(fills)}")
}

func main() throws {
    let arguments = CommandLine.arguments
    BLAS.adaptToProcessor()
    BLAS.setThreadCount(1)
    let numbers = arguments.dropFirst(2).compactMap { Int($0) }
    switch arguments.dropFirst().first {
    case "market"? where arguments.count == 4 && numbers.count == 1: try write(arguments[2], numbers[0])
    case "signal"? where numbers.count == 2: try signal(numbers[0], numbers[1])
    case "policy"? where numbers.count == 2: try policy(numbers[0], numbers[1])
    default:
        print("usage: backtest-bench market <file> <bars> | signal <bars> <rounds> | policy <bars> <rounds>")
        exit(2)
    }
}

try main()
