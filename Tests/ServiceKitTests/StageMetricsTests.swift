import MarketData
import RPC
import Storage
import Telemetry
import Testing

@testable import ServiceKit

@Suite(.timeLimit(.minutes(1))) struct StageMetricsTests {
    private func value(_ registry: MetricRegistry, _ name: String) throws -> Double? {
        try MetricsReader.parse(registry.exposition()).first { $0.name == name }?.value
    }

    @Test("Rows that wait in a stage are counted until they are taken, or given up")
    func queue() async throws {
        let registry = MetricRegistry()
        let stage = StageMetrics(registry)
        stage.reportWork()
        #expect(try value(registry, "vomma_stage_queued_rows") == 0)
        do {
            let source = AsyncStream<Int>.makeStream()
            let reader = BatchReader<Int>(stage: stage)
            for element in 0..<10 { source.continuation.yield(element) }
            source.continuation.finish()
            await reader.pump(source.stream)
            #expect(try value(registry, "vomma_stage_queued_rows") == 10)
            #expect(try await reader.nextBatch(limit: 3)?.count == 3)
            #expect(try value(registry, "vomma_stage_queued_rows") == 7)
        }
        #expect(try value(registry, "vomma_stage_queued_rows") == 0)
    }

    @Test("Each stream's newest row is shown with its market time, until the stream ends")
    func positions() async throws {
        let registry = MetricRegistry()
        let pool = ConnectionPool(try StorageConfiguration(url: "postgresql://nobody@127.0.0.1:1/none"))
        let tails = StreamTails<Int64>(consumer: "test", pool: pool)
        let tail = StreamTail<Int64>(start: 0)
        tails.keep(tail, of: "a \"stream\"")
        tails.report(to: StageMetrics(registry)) { Timestamp(microseconds: $0) }
        #expect(try value(registry, "vomma_stream_row_time_seconds") == nil)
        let before = Timestamp.now
        tail.publish([(1, 5_000_000), (2, 7_500_000)])
        let samples = try MetricsReader.parse(registry.exposition())
        let row = try #require(samples.first { $0.name == "vomma_stream_row_time_seconds" })
        #expect(row.labels == ["stream": "a \"stream\""] && row.value == 7.5)
        let time = try #require(samples.first { $0.name == "vomma_stream_handed_on_time_seconds" }).value
        #expect(time >= Double(before.microseconds) / 1e6 && time <= Double(Timestamp.now.microseconds) / 1e6)
        tail.finish()
        #expect(try value(registry, "vomma_stream_row_time_seconds") == nil)
        await pool.close()
    }

    @Test("Streams that are followed are counted, and how often following one failed")
    func supervisor() async throws {
        let registry = MetricRegistry()
        let tries = Count()
        let supervisor = StreamSupervisor(log: quiet, stage: StageMetrics(registry)) {
            [
                EventRepository.Stream(
                    name: "s", exchange: "", symbols: [], currencies: [], from: Timestamp(microseconds: 0),
                    to: Timestamp(microseconds: 1), tradedSymbols: [], tradeFrom: Timestamp(microseconds: 0))
            ]
        } work: { _ in
            tries.increment()
            if tries.value < 3 { throw RPCStatus(.unavailable, "away") }
            try await Task.sleep(for: .seconds(3600))
        }
        let running = Task { try await supervisor.run() }
        await tries.reached(3)
        #expect(try value(registry, "vomma_stage_streams") == 1)
        #expect(try value(registry, "vomma_stage_interruptions_total") == 2)
        running.cancel()
        _ = await running.result
        #expect(try value(registry, "vomma_stage_streams") == 0)
    }

    @Test("What a pool does is shown: its limit, and the connection that could not be had")
    func pool() async throws {
        let registry = MetricRegistry()
        let metrics = PoolMetrics(registry)
        var configuration = try StorageConfiguration(url: "postgresql://nobody@127.0.0.1:1/none")
        configuration.maximumConnections = 3
        let pool = ConnectionPool(configuration, log: quiet, observer: metrics)
        metrics.report(pool, in: registry)
        #expect(try value(registry, "vomma_database_connections_limit") == 3)
        await #expect(throws: StorageError.self) { try await pool.withConnection { _ in } }
        #expect(try value(registry, "vomma_database_connect_failures_total") == 1)
        #expect(try value(registry, "vomma_database_wait_seconds_count") == 1)
        #expect(try value(registry, "vomma_database_lease_seconds_count") == 1)
        #expect(try value(registry, "vomma_database_callers_waiting") == 0)
        await pool.close()
    }
}
