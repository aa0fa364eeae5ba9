import NIOCore
import Testing

@testable import RPC

/// One end of a connection, driven by bytes alone: keeps all events, with the bytes of DATA copied out.
final class End {
    let session: HTTP2Session
    private(set) var events: [HTTP2Session.Event] = []
    private(set) var data: [Int32: [UInt8]] = [:]
    private(set) var heads: [(Int32, [String: String])] = []
    /// Credits all DATA on arrival.
    var consumes = true

    init(_ role: HTTP2Session.Role, _ configuration: HTTP2Configuration = HTTP2Configuration()) throws {
        session = try HTTP2Session(role, configuration)
    }

    func receive(_ bytes: [UInt8]) throws {
        unsafe try bytes.withUnsafeBytes { input in
            defer { unsafe collect(input) }
            unsafe try session.receive(input)
        }
    }

    func produce(limit: Int = 1 << 20) throws -> [UInt8] {
        var all: [UInt8] = []
        var hasMore = true
        while hasMore {
            var buffer = ByteBuffer()
            hasMore = try session.produce(into: &buffer, limit: limit)
            all += buffer.readableBytesView
            unsafe collect(UnsafeRawBufferPointer(start: nil, count: 0))
        }
        return all
    }

    private func collect(_ input: UnsafeRawBufferPointer) {
        for event in session.events {
            events.append(event)
            switch event {
            case .data(let stream, let range):
                unsafe data[stream.id, default: []] += input[range]
                if consumes { session.consume(stream, range.count) }
            case .headers(let stream, let block):
                let fields = block.fields.map {
                    (session.headers.name($0), String(decoding: session.headers.value($0), as: UTF8.self))
                }
                heads.append((stream.id, Dictionary(fields) { $0 + "," + $1 }))
            case .closed(let stream, _): session.release(stream)
            default: break
            }
        }
        session.clearEvents()
    }

    var closed: [Int32: HTTP2ErrorCode] {
        Dictionary(
            uniqueKeysWithValues: events.compactMap {
                if case .closed(let stream, let code) = $0 { (stream.id, code) } else { nil }
            })
    }

    var opened: [HTTP2Session.StreamReference] {
        events.compactMap { if case .headers(let stream, let block) = $0, block.isFirst { stream } else { nil } }
    }
}

/// A client and a server, and the bytes between them.
struct Pair {
    let client: End
    let server: End

    init(client: HTTP2Configuration = HTTP2Configuration(), server: HTTP2Configuration = HTTP2Configuration()) throws {
        self.client = try End(.client, client)
        self.server = try End(.server, server)
        try settle()
    }

    /// Carries bytes both ways until neither has any. Returns the bytes the client sent.
    @discardableResult
    func settle(cut: Int = .max) throws -> [UInt8] {
        var sent: [UInt8] = []
        while true {
            let up = try client.produce()
            let down = try server.produce()
            if up.isEmpty, down.isEmpty { return sent }
            sent += up
            for piece in stride(from: 0, to: up.count, by: min(cut, max(up.count, 1))) {
                try server.receive(Array(up[piece..<min(piece + min(cut, up.count), up.count)]))
            }
            for piece in stride(from: 0, to: down.count, by: min(cut, max(down.count, 1))) {
                try client.receive(Array(down[piece..<min(piece + min(cut, down.count), down.count)]))
            }
        }
    }
}

private let head = HeaderFields([
    ":method": "POST", ":scheme": "http", ":path": "/s/m", ":authority": "a", "te": "trailers",
])

@Suite struct HTTP2SessionTests {
    @Test("A call by bytes, whole or one byte at a time", arguments: [Int.max, 1, 7])
    func exchange(cut: Int) throws {
        let pair = try Pair()
        let stream = try pair.client.session.request(head)
        pair.client.session.enqueue(stream, .init(message: [1, 2, 3]))
        pair.client.session.finish(stream, trailers: nil)
        try pair.settle(cut: cut)
        let request = try #require(pair.server.opened.first)
        #expect(pair.server.heads.first?.1[":path"] == "/s/m")
        #expect(pair.server.data[request.id] == [0, 0, 0, 0, 3, 1, 2, 3])
        #expect(pair.server.events.contains(.endStream(request)))

        pair.server.session.respond(request, GRPCHeaders.plainResponse)
        pair.server.session.enqueue(request, .init(message: [9]))
        pair.server.session.finish(request, GRPCHeaders.okTrailers)
        try pair.settle(cut: cut)
        #expect(
            pair.client.heads.map(\.1) == [
                [":status": "200", "content-type": "application/grpc"], ["grpc-status": "0"],
            ])
        #expect(pair.client.data[stream.id] == [0, 0, 0, 0, 1, 9])
        #expect(pair.client.closed == [stream.id: .noError])
        #expect(pair.server.closed == [stream.id: .noError])
        #expect(pair.client.session.liveStreamCount == 0 && pair.server.session.liveStreamCount == 0)
    }

    @Test("Output is cut at the limit and goes on where it stopped")
    func bigBody() throws {
        let pair = try Pair()
        let stream = try pair.client.session.request(head)
        let body = (0..<300_000).map { UInt8(truncatingIfNeeded: $0) }
        pair.client.session.enqueue(stream, .init(body))
        pair.client.session.finish(stream, trailers: nil)
        // Every produce is limited to less than a frame: the WOULDBLOCK path.
        while true {
            let up = try pair.client.produce(limit: 1000)
            let down = try pair.server.produce(limit: 1000)
            if up.isEmpty, down.isEmpty { break }
            try pair.server.receive(up)
            try pair.client.receive(down)
        }
        #expect(pair.server.data[stream.id] == body)
    }

    @Test("Data stops at the window until the application consumes; other streams go on")
    func flowControl() throws {
        var small = HTTP2Configuration()
        small.streamWindowByteCount = 1000
        let pair = try Pair(server: small)
        pair.server.consumes = false
        let stream = try pair.client.session.request(head)
        pair.client.session.enqueue(stream, .init(Array(repeating: 1, count: 2500)))
        pair.client.session.notifyWhenWritable(stream)
        try pair.settle()
        #expect(pair.server.data[stream.id]?.count == 1000)
        #expect(pair.client.session.queuedByteCount(stream) == 1500)
        let other = try pair.client.session.request(head)
        pair.client.session.enqueue(other, .init([1, 2]))
        try pair.settle()
        #expect(pair.server.data[other.id] == [1, 2])

        let request = try #require(pair.server.opened.first)
        pair.server.session.consume(request, 1000)
        try pair.settle()
        #expect(pair.server.data[stream.id]?.count == 2000)
        pair.server.session.consume(request, 1000)
        try pair.settle()
        #expect(pair.server.data[stream.id]?.count == 2500)
        #expect(pair.client.events.contains(.writable(stream)))
    }

    @Test("Streams above the limit are refused, or wait at a client that knows it")
    func concurrency() throws {
        var limited = HTTP2Configuration()
        limited.maxConcurrentStreamCount = 2
        let pair = try Pair(server: limited)
        for _ in 0..<3 { _ = try pair.client.session.request(head) }
        try pair.settle()
        #expect(pair.server.opened.count == 2)
        pair.server.session.respond(pair.server.opened[0], GRPCHeaders.trailersOnly(.ok), hasBody: false)
        try pair.settle()
        #expect(pair.server.opened.count == 3)
    }

    @Test("An early answer stops the client: RST_STREAM with NO_ERROR")
    func earlyAnswer() throws {
        let pair = try Pair()
        let stream = try pair.client.session.request(head)
        try pair.settle()
        pair.server.session.respond(pair.server.opened[0], GRPCHeaders.trailersOnly(.ok), hasBody: false)
        try pair.settle()
        #expect(pair.client.closed == [stream.id: .noError])
        #expect(pair.server.session.liveStreamCount == 0)
    }

    @Test("Resets reach the other side, from either")
    func resets() throws {
        let pair = try Pair()
        let first = try pair.client.session.request(head)
        let second = try pair.client.session.request(head)
        try pair.settle()
        pair.client.session.reset(first, .cancel)
        pair.server.session.reset(pair.server.opened[1], .enhanceYourCalm)
        try pair.settle()
        #expect(pair.server.closed == [first.id: .cancel, second.id: .enhanceYourCalm])
        #expect(pair.client.closed == [first.id: .cancel, second.id: .enhanceYourCalm])
    }

    @Test("GOAWAY: calls in flight end regularly, a later one is refused unsent, then the connection is over")
    func goAway() throws {
        let pair = try Pair()
        let first = try pair.client.session.request(head)
        try pair.settle()
        pair.server.session.goAway(.noError)
        try pair.settle()
        #expect(pair.client.events.contains(.goAway(.noError)))
        let late = try? pair.client.session.request(head)
        try pair.settle()
        if let late { #expect(pair.client.closed[late.id] == .refusedStream) }
        pair.server.session.respond(pair.server.opened[0], GRPCHeaders.trailersOnly(.ok), hasBody: false)
        try pair.settle()
        #expect(pair.client.closed[first.id] == .noError)
        #expect(pair.server.opened.count == 1)
        pair.server.session.terminate(.noError)
        try pair.settle()
        #expect(pair.server.session.isOver && pair.client.session.isOver)
        #expect(pair.client.session.liveStreamCount == 0)
    }

    @Test("Header lists over the limit are marked, and not kept")
    func headerLimit() throws {
        var limited = HTTP2Configuration()
        limited.maxHeaderListByteCount = 500
        let pair = try Pair(server: limited)
        var fields = head
        fields.append("big", Array(repeating: UInt8(ascii: "x"), count: 600))
        _ = try pair.client.session.request(fields)
        try pair.settle()
        guard
            case .headers(_, let block) = try #require(
                pair.server.events.first(where: { if case .headers = $0 { true } else { false } }))
        else { return }
        #expect(block.isOversized)
        #expect(pair.server.session.headers.byteCount == 0)
    }

    @Test("A preface that is not HTTP/2 fails; so do floods of settings")
    func refusedInput() throws {
        let server = try End(.server)
        #expect(throws: HTTP2Session.Failure.self) {
            try server.receive(Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8))
        }

        let flooded = try End(.server)
        let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
        let settings: [UInt8] = [0, 0, 0, 4, 0, 0, 0, 0, 0]
        #expect(throws: HTTP2Session.Failure.self) {
            try flooded.receive(preface + settings)
            for _ in 0..<2000 { try flooded.receive(settings) }
        }
    }

    @Test("Rapid reset ends the connection")
    func rapidReset() throws {
        let pair = try Pair()
        for _ in 0..<1500 {
            let stream = try pair.client.session.request(head)
            try pair.server.receive(pair.client.produce())
            pair.client.session.reset(stream, .cancel)
            try pair.server.receive(pair.client.produce())
            if pair.server.session.isOver { break }
            _ = try pair.server.produce()
        }
        #expect(pair.server.session.isOver)
        #expect(pair.server.session.liveStreamCount <= 2)
    }

    @Test("Random bytes never break the session", arguments: 0..<30 as Range<UInt64>)
    func randomBytes(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let server = try End(.server)
        var bytes = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
        bytes += [0, 0, 0, 4, 0, 0, 0, 0, 0]
        for _ in 0..<60 {
            // A frame head with a plausible type, and a random rest.
            let length = Int.random(in: 0...40, using: &random)
            bytes += [
                0, 0, UInt8(length), UInt8.random(in: 0...10, using: &random),
                UInt8.random(in: 0...255, using: &random),
            ]
            bytes += [0, 0, 0, UInt8.random(in: 0...9, using: &random)]
            bytes += (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
        }
        feed(server, bytes, &random)
    }

    @Test("Mutations of a valid exchange never break either side", arguments: 0..<60 as Range<UInt64>)
    func mutations(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let (up, down) = try Self.recorded.get()
        for (role, valid) in [(HTTP2Session.Role.server, up), (.client, down)] {
            var bytes = valid
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                let index = Int.random(in: 24..<bytes.count, using: &random)
                switch Int.random(in: 0...3, using: &random) {
                case 0: bytes[index] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.remove(at: index)
                case 2: bytes.insert(UInt8.random(in: 0...255, using: &random), at: index)
                default: bytes.insert(contentsOf: bytes[index..<min(index + 30, bytes.count)], at: index)
                }
            }
            let end = try End(role)
            // A client that has calls open, for the answers to meet something.
            if role == .client { for _ in 0..<3 { _ = try end.session.request(head) } }
            _ = try? end.produce()
            feed(end, bytes, &random)
        }
    }

    /// Feeds bytes in random pieces, answers every stream, and checks that slots and events stay consistent.
    private func feed(_ end: End, _ bytes: [UInt8], _ random: inout SeededGenerator) {
        var rest = bytes[...]
        var answered: Set<Int32> = []
        do {
            while !rest.isEmpty {
                let piece = rest.prefix(Int.random(in: 1...200, using: &random))
                rest = rest.dropFirst(piece.count)
                try end.receive(Array(piece))
                if end.session.role == .server {
                    for stream in end.opened where answered.insert(stream.id).inserted {
                        end.session.respond(stream, GRPCHeaders.plainResponse)
                        end.session.enqueue(stream, .init(message: [1, 2, 3]))
                        end.session.finish(stream, GRPCHeaders.okTrailers)
                    }
                }
                _ = try end.produce(limit: 4096)
            }
        } catch {
            #expect(error is HTTP2Session.Failure)
        }
        #expect(end.session.liveStreamCount <= 1024)
        #expect(
            Set(end.events.compactMap { if case .closed(let s, _) = $0 { s.id } else { nil } }).count
                == end.closed.count)
    }

    /// The bytes of a small exchange, both directions: three calls, one cancelled, then GOAWAY.
    private static let recorded: Result<(up: [UInt8], down: [UInt8]), any Error> = Result {
        let client = try End(.client)
        let server = try End(.server)
        var (up, down): ([UInt8], [UInt8]) = ([], [])
        var answered: Set<Int32> = []
        for round in 0..<4 {
            if round < 3 {
                let stream = try client.session.request(head)
                client.session.enqueue(stream, .init(message: Array(repeating: 5, count: 50)))
                if round == 1 {
                    client.session.reset(stream, .cancel)
                } else {
                    client.session.finish(stream, trailers: nil)
                }
            } else {
                server.session.goAway(.noError)
                client.session.ping()
            }
            let sent = try client.produce()
            try server.receive(sent)
            for stream in server.opened where answered.insert(stream.id).inserted {
                server.session.respond(stream, GRPCHeaders.plainResponse)
                server.session.enqueue(stream, .init(message: Array(repeating: 6, count: 50)))
                server.session.finish(stream, GRPCHeaders.okTrailers)
            }
            let answer = try server.produce()
            try client.receive(answer)
            up += sent
            down += answer
        }
        return (up, down)
    }
}
