internal import ArgumentParser
internal import ChildProcesses

/// `rpc-testbed soak`: a thousand clients for a minute.
struct SoakCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "soak",
        abstract: "Many connections with calls at a fixed rate: no errors, and no memory that grows.")

    @Option(help: "Connections.")
    var connections = 1000
    @Option(help: "Calls a second on each.")
    var rate = 10
    @Option(help: "How long memory is watched.")
    var seconds = 60
    @Option(help: "How long before that: what a connection remembers of its streams fills, and pools find their sizes.")
    var warmUp = 60

    func run() async throws {
        let victim = try await Victim([])
        let idle = victim.memory("VmRSS")
        let load = try ChildProcess(
            Victim.executable,
            ["load", "--port", "\(victim.port)", "--connections", "\(connections)", "--rate", "\(rate)", "--seconds",
                "\(warmUp + seconds)"],
            output: .collected)
        _ = await load.line { $0.hasPrefix("connected") }
        var samples: [Int] = []
        try await Task.sleep(for: .seconds(warmUp))
        for _ in 0..<seconds {
            try await Task.sleep(for: .seconds(1))
            samples.append(victim.memory("VmRSS"))
        }
        let code = await load.end()
        let (isGood, text) = await victim.end()
        print("soak: \(connections) connections × \(rate) calls/s, \(seconds) s after \(warmUp) s")
        print("soak: " + (load.text.split(separator: "\n").last.map(String.init) ?? "the load said nothing"))
        let (least, most) = (samples.min() ?? 0, samples.max() ?? 0)
        let half = samples.count / 2
        let drift = samples.suffix(half).reduce(0, +) / max(1, half) - samples.prefix(half).reduce(0, +) / max(1, half)
        print(
            "soak: server RSS \(idle) KiB idle, \(least)…\(most) KiB under load, "
                + "\(drift) KiB from the first half to the second")
        let isFlat = drift < 2048
        print("soak: " + (code == 0 && isGood && isFlat ? "ok" : "short: \(text)"))
        if code != 0 || !isGood || !isFlat { throw ExitCode.failure }
    }
}
