import InteropService
import NIOCore
import Testing

@testable import RPC

/// The rules of RFC 9113 and RFC 7541 for what a client may send, each by one sequence of bytes: what the server's
/// session answers. Where a rule names a stream error, the RFC lets a connection error take its place.
struct HTTP2Rule: Sendable, CustomTestStringConvertible {
    enum Outcome: Sendable, Equatable {
        case accepted
        /// RST_STREAM, or GOAWAY.
        case streamError(Code)
        /// GOAWAY.
        case connectionError(Code)
    }

    enum Code: UInt32, Sendable {
        case protocolError = 1, flowControl = 3, streamClosed = 5, frameSize = 6, refusedStream = 7, compression = 9
    }

    let section: String
    let name: String
    let bytes: [UInt8]
    let outcome: Outcome

    init(_ section: String, _ name: String, _ outcome: Outcome, _ frames: [UInt8]...) {
        self.section = section
        self.name = name
        self.outcome = outcome
        bytes = frames.flatMap { $0 }
    }

    var testDescription: String { "\(section): \(name)" }

    private static let head = Wire.head("EmptyCall")
    private static let (ended, both) = (Wire.endStream, Wire.endStream | Wire.endHeaders)

    private static func open(_ stream: UInt32 = 1) -> [UInt8] {
        Wire.frame(.headers, flags: Wire.endHeaders, stream: stream, head)
    }

    private static func whole(_ stream: UInt32 = 1, _ block: [UInt8] = head) -> [UInt8] {
        Wire.frame(.headers, flags: both, stream: stream, block)
    }

    private static func reset(_ stream: UInt32 = 1, _ code: UInt32 = 8) -> [UInt8] {
        Wire.frame(.rstStream, stream: stream, Wire.number(code))
    }

    private static func window(_ stream: UInt32, _ increment: UInt32) -> [UInt8] {
        Wire.frame(.windowUpdate, stream: stream, Wire.number(increment))
    }

    private static func priority(_ stream: UInt32, on other: UInt32 = 0) -> [UInt8] {
        Wire.frame(.priority, stream: stream, Wire.number(other) + [16])
    }

    private static func settings(_ id: UInt16, _ value: UInt32) -> [UInt8] {
        Wire.frame(.settings, Wire.setting(id, value))
    }

    private static func unknown() -> [UInt8] { [0, 0, 8, 0xBE, 0, 0, 0, 0, 0] + [1, 2, 3, 4, 5, 6, 7, 8] }

    private static let data = Wire.frame(.data, stream: 1, [0])
    private static let continuation = Wire.frame(.continuation, flags: Wire.endHeaders, stream: 1, Wire.field("x", "y"))

    /// Pseudo-headers by hand, in this order.
    private static func block(_ fields: KeyValuePairs<String, String>) -> [UInt8] {
        fields.reduce(into: []) { $0 += Wire.field($1.key, $1.value) }
    }

    static let frames: [HTTP2Rule] = [
        HTTP2Rule("4.1", "an unknown frame type is ignored", .accepted, unknown(), whole()),
        HTTP2Rule(
            "4.1", "undefined flags are ignored", .accepted,
            Wire.frame(.ping, flags: 0x16, [UInt8](repeating: 0, count: 8))),
        HTTP2Rule(
            "4.1", "the reserved bit is ignored", .accepted,
            [0, 0, 8, 6, 0, 0x80, 0, 0, 0] + [UInt8](repeating: 0, count: 8)),
        HTTP2Rule(
            "4.2", "DATA of 16,384 bytes", .accepted,
            open(), Wire.frame(.data, stream: 1, [UInt8](repeating: 0, count: 16_384))),
        HTTP2Rule(
            "4.2", "DATA over the maximum frame size", .streamError(.frameSize),
            open(), Wire.frame(.data, stream: 1, [UInt8](repeating: 0, count: 16_385))),
        HTTP2Rule(
            "4.2", "HEADERS over the maximum frame size", .connectionError(.frameSize),
            Wire.frame(.headers, flags: both, stream: 1, [UInt8](repeating: 0, count: 16_385))),
        HTTP2Rule(
            "6.1", "DATA with padding", .accepted,
            open(), Wire.frame(.data, flags: 8, stream: 1, [2, 1, 0, 0])),
        HTTP2Rule("6.1", "DATA on stream 0", .connectionError(.protocolError), Wire.frame(.data, [0])),
        HTTP2Rule(
            "6.1", "DATA with more padding than payload", .connectionError(.protocolError),
            open(), Wire.frame(.data, flags: 8, stream: 1, [9, 0])),
        HTTP2Rule(
            "6.2", "HEADERS with padding", .accepted,
            Wire.frame(.headers, flags: both | 8, stream: 1, [1] + head + [0])),
        HTTP2Rule(
            "6.2", "HEADERS with priority", .accepted,
            Wire.frame(.headers, flags: both | 0x20, stream: 1, Wire.number(0) + [255] + head)),
        HTTP2Rule(
            "6.2", "HEADERS on stream 0", .connectionError(.protocolError),
            Wire.frame(.headers, flags: both, head)),
        HTTP2Rule(
            "6.2", "HEADERS with more padding than payload", .connectionError(.protocolError),
            Wire.frame(.headers, flags: both | 8, stream: 1, [255] + head)),
        HTTP2Rule(
            "6.2", "PRIORITY inside a header block", .connectionError(.protocolError),
            Wire.frame(.headers, flags: ended, stream: 1, head), priority(1)),
        HTTP2Rule(
            "6.2", "HEADERS of another stream inside a header block", .connectionError(.protocolError),
            Wire.frame(.headers, flags: ended, stream: 1, head), whole(3)),
        HTTP2Rule(
            "6.3", "PRIORITY of an idle, an open and a closed stream", .accepted,
            priority(9), open(), priority(1), reset(), priority(1)),
        HTTP2Rule("6.3", "PRIORITY on stream 0", .connectionError(.protocolError), priority(0)),
        HTTP2Rule(
            "6.3", "PRIORITY of four bytes", .streamError(.frameSize),
            open(), Wire.frame(.priority, stream: 1, [0, 0, 0, 0])),
        HTTP2Rule("6.4", "RST_STREAM", .accepted, open(), reset()),
        HTTP2Rule("6.4", "RST_STREAM on stream 0", .connectionError(.protocolError), reset(0)),
        HTTP2Rule("6.4", "RST_STREAM of an idle stream", .connectionError(.protocolError), reset(7)),
        HTTP2Rule(
            "6.4", "RST_STREAM of three bytes", .connectionError(.frameSize),
            open(), Wire.frame(.rstStream, stream: 1, [0, 0, 8])),
        HTTP2Rule("6.5", "SETTINGS of an unknown kind", .accepted, settings(0xFF, 1)),
        HTTP2Rule(
            "6.5", "SETTINGS ACK with a payload", .connectionError(.frameSize),
            Wire.frame(.settings, flags: 1, Wire.setting(3, 1))),
        HTTP2Rule(
            "6.5", "SETTINGS of a stream", .connectionError(.protocolError),
            Wire.frame(.settings, stream: 1, Wire.setting(3, 1))),
        HTTP2Rule(
            "6.5", "SETTINGS of five bytes", .connectionError(.frameSize),
            Wire.frame(.settings, [0, 3, 0, 0, 0])),
        HTTP2Rule("6.5.2", "ENABLE_PUSH of 2", .connectionError(.protocolError), settings(2, 2)),
        HTTP2Rule(
            "6.5.2", "INITIAL_WINDOW_SIZE over 2³¹−1", .connectionError(.flowControl),
            settings(4, 0x8000_0000)),
        HTTP2Rule("6.5.2", "MAX_FRAME_SIZE under 16,384", .connectionError(.protocolError), settings(5, 16_383)),
        HTTP2Rule("6.5.2", "MAX_FRAME_SIZE over 2²⁴−1", .connectionError(.protocolError), settings(5, 1 << 24)),
        HTTP2Rule(
            "6.6", "PUSH_PROMISE from a client", .connectionError(.protocolError),
            open(), Wire.frame(.pushPromise, flags: Wire.endHeaders, stream: 1, Wire.number(2) + head)),
        HTTP2Rule(
            "6.7", "PING ACK unasked for", .accepted,
            Wire.frame(.ping, flags: 1, [UInt8](repeating: 0, count: 8))),
        HTTP2Rule(
            "6.7", "PING of a stream", .connectionError(.protocolError),
            Wire.frame(.ping, stream: 1, [UInt8](repeating: 0, count: 8))),
        HTTP2Rule(
            "6.7", "PING of six bytes", .connectionError(.frameSize),
            Wire.frame(.ping, [UInt8](repeating: 0, count: 6))),
        HTTP2Rule(
            "6.8", "GOAWAY of a stream", .connectionError(.protocolError),
            Wire.frame(.goAway, stream: 1, Wire.number(0) + Wire.number(0))),
        HTTP2Rule(
            "6.9", "WINDOW_UPDATE of the connection and of a stream", .accepted,
            open(), window(0, 1), window(1, 1)),
        HTTP2Rule("6.9", "WINDOW_UPDATE of a half-closed stream", .accepted, whole(), window(1, 1)),
        HTTP2Rule("6.9", "WINDOW_UPDATE by 0", .connectionError(.protocolError), window(0, 0)),
        HTTP2Rule("6.9", "WINDOW_UPDATE of a stream by 0", .streamError(.protocolError), open(), window(1, 0)),
        HTTP2Rule(
            "6.9", "WINDOW_UPDATE of three bytes", .connectionError(.frameSize),
            Wire.frame(.windowUpdate, [0, 0, 1])),
        HTTP2Rule(
            "6.9.1", "the connection's window over 2³¹−1", .connectionError(.flowControl),
            window(0, 0x7FFF_FFFF), window(0, 0x7FFF_FFFF)),
        HTTP2Rule(
            "6.9.1", "a stream's window over 2³¹−1", .streamError(.flowControl),
            open(), window(1, 0x7FFF_FFFF), window(1, 0x7FFF_FFFF)),
        HTTP2Rule(
            "6.10", "CONTINUATION, one and many", .accepted,
            Wire.frame(.headers, flags: ended, stream: 1, head),
            Wire.frame(.continuation, stream: 1, Wire.field("a", "b")), continuation),
        HTTP2Rule(
            "6.10", "another frame before the CONTINUATION", .connectionError(.protocolError),
            Wire.frame(.headers, flags: ended, stream: 1, head), Wire.frame(.ping, [UInt8](repeating: 0, count: 8)),
            continuation),
        HTTP2Rule(
            "6.10", "CONTINUATION on stream 0", .connectionError(.protocolError),
            Wire.frame(.headers, flags: ended, stream: 1, head),
            Wire.frame(.continuation, flags: Wire.endHeaders, Wire.field("x", "y"))),
        HTTP2Rule(
            "6.10", "CONTINUATION after END_HEADERS", .connectionError(.protocolError),
            whole(), continuation),
        HTTP2Rule(
            "6.10", "CONTINUATION after CONTINUATION with END_HEADERS", .connectionError(.protocolError),
            Wire.frame(.headers, flags: ended, stream: 1, head), continuation, continuation),
        HTTP2Rule("6.10", "CONTINUATION after DATA", .connectionError(.protocolError), open(), data, continuation),
        HTTP2Rule(
            "5.5", "an unknown frame inside a header block", .connectionError(.protocolError),
            Wire.frame(.headers, flags: ended, stream: 1, head), unknown()),
        HTTP2Rule(
            "7", "RST_STREAM and GOAWAY of unknown codes", .accepted,
            open(), open(3), reset(1, 0xFF), Wire.frame(.goAway, Wire.number(0) + Wire.number(0xFF))),
    ]

    static let streams: [HTTP2Rule] = [
        HTTP2Rule("5.1", "idle: DATA", .connectionError(.protocolError), data),
        HTTP2Rule("5.1", "idle: WINDOW_UPDATE", .connectionError(.protocolError), window(1, 100)),
        HTTP2Rule("5.1", "idle: CONTINUATION", .connectionError(.protocolError), continuation),
        HTTP2Rule("5.1", "half-closed: DATA", .streamError(.streamClosed), whole(), data),
        HTTP2Rule("5.1", "half-closed: HEADERS", .streamError(.streamClosed), whole(), whole()),
        HTTP2Rule("5.1", "half-closed: RST_STREAM", .accepted, whole(), reset()),
        HTTP2Rule("5.1", "half-closed: PRIORITY", .accepted, whole(), priority(1)),
        HTTP2Rule("5.1", "reset: DATA", .streamError(.streamClosed), open(), reset(), data),
        HTTP2Rule("5.1", "reset: HEADERS", .streamError(.streamClosed), open(), reset(), whole()),
        HTTP2Rule("5.1.1", "a stream of even number", .connectionError(.protocolError), whole(2)),
        HTTP2Rule(
            "5.1.1", "a lower number after a higher one is not served (nghttp2 ignores it)", .accepted,
            whole(5), whole(3)),
        HTTP2Rule(
            "5.3.1", "HEADERS that depend on their own stream", .streamError(.protocolError),
            Wire.frame(.headers, flags: both | 0x20, stream: 1, Wire.number(1) + [255] + head)),
        HTTP2Rule(
            "5.3.1", "PRIORITY that depends on its own stream", .streamError(.protocolError),
            open(), priority(1, on: 1)),
    ]

    private static let good: KeyValuePairs = [":method": "POST", ":scheme": "http", ":path": "/a", ":authority": "a"]

    static let headers: [HTTP2Rule] = [
        HTTP2Rule("8.1", "trailers end the request", .accepted, open(), whole(1, Wire.field("x", "y"))),
        HTTP2Rule(
            "8.1", "a second HEADERS that does not end the stream", .streamError(.protocolError),
            open(), open()),
        HTTP2Rule(
            "8.1", "a pseudo-header in trailers", .streamError(.protocolError),
            open(), whole(1, Wire.field(":method", "POST"))),
        HTTP2Rule(
            "8.2.1", "a name in upper case", .streamError(.protocolError),
            whole(1, head + Wire.field("X-A", "b"))),
        HTTP2Rule(
            "8.2.2", "connection", .streamError(.protocolError),
            whole(1, head + Wire.field("connection", "keep-alive"))),
        HTTP2Rule(
            "8.2.2", "transfer-encoding", .streamError(.protocolError),
            whole(1, head + Wire.field("transfer-encoding", "chunked"))),
        HTTP2Rule(
            "8.2.2", "te other than trailers", .streamError(.protocolError),
            whole(1, block(good) + Wire.field("te", "gzip"))),
        HTTP2Rule(
            "8.3", "an unknown pseudo-header", .streamError(.protocolError),
            whole(1, Wire.field(":x", "y") + head)),
        HTTP2Rule(
            "8.3", "a response's pseudo-header", .streamError(.protocolError),
            whole(1, Wire.field(":status", "200") + head)),
        HTTP2Rule(
            "8.3", "a pseudo-header after a field", .streamError(.protocolError),
            whole(1, block([":method": "POST", ":scheme": "http", "x": "y", ":path": "/a"]))),
        HTTP2Rule(
            "8.3.1", "an empty :path", .streamError(.protocolError),
            whole(1, block([":method": "POST", ":scheme": "http", ":path": "", ":authority": "a"]))),
        HTTP2Rule(
            "8.3.1", "no :method", .streamError(.protocolError),
            whole(1, block([":scheme": "http", ":path": "/a"]))),
        HTTP2Rule(
            "8.3.1", "no :scheme", .streamError(.protocolError),
            whole(1, block([":method": "POST", ":path": "/a"]))),
        HTTP2Rule(
            "8.3.1", "no :path", .streamError(.protocolError),
            whole(1, block([":method": "POST", ":scheme": "http"]))),
        HTTP2Rule(
            "8.3.1", ":method twice", .streamError(.protocolError),
            whole(1, Wire.field(":method", "POST") + head)),
        HTTP2Rule(
            "8.3.1", ":scheme twice", .streamError(.protocolError),
            whole(1, Wire.field(":scheme", "http") + head)),
        HTTP2Rule("8.3.1", ":path twice", .streamError(.protocolError), whole(1, Wire.field(":path", "/b") + head)),
        HTTP2Rule(
            "8.1.1", "content-length that is not the body's", .streamError(.protocolError),
            Wire.frame(.headers, flags: Wire.endHeaders, stream: 1, head + Wire.field("content-length", "1")),
            Wire.frame(.data, flags: ended, stream: 1, [1, 2, 3, 4])),
        HTTP2Rule(
            "8.1.1", "content-length that is not the sum of the body's frames", .streamError(.protocolError),
            Wire.frame(.headers, flags: Wire.endHeaders, stream: 1, head + Wire.field("content-length", "4")), data,
            Wire.frame(.data, flags: ended, stream: 1, [1])),
        HTTP2Rule(
            "8.2.1", "a tab, and bytes beyond ASCII, in a value", .accepted,
            whole(1, head + Wire.field("x", "a\té"))),
        HTTP2Rule(
            "8.2.1", "bytes that no value or name may have are not looked at", .accepted,
            whole(1, head + Wire.field("x", "a\u{1}") + Wire.field("x", "\u{7F}") + Wire.field("x", " a")
                + Wire.field("x", "a\t") + Wire.field("a b", "c") + Wire.field("", "c"))),
        HTTP2Rule(
            "8.3", "nor do they make a pseudo-header's place", .streamError(.protocolError),
            whole(1, block([":method": "POST", ":scheme": "http", "a b": "c", ":path": "/a", ":authority": "a"]))),
        HTTP2Rule(
            "8.2.2", "keep-alive", .streamError(.protocolError), whole(1, head + Wire.field("keep-alive", "1"))),
        HTTP2Rule(
            "8.2.2", "proxy-connection", .streamError(.protocolError),
            whole(1, head + Wire.field("proxy-connection", "a"))),
        HTTP2Rule("8.2.2", "upgrade", .streamError(.protocolError), whole(1, head + Wire.field("upgrade", "h2c"))),
        HTTP2Rule("8.2.2", "te in any case", .accepted, whole(1, block(good) + Wire.field("te", "Trailers"))),
        HTTP2Rule(
            "8.3.1", "a :method that is no token", .streamError(.protocolError),
            whole(1, block([":method": "PO ST", ":scheme": "http", ":path": "/a", ":authority": "a"]))),
        HTTP2Rule(
            "8.3.1", "a :path with a space", .streamError(.protocolError),
            whole(1, block([":method": "POST", ":scheme": "http", ":path": "/a long path", ":authority": "a"]))),
        HTTP2Rule(
            "8.3.1", "a :path without a slash", .streamError(.protocolError),
            whole(1, block([":method": "POST", ":scheme": "HTTPS", ":path": "a", ":authority": "a"]))),
        HTTP2Rule(
            "8.3.1", "a :path without a slash of another scheme", .accepted,
            whole(1, block([":method": "POST", ":scheme": "coap+tcp", ":path": "a", ":authority": "a"]))),
        HTTP2Rule(
            "8.3.1", "a :scheme that begins with a digit", .streamError(.protocolError),
            whole(1, block([":method": "POST", ":scheme": "1a", ":path": "/a", ":authority": "a"]))),
        HTTP2Rule(
            "8.3.1", "an asterisk for OPTIONS", .accepted,
            whole(1, block([":method": "OPTIONS", ":scheme": "http", ":path": "*", ":authority": "a"]))),
        HTTP2Rule(
            "8.3.1", "an asterisk for another method", .streamError(.protocolError),
            whole(1, block([":method": "POST", ":scheme": "http", ":path": "*", ":authority": "a"]))),
        HTTP2Rule(
            "8.3.1", "an :authority with a slash", .streamError(.protocolError),
            whole(1, block([":method": "POST", ":scheme": "http", ":path": "/a", ":authority": "a/b"]))),
        HTTP2Rule(
            "8.3.1", "host in place of :authority", .accepted,
            whole(1, block([":method": "POST", ":scheme": "http", ":path": "/a", "host": "a"]))),
        HTTP2Rule(
            "8.3.1", "neither host nor :authority", .streamError(.protocolError),
            whole(1, block([":method": "POST", ":scheme": "http", ":path": "/a"]))),
        HTTP2Rule(
            "8.3.1", "host twice", .streamError(.protocolError),
            whole(1, head + Wire.field("host", "a") + Wire.field("host", "a"))),
        HTTP2Rule("8.5", "CONNECT", .accepted, whole(1, block([":method": "CONNECT", ":authority": "a"]))),
        HTTP2Rule(
            "8.5", "CONNECT with a path", .streamError(.protocolError),
            whole(1, block([":method": "CONNECT", ":path": "/a", ":authority": "a"]))),
        HTTP2Rule(
            "8.1.1", "content-length that is the sum of the body's frames", .accepted,
            Wire.frame(.headers, flags: Wire.endHeaders, stream: 1, head + Wire.field("content-length", "2")), data,
            Wire.frame(.data, flags: ended, stream: 1, [1])),
        HTTP2Rule(
            "8.1.1", "content-length of a request without a body", .streamError(.protocolError),
            whole(1, head + Wire.field("content-length", "2"))),
        HTTP2Rule(
            "8.1.1", "content-length that is not the body's before trailers", .streamError(.protocolError),
            Wire.frame(.headers, flags: Wire.endHeaders, stream: 1, head + Wire.field("content-length", "2")), data,
            whole(1, Wire.field("x", "y"))),
        HTTP2Rule(
            "8.1.1", "content-length twice", .streamError(.protocolError),
            whole(1, head + Wire.field("content-length", "0") + Wire.field("content-length", "0"))),
        HTTP2Rule(
            "8.1.1", "content-length that is no number", .streamError(.protocolError),
            whole(1, head + Wire.field("content-length", "-1"))),
        HTTP2Rule(
            "8.1.1", "content-length beyond 64 bits", .streamError(.protocolError),
            whole(1, head + Wire.field("content-length", "99999999999999999999"))),
    ]

    /// RFC 7541. `0x83 0x86` are `:method POST` and `:scheme http` of the static table.
    static let hpack: [HTTP2Rule] = [
        HTTP2Rule(
            "7541 4.3", "a block that is no HPACK", .connectionError(.compression),
            whole(1, [0x0F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF])),
        HTTP2Rule("7541 2.3.3", "an index beyond the tables", .connectionError(.compression), whole(1, [0xC6])),
        HTTP2Rule(
            "7541 2.3.3", "a literal whose name's index is beyond the tables", .connectionError(.compression),
            whole(1, [0x7F, 0x81, 1, 1, 0x61])),
        HTTP2Rule(
            "7541 4.2", "a size update behind a field", .connectionError(.compression),
            whole(1, head + [0x20])),
        HTTP2Rule(
            "7541 5.2", "Huffman padding of more than 7 bits", .connectionError(.compression),
            whole(1, head + [0, 0x85, 0xF2, 0xB2, 0x4A, 0x84, 0xFF] + [0x84, 0x49, 0x50, 0x9F, 0xFF, 0xFF])),
        HTTP2Rule(
            "7541 5.2", "Huffman padding of zeros", .connectionError(.compression),
            whole(1, head + [0, 0x84, 0xF2, 0xB2, 0x4A, 0x80] + [0x83, 0x49, 0x50, 0x90])),
        HTTP2Rule(
            "7541 5.2", "Huffman's end symbol", .connectionError(.compression),
            whole(1, head + [0, 0x88, 0xF2, 0xB2, 0x4A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFC, 1, 0x61])),
        HTTP2Rule("7541 6.1", "index 0", .connectionError(.compression), whole(1, [0x80])),
        HTTP2Rule(
            "7541 6.3", "a table larger than SETTINGS allow", .connectionError(.compression),
            whole(1, [0x3F, 0xE2, 0x1F] + head)),
        HTTP2Rule(
            "7541 6.3", "size updates before the fields, several", .accepted,
            whole(1, [0x20, 0x3F, 0xE1, 0x1F] + head)),
        HTTP2Rule(
            "7541 6.2", "literals: indexed, without index, never indexed; names new and of the table", .accepted,
            whole(1, [0x83, 0x86, 0x44, 2, 0x2F, 0x61, 0x01, 1, 0x61]
                + [0x40, 1, 0x6B, 1, 0x76, 0x10, 1, 0x6C, 1, 0x77, 0xBE] + Wire.field("te", "trailers"))),
        HTTP2Rule(
            "7541 5.2", "Huffman-coded literals", .accepted,
            whole(1, [0x83, 0x86, 0x04, 0x82, 0x61, 0x3F]
                + [0x41, 0x8C, 0xF1, 0xE3, 0xC2, 0xE5, 0xF2, 0x3A, 0x6B, 0xA0, 0xAB, 0x90, 0xF4, 0xFF])),
    ]
}

@Suite struct HTTP2RulesTests {
    @Test(
        "What the RFC says of frames, streams, header fields and HPACK",
        arguments: HTTP2Rule.frames + HTTP2Rule.streams + HTTP2Rule.headers + HTTP2Rule.hpack)
    func rule(rule: HTTP2Rule) throws {
        let server = try End(.server)
        try server.receive(Wire.preface)
        try server.receive(rule.bytes)
        // A last PING: whoever still answers it holds the connection for good.
        if !server.session.isOver { try? server.receive(Wire.frame(.ping, [9, 9, 9, 9, 9, 9, 9, 9])) }
        let frames = Self.frames(try server.produce())
        let goAway = frames.first { $0.kind == Wire.Kind.goAway.rawValue }.map { Self.number($0.payload.dropFirst(4)) }
        let reset = frames.first { $0.kind == Wire.Kind.rstStream.rawValue }.map { Self.number($0.payload[...]) }
        let isAlive = frames.contains {
            $0.kind == Wire.Kind.ping.rawValue && $0.flags == 1 && $0.payload == [9, 9, 9, 9, 9, 9, 9, 9]
        }
        let answer = "GOAWAY \(goAway.map(String.init) ?? "none"), RST_STREAM \(reset.map(String.init) ?? "none")"
        switch rule.outcome {
        case .accepted: #expect(goAway == nil && reset == nil && isAlive, "\(answer)")
        case .streamError(let code):
            #expect(goAway == code.rawValue || goAway == nil && reset == code.rawValue && isAlive, "\(answer)")
        case .connectionError(let code): #expect(goAway == code.rawValue && !isAlive, "\(answer)")
        }
    }

    /// After two requests with all fields in HPACK's table, whose indices are 67 down to 62 in the order of the first.
    @Test(
        "Fields that a client has sent before are held to the same rules",
        arguments: [
            ([67, 66, 65, 64, 63, 62], true), ([67, 66, 65, 64], true), ([64, 65, 66, 67], true),
            // Each of these meets at its own place a field that was known there.
            ([66, 66, 65, 64, 63, 62], false), ([67, 66, 62, 64, 63, 62], false), ([67, 66, 63, 64], false),
            ([67, 66, 65, 64, 63, 62, 67], false), ([67, 66, 64, 64], false), ([67, 66], false), ([66, 65, 64], false),
        ])
    func known(indices: [UInt8], isAccepted: Bool) throws {
        let server = try End(.server)
        try server.receive(Wire.preface)
        let fields: KeyValuePairs = [
            ":method": "POST", ":scheme": "http", ":path": "/a", ":authority": "a", "te": "trailers", "x": "y",
        ]
        let first = fields.reduce(into: [UInt8]()) { $0 += [0x40] + Wire.field($1.key, $1.value).dropFirst() }
        let flags = Wire.endHeaders | Wire.endStream
        try server.receive(Wire.frame(.headers, flags: flags, stream: 1, first))
        let again = (62...67).reversed().map { UInt8(0x80 | $0) }
        try server.receive(Wire.frame(.headers, flags: flags, stream: 3, again))
        try server.receive(Wire.frame(.headers, flags: flags, stream: 5, indices.map { 0x80 | $0 }))
        // Trailers may have no pseudo-field, known or not.
        try server.receive(Wire.frame(.headers, flags: Wire.endHeaders, stream: 7, again))
        try server.receive(Wire.frame(.headers, flags: flags, stream: 7, [0x80 | 67]))
        let resets = Self.frames(try server.produce()).filter { $0.kind == Wire.Kind.rstStream.rawValue }
        #expect(resets.map(\.stream) == (isAccepted ? [7] : [5, 7]))
        #expect(resets.allSatisfy { Self.number($0.payload[...]) == HTTP2Rule.Code.protocolError.rawValue })
        #expect(server.heads.map(\.0) == (isAccepted ? [1, 3, 5, 7] : [1, 3, 7]))
        #expect(server.heads[1].1 == Dictionary(uniqueKeysWithValues: fields.map { ($0.key, $0.value) }))
    }

    @Test("Requests come with their own fields, whatever of HPACK's table they share, repeat and push out")
    func fieldsOfTheirOwn() throws {
        let server = try End(.server)
        try server.receive(Wire.preface)
        var random = SplitMix(seed: 7)
        var encoder = Encoder()
        var sent: [[String: String]] = []
        for call in 0..<600 {
            var fields = [(":method", "POST"), (":scheme", "http"), (":path", "/a"), (":authority", "a")]
            // Long stretches of the same, then anything.
            let variety = call % 60 < 40 ? 1 : 30
            for name in 0..<6 {
                let value = String(repeating: "v", count: 50) + "\(random.next() % UInt64(variety))"
                fields.append(("x-\(name)", value))
            }
            let block = fields.flatMap { encoder.encode($0.0, $0.1, isIndexed: random.next() % 8 > 0) }
            sent.append(Dictionary(uniqueKeysWithValues: fields))
            let flags = Wire.endHeaders | Wire.endStream
            try server.receive(Wire.frame(.headers, flags: flags, stream: UInt32(2 * call + 1), block))
            server.session.reset(try #require(server.opened.last), .cancel)
            _ = try server.produce()
        }
        #expect(server.heads.map(\.1) == sent)
    }

    /// SplitMix64.
    private struct SplitMix {
        var state: UInt64
        init(seed: UInt64) { state = seed }
        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var value = state
            value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
            value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
            return value ^ value >> 31
        }
    }

    /// HPACK with a table of 4,096 bytes, without Huffman.
    private struct Encoder {
        private var table: [(name: String, value: String)] = []

        mutating func encode(_ name: String, _ value: String, isIndexed: Bool) -> [UInt8] {
            if let place = table.firstIndex(where: { $0 == (name, value) }) {
                return place < 65 ? [0x80 | UInt8(62 + place)] : [0xFF, UInt8(62 + place - 127)]
            }
            guard isIndexed else { return Wire.field(name, value) }
            table.insert((name, value), at: 0)
            while table.reduce(0, { $0 + $1.name.utf8.count + $1.value.utf8.count + 32 }) > 4096 { table.removeLast() }
            return [0x40] + Wire.field(name, value).dropFirst()
        }
    }

    @Test("A lower stream number after a higher one starts nothing")
    func lowerNumber() throws {
        let server = try End(.server)
        let head = Wire.head("EmptyCall")
        try server.receive(Wire.preface)
        for stream: UInt32 in [5, 3] {
            try server.receive(
                Wire.frame(.headers, flags: Wire.endHeaders | Wire.endStream, stream: stream, head))
        }
        #expect(server.opened.map(\.id) == [5])
    }

    @Test("Streams beyond the announced number: refused, and once the client knows the number, an error", arguments: [
        false, true,
    ])
    func concurrency(isAcknowledged: Bool) throws {
        var limited = HTTP2Configuration()
        limited.maxConcurrentStreamCount = 3
        let server = try End(.server, limited)
        try server.receive(Wire.preface)
        _ = try server.produce()
        if isAcknowledged { try server.receive(Wire.frame(.settings, flags: 1)) }
        for stream in 0..<5 as Range<UInt32> {
            try server.receive(
                Wire.frame(.headers, flags: Wire.endHeaders, stream: stream * 2 + 1, Wire.head("FullDuplexCall")))
        }
        let frames = Self.frames(try server.produce())
        let resets = frames.filter { $0.kind == Wire.Kind.rstStream.rawValue }
        let goAway = frames.first { $0.kind == Wire.Kind.goAway.rawValue }
        if isAcknowledged {
            #expect(goAway.map { Self.number($0.payload.dropFirst(4)) } == HTTP2Rule.Code.protocolError.rawValue)
        } else {
            #expect(resets.map(\.stream) == [7, 9] && goAway == nil)
            #expect(resets.allSatisfy { Self.number($0.payload[...]) == HTTP2Rule.Code.refusedStream.rawValue })
        }
        #expect(server.opened.map(\.id) == [1, 3, 5])
    }

    @Test("DATA keeps to the windows that the client sets, changes and makes negative")
    func windows() throws {
        let server = try End(.server)
        func dataLengths() throws -> [Int] {
            Self.frames(try server.produce()).filter { $0.kind == Wire.Kind.data.rawValue }.map(\.payload.count)
        }
        try server.receive(Wire.preface + Wire.frame(.settings, Wire.setting(4, 1)))
        try server.receive(
            Wire.frame(.headers, flags: Wire.endHeaders | Wire.endStream, stream: 1, Wire.head("EmptyCall")))
        let stream = try #require(server.opened.first)
        server.session.respond(stream, GRPCHeaders.plainResponse)
        server.session.enqueue(stream, .init([UInt8](repeating: 1, count: 20)))
        #expect(try dataLengths() == [1])
        // From 1, all used, to 3: two more. To 2: minus one. Then four by WINDOW_UPDATE: three.
        try server.receive(Wire.frame(.settings, Wire.setting(4, 3)))
        #expect(try dataLengths() == [2])
        try server.receive(Wire.frame(.settings, Wire.setting(4, 2)))
        #expect(try dataLengths() == [])
        try server.receive(Wire.frame(.windowUpdate, stream: 1, Wire.number(4)))
        #expect(try dataLengths() == [3])
        // The last of several settings of one frame counts.
        try server.receive(Wire.frame(.settings, Wire.setting(4, 100) + Wire.setting(4, 5)))
        #expect(try dataLengths() == [3])
    }

    @Test("Trailers that most calls have lie right behind the last DATA, unless a new table is to be told")
    func keptTrailers() throws {
        let server = try End(.server)
        let literal = [0, 11] + Array("grpc-status".utf8) + [1] + Array("0".utf8)
        func answer(_ id: UInt32, body: [UInt8], between: [UInt8] = []) throws -> [Frame] {
            let head = Wire.frame(.headers, flags: Wire.endHeaders | Wire.endStream, stream: id, Wire.head("EmptyCall"))
            try server.receive(head)
            let stream = try #require(server.opened.last)
            server.session.respond(stream, GRPCHeaders.plainResponse)
            _ = try server.produce()
            if !between.isEmpty { try server.receive(between) }
            if !body.isEmpty { server.session.enqueue(stream, .init(body)) }
            server.session.finish(stream, GRPCHeaders.okTrailers)
            return Self.frames(try server.produce()).filter { $0.stream == id }
        }
        try server.receive(Wire.preface)
        let both = Wire.endHeaders | Wire.endStream
        #expect(
            try answer(1, body: [7, 8]) == [
                Frame(kind: Wire.Kind.data.rawValue, flags: 0, stream: 1, payload: [7, 8]),
                Frame(kind: Wire.Kind.headers.rawValue, flags: both, stream: 1, payload: literal),
            ])
        // Longer than a frame, and than the room there was: the last frame has them.
        let long = try answer(3, body: [UInt8](repeating: 1, count: 40_000))
        #expect(long.map(\.payload.count) == [16_384, 16_384, 7_232, literal.count])
        #expect(long.map(\.flags) == [0, 0, 0, both] && long.last?.payload == literal)
        // Without a body they are nghttp2's, and so is the block that has to tell the new size of HPACK's table.
        let empty = try answer(5, body: [])
        #expect(empty.map(\.flags) == [both] && empty.first?.payload.isEmpty == false)
        let told = try answer(7, body: [7], between: Wire.frame(.settings, Wire.setting(1, 0)))
        #expect(told.map(\.flags) == [0, both])
        #expect(told.last?.payload.first.map { $0 & 0xE0 } == 0x20, "a size update comes first")
        #expect(try answer(9, body: [7]).last?.payload == literal)
        #expect(server.closed.keys.sorted() == [1, 3, 5, 7, 9] && server.closed.values.allSatisfy { $0 == .noError })
    }

    @Test("SETTINGS are acknowledged, PING is answered with its own bytes")
    func answers() throws {
        let server = try End(.server)
        try server.receive(Wire.preface)
        try server.receive(Wire.frame(.ping, [1, 2, 3, 4, 5, 6, 7, 8]))
        let frames = Self.frames(try server.produce())
        #expect(frames.first?.kind == Wire.Kind.settings.rawValue && frames.first?.flags == 0)
        #expect(frames.contains { $0.kind == Wire.Kind.settings.rawValue && $0.flags == 1 && $0.payload.isEmpty })
        #expect(
            frames.contains {
                $0.kind == Wire.Kind.ping.rawValue && $0.flags == 1 && $0.payload == [1, 2, 3, 4, 5, 6, 7, 8]
            })
    }

    // MARK: - Frames

    struct Frame: Equatable {
        let kind: UInt8
        let flags: UInt8
        let stream: UInt32
        let payload: [UInt8]
    }

    static func frames(_ bytes: [UInt8]) -> [Frame] {
        var rest = bytes[...]
        var frames: [Frame] = []
        while rest.count >= 9 {
            let head = Array(rest.prefix(9))
            let count = Int(head[0]) << 16 | Int(head[1]) << 8 | Int(head[2])
            let payload = Array(rest.dropFirst(9).prefix(count))
            frames.append(Frame(kind: head[3], flags: head[4], stream: number(head[5...]), payload: payload))
            rest = rest.dropFirst(9 + count)
        }
        return frames
    }

    static func number(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        bytes.prefix(4).reduce(0) { $0 << 8 | UInt32($1) }
    }
}
