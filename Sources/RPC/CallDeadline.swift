/// When a call has to end: a moment of the continuous clock, as the time since a moment that all of this process share.
///
/// The clock's own instants are opaque to the compiler, so that each copy or comparison of one is a call or two.
struct CallDeadline: Comparable, Sendable {
    private static let origin = ContinuousClock.now
    private let sinceOrigin: Duration

    init(_ instant: ContinuousClock.Instant) { sinceOrigin = Self.origin.duration(to: instant) }

    private init(sinceOrigin: Duration) { self.sinceOrigin = sinceOrigin }

    static var now: CallDeadline { CallDeadline(.now) }

    var instant: ContinuousClock.Instant { Self.origin.advanced(by: sinceOrigin) }

    static func < (left: CallDeadline, right: CallDeadline) -> Bool { left.sinceOrigin < right.sinceOrigin }

    static func + (left: CallDeadline, right: Duration) -> CallDeadline {
        CallDeadline(sinceOrigin: left.sinceOrigin + right)
    }

    static func - (left: CallDeadline, right: CallDeadline) -> Duration { left.sinceOrigin - right.sinceOrigin }
}
