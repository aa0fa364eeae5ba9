import CoreMetrics
import Testing

@testable import Telemetry

@Suite struct MetricRegistryTests {
    private static let calls = MetricDefinition("calls_total", .counter, labels: ["method"], "Calls,\nall \\ of them.")
    private static let level = MetricDefinition("level", .gauge, "How high.")
    private static let latency = MetricDefinition("latency_seconds", .histogram(bounds: [0.001, 0.1]), "How long.")

    @Test("The exposition has help, type, labels and values, escaped and sorted")
    func exposition() {
        let registry = MetricRegistry()
        Self.calls.counter("b", in: registry).increment(by: 3)
        Self.calls.counter("a \"\\\n", in: registry).increment()
        let meter = Self.level.meter(in: registry)
        meter.set(2.5)
        meter.increment()
        meter.decrement(by: 0.5)
        let timer = Self.latency.timer(in: registry)
        timer.recordNanoseconds(1_000_000)
        timer.recordNanoseconds(1_000_001)
        timer.recordNanoseconds(250_000_000)
        registry.observe(MetricDefinition("asked", .gauge, labels: ["x"], "Read at the scrape."), "1") { .infinity }
        #expect(
            registry.exposition() == """
                # HELP asked Read at the scrape.
                # TYPE asked gauge
                asked{x="1"} +Inf
                # HELP calls_total Calls,\\nall \\\\ of them.
                # TYPE calls_total counter
                calls_total{method="a \\"\\\\\\n"} 1
                calls_total{method="b"} 3
                # HELP latency_seconds How long.
                # TYPE latency_seconds histogram
                latency_seconds_bucket{le="0.001"} 1
                latency_seconds_bucket{le="0.1"} 2
                latency_seconds_bucket{le="+Inf"} 3
                latency_seconds_sum 0.252000001
                latency_seconds_count 3
                # HELP level How high.
                # TYPE level gauge
                level 3
                # HELP vomma_metrics_dropped_series Time series not kept because the process has too many.
                # TYPE vomma_metrics_dropped_series gauge
                vomma_metrics_dropped_series 0

                """)
    }

    @Test("One series is one cell, whoever asks for it; from many tasks nothing is lost")
    func shared() async {
        let registry = MetricRegistry()
        await withDiscardingTaskGroup { group in
            for _ in 0..<8 {
                group.addTask {
                    let counter = Self.calls.counter("a", in: registry)
                    let meter = Self.level.meter(in: registry)
                    for _ in 0..<1000 {
                        counter.increment()
                        meter.increment()
                    }
                }
            }
        }
        let text = registry.exposition()
        #expect(text.contains("calls_total{method=\"a\"} 8000\n") && text.contains("level 8000\n"))
    }

    @Test("Another library's metrics are shown under a legal name; too many series are dropped and counted")
    func foreign() {
        let registry = MetricRegistry(maxSeriesCount: 2)
        Counter(label: "nio.bytes-in", dimensions: [("a.b", "x")], factory: registry).increment()
        Recorder(label: "9lives", dimensions: [], aggregate: false, factory: registry).record(9)
        Counter(label: "more", dimensions: [], factory: registry).increment()
        let text = registry.exposition()
        #expect(text.contains("nio_bytes_in{a_b=\"x\"} 1\n") && text.contains("_9lives 9\n"))
        #expect(!text.contains("more") && text.contains("vomma_metrics_dropped_series 1\n"))
    }

    @Test("The process's own metrics are there and plausible")
    func process() throws {
        let registry = MetricRegistry()
        ProcessMetrics.register(in: registry, service: "test-service")
        #expect(registry.exposition().contains("vomma_build_info{service=\"test-service\",swift="))
        #expect(ProcessMetrics.residentByteCount() > 1 << 20 && ProcessMetrics.openFileCount() > 2)
        #expect(ProcessMetrics.processorSeconds() > 0)
    }
}
