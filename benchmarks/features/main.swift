// What benchmarks/features/compare.py runs, one thread:
//   feature-bench bars <count> <file>   bars as raw doubles: open, high, low, close, volume, each a block
//   feature-bench time <count>          nanoseconds a bar, as JSON
//   feature-bench memory <count>        resident kilobytes after so many bars
import Features
import Foundation
import Indicators
import Kernels
import MarketData

func nextBar(_ index: Int, _ price: inout Double, _ random: inout RandomGenerator) -> Bar {
    let open = price
    price *= exp(0.0008 * random.normal())
    return Bar(
        openTime: Timestamp(seconds: 1_700_000_040 + Int64(index) * 60), interval: .minutes(1), open: open,
        high: max(open, price) * (1 + 0.0004 * random.uniform()),
        low: min(open, price) * (1 - 0.0004 * random.uniform()), close: price, volume: exp(2 + random.normal()))
}

func makeBars(_ count: Int) -> [Bar] {
    var random = RandomGenerator(seed: 7)
    var price = 40_000.0
    return (0..<count).map { nextBar($0, &price, &random) }
}

func nanoseconds(_ count: Int, _ body: () throws -> Double) rethrows -> (perBar: Double, check: Double) {
    let clock = ContinuousClock()
    let start = clock.now
    let check = try body()
    let duration = (clock.now - start).components
    return ((Double(duration.seconds) * 1e9 + Double(duration.attoseconds) * 1e-9) / Double(count), check)
}

/// All eleven indicators, one bar at a time, every value read.
func classic(_ bars: [Bar]) -> Double {
    var indicators = ClassicIndicators()
    var sum = 0.0
    for bar in bars {
        indicators.update(bar)
        let values = indicators.values
        sum += (values.rsi ?? 0) + (values.ema ?? 0) + (values.sma ?? 0) + (values.atr ?? 0) + (values.adx ?? 0)
        if let macd = values.macd { sum += macd.line + macd.signal + macd.histogram }
        if let band = values.bollinger { sum += band.upper + band.middle + band.lower }
        if let stochastic = values.stochastic { sum += stochastic.k + stochastic.d }
        sum += (values.obv ?? 0) + (values.cci ?? 0) + (values.mfi ?? 0)
    }
    return sum
}

func configuration(_ modules: [FeatureModuleKind]) -> FeatureConfiguration {
    var configuration = FeatureConfiguration(traded: [Instrument("BTCUSDT")], reference: Instrument("BTCUSDT"))
    configuration.modules = modules
    return configuration
}

func event(_ bar: Bar) -> MarketEvent {
    MarketEvent(
        exchange: "", symbol: "BTCUSDT", eventTime: bar.closeTime, knownAt: bar.closeTime, payload: .bar(bar))
}

/// All columns into a table that is emptied as it fills: a day at a time.
func batch(_ bars: [Bar], _ modules: [FeatureModuleKind]) throws -> Double {
    var engine = try FeatureEngine(configuration(modules))
    var table = FeatureTable(engine.schema, symbol: "BTCUSDT", reserving: 1440)
    var sum = 0.0
    for bar in bars {
        if table.count == 1440 {
            sum += table.values[table.values.count - 1]
            table.removeAll()
        }
        try engine.update(event(bar), into: &table)
    }
    return sum
}

/// The same, a vector at a time.
func stream(_ bars: [Bar], _ modules: [FeatureModuleKind]) throws -> Double {
    var engine = try FeatureEngine(configuration(modules))
    var sum = 0.0
    for bar in bars {
        if let vector = try engine.update(event(bar)) { sum += Double(vector.validCount) }
    }
    return sum
}

/// Resident kilobytes after `count` bars have gone through, each made as it is needed.
func residentAfter(_ count: Int) throws -> Int {
    var engine = try FeatureEngine(configuration(FeatureModuleKind.allCases))
    var random = RandomGenerator(seed: 7)
    var price = 40_000.0
    var known = 0
    for index in 0..<count {
        if let vector = try engine.update(event(nextBar(index, &price, &random))) { known += vector.validCount }
    }
    let pages = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8).split(separator: " ")
    guard known > 0, pages.count > 1, let resident = Int(pages[1]) else { return 0 }
    return resident * Int(getpagesize()) / 1024
}

func main() throws {
    let arguments = CommandLine.arguments
    guard arguments.count >= 3, let count = Int(arguments[2]), count > 0 else {
        print("usage: feature-bench bars <count> <file> | time <count> | memory <count>")
        exit(2)
    }
    if arguments[1] == "memory" { return print(try residentAfter(count)) }
    let bars = makeBars(count)
    if arguments[1] == "bars", arguments.count > 3 {
        var data = Data()
        for column in [\Bar.open, \.high, \.low, \.close, \.volume] {
            for bar in bars { unsafe withUnsafeBytes(of: bar[keyPath: column]) { unsafe data.append(contentsOf: $0) } }
        }
        try data.write(to: URL(filePath: arguments[3]))
        return
    }
    let named: [FeatureModuleKind] = [.market, .v2]
    let figures = [
        ("classic", nanoseconds(count) { classic(bars) }),
        ("batch", try nanoseconds(count) { try batch(bars, named) }),
        ("stream", try nanoseconds(count) { try stream(bars, named) }),
        ("all", try nanoseconds(count) { try stream(bars, FeatureModuleKind.allCases) }),
    ]
    // The checks are printed so that no work can be left out.
    let fields = figures.map { "\"\($0.0)\": \($0.1.perBar), \"\($0.0)_check\": \($0.1.check)" }
    let columns = try [named, FeatureModuleKind.allCases].map { try FeatureEngine(configuration($0)).schema.count }
    print("{\(fields.joined(separator: ", ")), \"named\": \(columns[0]), \"columns\": \(columns[1])}")
}

try main()
