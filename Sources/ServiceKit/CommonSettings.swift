internal import Logging
internal import RPC
internal import Storage

/// The keys that every service has.
struct CommonSettings {
    var host: String
    var port: Int
    var logLevel: Logger.Level
    var databaseURL: String
    var databaseConnections: Int
    var databasePatience: Duration
    var exitsWithStandardInput: Bool
    /// `nil`: metrics are kept by nobody.
    var metricsPort: Int?
    var peers: PeerSettings
    /// Whom the server lets in; `nil`: everybody.
    var tokens: WatchedFile<AcceptedTokens>?
    /// Where the server listens, and its limits.
    var server: RPCServerConfiguration

    init(_ settings: inout Settings, port defaultPort: Int, needsDatabase: Bool) {
        host = settings.string("host", default: "127.0.0.1", "address to listen on")
        port = settings.int("port", default: defaultPort, in: 0...65_535, "port to listen on; 0 takes a free one")
        let level = settings.choice(
            "log.level", default: "info", of: Logger.Level.allCases.map(\.rawValue), "least severe level that is logged"
        )
        logLevel = Logger.Level(rawValue: level) ?? .info
        let metrics = settings.int(
            "metrics.port", default: -1, in: -1...65_535,
            "port of the metrics, GET /metrics; 0 takes a free one, -1 serves none")
        metricsPort = metrics < 0 ? nil : metrics
        peers = PeerSettings(&settings)
        let tokensFile = settings.path(
            "tokens.file", "file with the names and SHA-256 of the tokens that callers have to show one of")
        if let tokensFile {
            do throws(TokenFileError) {
                tokens = try WatchedFile(tokensFile) { text, path throws(TokenFileError) in
                    try AcceptedTokens(text, path: path)
                }
            } catch {
                settings.fault("VOMMA_TOKENS_FILE: \(error)")
            }
        }
        server = RPCLimit.defaults
        (server.host, server.port) = (host, port)
        RPCLimit.read(&settings, into: &server)
        databaseURL = settings.string(
            "database.url", default: needsDatabase ? nil : "",
            "PostgreSQL, as postgresql://user:password@host/database\(needsDatabase ? "" : "; without it, no models")",
            secret: true)
        databaseConnections = settings.int(
            "database.connections", default: 4, in: 1...64, "most connections to PostgreSQL")
        let seconds = settings.int(
            "database.patience", default: 30, in: 0...3600, "seconds to wait at start for PostgreSQL")
        databasePatience = .seconds(seconds)
        exitsWithStandardInput = settings.choice(
            "exit.with.stdin", default: "no", of: ["no", "yes"], "stop when standard input is closed") == "yes"
    }

    func storage(applicationName: String) throws -> StorageConfiguration {
        var configuration = try StorageConfiguration(url: databaseURL)
        configuration.maximumConnections = databaseConnections
        configuration.applicationName = applicationName
        return configuration
    }
}
