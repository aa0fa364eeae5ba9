internal import ArgumentParser
internal import ChildProcesses
internal import Glibc
internal import InteropService

/// `rpc-testbed attack`: each attack for a moment, against a server of ours on loopback that others use meanwhile.
struct AttackCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "attack",
        abstract: "Attack a server of its own, and see what others notice of it and what memory it takes.",
        discussion: """
            One line an attack: what it did, the server's resident memory before, at most and afterwards, and how a \
            client that calls 100 times a second fared meanwhile. An attack is withstood if that client saw no error, \
            if the memory stayed under the limit, and if the server ended well when it was told to.
            """)

    @Option(help: "Only attacks whose name contains this.")
    var only = ""
    @Option(help: "Resident memory that the server may reach, in MiB.")
    var limit = 256
    @Option(help: "How long each attack goes on, in seconds.")
    var seconds = 3

    func run() async throws {
        var failed = 0
        for attack in Attack.all where only.isEmpty || attack.name.contains(only) {
            // A server each: what one leaves behind does not count for the next.
            let victim = try await Victim(["--handshake-seconds", "1", "--max-held-mib", "128"] + attack.options)
            let before = victim.memory("VmRSS")
            let others = try ChildProcess(
                Victim.executable,
                [
                    "load", "--port", "\(victim.port)", "--connections", "2", "--rate", "50", "--seconds",
                    "\(seconds + 1)",
                ],
                output: .collected)
            _ = await others.line { $0.hasPrefix("connected") }
            let until = ContinuousClock.now + .seconds(seconds)
            let what = await attack.run(victim.port, until)
            let othersCode = await others.end()
            let (after, peak) = (victim.memory("VmRSS"), victim.memory("VmHWM"))
            let (isGood, text) = await victim.end()
            let isWithstood = othersCode == 0 && isGood && peak < limit << 10
            failed += isWithstood ? 0 : 1
            print(
                (isWithstood ? "ok    " : "SHORT ") + attack.name
                    + ": \(what); RSS \(before >> 10) → peak \(peak >> 10) → \(after >> 10) MiB; "
                    + "others: \(others.text.split(separator: "\n").last ?? "nothing")"
                    + (isGood ? "" : "; the server: \(text)"))
            fflush(nil)
        }
        if failed > 0 { throw ExitCode.failure }
    }
}

/// One way to be a nuisance, until a moment. Says what it did.
struct Attack: Sendable {
    typealias Until = ContinuousClock.Instant

    let name: String
    /// Of the server that it is tried on.
    var options: [String] = []
    let run: @Sendable (_ port: Int, _ until: Until) async -> String

    static let all: [Attack] = [
        Attack(name: "rapid reset") { port, until in
            await flood(port, until) { first in
                (0..<200).map { first + UInt32($0) * 2 }.flatMap {
                    Wire.frame(.headers, flags: Wire.endHeaders, stream: $0, Wire.head("FullDuplexCall"))
                        + Wire.frame(.rstStream, stream: $0, Wire.number(8))
                }
            }
        },
        Attack(name: "rapid reset by the server's own hand (bad requests)") { port, until in
            // Each stream makes the server send RST_STREAM: a window update of 0.
            await flood(port, until) { first in
                (0..<200).map { first + UInt32($0) * 2 }.flatMap {
                    Wire.frame(.headers, flags: Wire.endHeaders, stream: $0, Wire.head("FullDuplexCall"))
                        + Wire.frame(.windowUpdate, stream: $0, Wire.number(0))
                }
            }
        },
        Attack(name: "PING flood") { port, until in
            await flood(port, until) { _ in
                (0..<1000).flatMap { _ in Wire.frame(.ping, [UInt8](repeating: 1, count: 8)) }
            }
        },
        Attack(name: "PING flood that reads no answer") { port, until in
            await flood(port, until, reads: false) { _ in
                (0..<1000).flatMap { _ in Wire.frame(.ping, [UInt8](repeating: 1, count: 8)) }
            }
        },
        Attack(name: "SETTINGS flood") { port, until in
            await flood(port, until) { _ in (0..<1000).flatMap { _ in Wire.frame(.settings, Wire.setting(3, 100)) } }
        },
        Attack(name: "PRIORITY flood") { port, until in
            await flood(port, until) { first in
                (0..<1000).flatMap { Wire.frame(.priority, stream: first + UInt32($0) * 2, Wire.number(0) + [16]) }
            }
        },
        Attack(name: "WINDOW_UPDATE flood") { port, until in
            await flood(port, until) { _ in (0..<1000).flatMap { _ in Wire.frame(.windowUpdate, Wire.number(1)) } }
        },
        Attack(name: "empty DATA flood") { port, until in
            await flood(port, until, opening: openStream) { _ in
                (0..<1000).flatMap { _ in Wire.frame(.data, stream: 1) }
            }
        },
        Attack(name: "DATA of one byte each") { port, until in
            await flood(port, until, opening: openStream) { _ in
                (0..<1000).flatMap { _ in Wire.frame(.data, stream: 1, [0]) }
            }
        },
        Attack(name: "unknown frames") { port, until in
            await flood(port, until) { _ in
                (0..<1000).flatMap { _ in [0, 0, 4, 0xBE, 0, 0, 0, 0, 0, 1, 2, 3, 4] as [UInt8] }
            }
        },
        Attack(name: "HPACK bomb") { port, until in
            // An entry of almost 4 KiB in the dynamic table, then two thousand references to it in each block.
            await flood(port, until) { first in
                let entry = [0x40] + Wire.field("x", [UInt8](repeating: 0x79, count: 3900)).dropFirst()
                return (0..<20).flatMap { index in
                    Wire.frame(
                        .headers, flags: Wire.endHeaders | Wire.endStream, stream: first + UInt32(index) * 2,
                        Wire.head("EmptyCall") + entry + [UInt8](repeating: 0xBE, count: 2000))
                }
            }
        },
        Attack(name: "CONTINUATION flood") { port, until in
            await flood(port, until, opening: Wire.frame(.headers, stream: 1, Wire.head("EmptyCall"))) { _ in
                let field = Wire.field("x", [UInt8](repeating: 0x61, count: 15_000))
                return (0..<20).flatMap { _ in Wire.frame(.continuation, stream: 1, field) }
            }
        },
        Attack(name: "CONTINUATION flood of empty frames") { port, until in
            await flood(port, until, opening: Wire.frame(.headers, stream: 1, Wire.head("EmptyCall"))) { _ in
                (0..<1000).flatMap { _ in Wire.frame(.continuation, stream: 1) }
            }
        },
        Attack(name: "messages announced as 4 GiB") { port, until in
            await flood(port, until) { first in
                (0..<100).map { first + UInt32($0) * 2 }.flatMap {
                    Wire.frame(.headers, flags: Wire.endHeaders, stream: $0, Wire.head("UnaryCall"))
                        + Wire.frame(.data, stream: $0, [0, 255, 255, 255, 255, 1])
                }
            }
        },
        Attack(name: "messages of 4 MiB, all but their last byte") { port, until in
            await halfMessages(port, until)
        },
        Attack(name: "compressed bombs: 18 KiB that unpack to the limit, and to more") { port, until in
            let bombs = [4 << 20, (4 << 20) + 1, 1 << 30].map { Bomb($0) }
            return await flood(port, until) { first in
                (0..<60).flatMap { index in
                    let stream = first + UInt32(index) * 2
                    return Wire.frame(.headers, flags: Wire.endHeaders, stream: stream, Bomb.head("UnaryCall"))
                        + bombs[index % bombs.count].frames(stream, flags: Wire.endStream)
                }
            }
        },
        Attack(name: "compressed bombs in streams that are never read to their end") { port, until in
            let bomb = Bomb(4 << 20)
            return await flood(port, until, reads: false) { first in
                Wire.frame(.headers, flags: Wire.endHeaders, stream: first, Bomb.head("FullDuplexCall"))
                    + (0..<40).flatMap { _ in bomb.frames(first) }
            }
        },
        Attack(name: "window at 0, and responses of 4 MB ordered") { port, until in
            await unreadResponses(port, until, opening: Wire.frame(.settings, Wire.setting(4, 0)))
        },
        Attack(name: "responses of 4 MB ordered, and nothing read") { port, until in
            await unreadResponses(port, until, opening: Wire.frame(.settings, Wire.setting(4, 0x7FFF_FFFF)))
        },
        Attack(name: "window overflow") { port, until in
            await flood(port, until) { first in
                Wire.frame(.headers, flags: Wire.endHeaders, stream: first, Wire.head("FullDuplexCall"))
                    + Wire.frame(.windowUpdate, stream: first, Wire.number(0x7FFF_FFFF))
                    + Wire.frame(.windowUpdate, Wire.number(0x7FFF_FFFF))
            }
        },
        Attack(name: "slow-loris: prefaces dripped") { port, until in
            await drip(port, until, opening: [], drops: Wire.preface)
        },
        Attack(name: "slow-loris: headers never finished") { port, until in
            await drip(
                port, until, opening: Wire.preface,
                drops: Wire.frame(.headers, flags: Wire.endHeaders, stream: 1, Wire.head("EmptyCall")))
        },
        Attack(name: "connections that say nothing") { port, until in
            await drip(port, until, opening: [], drops: [])
        },
        Attack(name: "connections beyond the limit", options: ["--max-connections", "100"]) { port, until in
            await drip(port, until, opening: Wire.preface, drops: [])
        },
        Attack(
            name: "half-open: calls begun, then silence",
            options: ["--keep-alive-seconds", "0.5", "--keep-alive-timeout-seconds", "0.5"]
        ) { port, until in
            await drip(
                port, until,
                opening: Wire.preface
                    + Wire.frame(.headers, flags: Wire.endHeaders, stream: 1, Wire.head("FullDuplexCall")), drops: [])
        },
        Attack(name: "HTTP/1.1 and noise") { port, until in
            let noises = [Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8), [UInt8](repeating: 0x5A, count: 100_000)]
            var count = 0
            while ContinuousClock.now < until {
                for bytes in noises {
                    guard let socket = try? await Socket.open(port: port) else { continue }
                    _ = await socket.send(bytes)
                    await socket.close()
                    count += 1
                }
            }
            return "\(count) connections"
        },
    ]

    private static let openStream = Wire.frame(.headers, flags: Wire.endHeaders, stream: 1, Wire.head("FullDuplexCall"))

    /// Sends the same kind of burst over and over, on a new connection whenever the server has closed the last; four at
    /// once. `burst` gets the first stream that is not used yet, and has 1,000 of them.
    private static func flood(
        _ port: Int, _ until: Until, reads: Bool = true, opening: [UInt8] = [],
        _ burst: @escaping @Sendable (UInt32) -> [UInt8]
    ) async -> String {
        await withTaskGroup(of: (connections: Int, bytes: Int).self) { group in
            for _ in 0..<4 {
                group.addTask {
                    var (connections, bytes) = (0, 0)
                    while ContinuousClock.now < until {
                        guard let socket = try? await Socket.open(port: port, reads: reads) else { continue }
                        connections += 1
                        var first: UInt32 = 3
                        guard await socket.send(Wire.preface + opening) else { continue }
                        while ContinuousClock.now < until, first < 0x7FFF_0000 {
                            let sent = burst(first)
                            guard await socket.send(sent) else { break }
                            bytes += sent.count
                            first += 2000
                        }
                        await socket.close()
                    }
                    return (connections, bytes)
                }
            }
            let all = await group.reduce(into: (connections: 0, bytes: 0)) {
                $0 = ($0.connections + $1.connections, $0.bytes + $1.bytes)
            }
            return "\(all.connections) connections, \(all.bytes >> 10) KiB sent"
        }
    }

    /// Streams that each hold the memory of a message which never ends, all of them filled a piece at a time so that
    /// no window is overrun.
    private static func halfMessages(_ port: Int, _ until: Until) async -> String {
        await withTaskGroup(of: Int.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    guard let socket = try? await Socket.open(port: port), await socket.send(Wire.preface)
                    else { return 0 }
                    let streams = (0..<100).map { UInt32($0) * 2 + 1 }
                    let head = Wire.head("UnaryCall")
                    let body = [UInt8](repeating: 0, count: 16_384)
                    for stream in streams {
                        _ = await socket.send(
                            Wire.frame(.headers, flags: Wire.endHeaders, stream: stream, head)
                                + Wire.frame(.data, stream: stream, [0] + Wire.number(4 << 20)))
                    }
                    var megabytes = 0
                    while ContinuousClock.now < until, megabytes < 390 {
                        for stream in streams {
                            let frame = Wire.frame(.data, stream: stream, body)
                            guard await socket.send(frame) else { return megabytes }
                        }
                        megabytes += 100 * 16_384 >> 20
                    }
                    try? await Task.sleep(until: until, clock: .continuous)
                    await socket.close()
                    return megabytes
                }
            }
            return "\(await group.reduce(0, +)) MiB of 400 messages"
        }
    }

    /// Responses that are made and can't be sent.
    private static func unreadResponses(_ port: Int, _ until: Until, opening: [UInt8]) async -> String {
        await withTaskGroup(of: Int.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    guard let socket = try? await Socket.open(port: port, reads: false),
                        await socket.send(Wire.preface + opening)
                    else { return 0 }
                    var count = 0
                    // UnaryRequest.response_size = 4,000,000.
                    let order = Wire.message([0x08, 0x80, 0x92, 0xF4, 0x01])
                    while ContinuousClock.now < until, count < 200 {
                        let stream = UInt32(count) * 2 + 1
                        let bytes =
                            Wire.frame(.headers, flags: Wire.endHeaders, stream: stream, Wire.head("UnaryCall"))
                            + Wire.frame(.data, flags: Wire.endStream, stream: stream, order)
                        guard await socket.send(bytes) else { break }
                        count += 1
                    }
                    try? await Task.sleep(until: until, clock: .continuous)
                    await socket.close()
                    return count
                }
            }
            return "\(await group.reduce(0, +)) calls"
        }
    }

    /// Three hundred connections that send a byte now and then.
    private static func drip(_ port: Int, _ until: Until, opening: [UInt8], drops: [UInt8]) async -> String {
        var sockets: [Socket] = []
        for _ in 0..<300 {
            guard let socket = try? await Socket.open(port: port) else { break }
            if !opening.isEmpty { _ = await socket.send(opening) }
            sockets.append(socket)
        }
        var next = 0
        while ContinuousClock.now < until {
            for socket in sockets where next < drops.count && socket.isOpen { _ = await socket.send([drops[next]]) }
            next += 1
            try? await Task.sleep(for: .milliseconds(100))
        }
        let open = sockets.count(where: \.isOpen)
        for socket in sockets { await socket.close() }
        return "\(sockets.count) connections, \(open) open at the end"
    }
}
