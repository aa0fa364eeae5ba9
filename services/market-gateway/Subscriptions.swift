internal import MarketData
internal import ServiceKit
internal import Synchronization

/// How far one subscriber has been served. Written by its handler, read by whoever asks.
final class Subscription: Sendable {
    fileprivate let stream: String
    /// Microseconds; 0 before the first event.
    private let rowTime = Atomic<Int64>(0)
    private let handedOnAt = Atomic<Int64>(0)

    fileprivate init(stream: String) { self.stream = stream }

    /// The subscriber has been given everything up to this market time.
    func handedOn(_ time: Timestamp, at now: Timestamp) {
        handedOnAt.store(now.microseconds, ordering: .relaxed)
        rowTime.store(time.microseconds, ordering: .relaxed)
    }

    fileprivate var position: StreamPosition? {
        let time = rowTime.load(ordering: .relaxed)
        guard time != 0 else { return nil }
        return StreamPosition(
            stream: stream, rowTime: Timestamp(microseconds: time),
            handedOnAt: Timestamp(microseconds: handedOnAt.load(ordering: .relaxed)))
    }
}

/// The subscribers that are being served.
final class Subscriptions: Sendable {
    private let open = Mutex<[ObjectIdentifier: Subscription]>([:])

    func begin(_ stream: String) -> Subscription {
        let subscription = Subscription(stream: stream)
        open.withLock { $0[ObjectIdentifier(subscription)] = subscription }
        return subscription
    }

    func end(_ subscription: Subscription) {
        _ = open.withLock { $0.removeValue(forKey: ObjectIdentifier(subscription)) }
    }

    /// How far each stream is: that of the subscriber who is ahead.
    var positions: [StreamPosition] {
        let all = open.withLock { Array($0.values) }.compactMap(\.position)
        return Array(Dictionary(all.map { ($0.stream, $0) }) { $0.rowTime < $1.rowTime ? $1 : $0 }.values)
    }
}
