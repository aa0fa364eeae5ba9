import InteropService
import NIOCore
import Telemetry
import Testing

@testable import RPC

private let echo = RPCMethod.unary("/test.Service/Echo") { (request: Blob, _) in request }

/// Reads a registry as a scraper would.
private struct Scrape: Sendable {
    let registry = MetricRegistry()

    func value(_ name: String, _ labels: [String: String] = [:]) throws -> Double? {
        let samples = try MetricsReader.parse(registry.exposition())
        return samples.first { sample in
            sample.name == name && labels.allSatisfy { sample.labels[$0.key] == $0.value }
        }?.value
    }

    /// Looks until it is so: connections end when the other side has noticed.
    func until(_ name: String, _ labels: [String: String] = [:], is wanted: Double) async throws {
        while try value(name, labels) != wanted {
            try Task.checkCancellation()
            await Task.yield()
        }
    }
}

@Suite("Connection metrics", .timeLimit(.minutes(1))) struct ConnectionMetricsTests {
    @Test("Both sides count a connection while it is open, and how it ended")
    func openAndClosed() async throws {
        let (server, client) = (Scrape(), Scrape())
        try await withServer(
            [echo], configure: { $0.metrics = ConnectionMetrics(server: server.registry) },
            configureChannel: { $0.metrics = ConnectionMetrics(client: client.registry, peer: "it") }
        ) { _, channel in
            #expect(try client.value("vomma_rpc_client_connections") == 0)
            let _: Blob = try await channel.unary("/test.Service/Echo", Blob(""))
            #expect(try server.value("vomma_rpc_server_connections") == 1)
            #expect(try client.value("vomma_rpc_client_connections", ["peer": "it"]) == 1)
            await channel.close()
            try await server.until("vomma_rpc_server_connections", is: 0)
        }
        #expect(try server.value("vomma_rpc_server_connections_ended_total", ["reason": "peer"]) == 1)
        #expect(
            try client.value("vomma_rpc_client_connections_ended_total", ["peer": "it", "reason": "shutdown"]) == 1)
        #expect(try client.value("vomma_rpc_client_connections") == 0)
        #expect(try client.value("vomma_rpc_client_connect_failures_total") == 0)
    }

    @Test(
        "A server names why it closed a connection",
        arguments: [
            "protocol_error", "flood", "handshake_timeout", "keep_alive", "idle", "age", "refused", "shutdown",
        ])
    func reasons(reason: String) async throws {
        let scrape = Scrape()
        try await withServer(
            [echo],
            configure: { configuration in
                configuration.metrics = ConnectionMetrics(server: scrape.registry)
                switch reason {
                case "flood": configuration.http2.maxControlFrameBurst = 10
                case "handshake_timeout": configuration.handshakeTimeout = .milliseconds(20)
                case "keep_alive":
                    configuration.keepAlive.interval = .milliseconds(20)
                    configuration.keepAlive.timeout = .milliseconds(20)
                case "idle": configuration.maxConnectionIdle = .milliseconds(20)
                case "age": configuration.maxConnectionAge = .milliseconds(250)
                case "refused": configuration.maxConnectionCount = 0
                default: break
                }
            }
        ) { server, channel in
            let port = try await server.boundPort
            switch reason {
            case "protocol_error": try await Probe.send(port: port, Array("GET / HTTP/1.1\r\n\r\n".utf8), waits: true)
            case "flood":
                let pings = (0..<50).flatMap { _ in Wire.frame(.ping, [0, 1, 2, 3, 4, 5, 6, 7]) }
                try await Probe.send(port: port, Wire.preface + pings, waits: true)
            case "handshake_timeout": try await Probe.send(port: port, [], waits: true)
            case "keep_alive":
                // A call that has begun, and a client that answers no PING.
                let fields = Probe.plain.flatMap { Wire.field($0.key, $0.value) }
                let head = Wire.frame(.headers, flags: Wire.endHeaders, stream: 1, fields)
                let body = Wire.frame(.data, stream: 1, [0, 0])
                try await Probe.send(port: port, Wire.preface + head + body, waits: true)
            case "refused": try await Probe.send(port: port, Wire.preface, waits: true)
            default:
                let _: Blob = try await channel.unary("/test.Service/Echo", Blob(""))
                if reason == "shutdown" { server.beginShutdown() }
            }
            // A call that met the end of its connection has been made again on another, which ends alike.
            while try scrape.value("vomma_rpc_server_connections_ended_total", ["reason": reason]) == 0 {
                try Task.checkCancellation()
                await Task.yield()
            }
            try await scrape.until("vomma_rpc_server_connections", is: 0)
        }
    }

    @Test("A channel counts the attempts to connect that failed")
    func connectFailures() async throws {
        let scrape = Scrape()
        var configuration = RPCChannelConfiguration()
        configuration.metrics = ConnectionMetrics(client: scrape.registry, peer: "nobody")
        let port = try await withListener({ _ in }) { $0 }
        let channel = RPCChannel(host: "127.0.0.1", port: port, configuration: configuration, log: quiet)
        let refused = await status { _ = try await channel.unary("/test.Service/Echo", Blob("")) as Blob }
        #expect(refused.code == .unavailable)
        #expect(try #require(try scrape.value("vomma_rpc_client_connect_failures_total", ["peer": "nobody"])) >= 1)
        await channel.close()
    }

    @Test("A writer that has to wait for its reader is counted, on either side, and what is held for it")
    func stalls() async throws {
        let (serverScrape, clientScrape) = (Scrape(), Scrape())
        let isWanted = Counter()
        let responses = 40
        let down = RPCMethod.serverStreaming("/test.Service/Down") {
            (_: Blob, writer: ResponseWriter<Blob>, _) in
            for _ in 0..<responses { try await writer.write(Blob(count: 64 << 10)) }
        }
        let up = RPCMethod.clientStreaming("/test.Service/Up") { (requests: RequestStream<Blob>, _) in
            await isWanted.reached(1)
            var count = 0
            for try await _ in requests { count += 1 }
            return Blob(count)
        }
        try await withServer(
            [down, up], configure: { $0.metrics = ConnectionMetrics(server: serverScrape.registry) },
            configureChannel: { $0.metrics = ConnectionMetrics(client: clientScrape.registry, peer: "it") }
        ) { server, channel in
            let stream: ResponseStream<Blob> = channel.serverStreaming("/test.Service/Down", Blob(""))
            try await serverScrape.until("vomma_rpc_server_writers_waiting", is: 1)
            #expect(server.heldByteCount >= MemoryBudget.step)
            var count = 0
            for try await _ in stream { count += 1 }
            #expect(count == responses)
            try await serverScrape.until("vomma_rpc_server_writers_waiting", is: 0)
            #expect(try #require(try serverScrape.value("vomma_rpc_server_writer_wait_seconds_count")) >= 1)
            while server.heldByteCount > 0, !Task.isCancelled { await Task.yield() }

            let answer: Blob = try await withThrowingTaskGroup(of: Blob.self) { group in
                group.addTask {
                    try await channel.clientStreaming("/test.Service/Up") { (writer: RequestWriter<Blob>) in
                        for _ in 0..<responses { try await writer.write(Blob(count: 64 << 10)) }
                    }
                }
                try await clientScrape.until("vomma_rpc_client_writers_waiting", ["peer": "it"], is: 1)
                isWanted.increment()
                return try await group.next() ?? Blob("")
            }
            #expect(answer.number == responses)
            #expect(try clientScrape.value("vomma_rpc_client_writers_waiting") == 0)
            #expect(try #require(try clientScrape.value("vomma_rpc_client_writer_wait_seconds_count")) >= 1)
        }
    }
}
