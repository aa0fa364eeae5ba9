internal import ArgumentParser
internal import LocalStack
internal import Logging
internal import RPC
internal import Reports
internal import ServiceKit
internal import Telemetry
internal import VommaProto

/// `vomma status`: what runs, and how far it is.
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show the services, streams, jobs and models of a stack.",
        discussion: "With --address it checks one service only: exit code 0 when it is SERVING, 1 otherwise.")

    @OptionGroup var stack: StackOptions
    @Option(help: "Check the health of this one service, host:port, and nothing else.")
    var address: String?

    func run() async throws {
        if let address {
            guard let parsed = Address(address) else { throw ValidationError("--address is host:port") }
            let peers = try PeerSettings.process(calling: [parsed])
            let (isServing, words) = await Self.health([parsed], peers)
            print(words)
            if !isServing { throw ExitCode(1) }
            return
        }
        let peers = try PeerSettings.process(calling: ServiceName.allCases.flatMap(stack.addresses))
        var isAllServing = true
        for name in ServiceName.allCases {
            let addresses = stack.addresses(name)
            let (isServing, words) = await Self.health(addresses, peers)
            isAllServing = isAllServing && isServing
            print("\(name.rawValue.padded(26)) \(addresses.map(\.description).joined(separator: ",").padded(22)) \(words)")
            for port in stack.metricsPorts(name) { print(await Self.metrics(port)) }
        }
        guard isAllServing else {
            Terminal().note(
                "not everything is serving: `vomma run --keep` starts a stack; its logs are in \(stack.dataFolder)/logs"
            )
            throw ExitCode(1)
        }
        try await explaining {
            let streams = try await MarketGatewayClient(stack.channel(.marketGateway)).listStreams(ListStreamsRequest())
            print("\nstreams")
            for stream in streams.streams {
                print("  \(stream.stream.padded(34)) \(stream.state.padded(9)) \(stream.lastSequence) events")
            }
            let jobs = try await TrainerClient(stack.channel(.trainer)).listJobs(ListJobsRequest(limit: 10))
            print("\njobs, newest first")
            for job in jobs.jobs {
                print(
                    "  \("\(job.jobID)".padded(5)) \(job.kind.padded(9)) \("\(job.state)".padded(10)) \((job.progress * 100).shown(0)) %  \(job.jobKey.prefix(60))"
                )
            }
        }
    }

    /// Where a process's metrics are, and the first that one asks of them.
    private static func metrics(_ port: Int) async -> String {
        let url = "  http://127.0.0.1:\(port)/metrics".padded(49)
        do {
            return "\(url) \(KeyFigures(try await MetricsReader.read(host: "127.0.0.1", port: port)))"
        } catch {
            return "\(url) \(error)"
        }
    }

    private static func health(_ addresses: [Address], _ peers: PeerSettings) async -> (Bool, String) {
        var log = Logger(label: "vomma") { StreamLogHandler.standardError(label: $0) }
        log.logLevel = .critical
        let channel = peers.channel(to: addresses, log: log)
        defer { Task { await channel.close() } }
        do {
            let answer = try await HealthClient(channel).check(
                HealthCheckRequest(), options: CallOptions(timeout: .seconds(3)))
            return (answer.status == .serving, answer.status == .serving ? "SERVING" : "\(answer.status)")
        } catch {
            return (false, "\(error)")
        }
    }
}

/// What the metrics of one process say in a line.
struct KeyFigures: CustomStringConvertible {
    let description: String

    init(_ samples: [MetricSample]) {
        func sum(_ name: String, _ isWanted: ([String: String]) -> Bool = { _ in true }) -> Int {
            Int(samples.reduce(0) { $0 + ($1.name == name && isWanted($1.labels) ? $1.value : 0) })
        }
        var parts = [
            "\(sum("vomma_rpc_server_calls_total")) calls",
            "\(sum("vomma_rpc_server_calls_total") { $0["status"] != "OK" }) not OK",
            "\(sum("vomma_rpc_server_calls_in_flight")) in flight",
            "\(sum("vomma_rpc_server_connections")) connections",
            "\(sum("process_resident_memory_bytes") >> 20) MiB",
        ]
        if samples.contains(where: { $0.name == "vomma_database_connections" }) {
            let open = sum("vomma_database_connections") { $0["state"] == "open" }
            parts.append("\(open) to the database")
        }
        description = parts.joined(separator: ", ")
    }
}
