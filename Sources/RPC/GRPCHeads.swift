// What gRPC says in header blocks: the request's head, the response's head and trailers. Pure functions and values.

/// The head of a request, as a server sees it.
struct RequestHead {
    private(set) var path: ArraySlice<UInt8> = []
    private(set) var timeout: Duration?
    /// The client may compress its messages by gzip.
    private(set) var isGzip = false
    private(set) var custom = ReceivedFields()
    /// Of `grpc-accept-encoding`, and of `grpc-encoding` where that is none of ours.
    private var acceptedEncodings: ArraySlice<UInt8> = []
    private var unknownEncoding: ArraySlice<UInt8>?
    private var isPost = false
    private var isHead = false
    private var isGRPC = false
    private var hasBadTimeout = false

    init(_ headers: HeaderFields, _ range: Range<Int>) {
        var hasCustom = false
        let bytes = headers.bytes.span
        for index in range {
            let field = headers.fields[index]
            switch field.kind {
            case .method:
                isPost = HeaderFields.equal(bytes, field.middle, field.end, "POST")
                isHead = HeaderFields.equal(bytes, field.middle, field.end, "HEAD")
            case .path: path = headers.value(index)
            case .contentType:
                isGRPC =
                    HeaderFields.equal(bytes, field.middle, field.end, "application/grpc")
                    || ContentType.isGRPC(headers.value(index))
            case .timeout:
                timeout = GRPCTimeout.parse(headers.value(index))
                hasBadTimeout = timeout == nil
            case .encoding:
                isGzip = HeaderFields.equal(bytes, field.middle, field.end, "gzip")
                if !isGzip, !HeaderFields.equal(bytes, field.middle, field.end, "identity") {
                    unknownEncoding = headers.value(index)
                }
            case .acceptEncoding: acceptedEncodings = headers.value(index)
            case .custom: hasCustom = true
            case .scheme, .authority, .host, .te, .contentLength, .connection, .other: break
            }
        }
        if hasCustom { custom = ReceivedFields(custom, and: headers, range) }
    }

    var metadata: Metadata { Metadata(received: custom) }

    /// The answer, if the head alone decides it: an HTTP status and the gRPC status that goes with it.
    var refusal: (httpStatus: Int, status: RPCStatus)? {
        if isPost, isGRPC, unknownEncoding == nil, !hasBadTimeout { return nil }
        if !isPost { return (405, RPCStatus(.internal, "gRPC is POST only")) }
        if !isGRPC { return (415, RPCStatus(.internal, "content-type is not application/grpc")) }
        if let unknownEncoding {
            let name = String(decoding: unknownEncoding.prefix(32), as: UTF8.self)
            return (200, RPCStatus(.unimplemented, "message encoding \(name) is not supported"))
        }
        return (200, RPCStatus(.internal, "malformed grpc-timeout"))
    }

    /// The refusal goes to an HTTP client that doesn't speak gRPC and may show a body: it gets the reason as text.
    var isForPeople: Bool { isPost ? !isGRPC : !isHead }

    /// Whether the client takes messages compressed by gzip.
    var acceptsGzip: Bool {
        acceptedEncodings.split(separator: UInt8(ascii: ",")).contains { name in
            name.filter { $0 != UInt8(ascii: " ") }.elementsEqual("gzip".utf8)
        }
    }
}

/// What a request's header is to HTTP and gRPC. Told by length first, so that no name is compared with more than two.
enum HeaderName {
    case method, path, scheme, authority, host, te, contentLength, contentType, timeout, encoding, acceptEncoding
    /// About the connection: HTTP/2 has none of those.
    case connection
    /// Another pseudo-header, or nothing.
    case other
    /// The application's: metadata.
    case custom

    init(_ name: Span<UInt8>) {
        switch name.count {
        case 2 where FieldBytes.equal(name, "te"): self = .te
        case 4 where FieldBytes.equal(name, "host"): self = .host
        case 5 where FieldBytes.equal(name, ":path"): self = .path
        case 7 where FieldBytes.equal(name, ":method"): self = .method
        case 7 where FieldBytes.equal(name, ":scheme"): self = .scheme
        case 7 where FieldBytes.equal(name, "upgrade"): self = .connection
        case 10 where FieldBytes.equal(name, ":authority"): self = .authority
        case 10 where FieldBytes.equal(name, "connection"): self = .connection
        case 10 where FieldBytes.equal(name, "keep-alive"): self = .connection
        case 12 where FieldBytes.equal(name, "content-type"): self = .contentType
        case 12 where FieldBytes.equal(name, "grpc-timeout"): self = .timeout
        case 13 where FieldBytes.equal(name, "grpc-encoding"): self = .encoding
        case 14 where FieldBytes.equal(name, "content-length"): self = .contentLength
        case 16 where FieldBytes.equal(name, "proxy-connection"): self = .connection
        case 17 where FieldBytes.equal(name, "transfer-encoding"): self = .connection
        case 20 where FieldBytes.equal(name, "grpc-accept-encoding"): self = .acceptEncoding
        case 0: self = .other
        default: self = name[0] == UInt8(ascii: ":") ? .other : .custom
        }
    }
}

enum ContentType {
    /// `application/grpc`, with or without `+proto` and parameters. Another codec (`+json`) is not ours.
    static func isGRPC(_ value: ArraySlice<UInt8>) -> Bool {
        let known = "application/grpc".utf8
        guard value.starts(with: known) else { return false }
        let rest = value.dropFirst(known.count).prefix { $0 != UInt8(ascii: ";") }
        return rest.isEmpty || rest.elementsEqual("+proto".utf8)
    }
}

/// The receiving side of a response's header blocks: idle → open (head) → closed (trailers). Closed is final.
struct ResponseHeads {
    enum Action: Equatable {
        /// Interim (1xx) or ignored.
        case nothing
        case initialMetadata(Metadata)
        /// The call's status, by trailers or by a head that is none of gRPC's. The stream is of no more use.
        case finish(RPCStatus)
    }

    private enum State { case idle, open, closed }
    private var state = State.idle
    /// What came with the status.
    private(set) var pushback: RetryPushback?
    /// The server may compress its messages by gzip.
    private(set) var isGzip = false

    var isOpen: Bool { state == .open }

    mutating func receive(_ headers: HeaderFields, _ range: Range<Int>, endStream: Bool) -> Action {
        var httpStatus: Int?
        var isGRPC = false
        var code: StatusCode?
        var hasStatus = false
        var message = ""
        var details: [UInt8]?
        var metadata = Metadata()
        for index in range {
            let value = headers.value(index)
            if headers.nameIs(index, ":status") {
                httpStatus = HeaderFields.number(value) ?? 0
            } else if headers.nameIs(index, "content-type") {
                isGRPC = headers.valueIs(index, "application/grpc") || ContentType.isGRPC(value)
            } else if headers.nameIs(index, "grpc-status") {
                hasStatus = true
                code = HeaderFields.number(value).flatMap(StatusCode.init(rawValue:)) ?? .unknown
            } else if headers.nameIs(index, "grpc-message") {
                message = PercentEncoding.decode(value)
            } else if headers.nameIs(index, "grpc-retry-pushback-ms") {
                pushback = RetryPushback(value)
            } else if headers.nameIs(index, "grpc-encoding") {
                isGzip = headers.valueIs(index, "gzip")
            } else if headers.nameIs(index, "grpc-status-details-bin") {
                details = Base64.decode(value)
            } else {
                let name = headers.name(index)
                if !Metadata.isReserved(name), !name.hasPrefix("grpc-") { metadata.appendReceived(headers, index) }
            }
        }
        if state == .closed { return .nothing }
        if state == .idle, let httpStatus, (100..<200).contains(httpStatus), !endStream { return .nothing }
        if hasStatus, endStream || state == .open {
            state = .closed
            return .finish(
                RPCStatus(code ?? .unknown, message, detailsBytes: details, metadata: metadata))
        }
        guard state == .idle else {
            state = .closed
            return .finish(RPCStatus(.internal, "trailers without grpc-status", metadata: metadata))
        }
        guard httpStatus == 200 else {
            state = .closed
            return .finish(RPCStatus(StatusCode(httpStatus: httpStatus ?? 0), "HTTP status \(httpStatus ?? 0)"))
        }
        guard isGRPC, !endStream else {
            state = .closed
            let message = endStream ? "an answer without grpc-status" : "content-type is not application/grpc"
            return .finish(RPCStatus(.unknown, message))
        }
        state = .open
        return .initialMetadata(metadata)
    }
}

/// How the messages of one call may be compressed.
struct CallEncoding {
    /// Requests are, or some of them.
    var requestIsGzip = false
    /// Responses of at least so many bytes are.
    var compressesFrom = Int.max

    var isIdentity: Bool { !requestIsGzip && compressesFrom == .max }
}

/// The header blocks that we send.
enum GRPCHeaders {
    private static let knownEncodings = "identity,gzip"
    private static let plain = HeaderFields([":status": "200", "content-type": "application/grpc"])
    /// The head of a response without metadata.
    static let plainResponse = KeptHeaders(plain)
    /// The end of a call that ended well, without metadata.
    static let okTrailers = KeptHeaders(HeaderFields(["grpc-status": "0"]))

    static func response(_ metadata: Metadata?, _ encoding: CallEncoding = CallEncoding()) -> HeaderFields {
        var headers = plain
        if encoding.compressesFrom < .max { headers.append("grpc-encoding", "gzip".utf8) }
        if !encoding.isIdentity { headers.append("grpc-accept-encoding", knownEncodings.utf8) }
        if let metadata { headers.append(metadata) }
        return headers
    }

    static func trailers(_ status: RPCStatus, _ metadata: Metadata?) -> HeaderFields {
        var headers = HeaderFields()
        appendStatus(status, metadata ?? Metadata(), to: &headers)
        return headers
    }

    /// One block that is head and trailers at once.
    static func trailersOnly(_ status: RPCStatus, httpStatus: Int = 200, _ metadata: Metadata = [:]) -> HeaderFields {
        var headers = HeaderFields([":status": String(httpStatus), "content-type": "application/grpc"])
        appendStatus(status, metadata, to: &headers)
        if status.code == .unimplemented { headers.append("grpc-accept-encoding", knownEncodings.utf8) }
        return headers
    }

    /// The head of an answer to what is no gRPC client; text follows.
    static func text(httpStatus: Int) -> HeaderFields {
        HeaderFields([":status": String(httpStatus), "content-type": "text/plain; charset=utf-8"])
    }

    static func request(
        path: String, scheme: String, authority: String, timeout: Duration?, previousAttempts: Int,
        isGzip: Bool = false, _ metadata: Metadata
    ) -> HeaderFields {
        var headers = HeaderFields([":method": "POST", ":scheme": scheme])
        headers.append(":path", path.utf8)
        headers.append(":authority", authority.utf8)
        headers.append("te", "trailers".utf8)
        headers.append("content-type", "application/grpc".utf8)
        headers.append("user-agent", "grpc-swift-vomma/1".utf8)
        headers.append("grpc-accept-encoding", knownEncodings.utf8)
        if isGzip { headers.append("grpc-encoding", "gzip".utf8) }
        if let timeout { headers.append("grpc-timeout", GRPCTimeout.format(timeout)) }
        if previousAttempts > 0 { headers.append("grpc-previous-rpc-attempts", String(previousAttempts).utf8) }
        headers.append(metadata)
        return headers
    }

    private static func appendStatus(_ status: RPCStatus, _ metadata: Metadata, to headers: inout HeaderFields) {
        headers.append("grpc-status", String(status.code.rawValue).utf8)
        if !status.message.isEmpty { headers.append("grpc-message", PercentEncoding.encode(status.message)) }
        if let details = status.detailsBytes, details.count <= RPCStatus.longestDetails {
            headers.append("grpc-status-details-bin", Base64.encode(details))
        }
        headers.append(metadata)
        headers.append(status.metadata)
    }
}
