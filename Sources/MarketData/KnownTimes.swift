/// From when a recorded value could have been known: what keeps history free of look-ahead.
///
/// Where a source does not say when it published, the latest plausible time counts.
public enum KnownTimes {
    /// A snapshot of an option chain was polled for 10 to 20 minutes from its stamp: known when the slowest had ended.
    public static let chainPolling = Interval.minutes(20)
    /// Binance publishes the statistics of an instant some minutes later.
    public static let openInterestDelay = Interval.minutes(5)

    /// From when a chain with this stamp is known.
    public static func chain(snapshotTime: Timestamp) -> Timestamp { snapshotTime + chainPolling }

    /// From when an open interest of this instant is known.
    public static func openInterest(_ time: Timestamp) -> Timestamp { time + openInterestDelay }

    /// The Fear & Greed index of a day is stamped with the day's start but rests on the day's figures and is published
    /// some time during it: known from the next midnight UTC.
    public static func fearGreed(_ time: Timestamp) -> Timestamp { time.floored(to: .days(1)) + .days(1) }

    /// A message is known when it was published, or first seen where that is later. A time of exactly midnight is a
    /// date without a time: known from the next midnight.
    public static func message(published: Timestamp, firstSeen: Timestamp? = nil) -> Timestamp {
        let isDateOnly = published == published.floored(to: .days(1))
        let known = isDateOnly ? published + .days(1) : published
        return firstSeen.map { max($0, known) } ?? known
    }
}
