internal import Dispatch
internal import Kernels
internal import Logging
internal import RPC
internal import ServiceLifecycle
internal import Synchronization

/// A small file that may change while the process runs: what it held when it could last be used.
final class WatchedFile<Content: Sendable>: Sendable {
    let path: String
    private let isSecret: Bool
    private let parse: @Sendable (_ text: String, _ path: String) throws(TokenFileError) -> Content
    private let state: Mutex<(content: Content, seen: Result<[UInt8], TokenFileError>)>

    /// Reads the file; blocks meanwhile. `isSecret`: one that every user of the machine may read is not used.
    init(
        _ path: String, isSecret: Bool = false,
        parse: @escaping @Sendable (_ text: String, _ path: String) throws(TokenFileError) -> Content
    ) throws(TokenFileError) {
        self.path = path
        self.isSecret = isSecret
        self.parse = parse
        let bytes = try Self.read(path, isSecret)
        state = Mutex((try parse(String(decoding: bytes, as: UTF8.self), path), .success(bytes)))
    }

    var content: Content { state.withLock { $0.content } }

    /// Looks at the file again; blocks meanwhile. What cannot be used is logged once, and what was there before stays.
    func reread(_ log: Logger) {
        do throws(TokenFileError) {
            let bytes = try Self.read(path, isSecret)
            guard note(.success(bytes)) else { return }
            let content = try parse(String(decoding: bytes, as: UTF8.self), path)
            state.withLock { $0.content = content }
            log.info("token file read again", metadata: ["path": "\(path)"])
        } catch {
            switch error {
            case .cannotRead, .exposed: guard note(.failure(error)) else { return }
            case .badLine, .noTokens, .noToken: break
            }
            log.warning("changed token file cannot be used, what it held before stays", metadata: ["error": "\(error)"])
        }
    }

    /// Whether this is another state of the file than was seen last.
    private func note(_ seen: Result<[UInt8], TokenFileError>) -> Bool {
        state.withLock { state in
            defer { state.seen = seen }
            return state.seen != seen
        }
    }

    private static func read(_ path: String, _ isSecret: Bool) throws(TokenFileError) -> [UInt8] {
        let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw .cannotRead(path: path, reason: unsafe String(cString: strerror(errno))) }
        defer { close(file) }
        if isSecret, let mode = SecretFile.openness(of: file, path: path) { throw .exposed(path: path, mode: mode) }
        var all: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = unsafe Kernels.read(file, &buffer, buffer.count)
            guard count >= 0 else { throw .cannotRead(path: path, reason: unsafe String(cString: strerror(errno))) }
            guard count > 0 else { return all }
            all += buffer[..<count]
            guard all.count <= 1 << 20 else { throw .cannotRead(path: path, reason: "it is longer than 1 MiB") }
        }
    }
}

/// Looks at files once a second, for as long as the process runs.
struct FileWatch: Service {
    /// Each blocks while it reads.
    let rereads: [@Sendable () -> Void]

    func run() async throws {
        // A thread for it: a slow disk must delay nothing else.
        let queue = DispatchQueue(label: "file-watch")
        do {
            try await cancelWhenGracefulShutdown {
                while true {
                    try await Task.sleep(for: .seconds(1))
                    await withCheckedContinuation { continuation in
                        queue.async {
                            for reread in rereads { reread() }
                            continuation.resume()
                        }
                    }
                }
            }
        } catch is CancellationError {
            // The process stops.
        }
    }
}

/// Why a file of tokens cannot be used. Says nothing of what stands in it.
public enum TokenFileError: Error, Sendable, Equatable {
    /// No such file, no permission, …
    case cannotRead(path: String, reason: String)
    /// Every user of the machine may read or replace a client's file: its token is theirs too.
    case exposed(path: String, mode: UInt32)
    /// A line of a server's file is no name and SHA-256. Lines count from 1.
    case badLine(path: String, line: Int)
    /// A server's file has no line with a token: nobody could call.
    case noTokens(path: String)
    /// A client's file is not one token.
    case noToken(path: String)
}

extension TokenFileError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .cannotRead(let path, let reason): "\(path) cannot be read: \(reason)"
        case .exposed(let path, let mode): SecretFile.description(path: path, mode: mode)
        case .badLine(let path, let line):
            "\(path), line \(line) is not “name sha256-in-hex”: `vomma token new NAME` prints such lines"
        case .noTokens(let path): "\(path) holds no token: `vomma token new NAME` makes one, and its line"
        case .noToken(let path):
            "\(path) is not one token of 16 to 512 visible characters: `vomma token new NAME` makes one"
        }
    }
}
