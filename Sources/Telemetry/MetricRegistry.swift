public import CoreMetrics
private import Synchronization

/// All metrics of a process: a backend of swift-metrics that Prometheus can scrape.
///
/// Instruments are looked up once, where they are made; after that recording is an atomic addition. A process has one
/// registry. Metrics without a definition (another library's) are shown without help, histograms with
/// `MetricDefinition.latencyBounds`. At most `maxSeriesCount` series are kept: further ones record into the void,
/// which `vomma_metrics_dropped_series` counts, so that labels from outside can't fill the memory.
public final class MetricRegistry: MetricsFactory {
    private enum Cell: Sendable {
        case counter(CounterCell)
        case gauge(GaugeCell)
        case histogram(HistogramCell)
        case read(@Sendable () -> Double)
    }

    private struct Family {
        var definition: MetricDefinition
        /// By the labels as the exposition writes them, `method="/a.B/C",status="OK"`.
        var series: [String: Cell] = [:]
        /// Lists further series at each scrape.
        var listings: [@Sendable () -> [(labels: [String], value: Double)]] = []
    }

    private struct State {
        var families: [String: Family] = [:]
        var seriesCount = 0
        var droppedCount = 0
    }

    private let state = Mutex(State())
    private let maxSeriesCount: Int

    public init(maxSeriesCount: Int = 10_000) { self.maxSeriesCount = maxSeriesCount }

    /// Makes a family known with its help.
    /// - Precondition: no other definition has the name.
    public func define(_ definition: MetricDefinition) {
        state.withLock { state in
            guard let known = state.families[definition.name] else {
                state.families[definition.name] = Family(definition: definition)
                return
            }
            precondition(known.definition == definition, "\(definition.name) is defined once")
        }
    }

    /// A gauge or counter whose value is asked for at each scrape. Must not block, nor use this registry.
    public func observe(_ definition: MetricDefinition, _ values: String..., read: @escaping @Sendable () -> Double) {
        precondition(values.count == definition.labels.count, "\(definition.name) has the labels \(definition.labels)")
        define(definition)
        let key = Self.key(Array(zip(definition.labels, values)))
        state.withLock { state in
            state.families[definition.name]?.series[key] = .read(read)
            state.seriesCount += 1
        }
    }

    /// A gauge or counter whose series come and go: at each scrape `read` lists them, by the values of their labels in
    /// order. Of one list the first `listedSeriesLimit` count. Must not block, nor use this registry.
    public func observeEach(
        _ definition: MetricDefinition, read: @escaping @Sendable () -> [(labels: [String], value: Double)]
    ) {
        define(definition)
        state.withLock { $0.families[definition.name]?.listings.append(read) }
    }

    /// Series of one `observeEach` that are shown.
    public static let listedSeriesLimit = 1000

    private func cell(
        _ label: String, _ dimensions: [(String, String)], _ kind: MetricDefinition.Kind,
        _ make: (MetricDefinition) -> Cell
    ) -> Cell {
        let name = Self.sanitised(label)
        let key = Self.key(dimensions)
        return state.withLock { state in
            var family =
                state.families[name]
                ?? Family(definition: MetricDefinition(name, kind, labels: dimensions.map(\.0), ""))
            if let known = family.series[key] { return known }
            let made = make(family.definition)
            guard state.seriesCount < maxSeriesCount else {
                state.droppedCount += 1
                return made
            }
            family.series[key] = made
            state.families[name] = family
            state.seriesCount += 1
            return made
        }
    }

    // MARK: - MetricsFactory

    public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        if case .counter(let cell) = cell(label, dimensions, .counter, { _ in .counter(CounterCell()) }) { return cell }
        return CounterCell()
    }

    public func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        if case .gauge(let cell) = cell(label, dimensions, .gauge, { _ in .gauge(GaugeCell()) }) { return cell }
        return GaugeCell()
    }

    public func makeRecorder(
        label: String, dimensions: [(String, String)], aggregate: Bool
    ) -> any RecorderHandler {
        aggregate ? histogram(label, dimensions) : gauge(label, dimensions)
    }

    public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        histogram(label, dimensions)
    }

    /// Series stay for the life of the process: a scraper would take their end for a restart.
    public func destroyCounter(_ handler: any CounterHandler) {}
    public func destroyMeter(_ handler: any MeterHandler) {}
    public func destroyRecorder(_ handler: any RecorderHandler) {}
    public func destroyTimer(_ handler: any TimerHandler) {}

    private func gauge(_ label: String, _ dimensions: [(String, String)]) -> GaugeCell {
        if case .gauge(let cell) = cell(label, dimensions, .gauge, { _ in .gauge(GaugeCell()) }) { return cell }
        return GaugeCell()
    }

    private func histogram(_ label: String, _ dimensions: [(String, String)]) -> HistogramCell {
        let standard = MetricDefinition.latencyBounds
        let found = cell(label, dimensions, .histogram(bounds: standard)) { definition in
            guard case .histogram(let bounds) = definition.kind else { return .gauge(GaugeCell()) }
            return .histogram(HistogramCell(bounds: bounds))
        }
        if case .histogram(let cell) = found { return cell }
        return HistogramCell(bounds: standard)
    }

    // MARK: - Exposition

    /// The media type of `exposition()`.
    public static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    private static let droppedSeries = MetricDefinition(
        "vomma_metrics_dropped_series", .gauge, "Time series not kept because the process has too many.")

    /// Everything, in Prometheus' text format 0.0.4, sorted.
    public func exposition() -> String {
        var (families, dropped) = state.withLock { (Array($0.families.values), $0.droppedCount) }
        var out = ""
        families.sort { $0.definition.name < $1.definition.name }
        for var family in families {
            dropped += Self.list(&family)
            Self.write(family, to: &out)
        }
        let droppedCount = Double(dropped)
        let own = Family(definition: Self.droppedSeries, series: ["": .read { droppedCount }])
        Self.write(own, to: &out)
        return out
    }

    /// Adds what the family's listings have now; returns how many series are too many.
    private static func list(_ family: inout Family) -> Int {
        var dropped = 0
        for listing in family.listings {
            let listed = listing()
            dropped += max(0, listed.count - listedSeriesLimit)
            for (values, value) in listed.prefix(listedSeriesLimit) {
                family.series[key(Array(zip(family.definition.labels, values)))] = .read { value }
            }
        }
        return dropped
    }

    private static func write(_ family: Family, to out: inout String) {
        let definition = family.definition
        guard !family.series.isEmpty else { return }
        let type =
            switch definition.kind {
            case .counter: "counter"
            case .gauge: "gauge"
            case .histogram: "histogram"
            }
        if !definition.help.isEmpty { out += "# HELP \(definition.name) \(escaped(definition.help, quotes: false))\n" }
        out += "# TYPE \(definition.name) \(type)\n"
        for (key, cell) in family.series.sorted(by: { $0.key < $1.key }) {
            let labels = key.isEmpty ? "" : "{\(key)}"
            switch cell {
            case .counter(let cell): out += "\(definition.name)\(labels) \(cell.value)\n"
            case .gauge(let cell): out += "\(definition.name)\(labels) \(number(cell.value))\n"
            case .read(let read): out += "\(definition.name)\(labels) \(number(read()))\n"
            case .histogram(let cell):
                let (cumulative, sum) = cell.snapshot()
                let prefix = key.isEmpty ? "" : key + ","
                for (index, count) in cumulative.enumerated() {
                    let bound = index < cell.bounds.count ? number(cell.bounds[index]) : "+Inf"
                    out += "\(definition.name)_bucket{\(prefix)le=\"\(bound)\"} \(count)\n"
                }
                out += "\(definition.name)_sum\(labels) \(number(sum))\n"
                out += "\(definition.name)_count\(labels) \(cumulative.last ?? 0)\n"
            }
        }
    }

    private static func key(_ dimensions: [(String, String)]) -> String {
        dimensions.map { "\(sanitised($0.0))=\"\(escaped($0.1, quotes: true))\"" }.joined(separator: ",")
    }

    /// Names of other libraries may have dots and dashes, which Prometheus' may not.
    private static func sanitised(_ name: String) -> String {
        var out = ""
        for scalar in name.unicodeScalars {
            switch scalar {
            case "a"..."z", "A"..."Z", "_": out.unicodeScalars.append(scalar)
            case "0"..."9": out += (out.isEmpty ? "_" : "") + String(scalar)
            default: out += "_"
            }
        }
        return out.isEmpty ? "_" : out
    }

    private static func escaped(_ text: String, quotes: Bool) -> String {
        var out = ""
        for character in text.unicodeScalars {
            switch character {
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\"" where quotes: out += "\\\""
            default: out.unicodeScalars.append(character)
            }
        }
        return out
    }

    private static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        return value == value.rounded() && abs(value) < 1e15 ? "\(Int64(value))" : "\(value)"
    }
}
