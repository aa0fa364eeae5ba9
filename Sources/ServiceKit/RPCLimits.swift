internal import RPC

/// A limit of a service's RPC server that its operator can set: the key, where its value is kept, and what it means.
struct RPCLimit: Sendable {
    typealias Path<Value> = any WritableKeyPath<RPCServerConfiguration, Value> & Sendable

    /// Where the value is kept, and which values are allowed.
    enum Value: Sendable {
        /// Bytes, connections, frames: the key's last word says what.
        case number(Path<Int>, ClosedRange<Int>)
        case seconds(Path<Duration>, ClosedRange<Int>)
        /// Seconds; 0 is no limit.
        case secondsOrNone(Path<Duration?>, upTo: Int)
        case yesOrNo(Path<Bool>)
    }

    let key: String
    let value: Value
    /// One line, for `--help` and docs/configuration.md.
    let meaning: String

    init(_ key: String, _ value: Value, _ meaning: String) {
        self.key = key
        self.value = value
        self.meaning = meaning
    }

    /// What services allow unless they are told otherwise: as any server, but for surfaces, models and batches of
    /// history, which are longer than gRPC's 4 MiB.
    static var defaults: RPCServerConfiguration {
        var configuration = RPCServerConfiguration()
        configuration.maxMessageByteCount = 64 << 20
        return configuration
    }

    /// A window's or a message's greatest length in HTTP/2 and protobuf.
    private static let longest = Int(Int32.max)
    private static let day = 86_400

    /// Also of channels to other services (`PeerSettings`).
    static let longestMessage = RPCLimit(
        "rpc.max.message.bytes", .number(\.maxMessageByteCount, 1024...longest),
        "longest request, and longest response of another service, also once decompressed")

    static let all: [RPCLimit] = [
        longestMessage,
        RPCLimit(
            "rpc.max.held.bytes", .number(\.maxHeldByteCount, 65_536...(1 << 40)),
            "requests and responses of all clients that are held at once; not less than the longest request"),
        RPCLimit(
            "rpc.max.header.bytes", .number(\.http2.maxHeaderListByteCount, 1024...65_536),
            "one call's headers, once unpacked, 32 a field included"),
        RPCLimit(
            "rpc.max.connections", .number(\.maxConnectionCount, 1...1_000_000),
            "connections at once; further ones are closed"),
        RPCLimit(
            "rpc.max.streams", .number(\.http2.maxConcurrentStreamCount, 1...1_000_000),
            "calls at once on one connection"),
        RPCLimit(
            "rpc.stream.window.bytes", .number(\.http2.streamWindowByteCount, 65_535...longest),
            "how far the client of one call may be ahead of its handler"),
        RPCLimit(
            "rpc.connection.window.bytes", .number(\.http2.connectionWindowByteCount, 65_535...longest),
            "how far a client may be ahead of the network's reading"),
        RPCLimit(
            "rpc.write.buffer.bytes", .number(\.http2.writeHighWaterMark, 1024...longest),
            "unsent responses of one call above which its handler waits"),
        RPCLimit(
            "rpc.handshake.seconds", .seconds(\.handshakeTimeout, 1...3600),
            "time for a new connection to finish TLS and send HTTP/2's settings"),
        RPCLimit(
            "rpc.max.idle.seconds", .secondsOrNone(\.maxConnectionIdle, upTo: 365 * day),
            "a connection without calls for as long is closed; 0: never"),
        RPCLimit(
            "rpc.max.age.seconds", .secondsOrNone(\.maxConnectionAge, upTo: 365 * day),
            "a connection as old, ±10 %, takes no more calls and is closed after its last; 0: never"),
        RPCLimit(
            "rpc.max.age.grace.seconds", .secondsOrNone(\.maxConnectionAgeGrace, upTo: 365 * day),
            "how long the calls of a connection too old may go on; 0: as long as they take"),
        RPCLimit(
            "rpc.keepalive.seconds", .seconds(\.keepAlive.interval, 1...day),
            "silence of a client with calls after which it is sent a PING"),
        RPCLimit(
            "rpc.keepalive.timeout.seconds", .seconds(\.keepAlive.timeout, 1...3600),
            "further silence after which a client counts as gone"),
        RPCLimit(
            "rpc.client.ping.seconds", .seconds(\.clientPings.minInterval, 0...day),
            "least time between two PINGs of a client; the third too soon ends the connection"),
        RPCLimit(
            "rpc.client.ping.without.calls", .yesOrNo(\.clientPings.permitsWithoutCalls),
            "the same while a client has no calls; no: then one in two hours"),
        RPCLimit(
            "rpc.control.frame.burst", .number(\.http2.maxControlFrameBurst, 10...1_000_000),
            "control frames that a client may send at once"),
        RPCLimit(
            "rpc.control.frames.per.second", .number(\.http2.maxControlFramesPerSecond, 1...1_000_000),
            "control frames that a client may send a second after that"),
        RPCLimit(
            "rpc.drain.seconds", .seconds(\.drainTimeout, 1...3600),
            "how long accepted calls may go on after SIGTERM"),
    ]

    /// Reads all of them into `configuration`, whose values are the defaults.
    static func read(_ settings: inout Settings, into configuration: inout RPCServerConfiguration) {
        let faultCount = settings.faults.count
        for limit in all { limit.read(&settings, into: &configuration) }
        guard settings.faults.count == faultCount else { return }
        let (held, message) = (configuration.maxHeldByteCount, configuration.maxMessageByteCount)
        if held < message {
            settings.fault(
                "VOMMA_RPC_MAX_HELD_BYTES is “\(held)”, expected no less than VOMMA_RPC_MAX_MESSAGE_BYTES, \(message)")
        }
    }

    /// Reads this one into its place in `configuration`, whose value is the default.
    func read(_ settings: inout Settings, into configuration: inout RPCServerConfiguration) {
        switch value {
        case .number(let path, let range):
            configuration[keyPath: path] = settings.int(
                key, default: configuration[keyPath: path], in: range, meaning)
        case .seconds(let path, let range):
            let current = Int(configuration[keyPath: path].components.seconds)
            configuration[keyPath: path] = .seconds(settings.int(key, default: current, in: range, meaning))
        case .secondsOrNone(let path, let longest):
            let current = Int(configuration[keyPath: path]?.components.seconds ?? 0)
            let seconds = settings.int(key, default: current, in: 0...longest, meaning)
            configuration[keyPath: path] = seconds == 0 ? nil : .seconds(seconds)
        case .yesOrNo(let path):
            let current = configuration[keyPath: path] ? "yes" : "no"
            configuration[keyPath: path] = settings.choice(key, default: current, of: ["no", "yes"], meaning) == "yes"
        }
    }
}
