private import Glibc
internal import NIOConcurrencyHelpers

/// Tokens in a file that may change while the process runs: those a server accepts, or the one a client presents.
///
/// One token a line, optionally a space and a name for it, which may show in logs; empty lines and those that begin
/// with `#` do not count. Tokens are at least 16 printable characters. They never appear in logs or errors.
public final class TokenFile: Sendable {
    /// What is wrong with a token file. Carries no token.
    public struct Fault: Error, Sendable, CustomStringConvertible {
        public let description: String
    }

    struct Token: Sendable {
        let bytes: [UInt8]
        let name: String
    }

    /// A file's state that changes whenever its content does.
    private struct Stamp: Equatable {
        var device: UInt64
        var file: UInt64
        var byteCount: Int64
        var seconds: Int
        var nanoseconds: Int
    }

    public let path: String
    private let content: NIOLockedValueBox<(tokens: [Token], stamp: Stamp?)>
    private static let longestFile = 1 << 20

    /// Reads the file.
    /// - Throws: `Fault` when it cannot be read, has no token, or has one that is too short.
    public init(path: String) throws(Fault) {
        self.path = path
        let (tokens, stamp) = try Self.read(path)
        content = NIOLockedValueBox((tokens, stamp))
    }

    var tokens: [Token] { content.withLockedValue { $0.tokens } }

    /// Reads the file again if it has changed. Blocks on the disk: not for an event loop. Returns whether it had.
    /// - Throws: `Fault`; the tokens stay as they were.
    @discardableResult
    public func reloadIfChanged() throws(Fault) -> Bool {
        let known = content.withLockedValue { $0.stamp }
        if let known, Self.stamp(path) == known { return false }
        let (tokens, stamp) = try Self.read(path)
        content.withLockedValue { $0 = (tokens, stamp) }
        return true
    }

    private static func stamp(_ path: String) -> Stamp? {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return nil }
        return Stamp(
            device: UInt64(status.st_dev), file: UInt64(status.st_ino), byteCount: Int64(status.st_size),
            seconds: status.st_mtim.tv_sec, nanoseconds: status.st_mtim.tv_nsec)
    }

    private static func read(_ path: String) throws(Fault) -> ([Token], Stamp?) {
        // The stamp is taken first: a change while we read is seen the next time.
        let stamp = stamp(path)
        let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw Fault(description: "the token file \(path) cannot be read (errno \(errno))") }
        defer { close(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while bytes.count <= longestFile {
            let count = unsafe buffer.withUnsafeMutableBytes { unsafe Glibc.read(file, $0.baseAddress, $0.count) }
            guard count >= 0 else { throw Fault(description: "the token file \(path) cannot be read (errno \(errno))") }
            if count == 0 { return (try parse(bytes, path), stamp) }
            bytes += buffer[..<count]
        }
        throw Fault(description: "the token file \(path) is longer than a mebibyte")
    }

    static func parse(_ bytes: [UInt8], _ path: String) throws(Fault) -> [Token] {
        var tokens: [Token] = []
        for (index, line) in bytes.split(separator: 0x0A, omittingEmptySubsequences: false).enumerated() {
            let words = line.split { $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }
            guard let token = words.first, token.first != UInt8(ascii: "#") else { continue }
            guard token.count >= 16, token.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
                throw Fault(description: "\(path), line \(index + 1): a token is at least 16 printable characters")
            }
            let name = words.dropFirst().map { String(decoding: $0, as: UTF8.self) }.joined(separator: " ")
            tokens.append(Token(bytes: Array(token), name: name.isEmpty ? "token \(tokens.count + 1)" : name))
        }
        guard !tokens.isEmpty else { throw Fault(description: "the token file \(path) has no token") }
        return tokens
    }

    /// The name of the token that `presented` is; every token is looked at whole, so that the time it takes tells
    /// nothing but the length of what was presented.
    func name(of presented: Substring.UTF8View) -> String? {
        content.withLockedValue { content in
            var found: String?
            for token in content.tokens {
                var difference: UInt8 = token.bytes.count == presented.count ? 0 : 1
                var index = 0
                for byte in presented {
                    difference |= byte ^ token.bytes[index < token.bytes.count ? index : 0]
                    index += 1
                }
                if difference == 0 { found = token.name }
            }
            return found
        }
    }
}

/// Lets nobody call who does not present a known token: `authorization: Bearer …`, else UNAUTHENTICATED.
public struct BearerTokenAuthentication: ServerInterceptor {
    private let tokens: TokenFile
    private let openServices: Set<String>

    /// `openServices` may be called by anybody, such as `grpc.health.v1.Health`.
    public init(_ tokens: TokenFile, openServices: Set<String> = []) {
        self.tokens = tokens
        self.openServices = openServices
    }

    public func hooks(for method: MethodDescription) -> any ServerCallHooks {
        openServices.contains(String(method.service)) ? Open() : Closed(tokens: tokens)
    }

    private struct Open: ServerCallHooks {}

    private struct Closed: ServerCallHooks {
        let tokens: TokenFile

        func begin(_ context: inout CallContext) -> RPCStatus? {
            guard let value = context.metadata["authorization"] else {
                return RPCStatus(.unauthenticated, "a bearer token is needed")
            }
            // The scheme is case-insensitive (RFC 9110), the token is not.
            let space = value.firstIndex(of: " ")
            guard let space, Self.isBearer(value[..<space]),
                let name = tokens.name(of: value[space...].dropFirst().utf8)
            else { return RPCStatus(.unauthenticated, "the bearer token is not known") }
            context.caller = name
            return nil
        }

        private static func isBearer(_ scheme: Substring) -> Bool {
            scheme.utf8.count == 6 && scheme.utf8.elementsEqual("bearer".utf8) { $0 | 0x20 == $1 }
        }
    }
}

/// Presents the first token of a file with every call of a channel.
///
/// Over a plain connection everybody on the way can read it: use TLS where that is not only yourself.
public struct BearerTokenCredentials: ClientInterceptor, ClientCallHooks {
    private let tokens: TokenFile

    public init(_ tokens: TokenFile) { self.tokens = tokens }

    public func hooks(for path: String) -> any ClientCallHooks { self }

    public func begin(_ call: inout OutgoingCall) -> RPCStatus? {
        guard call.metadata["authorization"] == nil, let token = tokens.tokens.first else { return nil }
        call.metadata.appendReceived("authorization", "Bearer " + String(decoding: token.bytes, as: UTF8.self))
        return nil
    }
}
