import ChildProcesses
import Foundation
import LocalStack
import RPC
import Storage
import Telemetry
import Testing
import VommaProto

extension Integration {
    /// What an operator's scraper gets from each service of a running stack.
    @Suite(.serialized) struct MetricsTests {
        /// Of a database, of peers, of the stage's own work.
        private static func expected(_ name: ServiceName) -> Set<String> {
            var names: Set<String> = [
                "vomma_rpc_server_calls_total", "vomma_rpc_server_call_seconds_count", "vomma_rpc_server_connections",
                "vomma_rpc_server_connections_ended_total", "vomma_rpc_server_writer_wait_seconds_count",
                "vomma_rpc_server_held_bytes", "process_resident_memory_bytes",
                "vomma_database_connections", "vomma_database_wait_seconds_count",
            ]
            if [.featureService, .policyService, .executionService].contains(name) {
                names.formUnion([
                    "vomma_stage_streams", "vomma_stage_queued_rows", "vomma_rpc_client_connections",
                    "vomma_rpc_client_connect_failures_total", "vomma_rpc_client_writer_wait_seconds_count",
                ])
            }
            if name == .trainer { names.formUnion(["vomma_jobs", "vomma_jobs_oldest_queued_seconds"]) }
            return names
        }

        @Test("Every process of the stack shows what it has to show")
        func all() async throws {
            let fleet = try await Fleet.shared()
            for child in fleet.stack.children {
                let samples = try await MetricsReader.read(host: "127.0.0.1", port: child.metricsPort)
                let missing = Self.expected(child.name).subtracting(samples.map(\.name))
                #expect(missing == [], "\(child.name)")
                #expect(
                    samples.contains { $0.name == "vomma_build_info" && $0.labels["service"] == child.name.rawValue })
                let checks = samples.first {
                    $0.name == "vomma_rpc_server_calls_total" && $0.labels["method"] == "/grpc.health.v1.Health/Check"
                        && $0.labels["status"] == "OK"
                }
                #expect((checks?.value ?? 0) >= 1, "\(child.name)")
            }
        }

        /// What `vomma run` writes into its data folder.
        private struct StackFile: Encodable {
            var databaseURL: String
            var addresses: [String: String]
            var metricsPorts: [String: [Int]]
        }

        @Test("vomma status tells the key figures of each process in a line")
        func keyFigures() async throws {
            let fleet = try await Fleet.shared()
            let folder = Fleet.folder + "/status"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            let children = fleet.stack.children
            let file = StackFile(
                databaseURL: fleet.databaseURL,
                addresses: Dictionary(children.map { ($0.name.rawValue, "127.0.0.1:\($0.port)") }) { $1 },
                metricsPorts: Dictionary(grouping: children, by: \.name.rawValue).mapValues { $0.map(\.metricsPort) })
            try JSONEncoder().encode(file).write(to: URL(fileURLWithPath: folder + "/stack.json"))
            let inverter = fleet.stack.child(.hestonInverter).port
            // One call that has failed, and one that is under way.
            #expect(await failure { _ = try await fleet.inverter.price(PriceRequest()) }?.code == .invalidArgument)
            let channel = RPCChannel(host: "127.0.0.1", port: inverter, log: Fleet.silent)
            var watch = HealthClient(channel).watch(HealthCheckRequest()).makeAsyncIterator()
            _ = try await watch.next()
            let (status, output) = try await ChildProcess.run(
                Fleet.binaries + "/vomma", ["status", "--data-folder", folder], environment: [:])
            #expect(status == 0, "\(output)")
            await channel.close()
            for child in children {
                let line = try #require(
                    output.split(separator: "\n").first { $0.contains(":\(child.metricsPort)/metrics ") }, "\(output)")
                let figures = try #require(
                    line.wholeMatch(
                        of: /\ +\S+ +(\d+) calls, (\d+) not OK, (\d+) in flight, (\d+) connections, (\d+) MiB(.*)/),
                    "\(line)")
                // Each has answered a health check at the least.
                for figure in [figures.1, figures.5] { #expect((Int(figure) ?? 0) >= 1, "\(line)") }
                if child.name == .hestonInverter {
                    for figure in [figures.2, figures.3, figures.4] { #expect((Int(figure) ?? 0) >= 1, "\(line)") }
                }
                #expect(figures.6.contains(/^, [1-6] to the database$/), "\(line)")
            }
        }

        @Test("A call made for another call is counted by its caller's service, at its peer's address")
        func peers() async throws {
            let fleet = try await Fleet.shared()
            let features = fleet.stack.child(.featureService)
            let gateway = fleet.stack.address(.marketGateway).description
            // It has streams, to which feature-service subscribes.
            _ = try await Market.shared()
            try await fleet.until("feature-service has called market-gateway") {
                try await MetricsReader.read(host: "127.0.0.1", port: features.metricsPort).contains {
                    $0.name == "vomma_rpc_client_calls_in_flight" && $0.labels["method"]?.contains("Subscribe") == true
                }
            }
            let samples = try await MetricsReader.read(host: "127.0.0.1", port: features.metricsPort)
            #expect(samples.contains { $0.name == "vomma_rpc_client_connections" && $0.labels["peer"] == gateway })
        }
    }
}
