import CoreMetrics
import Logging
import Testing

@testable import Telemetry

/// The text format, read by rules of its own: what the registry writes, a scraper can read.
@Suite struct MetricsReaderTests {
    private static let calls = MetricDefinition("calls_total", .counter, labels: ["method"], "Calls.")
    private static let latency = MetricDefinition(
        "latency_seconds", .histogram(bounds: MetricDefinition.latencyBounds), labels: ["method"], "How long.")
    private static let level = MetricDefinition("level", .gauge, labels: ["stream"], "How high.")

    private static func filled() -> MetricRegistry {
        let registry = MetricRegistry()
        ProcessMetrics.register(in: registry, service: "test-service")
        for method in ["/a.B/C", "odd \"\\\n, {x=\"y\"} é"] {
            Self.calls.counter(method, in: registry).increment(by: 7)
            let timer = Self.latency.timer(method, in: registry)
            for nanoseconds: Int64 in [0, 1, 60_000, 3_000_000, 20_000_000_000] { timer.recordNanoseconds(nanoseconds) }
        }
        registry.observeEach(Self.level) { [(["one"], .nan), (["two"], -.infinity), (["three"], 1e300)] }
        return registry
    }

    @Test("Each family has its type before its samples, each sample its family; buckets grow to the count")
    func format() throws {
        let text = Self.filled().exposition()
        #expect(text.hasSuffix("\n") && !text.contains("\n\n"))
        var family = (name: "", type: "")
        var seen: Set<String> = []
        for line in text.split(separator: "\n") {
            if let match = line.wholeMatch(of: /# TYPE ([a-z_]+) (counter|gauge|histogram)/) {
                #expect(seen.insert(String(match.1)).inserted, "\(line) comes twice")
                family = (String(match.1), String(match.2))
            } else if !line.hasPrefix("# HELP ") {
                let sample = try #require(try MetricsReader.parse(String(line)).first)
                let suffixes = family.type == "histogram" ? ["_bucket", "_sum", "_count"] : [""]
                #expect(suffixes.contains { sample.name == family.name + $0 }, "\(line) in \(family)")
                #expect(family.type != "counter" || sample.name.hasSuffix("_total"))
            }
        }
        let samples = try MetricsReader.parse(text)
        let buckets = samples.filter { $0.name == "latency_seconds_bucket" && $0.labels["method"] == "/a.B/C" }
        #expect(buckets.map(\.value) == buckets.map(\.value).sorted() && buckets.last?.labels["le"] == "+Inf")
        #expect(buckets.last?.value == 5 && buckets.first?.value == 2)
        #expect(samples.contains { $0.name == "latency_seconds_count" && $0.value == 5 })
    }

    @Test("Labels and values come back as they were")
    func roundTrip() throws {
        let samples = try MetricsReader.parse(Self.filled().exposition())
        #expect(
            Set(samples.filter { $0.name == "calls_total" })
                == [
                    MetricSample(name: "calls_total", labels: ["method": "/a.B/C"], value: 7),
                    MetricSample(name: "calls_total", labels: ["method": "odd \"\\\n, {x=\"y\"} é"], value: 7),
                ])
        let levels = samples.filter { $0.name == "level" }.sorted { $0.labels["stream"]! < $1.labels["stream"]! }
        #expect(levels.map(\.value.description) == ["nan", "1e+300", "-inf"])
    }

    @Test(
        "What is not the format is named",
        arguments: [
            "name", "name x", "{a=\"b\"} 1", "name{a=\"b\" 1", "name{a=b} 1", "name{a=\"b} 1", "name{a=\"\\x\"} 1",
            "name{a=\"1\",a=\"2\"} 1", "name{=\"b\"} 1", "<html>",
        ])
    func malformed(line: String) {
        #expect(throws: MetricsReadError.malformed(line: line)) { try MetricsReader.parse("good 1\n\(line)\n") }
    }

    @Test("Series that come and go are those of the moment; of too many the first are shown, the others counted")
    func listed() throws {
        let registry = MetricRegistry()
        let limit = MetricRegistry.listedSeriesLimit
        registry.observeEach(Self.level) { (0..<limit + 3).map { (["\($0)"], Double($0)) } }
        let samples = try MetricsReader.parse(registry.exposition())
        #expect(samples.filter { $0.name == "level" }.count == limit)
        #expect(samples.first { $0.name == "vomma_metrics_dropped_series" }?.value == 3)
    }

    @Test("A process's metrics are read over HTTP; where there are none, the reason is given")
    func overHTTP() async throws {
        var log = Logger(label: "test")
        log.logLevel = .critical
        let server = MetricsServer(host: "127.0.0.1", port: 0, registry: Self.filled(), log: log)
        let port = try await server.start()
        let samples = try await MetricsReader.read(host: "127.0.0.1", port: port)
        #expect(samples.contains { $0.name == "vomma_build_info" && $0.labels["service"] == "test-service" })
        await server.close()
        await #expect(throws: MetricsReadError.self) { try await MetricsReader.read(host: "127.0.0.1", port: port) }
    }
}
