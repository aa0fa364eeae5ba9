public import Logging
public import RPC
public import Telemetry

/// How this process speaks to its peers, the same for services and the command line: `VOMMA_TLS_…` and
/// `VOMMA_RPC_COMPRESSION`.
public struct PeerSettings: Sendable {
    /// `nil`: connections are not encrypted.
    public var tls: TLSCredentials?
    /// How messages are compressed: requests to peers, and a service's responses.
    public var compression = MessageCompression.identity

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
        guard files != TLSCredentials.Files() else { return }
        do throws(TLSError) {
            tls = try TLSCredentials(files)
        } catch {
            settings.fault("VOMMA_TLS_…: \(error)")
        }
    }

    /// A channel to a peer, at one of these addresses or at all of them. Servers are verified, and shown our
    /// certificate, if there is an authority to verify by. Calls carry on the trace of the call that they are made in,
    /// and are counted in `metrics`.
    public func channel(
        to addresses: [Address], configuration: RPCChannelConfiguration = RPCChannelConfiguration(),
        metrics: MetricRegistry? = nil, log: Logger
    ) -> RPCChannel {
        var configuration = configuration
        configuration.interceptors.append(ClientTracing())
        if let metrics {
            // Outermost, so that calls which another interceptor refuses are counted too.
            configuration.interceptors.insert(ClientMetrics(metrics), at: 0)
            let peer = addresses.map(\.description).joined(separator: ",")
            configuration.metrics = ConnectionMetrics(client: metrics, peer: peer)
        }
        configuration.tls = tls.flatMap { $0.canVerifyServers ? $0 : nil }
        configuration.compression = compression
        return RPCChannel(addresses, configuration: configuration, log: log)
    }
}
