/// The last `capacity` values, oldest overwritten first.
public struct Window: Restorable {
    public let capacity: Int
    private var storage: [Double]
    /// Where the next value goes; 0 again each time the window has been overwritten once.
    private var next = 0
    public private(set) var count = 0

    /// Traps when `capacity` is not positive.
    public init(_ capacity: Int) {
        precondition(capacity > 0, "a window holds at least one value")
        self.capacity = capacity
        storage = [Double](repeating: 0, count: capacity)
    }

    public var isFull: Bool { count == capacity }
    /// True right after every `capacity`-th push: the time to recompute what is otherwise kept by differences.
    public var hasWrapped: Bool { next == 0 && count == capacity }

    /// Adds `value` and returns the one that had to go, once the window is full.
    @discardableResult
    public mutating func push(_ value: Double) -> Double? {
        let evicted: Double? = count == capacity ? storage[next] : nil
        storage[next] = value
        next = next + 1 == capacity ? 0 : next + 1
        if count < capacity { count += 1 }
        return evicted
    }

    /// The value `age` pushes ago: 0 is the newest. Traps when it is not (or no longer) there.
    public subscript(age age: Int) -> Double {
        precondition(age >= 0 && age < count, "the window does not reach back so far")
        let index = next - 1 - age
        return storage[index < 0 ? index + capacity : index]
    }

    /// The oldest value, once the window is full.
    public var oldest: Double? { isFull ? storage[next] : nil }

    /// Everything held, in the order of storage (not of age): for sums, where the order only has to be the same again
    /// after a restore.
    var unordered: ArraySlice<Double> { storage[..<count] }

    public func save(to writer: inout StateWriter) {
        writer.write(capacity)
        writer.write(next)
        writer.write(storage[..<count])
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        guard try reader.readInt() == capacity else { throw .stateMismatch(field: "window length") }
        next = try reader.readCount(upTo: capacity - 1, "window position")
        count = try reader.readDoubles(into: &storage, "window")
        guard count == capacity || next == count else { throw .stateMismatch(field: "window position") }
    }
}

/// The sum of the last n values, exact to about 1e-11 of itself however large the values that have left.
///
/// Kept by adding and subtracting. Recomputed when the window has been overwritten once, and when the sum has fallen
/// to 1e-4 of its largest since: what was lost to rounding while it was large would show.
public struct RollingSum: Indicator {
    private var window: Window
    public private(set) var sum = 0.0
    private var peak = 0.0

    public init(_ period: Int) { window = Window(period) }

    public var warmUp: Int { window.capacity - 1 }
    public var isWarm: Bool { window.isFull }
    public var count: Int { window.count }

    @discardableResult
    public mutating func update(_ value: Double) -> Double? {
        let evicted = window.push(value)
        sum += value - (evicted ?? 0)
        let size = abs(sum)
        if window.hasWrapped || size < 1e-4 * peak {
            sum = window.unordered.reduce(0, +)
            peak = abs(sum)
        } else if size > peak {
            peak = size
        }
        return isWarm ? sum : nil
    }

    public func save(to writer: inout StateWriter) {
        window.save(to: &writer)
        writer.write(sum)
        writer.write(peak)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try window.restore(from: &reader)
        sum = try reader.readDouble()
        peak = try reader.readDouble()
    }
}

/// The largest or smallest of the last n values: a monotone queue, O(1) amortised.
public struct RollingExtreme: Indicator {
    public enum Kind: Sendable { case maximum, minimum }

    private let kind: Kind
    private let period: Int
    /// The candidates, oldest first: each beats all that came before it inside the window. Circular.
    private var values: [Double]
    private var stamps: [Int]
    private var head = 0
    private var size = 0
    private var seen = 0

    public init(_ kind: Kind, _ period: Int) {
        precondition(period > 0, "a window holds at least one value")
        self.kind = kind
        self.period = period
        values = [Double](repeating: 0, count: period)
        stamps = [Int](repeating: 0, count: period)
    }

    public var warmUp: Int { period - 1 }
    public var isWarm: Bool { seen >= period }

    private func slot(_ position: Int) -> Int {
        let index = head + position
        return index >= period ? index - period : index
    }

    @discardableResult
    public mutating func update(_ value: Double) -> Double? {
        if size > 0, stamps[head] <= seen - period {
            head = slot(1)
            size -= 1
        }
        while size > 0 {
            let last = values[slot(size - 1)]
            guard kind == .maximum ? last <= value : last >= value else { break }
            size -= 1
        }
        let tail = slot(size)
        values[tail] = value
        stamps[tail] = seen
        size += 1
        seen += 1
        return isWarm ? values[head] : nil
    }

    public func save(to writer: inout StateWriter) {
        writer.write(period)
        writer.write(seen)
        writer.write(size)
        for position in 0..<size {
            writer.write(values[slot(position)])
            writer.write(seen - stamps[slot(position)])
        }
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        guard try reader.readInt() == period else { throw .stateMismatch(field: "extreme's length") }
        seen = try reader.readCount(upTo: 1 << 53, "extreme's count")
        size = try reader.readCount(upTo: min(period, seen), "extreme's size")
        head = 0
        for position in 0..<size {
            values[position] = try reader.readDouble()
            stamps[position] = seen - (try reader.readCount(upTo: period, "extreme's age"))
        }
    }
}
