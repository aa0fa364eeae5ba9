public import Logging
public import RPC
public import Telemetry

/// How this process speaks to its peers, the same for services and the command line: `VOMMA_TLS_…`,
/// `VOMMA_TOKEN_FILE`, `VOMMA_RPC_COMPRESSION` and `VOMMA_RPC_MAX_MESSAGE_BYTES`.
public struct PeerSettings: Sendable {
    /// `nil`: connections are not encrypted.
    public var tls: TLSCredentials?
    /// How messages are compressed: requests to peers, and a service's responses.
    public var compression = MessageCompression.identity
    /// Longest response that is taken from peers: as long as a request that a service takes.
    public var maxMessageByteCount = RPCLimit.defaults.maxMessageByteCount

    /// The metadata that shows peers our token; `nil`: we have none.
    var token: WatchedFile<Metadata>?

    /// Without keys: plain connections.
    public init() {}

    /// Reads the keys and the files that they name; what is wrong with either is a fault of the settings.
    public init(_ settings: inout Settings) {
        var files = TLSCredentials.Files()
        files.certificate = settings.path(
            "tls.certificate", "PEM file of the certificate, and of those between it and its authority")
        files.key = settings.path("tls.key", "PEM file of the certificate's private key")
        files.authority = settings.path(
            "tls.authority", "PEM file of the authorities that peers' certificates must come from")
        let encoding = settings.choice(
            "rpc.compression", default: "none", of: ["none", "gzip"], "how messages of 1 KiB and more are compressed")
        compression = encoding == "gzip" ? .gzip : .identity
        var limits = RPCLimit.defaults
        RPCLimit.longestMessage.read(&settings, into: &limits)
        maxMessageByteCount = limits.maxMessageByteCount
        if files != TLSCredentials.Files() {
            do throws(TLSError) {
                tls = try TLSCredentials(files)
            } catch {
                settings.fault("VOMMA_TLS_…: \(error)")
            }
        }
        if let path = settings.path("token.file", "file with the token that peers are shown with every call") {
            do throws(TokenFileError) {
                token = try WatchedFile(path, isSecret: true) { text, path throws(TokenFileError) in
                    try TokenCredentials.metadata(text, path: path)
                }
            } catch {
                settings.fault("VOMMA_TOKEN_FILE: \(error)")
            }
        }
    }

    private var channelsAreEncrypted: Bool { tls?.canVerifyServers == true }

    /// Why peers at these addresses must not be called: everybody on the way could read our token. `nil`: they may.
    public func tokenFault(for addresses: [Address]) -> String? {
        guard token != nil, !channelsAreEncrypted, let far = addresses.first(where: { !$0.isLoopback }) else {
            return nil
        }
        return "VOMMA_TOKEN_FILE is set, but calls to \(far) would show the token in plain text: set "
            + "VOMMA_TLS_AUTHORITY to call by TLS, or do not set VOMMA_TOKEN_FILE"
    }

    /// A channel to a peer, at one of these addresses or at all of them. Servers are verified, and shown our
    /// certificate, if there is an authority to verify by. Calls carry on the trace of the call that they are made in,
    /// and are counted in `metrics`.
    /// - Precondition: there is no `tokenFault` for these addresses.
    public func channel(
        to addresses: [Address], configuration: RPCChannelConfiguration = RPCChannelConfiguration(),
        metrics: MetricRegistry? = nil, log: Logger
    ) -> RPCChannel {
        precondition(tokenFault(for: addresses) == nil, "a token goes in plain text to this machine only")
        var configuration = configuration
        configuration.interceptors.append(ClientTracing())
        if let token { configuration.interceptors.append(TokenCredentials(token: token)) }
        if let metrics {
            // Outermost, so that calls which another interceptor refuses are counted too.
            configuration.interceptors.insert(ClientMetrics(metrics), at: 0)
            let peer = addresses.map(\.description).joined(separator: ",")
            configuration.metrics = ConnectionMetrics(client: metrics, peer: peer)
        }
        configuration.tls = channelsAreEncrypted ? tls : nil
        configuration.compression = compression
        configuration.maxMessageByteCount = maxMessageByteCount
        return RPCChannel(addresses, configuration: configuration, log: log)
    }
}
