/// Values by the time from which each was known, for joins that only look backward.
public struct AsOfSeries<Value: Sendable>: Sendable {
    /// Never decreasing.
    public private(set) var knownAt: [Timestamp] = []
    public private(set) var values: [Value] = []

    public init() {}

    /// `elements` in any order; of two known at one instant the later in the list counts.
    public init(_ elements: [(knownAt: Timestamp, value: Value)]) {
        let order = elements.indices.sorted {
            (elements[$0].knownAt, $0) < (elements[$1].knownAt, $1)
        }
        knownAt = order.map { elements[$0].knownAt }
        values = order.map { elements[$0].value }
    }

    public var count: Int { values.count }

    /// Adds a value; O(1) when it is the newest, O(count) when it came late.
    public mutating func append(_ value: Value, knownAt time: Timestamp) {
        let place = upperBound(time)
        knownAt.insert(time, at: place)
        values.insert(value, at: place)
    }

    /// The position of the newest element known at `time`, no older than `tolerance`; `nil` where there is none.
    ///
    /// An element known at exactly `time` counts, one of exactly the tolerance's age too; nothing later ever does.
    /// O(log count).
    public func index(asOf time: Timestamp, tolerance: Interval? = nil) -> Int? {
        let place = upperBound(time) - 1
        guard place >= 0 else { return nil }
        if let tolerance, time - knownAt[place] > tolerance { return nil }
        return place
    }

    /// The newest value known at `time`, no older than `tolerance`.
    public func value(asOf time: Timestamp, tolerance: Interval? = nil) -> Value? {
        index(asOf: time, tolerance: tolerance).map { values[$0] }
    }

    /// For each of `times`, the position of the newest element known then. O(log count) each, in any order.
    public func join(_ times: [Timestamp], tolerance: Interval? = nil) -> [Int?] {
        times.map { index(asOf: $0, tolerance: tolerance) }
    }

    /// The first position whose time is later than `time`.
    private func upperBound(_ time: Timestamp) -> Int {
        if let last = knownAt.last, last <= time { return knownAt.count }
        var low = 0
        var high = knownAt.count
        while low < high {
            let middle = (low + high) / 2
            if knownAt[middle] <= time { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
