/// The pauses between attempts to connect: exponential with jitter,
/// https://github.com/grpc/grpc/blob/master/doc/connection-backoff.md.
struct Backoff {
    private let initial: Duration
    private let longest: Duration
    private var current: Duration

    init(initial: Duration, longest: Duration) {
        self.initial = initial
        self.longest = longest
        current = initial
    }

    /// The next pause: 1.6 times the one before, at most `longest`, then ±20 % by `random` in 0 ..< 1.
    mutating func next(random: Double) -> Duration {
        let pause = min(current, longest)
        current = min(current * 1.6, longest)
        return pause * (0.8 + 0.4 * random)
    }

    /// A connection was made: the next failure starts from the beginning.
    mutating func reset() { current = initial }
}
