private import Glibc
internal import Logging
internal import NIOConcurrencyHelpers
internal import NIOCore
internal import NIOPosix
internal import NIOSSL

/// Who we are on encrypted connections and whom we trust, from PEM files that are read again when they change.
///
/// A server needs certificate and key; with an authority too it demands a certificate of every client (mutual TLS). A
/// channel needs the authority; a certificate, if there is one, is presented to servers that ask. One object may serve
/// any number of servers and channels.
///
/// Before a connection is made the files' times are looked at, off the event loops and at most once a second. What has
/// changed holds for new connections. Files that cannot be used are logged as an error, and those before them stay.
public final class TLSCredentials: Sendable {
    /// Paths of PEM files.
    public struct Files: Sendable, Hashable {
        /// Our certificate, then those between it and its authority. Needs `key`.
        public var certificate: String?
        /// The certificate's private key, not encrypted. Secret. Needs `certificate`.
        public var key: String?
        /// The authorities that peers' certificates must come from.
        public var authority: String?

        public init(certificate: String? = nil, key: String? = nil, authority: String? = nil) {
            self.certificate = certificate
            self.key = key
            self.authority = authority
        }
    }

    /// What connections are made with.
    struct Contexts: Sendable {
        var server: NIOSSLContext?
        var client: NIOSSLContext?
    }

    private struct State {
        var contexts: Contexts
        var stamps: [FileStamp?]
        var checkedAt: NIODeadline
        var isChecking = false
    }

    public let files: Files
    private let checkInterval: TimeAmount
    private let state: NIOLockedValueBox<State>

    /// Reads the files; blocks meanwhile.
    /// - Throws: `TLSError`, which names the file and what is wrong with it.
    public convenience init(_ files: Files) throws(TLSError) { try self.init(files, checkInterval: .seconds(1)) }

    init(_ files: Files, checkInterval: Duration) throws(TLSError) {
        self.files = files
        self.checkInterval = TimeAmount(checkInterval)
        let stamps = Self.stamps(files)
        state = NIOLockedValueBox(State(contexts: try Self.load(files), stamps: stamps, checkedAt: .now()))
    }

    /// Whether a server can use it.
    public var canServe: Bool { files.certificate != nil }
    /// Whether a channel can use it.
    public var canVerifyServers: Bool { files.authority != nil }

    /// The contexts of the files as they are now.
    func contexts(on loop: any EventLoop, log: Logger) -> EventLoopFuture<Contexts> {
        let (contexts, isDue) = state.withLockedValue { state in
            let isDue = !state.isChecking && NIODeadline.now() - state.checkedAt >= checkInterval
            if isDue { state.isChecking = true }
            return (state.contexts, isDue)
        }
        guard isDue else { return loop.makeSucceededFuture(contexts) }
        return Self.thread.runIfActive(eventLoop: loop) { self.check(log) }
    }

    /// Loads the files if they have changed. A failed change is tried again when they change again.
    private func check(_ log: Logger) -> Contexts {
        let stamps = Self.stamps(files)
        let isChanged = state.withLockedValue { $0.stamps != stamps }
        var loaded: Contexts?
        if isChanged {
            do throws(TLSError) {
                loaded = try Self.load(files)
                log.info("certificates read again")
            } catch {
                log.error("changed certificates cannot be used, the old ones stay", metadata: ["error": "\(error)"])
            }
        }
        return state.withLockedValue { state in
            if let loaded { state.contexts = loaded }
            state.stamps = stamps
            state.checkedAt = .now()
            state.isChecking = false
            return state.contexts
        }
    }

    /// Files are looked at here: a slow disk delays new connections, and nothing else.
    private static let thread: NIOThreadPool = {
        let pool = NIOThreadPool(numberOfThreads: 1)
        pool.start()
        return pool
    }()

    private static func stamps(_ files: Files) -> [FileStamp?] {
        [files.certificate, files.key, files.authority].map { $0.flatMap(FileStamp.init) }
    }

    // MARK: - Loading

    private static func load(_ files: Files) throws(TLSError) -> Contexts {
        guard (files.certificate == nil) == (files.key == nil) else { throw .incomplete }
        let now = time(nil)
        var chain: [NIOSSLCertificate] = []
        var key: NIOSSLPrivateKey?
        if let path = files.certificate, let keyPath = files.key {
            chain = try certificates(path)
            try checkDates(chain.prefix(1), path, now: now)
            do {
                key = try NIOSSLPrivateKey(bytes: bytes(keyPath, isSecret: true), format: .pem)
            } catch let error as TLSError {
                throw error
            } catch {
                throw .badKey(path: keyPath)
            }
        }
        var authorities: [NIOSSLCertificate]?
        if let path = files.authority {
            let all = try certificates(path)
            // One that has run out among others is normal while authorities are changed.
            let usable = all.filter { $0.notValidAfter >= now }
            if usable.isEmpty { try checkDates(all[...], path, now: now) }
            authorities = usable
        }
        var contexts = Contexts()
        if let key {
            var server = TLSConfiguration.makeServerConfiguration(
                certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
            if let authorities {
                server.trustRoots = .certificates(authorities)
                server.certificateVerification = .noHostnameVerification
            }
            contexts.server = try context(server, files)
        }
        if let authorities {
            var client = TLSConfiguration.makeClientConfiguration()
            client.trustRoots = .certificates(authorities)
            client.certificateChain = chain.map { .certificate($0) }
            client.privateKey = key.map { .privateKey($0) }
            contexts.client = try context(client, files)
        }
        return contexts
    }

    private static func context(_ configuration: TLSConfiguration, _ files: Files) throws(TLSError) -> NIOSSLContext {
        var configuration = configuration
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["h2"]
        // How long a peer may take to answer our farewell.
        configuration.shutdownTimeout = .milliseconds(500)
        do {
            return try NIOSSLContext(configuration: configuration)
        } catch {
            // All parts were readable, so it is that they do not belong together.
            throw .keyMismatch(certificate: files.certificate ?? "", key: files.key ?? "")
        }
    }

    private static func bytes(_ path: String, isSecret: Bool = false) throws(TLSError) -> [UInt8] {
        let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw .cannotRead(path: path, reason: unsafe String(cString: strerror(errno))) }
        defer { close(file) }
        if isSecret, let mode = SecretFile.openness(of: file, path: path) { throw .exposed(path: path, mode: mode) }
        var all: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = unsafe read(file, &buffer, buffer.count)
            guard count >= 0 else { throw .cannotRead(path: path, reason: unsafe String(cString: strerror(errno))) }
            guard count > 0 else { return all }
            all += buffer[..<count]
            guard all.count <= longestFile else { throw .cannotRead(path: path, reason: "it is too long") }
        }
    }

    /// More than any bundle of authorities needs.
    private static let longestFile = 4 << 20

    private static func certificates(_ path: String) throws(TLSError) -> [NIOSSLCertificate] {
        let bytes = try bytes(path)
        guard let found = try? NIOSSLCertificate.fromPEMBytes(bytes), !found.isEmpty else {
            throw .noCertificate(path: path)
        }
        return found
    }

    private static func checkDates(
        _ certificates: ArraySlice<NIOSSLCertificate>, _ path: String, now: time_t
    ) throws(TLSError) {
        for certificate in certificates {
            if certificate.notValidAfter < now {
                throw .expired(path: path, secondsSince1970: Int(certificate.notValidAfter))
            }
            if certificate.notValidBefore > now {
                throw .notYetValid(path: path, secondsSince1970: Int(certificate.notValidBefore))
            }
        }
    }
}

/// Why certificates cannot be used.
public enum TLSError: Error, Sendable, Equatable {
    /// No such file, no permission, …
    case cannotRead(path: String, reason: String)
    /// Every user of the machine may read or replace the private key.
    case exposed(path: String, mode: UInt32)
    /// Nothing in the file is a PEM certificate.
    case noCertificate(path: String)
    /// The file is no PEM private key, or an encrypted one.
    case badKey(path: String)
    /// The private key is not that of the first certificate in the file.
    case keyMismatch(certificate: String, key: String)
    /// The certificate has run out: make a new one.
    case expired(path: String, secondsSince1970: Int)
    /// The certificate's time has not come. Is the clock right?
    case notYetValid(path: String, secondsSince1970: Int)
    /// A certificate without its key, or the other way round.
    case incomplete
}

extension TLSError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .cannotRead(let path, let reason): "\(path) cannot be read: \(reason)"
        case .exposed(let path, let mode): SecretFile.description(path: path, mode: mode)
        case .noCertificate(let path): "\(path) holds no PEM certificate"
        case .badKey(let path): "\(path) is no unencrypted PEM private key"
        case .keyMismatch(let certificate, let key): "the key in \(key) is not that of the certificate in \(certificate)"
        case .expired(let path, let time): "the certificate in \(path) ran out on \(Self.day(time))"
        case .notYetValid(let path, let time): "the certificate in \(path) is not valid before \(Self.day(time))"
        case .incomplete: "a certificate needs its key, and a key its certificate"
        }
    }

    private static func day(_ secondsSince1970: Int) -> String {
        var seconds = time_t(secondsSince1970)
        var parts = unsafe tm()
        guard unsafe gmtime_r(&seconds, &parts) != nil else { return "\(secondsSince1970)" }
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return unsafe "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
    }
}

/// Tells one state of a file from another.
private struct FileStamp: Equatable {
    private let device: UInt64
    private let inode: UInt64
    private let byteCount: Int64
    private let modifiedSeconds: Int
    private let modifiedNanoseconds: Int
    /// Of the inode, its permissions among it.
    private let changedNanoseconds: Int
    private let changedSeconds: Int

    /// `nil` when there is no such file.
    init?(_ path: String) {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return nil }
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
        byteCount = Int64(status.st_size)
        modifiedSeconds = Int(status.st_mtim.tv_sec)
        modifiedNanoseconds = Int(status.st_mtim.tv_nsec)
        changedSeconds = Int(status.st_ctim.tv_sec)
        changedNanoseconds = Int(status.st_ctim.tv_nsec)
    }
}
