public import Logging
public import RPC

/// How this process speaks to its peers, the same for services and the command line: `VOMMA_TLS_…`.
public struct PeerSettings: Sendable {
    /// `nil`: connections are not encrypted.
    public var tls: TLSCredentials?

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
        guard files != TLSCredentials.Files() else { return }
        do throws(TLSError) {
            tls = try TLSCredentials(files)
        } catch {
            settings.fault("VOMMA_TLS_…: \(error)")
        }
    }

    /// A channel to a peer, at one of these addresses or at all of them. Servers are verified, and shown our
    /// certificate, if there is an authority to verify by.
    public func channel(
        to addresses: [Address], configuration: RPCChannelConfiguration = RPCChannelConfiguration(), log: Logger
    ) -> RPCChannel {
        var configuration = configuration
        configuration.tls = tls.flatMap { $0.canVerifyServers ? $0 : nil }
        return RPCChannel(addresses, configuration: configuration, log: log)
    }
}
