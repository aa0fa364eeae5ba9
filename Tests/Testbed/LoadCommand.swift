internal import ArgumentParser
internal import Glibc
internal import Logging
internal import NIOConcurrencyHelpers
internal import RPC
internal import VommaProto

/// `rpc-testbed load`: well-behaved clients, each with a connection of its own and calls at a fixed rate.
struct LoadCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "load", abstract: "Call EmptyCall at a fixed rate over many connections; print how that went.")

    @Option(help: "The port of the server.")
    var port: Int
    @Option(help: "Connections, each with a client of its own.")
    var connections = 1
    @Option(help: "Calls a second on each connection.")
    var rate = 100
    @Option(help: "How long.")
    var seconds = 5

    func run() async throws {
        var log = Logger(label: "load")
        log.logLevel = .critical
        let result = NIOLockedValueBox(LoadResult())
        let channels = (0..<connections).map { _ in RPCChannel(host: "127.0.0.1", port: port, log: log) }
        // All connected before the clock starts.
        for channel in channels {
            _ = try? await TestingInteropClient(channel).emptyCall(
                TestingInteropEmpty(), options: CallOptions(timeout: .seconds(10)))
        }
        print("connected")
        fflush(nil)
        let begin = ContinuousClock.now
        let period = Duration.seconds(1) / rate
        let end = begin + .seconds(seconds)
        await withTaskGroup(of: Void.self) { group in
            for (index, channel) in channels.enumerated() {
                let first = begin + period * index / connections
                group.addTask { await Self.client(channel, first: first, period: period, end: end, result) }
            }
        }
        for channel in channels { await channel.close() }
        print(result.withLockedValue { $0.summary })
        fflush(nil)
        guard result.withLockedValue({ $0.failures.isEmpty }) else { throw ExitCode.failure }
    }

    private static func client(
        _ channel: RPCChannel, first: ContinuousClock.Instant, period: Duration, end: ContinuousClock.Instant,
        _ result: NIOLockedValueBox<LoadResult>
    ) async {
        let client = TestingInteropClient(channel)
        var due = first
        while due < end {
            try? await Task.sleep(until: due, clock: .continuous)
            let failure: String?
            do {
                _ = try await client.emptyCall(TestingInteropEmpty(), options: CallOptions(timeout: .seconds(10)))
                failure = nil
            } catch {
                failure = "\(error)"
            }
            // From when the call was due: a stall counts for all the calls that it delays.
            let took = ContinuousClock.now - due
            result.withLockedValue { result in
                result.latencies.append(took)
                if let failure { result.failures[failure, default: 0] += 1 }
            }
            due += period
        }
    }
}

struct LoadResult {
    var latencies: [Duration] = []
    var failures: [String: Int] = [:]

    var summary: String {
        let sorted = latencies.sorted()
        func percentile(_ share: Double) -> String {
            guard !sorted.isEmpty else { return "none" }
            let value = sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]
            return String(Int(value / .microseconds(1)))
        }
        let errors = failures.values.reduce(0, +)
        var line = "calls=\(sorted.count) errors=\(errors)"
        line += " p50=\(percentile(0.5)) p99=\(percentile(0.99)) max=\(percentile(1)) µs"
        for (failure, count) in failures.sorted(by: { $0.value > $1.value }).prefix(3) {
            line += " [\(count) × \(failure)]"
        }
        return line
    }
}
