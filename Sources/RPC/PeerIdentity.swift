internal import NIOCore
internal import NIOSSL

/// Who the client of a mutual TLS connection is, by the certificate that an authority of ours has signed.
public struct PeerIdentity: Sendable, Hashable {
    /// The subject's common name, such as `policy-service`; `nil` where it has none.
    public var commonName: String?
    /// The subject alternative names: DNS names, URIs, mail and IP addresses, as text and in the certificate's order.
    public var names: [String]

    public init(commonName: String?, names: [String]) {
        self.commonName = commonName
        self.names = names
    }

    init(_ certificate: NIOSSLCertificate) {
        commonName = certificate.subjectName.first { $0.type == .commonName }?.value
        names = certificate._subjectAlternativeNames().compactMap { name in
            switch name.nameType {
            case .dnsName, .uri, .email: return String(decoding: name.contents, as: UTF8.self)
            case .ipAddress:
                return try? SocketAddress(packedIPAddress: ByteBuffer(bytes: name.contents), port: 0).ipAddress
            default: return nil
            }
        }
    }
}

/// What goes wrong with TLS on one connection, in words that say what to do.
enum TLSFailure {
    /// `nil` for an error that is none of TLS.
    static func describe(_ error: any Error) -> String? {
        guard error is NIOSSLError || error is BoringSSLError || error is NIOSSLExtraError else { return nil }
        if case .uncleanShutdown? = error as? NIOSSLError { return "connection closed" }
        let text = "\(error)"
        for (symptom, words) in known where text.contains(symptom) { return "TLS: \(words)" }
        return "TLS: \(text)"
    }

    /// BoringSSL's reasons; the alerts are what the peer says of us.
    private static let known = [
        ("CERTIFICATE_REQUIRED", "the server demands a client certificate, and we have none"),
        ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "the client showed no certificate"),
        ("ALERT_UNKNOWN_CA", "the peer does not trust the authority of our certificate"),
        ("ALERT_CERTIFICATE_EXPIRED", "our certificate has run out"),
        ("ALERT_BAD_CERTIFICATE", "the peer refuses our certificate"),
        ("ALERT_HANDSHAKE_FAILURE", "the peer refuses our certificate, or has no cipher in common"),
        ("ALERT_NO_APPLICATION_PROTOCOL", "the peer does not offer HTTP/2 (ALPN h2)"),
        ("CERTIFICATE_VERIFY_FAILED", "the peer's certificate does not come from an authority that we trust, or has run out"),
        ("failedToValidateHostname", "the server's certificate is for another name"),
        ("unableToValidateCertificate", "the server's certificate is for another name"),
        ("WRONG_VERSION_NUMBER", "the peer does not speak TLS"),
        ("HTTP_REQUEST", "the peer does not speak TLS"),
        ("UNSUPPORTED_PROTOCOL", "the peer does not speak TLS 1.2 or later"),
        ("ALERT_PROTOCOL_VERSION", "the peer does not speak TLS 1.2 or later"),
        ("EOF during handshake", "the peer closed the connection during the handshake. Does it speak TLS?"),
    ]
}
