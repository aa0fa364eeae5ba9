/// When a failed call is made again, as gRPC's proposal A6 has it: only while the server has not begun to answer, and
/// only for methods that may run twice (idempotent ones). There is no hedging.
///
/// Apart from this, calls that the server certainly never processed are made again without any policy.
public struct RetryPolicy: Sendable, Hashable {
    /// Attempts in all, the first one included: 2 … 5. Default 4.
    public var maxAttemptCount = 4
    /// Pause before the second attempt; each further one is `backoffMultiplier` times longer, all ±20 % at random.
    /// Default 50 ms. A server may ask for another pause, or for none of it (`grpc-retry-pushback-ms`).
    public var initialBackoff: Duration = .milliseconds(50)
    /// Longest pause. Default 1 s.
    public var maxBackoff: Duration = .seconds(1)
    /// At least 1. Default 2.
    public var backoffMultiplier = 2.0
    /// What is worth another attempt. Default: UNAVAILABLE.
    public var codes: Set<StatusCode> = [.unavailable]

    public init() {}

    /// The defaults, for a call that may run twice.
    public static let idempotent = RetryPolicy()
}

/// Keeps retries from making an overload worse: every failure of a call with a policy takes a token, every success
/// gives a part of one, and only with more than half of the tokens there are retries. One count for a channel.
public struct RetryThrottle: Sendable, Hashable {
    /// At the beginning, and at most: 1 … 1,000. Default 100.
    public var maxTokenCount = 100
    /// Given by a success. Default 0.1: in the long run one retry for ten calls.
    public var tokensPerSuccess = 0.1

    public init() {}
}

struct RetryThrottleState {
    private let configuration: RetryThrottle
    private var tokens: Double

    init(_ configuration: RetryThrottle) {
        self.configuration = configuration
        tokens = Double(configuration.maxTokenCount)
    }

    var allowsRetry: Bool { tokens > Double(configuration.maxTokenCount) / 2 }

    mutating func failed() { tokens = max(0, tokens - 1) }

    mutating func succeeded() {
        tokens = min(Double(configuration.maxTokenCount), tokens + configuration.tokensPerSuccess)
    }
}

/// What the server says about retries with its status.
enum RetryPushback: Equatable {
    case after(Duration)
    /// Negative, or no number.
    case never

    init(_ text: some Collection<UInt8>) {
        let milliseconds = Int(String(decoding: text, as: UTF8.self)) ?? -1
        self = milliseconds >= 0 ? .after(.milliseconds(milliseconds)) : .never
    }
}

/// The retries of one call. Pure.
struct RetryState {
    let policy: RetryPolicy
    /// Retries so far: `grpc-previous-rpc-attempts`.
    private(set) var retryCount = 0
    private var pause: Duration

    init(_ policy: RetryPolicy) {
        self.policy = policy
        pause = policy.initialBackoff
    }

    /// How long to wait before the next attempt; `nil`: the call has ended with this status. `random` in 0 ..< 1.
    mutating func retry(
        after status: RPCStatus, _ pushback: RetryPushback?, _ throttle: inout RetryThrottleState, random: Double
    ) -> Duration? {
        guard policy.codes.contains(status.code) || pushback == .never else { return nil }
        throttle.failed()
        guard pushback != .never, throttle.allowsRetry, retryCount + 1 < min(policy.maxAttemptCount, 5) else {
            return nil
        }
        retryCount += 1
        if case .after(let duration)? = pushback {
            // The server's word begins the series anew.
            pause = policy.initialBackoff
            return duration
        }
        let current = min(pause, policy.maxBackoff)
        pause = min(current * max(policy.backoffMultiplier, 1), policy.maxBackoff)
        return current * (0.8 + 0.4 * random)
    }
}
