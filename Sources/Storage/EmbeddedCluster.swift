internal import Glibc

/// A private PostgreSQL under a data folder, run with the server programs that this machine has installed.
///
/// It listens on a unix socket only, wants a password (random, in a file that only we can read), and keeps its data
/// over
/// restarts and crashes of the server and of us. The server is a process of its own: it goes on when we die, the next
/// `start` finds it, and only `stop` ends it.
///
/// As root, which PostgreSQL refuses to run under, the server runs as `Configuration.serverUser`. All methods block,
/// but
/// on the actor's own thread.
public actor EmbeddedCluster {
    public struct Configuration: Sendable, Equatable {
        /// Where the cluster lives; made if need be. All of it belongs to us, but for `server/`, the server user's.
        public var folder: String
        /// Who the server runs as when we are root. Default `postgres`, which Debian's packages make.
        public var serverUser = "postgres"
        /// The database that `start` makes and whose URL it returns. Default `vomma`.
        public var database = "vomma"
        /// Lines of postgresql.conf beside ours, which they override. Durability (fsync) is on unless set otherwise
        /// here.
        public var settings: [String: String] = [:]
        /// How long starting (crash recovery included) and stopping may take. Default 60 s.
        public var timeout: Duration = .seconds(60)

        public init(folder: String) { self.folder = folder }
    }

    public enum Status: Sendable, Equatable {
        /// Never started: there is no data.
        case absent
        case stopped
        case running(processIdentifier: Int32)
    }

    public let configuration: Configuration
    private let thread: ConnectionThread
    public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe thread.asUnownedSerialExecutor() }

    static let role = "vomma"
    static let defaultPort = "5432"

    public init(_ configuration: Configuration) throws(StorageError) {
        self.configuration = configuration
        thread = try ConnectionThread()
    }

    deinit { thread.stop() }

    // MARK: Life

    /// Starts the server, unless it runs already, and returns the URL of the database. The first time, this makes the
    /// cluster (a few seconds). Safe when several processes do it at once.
    ///
    /// Throws `missingServer`, and `cluster` with the reason and the end of the server's log.
    public func start() async throws(StorageError) -> String {
        let place = try Place(configuration, makeFolders: true)
        let url: String
        do {
            let lock = try FileLock(place.folder + "/lock")
            defer { _ = lock }
            let programs = try place.programs()
            let password = try place.initialise(programs)
            try place.startServer(programs)
            url = place.url(password: password, database: configuration.database)
            try await createDatabase(url: place.url(password: password, database: "postgres"))
        }
        return url
    }

    /// Stops the server: open transactions are rolled back, everything committed is on disk. Nothing happens where none
    /// runs.
    public func stop() throws(StorageError) { try Self.stop(configuration, mode: "fast") }

    public func status() throws(StorageError) -> Status {
        guard FileSystem.exists(configuration.folder) else { return .absent }
        return try Place(configuration, makeFolders: false).status
    }

    /// For exit handlers, which can't wait for an actor: stops the server at once and deletes the folder. Blocks.
    package nonisolated static func destroy(_ configuration: Configuration) throws(StorageError) {
        guard FileSystem.exists(configuration.folder) else { return }
        try stop(configuration, mode: "immediate")
        let place = try Place(configuration, makeFolders: false)
        _ = try Program.run(["/bin/rm", "-rf", "--", place.folder] + [place.socketFolder])
    }

    /// Our own folders whose names begin with `prefix`; for the test fixture's cleaning up.
    package nonisolated static func folders(in folder: String, prefix: String) -> [String] {
        FileSystem.names(in: folder).filter { name in
            guard name.hasPrefix(prefix), let status = FileSystem.status("\(folder)/\(name)") else { return false }
            return status.isFolder && status.owner == geteuid()
        }
    }

    private static func stop(_ configuration: Configuration, mode: String) throws(StorageError) {
        guard FileSystem.exists(configuration.folder) else { return }
        let place = try Place(configuration, makeFolders: false)
        guard case .running = place.status else { return }
        let outcome = try place.asServer([
            try place.programs() + "/pg_ctl", "stop", "-D", place.data, "-m", mode, "-w", "-t", place.timeoutSeconds,
        ])
        guard outcome.status == 0 || place.status == .stopped else {
            throw .cluster("the server could not be stopped: \(outcome.output)")
        }
    }

    private func createDatabase(url: String) async throws(StorageError) {
        let connection = try Connection(StorageConfiguration(url: url))
        let name = try Identifier(configuration.database)
        try await connection.open()
        do {
            let known = try await connection.query("SELECT 1 FROM pg_database WHERE datname = $1", [name.name]) {
                (row) throws(StorageError) in try row.get(0, as: Int32.self)
            }
            if known.isEmpty { try await connection.script("CREATE DATABASE \(name)") }
        } catch {
            await connection.disconnect()
            throw error
        }
        await connection.disconnect()
    }

    // MARK: Places

    /// The cluster's files and programs, and what is done with them.
    private struct Place {
        let configuration: Configuration
        /// The folder from the root, links resolved.
        let folder: String
        let socketFolder: String
        /// Names the socket; of TCP only where `settings` make the server listen.
        var port: String { configuration.settings["port"] ?? EmbeddedCluster.defaultPort }
        /// Root only: who the server runs as.
        let user: (name: String, user: UInt32, group: UInt32)?

        var server: String { folder + "/server" }
        var data: String { server + "/data" }
        var logFile: String { server + "/server.log" }
        private var passwordFile: String { folder + "/password" }
        var timeoutSeconds: String { String(max(1, configuration.timeout.milliseconds / 1000)) }

        init(_ configuration: Configuration, makeFolders: Bool) throws(StorageError) {
            self.configuration = configuration
            user = geteuid() == 0 ? try Self.account(configuration.serverUser) : nil
            if makeFolders { try FileSystem.makeFolder(configuration.folder, mode: 0o755) }
            guard let folder = FileSystem.resolved(configuration.folder) else {
                throw FileSystem.failure(configuration.folder)
            }
            self.folder = folder
            socketFolder = Self.socketFolder(for: folder)
            guard makeFolders else { return }
            for path in [server, socketFolder] {
                try FileSystem.makeFolder(path, mode: 0o700)
                // The short folder is in /tmp, where anybody could have made it before us: only a folder of ours will
                // do.
                guard let status = FileSystem.status(path), status.isFolder,
                    status.owner == geteuid() || status.owner == user?.user
                else { throw .cluster("\(path) is not a folder of ours") }
                if let user, status.owner != user.user { try FileSystem.setOwner(path, user.user, user.group) }
            }
            if let user, try asServer(["/usr/bin/test", "-w", server]).status != 0 {
                throw .cluster("the user \(user.name) can't reach \(server): choose a folder that it can enter")
            }
        }

        private static func account(_ name: String) throws(StorageError) -> (String, UInt32, UInt32) {
            guard let entry = unsafe getpwnam(name) else {
                throw .cluster("running as root needs the user \(name), which PostgreSQL's package makes")
            }
            return unsafe (name, entry.pointee.pw_uid, entry.pointee.pw_gid)
        }

        /// A unix socket's path has 107 bytes at most: where the cluster's own folder is too deep, a short one in /tmp,
        /// named by a hash (FNV-1a) of the folder.
        private static func socketFolder(for folder: String) -> String {
            let own = folder + "/server/run"
            if own.utf8.count + "/.s.PGSQL.65535.lock".utf8.count <= 107 { return own }
            var hash: UInt64 = 0xCBF2_9CE4_8422_2325
            for byte in folder.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
            return "/tmp/vomma-" + String(hash, radix: 16)
        }

        /// Runs a server program as the user that it must not be root for.
        func asServer(_ arguments: [String]) throws(StorageError) -> Program.Outcome {
            guard let user else { return try Program.run(arguments) }
            let prefix: [String]
            if FileSystem.isExecutable("/usr/bin/setpriv") {
                prefix = [
                    "/usr/bin/setpriv", "--reuid=\(user.user)", "--regid=\(user.group)", "--clear-groups",
                    "--inh-caps=-all", "--",
                ]
            } else {
                prefix = ["/usr/sbin/runuser", "-u", user.name, "--"]
            }
            // From /, because that user need not be allowed to stand where we do.
            return try Program.run(["/usr/bin/env", "-C", "/"] + prefix + arguments)
        }

        func url(password: String, database: String) -> String {
            func encoded(_ text: String) -> String {
                text.utf8.map { byte in
                    switch byte {
                    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: String(UnicodeScalar(byte))
                    default: "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
                    }
                }.joined()
            }
            return "postgresql://\(role):\(encoded(password))@/\(encoded(database))"
                + "?host=\(encoded(socketFolder))&port=\(port)"
        }

        /// The folder of the server programs: of the version that made the data, or else the newest.
        func programs() throws(StorageError) -> String {
            var folders: [String] = []
            if let path = unsafe getenv("PATH") {
                folders += unsafe String(cString: path).split(separator: ":").map(String.init)
            }
            let versions = FileSystem.names(in: "/usr/lib/postgresql").compactMap { Int($0) }.sorted(by: >)
            folders += versions.map { "/usr/lib/postgresql/\($0)/bin" }
            folders += ["/usr/local/pgsql/bin", "/usr/local/bin"]
            let complete = folders.filter { folder in
                ["postgres", "initdb", "pg_ctl"].allSatisfy { FileSystem.isExecutable("\(folder)/\($0)") }
            }
            guard let first = complete.first else {
                throw .missingServer(searched: ["PATH", "/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin"])
            }
            guard let text = FileSystem.read(data + "/PG_VERSION") else { return first }
            let version = text.prefix { !$0.isWhitespace }
            for folder in complete {
                // `postgres (PostgreSQL) 15.6`
                let words = try Program.run([folder + "/postgres", "--version"]).output.split(separator: " ")
                if words.count > 2, words[2].prefix(while: { $0.isNumber }) == version { return folder }
            }
            throw .cluster("the data is of PostgreSQL \(version), whose server programs are not installed")
        }

        /// Makes the cluster where there is none; returns the password.
        func initialise(_ programs: String) throws(StorageError) -> String {
            let isMade = FileSystem.exists(data + "/PG_VERSION")
            if let known = FileSystem.read(passwordFile), !known.isEmpty {
                if isMade { return known }
            } else if isMade {
                throw .cluster("\(passwordFile) is missing, and the data can't be opened without it")
            }
            let password = RandomPassword.make()
            try FileSystem.write(password, to: passwordFile)
            // Made aside and renamed when complete: a cluster is there as a whole, or not at all.
            let draft = server + "/data.new"
            let handedPassword = server + "/initial-password"
            _ = try Program.run(["/bin/rm", "-rf", "--", draft])
            try FileSystem.write(password, to: handedPassword)
            defer { FileSystem.remove(handedPassword) }
            if let user { try FileSystem.setOwner(handedPassword, user.user, user.group) }
            let outcome = try asServer([
                programs + "/initdb", "-D", draft, "-U", role, "--pwfile=\(handedPassword)", "-A", "scram-sha-256",
                "-E", "UTF8", "--locale=C.UTF-8",
            ])
            guard outcome.status == 0 else { throw .cluster("initdb failed: \(outcome.output)") }
            guard unsafe rename(draft, data) == 0 else { throw FileSystem.failure(data) }
            return password
        }

        func startServer(_ programs: String) throws(StorageError) {
            if case .running = status { return }
            try writeSettings()
            var last = "processes of a dead server still use \(data)"
            for _ in 0..<100 {
                guard removeDeadLocks() else {
                    usleep(100_000)
                    continue
                }
                let outcome = try asServer([
                    programs + "/pg_ctl", "start", "-D", data, "-l", logFile, "-w", "-t", timeoutSeconds, "-s",
                ])
                if outcome.status == 0 { return }
                last = outcome.output
                // After a SIGKILL of the server, its children hold the shared memory for a moment longer.
                guard logEnd.contains("shared memory") else { break }
                usleep(100_000)
            }
            throw .cluster("the server did not start: \(last)\n\(logEnd)")
        }

        private func writeSettings() throws(StorageError) {
            var settings = [
                "listen_addresses": "", "port": port, "unix_socket_directories": socketFolder,
                "unix_socket_permissions": "0700", "max_connections": "100", "shared_buffers": "128MB",
                "max_wal_size": "2GB", "log_timezone": "UTC", "timezone": "UTC", "logging_collector": "off",
                // Plans of prepared statements are small here: planning anew costs more than it saves.
                "jit": "off",
            ]
            settings.merge(configuration.settings) { _, theirs in theirs }
            let lines = settings.sorted { $0.key < $1.key }.map { "\($0.key) = \(Identifier.literal($0.value))\n" }
            let path = data + "/postgresql.conf"
            try FileSystem.write("# Written at each start.\n" + lines.joined(), to: path)
            if let user { try FileSystem.setOwner(path, user.user, user.group) }
        }

        private var logEnd: String {
            guard let text = FileSystem.read(logFile) else { return "" }
            return text.split(separator: "\n").suffix(8).joined(separator: "\n")
        }

        var status: Status {
            guard FileSystem.exists(data + "/PG_VERSION") else { return .absent }
            guard let identifier = lockHolder, isServer(identifier) else { return .stopped }
            return .running(processIdentifier: identifier)
        }

        /// The process named in postmaster.pid, alive or not.
        private var lockHolder: Int32? {
            FileSystem.read(data + "/postmaster.pid")?.split(separator: "\n").first.flatMap { Int32($0) }
        }

        /// Whether a process is a server on our data: its name, and where it stands.
        private func isServer(_ identifier: Int32) -> Bool {
            guard let name = FileSystem.read("/proc/\(identifier)/comm"), name.hasPrefix("postgres") else {
                return false
            }
            return FileSystem.resolved("/proc/\(identifier)/cwd") == FileSystem.resolved(data)
        }

        /// Removes the lock files of a server that is gone, but whose process number is not: it belongs to another
        /// process
        /// now (after a reboot, in a new container) or to a zombie, and PostgreSQL would refuse to start. Locks whose
        /// number is free are PostgreSQL's to judge. False while orphans of the dead server still stand in the data.
        private func removeDeadLocks() -> Bool {
            for path in [data + "/postmaster.pid", "\(socketFolder)/.s.PGSQL.\(port).lock"] {
                guard let holder = FileSystem.read(path)?.split(separator: "\n").first.flatMap({ Int32($0) }),
                    FileSystem.exists("/proc/\(holder)"), !isServer(holder)
                else { continue }
                let orphans = FileSystem.names(in: "/proc").compactMap { Int32($0) }.filter { isServer($0) }
                guard orphans.isEmpty else { return false }
                FileSystem.remove(path)
            }
            return true
        }
    }
}
