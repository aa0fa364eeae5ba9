internal import Compression
internal import Logging
internal import NIOCore
internal import NIOEmbedded

@testable internal import RPC

extension FuzzTarget {
    static let rpc = [
        FuzzTarget(name: "server", seeds: { try Exchange.recorded().up.map { [3] + $0 } }, run: fuzzServer),
        FuzzTarget(name: "client", seeds: { try Exchange.recorded().down.map { [3] + $0 } }, run: fuzzClient),
        FuzzTarget(
            name: "deframer",
            seeds: {
                [[7] + [0, 0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 1, 9], [0, 1, 0, 0, 0, 1, 9]]
            }, run: fuzzDeframer),
        FuzzTarget(name: "heads", seeds: { headSeeds }, run: fuzzHeads),
        FuzzTarget(
            name: "texts",
            seeds: { ["20S", "99999999H", "1n", "n%C3%B6 %", "AQ==", "/+8", "grpc-status"].map { Array($0.utf8) } },
            run: fuzzTexts),
    ]

    private static let silent: Logger = {
        var log = Logger(label: "fuzz")
        log.logLevel = .critical
        return log
    }()

    // MARK: - The server's connection, down to the handlers

    private static let methods: [RPCMethod] = [
        .unary("/fuzz.Fuzz/Unary") { (request: Blob, context) in
            context.setInitialMetadata(context.metadata)
            return request
        },
        .serverStreaming("/fuzz.Fuzz/Out") { (request: Blob, writer: ResponseWriter<Blob>, _) in
            for count in 0..<min(request.bytes.count, 40) {
                try await writer.write(Blob(bytes: [UInt8](repeating: 7, count: count * 100)))
            }
        },
        .clientStreaming("/fuzz.Fuzz/In") { (requests: RequestStream<Blob>, context) in
            var total = 0
            for try await request in requests { total += request.bytes.count }
            context.setTrailingMetadata(context.metadata)
            return Blob(bytes: Array(String(total).utf8))
        },
        .bidirectional("/fuzz.Fuzz/Both") { (requests: RequestStream<Blob>, writer: ResponseWriter<Blob>, _) in
            for try await request in requests {
                if request.bytes.first == 0xEE { throw RPCStatus(.aborted, "as asked") }
                try await writer.write(request)
            }
        },
    ]

    private struct Service: RPCService {
        let serviceName = "fuzz.Fuzz"
        let methods: [RPCMethod]
    }

    /// First byte: the size of the pieces that the rest comes in (0: one piece).
    @Sendable private static func fuzzServer(_ input: [UInt8]) {
        guard let size = input.first else { return }
        let loop = EmbeddedEventLoop()
        let channel = EmbeddedChannel(loop: loop)
        var configuration = RPCServerConfiguration()
        configuration.maxMessageByteCount = 4096
        configuration.http2.maxConcurrentStreamCount = 50
        configuration.compression = .gzip(fromByteCount: 50)
        guard let methods = try? MethodTable([Service(methods: methods)]) else {
            preconditionFailure("the fuzzer's methods are no table")
        }
        let memory = MemoryBudget(limit: 100_000)
        let environment = ServerConnection.Environment(configuration, methods, memory, log: silent)
        do {
            let connection = try ServerConnection(environment, peer: "fuzz", loop: loop)
            try channel.pipeline.syncOperations.addHandler(connection)
            channel.connect(to: try SocketAddress(unixDomainSocketPath: "fuzz"), promise: nil)
            for piece in Pieces(input.dropFirst(), size: size) {
                _ = try? channel.writeInbound(ByteBuffer(bytes: piece))
                loop.run()
                while let out = try? channel.readOutbound(as: ByteBuffer.self), out.readableBytes > 0 {}
                if !channel.isActive { break }
            }
            loop.advanceTime(by: .seconds(1))
        } catch {
            preconditionFailure("the server could not be set up: \(error)")
        }
        _ = try? channel.finish(acceptAlreadyClosed: true)
        loop.run()
        let handlers = environment.handlers.count
        precondition(handlers == 0, "\(handlers) handlers outlive their connection")
        precondition(memory.usedByteCount == 0, "the connection's memory is not given back")
    }

    // MARK: - The client's session

    /// First byte: the size of the pieces that the rest comes in.
    @Sendable private static func fuzzClient(_ input: [UInt8]) {
        guard let size = input.first, let client = try? ClientUnderFuzz() else { return }
        for _ in 0..<4 { client.open() }
        for piece in Pieces(input.dropFirst(), size: size) {
            guard client.produce(), client.receive(Array(piece)), !client.session.isOver else { return }
            if client.calls.isEmpty { client.open() }
        }
    }

    // MARK: - Framing, headers, texts

    /// Any way to cut the bytes gives the same messages and the same end.
    @Sendable private static func fuzzDeframer(_ input: [UInt8]) {
        guard let size = input.first else { return }
        func messages(_ pieces: some Sequence<ArraySlice<UInt8>>) -> (messages: [[UInt8]], failure: RPCStatus?) {
            var inbound = InboundMessages(maxMessageByteCount: 1000)
            var messages: [[UInt8]] = []
            var credited = 0
            var given = 0
            do throws(RPCStatus) {
                for piece in pieces {
                    given += piece.count
                    credited += try inbound.receive(piece)
                    while let (message, credit) = try inbound.take() {
                        messages.append(message)
                        credited += credit
                    }
                    precondition(credited <= given, "more credit than bytes")
                }
                try inbound.end()
                precondition(credited == given, "credit is lost")
                return (messages, nil)
            } catch {
                return (messages, error)
            }
        }
        let whole = messages([input.dropFirst()])
        let cut = messages(Pieces(input.dropFirst(), size: size))
        precondition(whole.failure == cut.failure, "the pieces decide how it ends")
        if whole.failure == nil { precondition(whole.messages == cut.messages, "the pieces decide what comes") }
    }

    private static let headSeeds: [[UInt8]] = [
        ":method=POST\n:path=/s/m\ncontent-type=application/grpc\nte=trailers\ngrpc-timeout=20S\nx-bin=AQ,Ag==\nk=v",
        ":status=200\ncontent-type=application/grpc+proto\ngrpc-encoding=gzip",
        "grpc-status=5\ngrpc-message=n%C3%B6\ngrpc-status-details-bin=AQI\nx=y",
        ":status=503\ncontent-type=text/html",
    ].map { Array($0.utf8) }

    /// Lines of `name=value`, as a request's head and as a response's blocks.
    @Sendable private static func fuzzHeads(_ input: [UInt8]) {
        var headers = HeaderFields()
        for line in input.split(separator: 0x0A) {
            let parts = line.split(separator: 0x3D, maxSplits: 1, omittingEmptySubsequences: false)
            headers.append(String(decoding: parts[0], as: UTF8.self), parts.count > 1 ? parts[1] : [])
        }
        let head = RequestHead(headers, 0..<headers.count)
        // What was received can be sent on.
        var copy = HeaderFields()
        copy.append(head.metadata)
        for index in 0..<headers.count {
            var heads = ResponseHeads()
            _ = heads.receive(headers, 0..<index, endStream: false)
            _ = heads.receive(headers, index..<headers.count, endStream: true)
            precondition(!heads.isOpen, "open after its end")
        }
    }

    @Sendable private static func fuzzTexts(_ input: [UInt8]) {
        let text = PercentEncoding.decode(input)
        let encoded = PercentEncoding.encode(text)
        precondition(encoded.allSatisfy { (0x20...0x7E).contains($0) }, "not printable")
        if encoded.count < PercentEncoding.longestMessage - 12 {
            precondition(PercentEncoding.decode(encoded) == text, "percent-encoding is not undone")
        }
        if let timeout = GRPCTimeout.parse(input) {
            let again = GRPCTimeout.parse(GRPCTimeout.format(timeout))
            precondition(again.map { $0 >= timeout } ?? false, "a timeout shrinks")
        }
        if let bytes = Base64.decode(input) {
            precondition(Base64.decode(Base64.encode(bytes)) == bytes, "base64 is not undone")
        }
        precondition(Base64.decode(Base64.encode(input)) == input, "base64 is not undone")
        var headers = HeaderFields()
        headers.append("k-bin", input)
        var metadata = Metadata()
        metadata.appendReceived(headers, 0)
        _ = metadata.entries
        _ = HeaderFields.number(input[...])
        _ = ContentType.isGRPC(input[...])
    }
}

/// Any bytes at all.
private struct Blob: RPCMessage {
    var bytes: [UInt8]

    init(bytes: [UInt8]) { self.bytes = bytes }
    init(serializedBytes bytes: RawSpan) { self.bytes = unsafe bytes.withUnsafeBytes { unsafe Array($0) } }
    func serializedBytes() -> [UInt8] { bytes }
}

/// A client's session with calls, as its connection would have it.
private final class ClientUnderFuzz {
    struct Call {
        let stream: HTTP2Session.StreamReference
        var heads = ResponseHeads()
        var inbound = InboundMessages(maxMessageByteCount: 4096)
    }

    let session: HTTP2Session
    private(set) var calls: [Int: Call] = [:]
    private var out = ByteBuffer()

    init() throws { session = try HTTP2Session(.client, HTTP2Configuration()) }

    func open() {
        guard let stream = try? session.request(Exchange.head("/fuzz.Fuzz/Both")) else { return }
        calls[stream.slot] = Call(stream: stream)
        session.enqueue(stream, HTTP2Session.Chunk(message: [UInt8](repeating: 1, count: 300)))
        session.notifyWhenWritable(stream)
    }

    /// `false`: the connection is over.
    func produce() -> Bool {
        out.clear()
        while let hasMore = try? session.produce(into: &out, limit: 1000) {
            unsafe handleEvents(UnsafeRawBufferPointer(start: nil, count: 0))
            guard hasMore else { return true }
            out.clear()
        }
        return false
    }

    /// `false`: the connection is over.
    func receive(_ bytes: [UInt8]) -> Bool {
        unsafe bytes.withUnsafeBytes { bytes in
            let result: Void? = unsafe try? session.receive(bytes)
            unsafe handleEvents(bytes)
            return result != nil
        }
    }

    private func handleEvents(_ input: UnsafeRawBufferPointer) {
        for event in session.events { unsafe handle(event, input) }
        session.clearEvents()
        precondition(session.liveStreamCount == calls.count, "a slot is lost")
    }

    private func handle(_ event: HTTP2Session.Event, _ input: UnsafeRawBufferPointer) {
        switch event {
        case .headers(let stream, let block):
            guard !block.isOversized else { return }
            _ = calls[stream.slot]?.heads.receive(session.headers, block.fields, endStream: block.endStream)
        case .data(let stream, let range):
            let bytes = unsafe Array(UnsafeRawBufferPointer(rebasing: input[range]))
            if let credit = try? calls[stream.slot]?.inbound.receive(bytes[...]) {
                session.consume(stream, credit)
            } else {
                session.reset(stream, .cancel)
            }
            while let (_, credit) = (try? calls[stream.slot]?.inbound.take()) ?? nil { session.consume(stream, credit) }
        case .endStream(let stream): session.finish(stream, trailers: nil)
        case .closed(let stream, _):
            precondition(calls[stream.slot]?.stream == stream, "closed twice, or never opened")
            calls[stream.slot] = nil
            session.release(stream)
        case .writable, .settings, .pingAnswered, .goAway: break
        }
    }
}

/// Both directions of valid exchanges, recorded from two sessions.
private enum Exchange {
    static func head(_ path: String, encoding: String = "identity") -> HeaderFields {
        HeaderFields([
            ":method": "POST", ":scheme": "http", ":path": path, ":authority": "a", "te": "trailers",
            "content-type": "application/grpc", "grpc-timeout": "20S", "x-bin": "AQID", "x-text": "abc",
            "grpc-encoding": encoding, "grpc-accept-encoding": "identity,gzip",
        ])
    }

    /// One exchange for each kind of method, one with all of them, and one that is compressed.
    static func recorded() throws -> (up: [[UInt8]], down: [[UInt8]]) {
        let paths = ["Unary", "Out", "In", "Both"].map { "/fuzz.Fuzz/" + $0 }
        let exchanges = try (paths.map { [$0] } + [paths]).map { try record($0) } + [record(paths, encoding: "gzip")]
        return (exchanges.map(\.up), exchanges.map(\.down))
    }

    private static func record(_ paths: [String], encoding: String = "identity") throws -> (up: [UInt8], down: [UInt8]) {
        let client = try HTTP2Session(.client, HTTP2Configuration())
        let server = try HTTP2Session(.server, HTTP2Configuration())
        for path in paths {
            let stream = try client.request(head(path, encoding: encoding))
            client.enqueue(stream, HTTP2Session.Chunk(message: [1, 2, 3]))
            let long = [UInt8](repeating: 5, count: 200)
            let compressed = encoding == "gzip" ? Gzip.compressed(long) : nil
            client.enqueue(
                stream, HTTP2Session.Chunk(message: compressed ?? long, isCompressed: compressed != nil))
            client.finish(stream, trailers: nil)
        }
        client.ping()
        let up = try bytes(of: client)
        try unsafe up.withUnsafeBytes { unsafe try server.receive($0) }
        for event in server.events {
            guard case .headers(let stream, _) = event else { continue }
            server.respond(stream, GRPCHeaders.plainResponse)
            server.enqueue(stream, HTTP2Session.Chunk(message: [9, 8, 7]))
            server.finish(stream, trailers: GRPCHeaders.trailers(RPCStatus(.notFound, "nö"), ["t": "1"]))
        }
        server.goAway(.noError)
        return (up, try bytes(of: server))
    }

    private static func bytes(of session: HTTP2Session) throws -> [UInt8] {
        var buffer = ByteBuffer()
        while try session.produce(into: &buffer, limit: 1 << 20) {}
        return Array(buffer.readableBytesView)
    }
}

extension InboundMessages {
    fileprivate mutating func receive(_ bytes: ArraySlice<UInt8>) throws(RPCStatus) -> Int {
        let result = unsafe bytes.withUnsafeBytes { input in
            Result { () throws(RPCStatus) in unsafe try receive(input) }
        }
        return try result.get()
    }
}
