/// Makes longer bars from shorter ones on boundaries counted from 1970 in UTC, one bar in, at most one bar out.
///
/// A bar comes out when its last part has come in, never while it forms. Where the last part is missing, it comes out
/// when a bar of a later period shows that the period has ended. Feeding bar by bar equals resampling all at once.
public struct BarResampler: Sendable {
    /// A finished bar and how many of its parts there were.
    public struct Output: Sendable, Equatable {
        public var bar: Bar
        public var parts: Int
        /// How many a period without gaps has.
        public var expectedParts: Int

        public var isComplete: Bool { parts == expectedParts }
    }

    public let interval: Interval
    private var forming: Output?

    /// `interval` is a multiple of the bars' own.
    public init(to interval: Interval) {
        precondition(interval.microseconds > 0, "an interval is positive")
        self.interval = interval
    }

    /// Takes the next bar; its interval must divide the resampler's and its time must not go back (`BarValidator`).
    ///
    /// Returns the bars finished by it, in time order: two only where the bar before had a gap and this one fills a
    /// period.
    public mutating func add(_ bar: Bar) -> [Output] {
        precondition(
            bar.interval.microseconds > 0 && interval.microseconds % bar.interval.microseconds == 0,
            "the base interval divides the resampled one")
        let openTime = bar.openTime.floored(to: interval)
        var finished: [Output] = []
        if let output = forming, output.bar.openTime != openTime {
            precondition(output.bar.openTime < openTime, "bars come in time order")
            finished.append(output)
            forming = nil
        }
        if var output = forming {
            output.bar.high = max(output.bar.high, bar.high)
            output.bar.low = min(output.bar.low, bar.low)
            output.bar.close = bar.close
            output.bar.volume += bar.volume
            output.parts += 1
            forming = output
        } else {
            var first = bar
            first.openTime = openTime
            first.interval = interval
            forming = Output(
                bar: first, parts: 1, expectedParts: Int(interval.microseconds / bar.interval.microseconds))
        }
        if let output = forming, bar.closeTime >= output.bar.closeTime {
            finished.append(output)
            forming = nil
        }
        return finished
    }

    /// All finished bars of a series; a last bar that still forms is left out.
    public static func resample(_ bars: [Bar], to interval: Interval) -> [Output] {
        var resampler = BarResampler(to: interval)
        return bars.flatMap { resampler.add($0) }
    }
}
