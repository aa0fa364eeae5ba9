/// How a server listens and what it allows its peers. Not secret, any of it.
public struct RPCServerConfiguration: Sendable {
    /// Address to bind: a host name or a numeric address. Default: loopback.
    public var host: String
    /// 0 takes a free port, see `RPCServer.boundPort`.
    public var port: Int
    /// Encrypts every connection; `nil` (default): none. With an authority clients have to show a certificate, and
    /// `CallContext.identity` tells whose it is. Needs credentials that have a certificate.
    public var tls: TLSCredentials?
    /// Longest request message, in bytes; a longer one ends the call with RESOURCE_EXHAUSTED. Default 4 MiB, as gRPC.
    public var maxMessageByteCount = 4 << 20
    /// Bytes that all clients together may make the server hold: messages not whole or not taken yet, responses not
    /// sent yet. Above it, calls that would add to it on connections that hold 64 KiB already end with
    /// RESOURCE_EXHAUSTED. Default 512 MiB.
    public var maxHeldByteCount = 512 << 20
    /// How responses are compressed for clients that take it. Default: not at all. Requests may always be compressed.
    public var compression = MessageCompression.identity
    public var http2 = HTTP2Configuration()
    /// Connections served at once; further ones are closed on accept. Default 1,000.
    public var maxConnectionCount = 1000
    /// Time for a new connection to finish the TLS handshake and send its HTTP/2 preface and settings before it is
    /// closed. Default 10 s.
    public var handshakeTimeout: Duration = .seconds(10)
    /// A connection without calls for this long is drained and closed; `nil` (default): never.
    public var maxConnectionIdle: Duration?
    /// A connection is drained and closed at about this age, ±10 % at random so that not all come back at once; `nil`
    /// (default): at none. With it clients find servers that were added, and old credentials get out of use.
    public var maxConnectionAge: Duration?
    /// How long the calls of such a connection may go on before they end with UNAVAILABLE; `nil` (default): as long as
    /// they take.
    public var maxConnectionAgeGrace: Duration?
    /// How often clients may send PING.
    public var clientPings = ClientPingConfiguration()
    /// Silence on a connection with calls after which a PING is sent, and then how long to wait for any byte.
    public var keepAlive = KeepAliveConfiguration()
    /// After `beginShutdown`, how long accepted calls may go on before they end with UNAVAILABLE. Default 5 s.
    public var drainTimeout: Duration = .seconds(5)
    /// Where handlers run whose method does not say. Default: the event loop.
    public var execution = HandlerExecution.eventLoop
    /// Seen by every call, in this order at its beginning. Default: none.
    public var interceptors: [any ServerInterceptor] = []
    /// Where connections and waiting writers are counted. Default: nowhere.
    public var metrics: ConnectionMetrics?

    public init(host: String = "127.0.0.1", port: Int = 0) {
        self.host = host
        self.port = port
    }
}

/// How messages are compressed before they are sent, on the connection's event loop.
public enum MessageCompression: Sendable, Hashable {
    case identity
    /// By gzip, at its quickest level: messages of at least so many bytes, and of those the ones that get shorter.
    case gzip(fromByteCount: Int)

    /// For messages of at least 1 KiB: shorter ones fit into the packet that is sent anyway.
    public static let gzip = MessageCompression.gzip(fromByteCount: 1024)

    /// The shortest message that is compressed.
    var fromByteCount: Int {
        switch self {
        case .identity: .max
        case .gzip(let byteCount): byteCount
        }
    }
}

/// HTTP/2 limits and windows of one connection, the same for both roles.
public struct HTTP2Configuration: Sendable {
    /// Flow-control window of one stream, bytes: the most that a sender is ahead of the application, beside the one
    /// message being put together. 65,535 … 2³¹−1 is sensible, smaller is legal. Default 512 KiB.
    public var streamWindowByteCount = 512 << 10
    /// Flow-control window of the connection, bytes. Data is credited on arrival, so that one slow stream does not stop
    /// the others. At least 65,535. Default 2 MiB.
    public var connectionWindowByteCount = 2 << 20
    /// Streams that the peer may have open at once; further ones are refused. Default 128. nghttp2 also remembers as
    /// many that are over, at some 350 bytes each, to tell a late frame from a wrong one.
    public var maxConcurrentStreamCount = 128
    /// Size of one header block as HPACK counts it (names, values, and 32 a field). Default 16 KiB.
    public var maxHeaderListByteCount = 16 << 10
    /// Unsent bytes of one stream above which its writer is suspended, until half of them are sent. Default 64 KiB.
    public var writeHighWaterMark = 64 << 10
    /// Control frames (PING, SETTINGS, PRIORITY, empty DATA) that a peer may send in a burst, and then a second; more
    /// close the connection with ENHANCE_YOUR_CALM. Default 1,000 and 200.
    public var maxControlFrameBurst = 1000
    public var maxControlFramesPerSecond = 200

    public init() {}
}

/// Detection of peers that are gone without a word.
public struct KeepAliveConfiguration: Sendable {
    /// Silence after which a PING is sent, if calls are in flight. Default 20 s.
    public var interval: Duration = .seconds(20)
    /// Further silence after which the connection counts as dead. Default 10 s.
    public var timeout: Duration = .seconds(10)

    public init() {}
}

/// How often clients may send PING, as gRPC's servers have it: after two that come too soon, a third one ends the
/// connection with ENHANCE_YOUR_CALM, “too_many_pings”, at which clients of gRPC's slow down. PINGs after headers or
/// data of ours are never too soon: clients measure the network with them.
public struct ClientPingConfiguration: Sendable {
    /// Least time between two. Default 5 s: half of what gRPC's clients allow themselves at the least, a quarter of our
    /// own clients' `KeepAliveConfiguration.interval`. gRPC's servers have 5 minutes, which those of our clients that
    /// notice a dead server within half a minute would not survive.
    public var minInterval: Duration = .seconds(5)
    /// Whether the same holds while a connection has no calls. Default: no, then one in two hours is enough.
    public var permitsWithoutCalls = false

    public init() {}
}

/// How a channel connects, and what it allows the server.
public struct RPCChannelConfiguration: Sendable {
    /// Encrypts every connection, to servers whose certificate is for the host's name or address. Needs credentials
    /// that have an authority. `nil` (default): plain.
    public var tls: TLSCredentials?
    /// Longest response message, in bytes; a longer one ends the call with RESOURCE_EXHAUSTED. Default 4 MiB, as gRPC.
    public var maxMessageByteCount = 4 << 20
    /// How requests are compressed. Default: not at all. Responses may always be compressed.
    public var compression = MessageCompression.identity
    public var http2 = HTTP2Configuration()
    public var keepAlive = KeepAliveConfiguration()
    /// Time for one attempt to connect, TLS handshake and settings exchange included. Default 5 s.
    public var connectTimeout: Duration = .seconds(5)
    /// How calls are spread over the server's addresses. Default: pick-first.
    public var balancing = Balancing.pickFirst
    /// Least time between two look-ups of the server's name; one follows every lost connection and failed attempt.
    /// Default 1 s.
    public var resolutionInterval: Duration = .seconds(1)
    /// With round-robin, the name is looked up as often as this at least, so that added addresses are found. Default
    /// 30 s.
    public var refreshInterval: Duration = .seconds(30)
    /// Pause after the first failed attempt; each further one is 1.6 times longer, ±20 % at random. Default 50 ms.
    public var initialBackoff: Duration = .milliseconds(50)
    /// Longest pause between attempts. Default 5 s.
    public var maxBackoff: Duration = .seconds(5)
    /// How much the channel's calls may be retried by their policies.
    public var retryThrottle = RetryThrottle()
    /// Bytes of one call's stream of requests that are kept for another attempt, until the server begins to answer;
    /// a call that has sent more is not made again. Default 256 KiB. The one request of other calls is always kept.
    public var retryBufferByteCount = 256 << 10
    /// Calls that may wait for a connection; further ones end with RESOURCE_EXHAUSTED. Default 10,000.
    public var maxWaitingCallCount = 10_000
    /// Seen by every call, in this order at its beginning. Default: none.
    public var interceptors: [any ClientInterceptor] = []
    /// Where connections and waiting writers are counted. Default: nowhere.
    public var metrics: ConnectionMetrics?

    public init() {}
}

/// Options of one call.
public struct CallOptions: Sendable {
    /// From now until DEADLINE_EXCEEDED; `nil`: no limit of its own. A call made inside a handler ends at the handled
    /// call's deadline, if that is sooner.
    public var timeout: Duration?
    /// Wait for a connection while there is none, instead of failing with UNAVAILABLE.
    public var waitForReady: Bool
    /// For methods that may run twice: when to make the call again. Default: never.
    public var retry: RetryPolicy?
    /// How the requests are compressed. Only where the server is known to read gzip. Default: as the channel says.
    public var compression: MessageCompression?
    /// Custom headers.
    public var metadata: Metadata

    public init(
        timeout: Duration? = nil, waitForReady: Bool = false, retry: RetryPolicy? = nil,
        compression: MessageCompression? = nil, metadata: Metadata = [:]
    ) {
        self.timeout = timeout
        self.waitForReady = waitForReady
        self.retry = retry
        self.compression = compression
        self.metadata = metadata
    }
}
