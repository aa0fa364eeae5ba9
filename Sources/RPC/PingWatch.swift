internal import NIOCore

/// Counts the PINGs of a client that come too soon, as gRPC's servers do.
struct PingWatch {
    /// PINGs too soon that are let through.
    private static let strikeLimit = 2
    /// Least time between two on a connection without calls, unless `permitsWithoutCalls`.
    private static let idleInterval = TimeAmount.hours(2)

    private let configuration: ClientPingConfiguration
    private var latest: NIODeadline?
    private var strikeCount = 0

    init(_ configuration: ClientPingConfiguration) { self.configuration = configuration }

    /// Takes so many PINGs that came at once; `false`: they were too many. `afterData`: headers or data were sent since
    /// the ones before, which sets the count back and excuses the first.
    mutating func take(_ count: Int, now: NIODeadline, afterData: Bool, hasCalls: Bool) -> Bool {
        let isBusy = hasCalls || configuration.permitsWithoutCalls
        let interval = isBusy ? TimeAmount(configuration.minInterval) : Self.idleInterval
        let isFirstFine = afterData || latest.map { now - $0 >= interval } ?? true
        if afterData { strikeCount = 0 }
        strikeCount += interval > .zero ? count - (isFirstFine ? 1 : 0) : 0
        latest = now
        return strikeCount <= Self.strikeLimit
    }
}
