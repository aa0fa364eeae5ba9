internal import Kernels
public import MarketData

/// The last `capacity` values, oldest overwritten first, held inside the machine itself: an update follows no pointer,
/// counts no reference and allocates nothing.
public struct Window: Restorable {
    /// The longest window. What looks back further belongs on longer bars (`BarResampler`).
    public static let maximumCapacity = 256

    public let capacity: Int
    /// Of the last, partly used four places: 1 for a place of the window, 0 beyond it; all 0 where there are none.
    private let tailWeights: Vector
    /// Zero where nothing has been put yet.
    private var storage = InlineArray<256, Double>(repeating: 0)
    /// Where the next value goes; 0 again each time the window has been overwritten once.
    private var next = 0
    public private(set) var count = 0

    /// Traps unless `capacity` is from 1 to `maximumCapacity`.
    public init(_ capacity: Int) {
        precondition((1...Self.maximumCapacity).contains(capacity), "a window holds 1 to 256 values")
        self.capacity = capacity
        let used = Double(capacity & 3)
        tailWeights = Vector(0 < used ? 1 : 0, 1 < used ? 1 : 0, 2 < used ? 1 : 0, 0)
    }

    public var isFull: Bool { count == capacity }
    /// True right after every `capacity`-th value: the time to recompute what is otherwise kept by differences.
    public var hasWrapped: Bool { next == 0 && count == capacity }

    /// Adds `value` and returns the one that had to go; 0 while the window fills.
    @inline(__always)
    mutating func exchange(_ value: Double) -> Double {
        let evicted = unsafe storage[unchecked: next]
        unsafe storage[unchecked: next] = value
        let following = next &+ 1
        next = following == capacity ? 0 : following
        if count < capacity { count &+= 1 }
        return evicted
    }

    /// The sum over the values of a full window of what `transform` makes of them, four at a time.
    ///
    /// In the order of storage, not of age: it only has to be the same again after a restore.
    @inline(__always)
    mutating func total(_ transform: (Vector) -> Vector) -> Double { total(of: capacity, transform) }

    /// The same, where the caller knows the capacity: a constant lets the compiler write the loop out.
    @inline(__always)
    mutating func total(of capacity: Int, _ transform: (Vector) -> Vector) -> Double {
        var total = Vector.zero
        let whole = capacity & ~3
        var index = 0
        while index < whole {
            total += transform(four(from: index))
            index &+= 4
        }
        if whole != capacity { total.addProduct(transform(four(from: whole)), tailWeights) }
        return total.total()
    }

    /// The sum of what `transform` makes of the values there are, one at a time: for a window that fills.
    @inline(never)
    mutating func partialTotal(_ transform: (Double) -> Double) -> Double {
        var total = 0.0
        for index in 0..<count { total += transform(unsafe storage[unchecked: index]) }
        return total
    }

    /// Element by element: a pointer to them would be one to a copy.
    @inline(__always)
    private mutating func four(from index: Int) -> Vector {
        unsafe Vector(
            storage[unchecked: index], storage[unchecked: index &+ 1], storage[unchecked: index &+ 2],
            storage[unchecked: index &+ 3])
    }

    /// The mean of the values, as an offset from one of them: exact when all are equal.
    mutating func mean() -> Double {
        let base = storage[0]
        let offset = isFull ? total { $0 - base } : partialTotal { $0 - base }
        return base + offset / Double(count)
    }

    public func save(to writer: inout StateWriter) {
        writer.write(capacity)
        writer.write(next)
        writer.write(count)
        for index in 0..<count { writer.write(storage[index]) }
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        guard try reader.readInt() == capacity else { throw .stateMismatch(field: "window length") }
        next = try reader.readCount(upTo: capacity - 1, "window position")
        count = try reader.readCount(upTo: capacity, "window")
        guard count == capacity || next == count else { throw .stateMismatch(field: "window position") }
        for index in 0..<Self.maximumCapacity { storage[index] = index < count ? try reader.readDouble() : 0 }
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
    public var isWarm: Bool { mutating get { window.isFull } }
    public var count: Int { window.count }

    @discardableResult
    @inline(__always)
    public mutating func update(_ value: Double) -> Double? {
        sum += value - window.exchange(value)
        let size = abs(sum)
        if window.hasWrapped || size < 1e-4 * peak {
            sum = window.isFull ? window.total { $0 } : window.partialTotal { $0 }
            peak = abs(sum)
        } else {
            peak = max(peak, size)
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

/// The highest high and the lowest low of the last n bars, in two halves: O(1) a bar, and no branch that the data
/// decide.
///
/// What came since the window was last overwritten is kept as one running extreme; of what lies before, each place
/// holds the extreme from there to that half's end. The older half begins one place after the newest value, so the
/// answer is the better of two numbers. After n values the halves change places: the newer one's extremes are worked
/// out from its end. Highs and negated lows go side by side, so that both are maxima.
public struct RollingRange: Indicator {
    public struct Value: Sendable, Equatable {
        public var highest: Double
        public var lowest: Double
        public var middle: Double { 0.5 * (highest + lowest) }
    }

    private let period: Int
    /// Up to `next` pairs of the newer half, from there the older half's extremes; −∞ where there is none.
    private var storage = InlineArray<257, SIMD2<Double>>(repeating: SIMD2(repeating: -.infinity))
    private var newest = SIMD2<Double>(repeating: -.infinity)
    /// As of the newest bar.
    private var best = SIMD2<Double>(repeating: -.infinity)
    private var next = 0
    private var missing: Int

    /// Traps unless `period` is from 1 to `Window.maximumCapacity`.
    public init(_ period: Int) {
        precondition((1...Window.maximumCapacity).contains(period), "a window holds 1 to 256 values")
        self.period = period
        missing = period
    }

    public var warmUp: Int { period - 1 }
    public var isWarm: Bool { mutating get { missing == 0 } }
    public var value: Value? { mutating get { isWarm ? Value(highest: best.x, lowest: -best.y) : nil } }

    @discardableResult
    @inline(__always)
    public mutating func update(_ bar: Bar) -> Value? {
        let reach = bar.reach
        unsafe storage[unchecked: next] = reach
        newest = newest.larger(reach)
        next &+= 1
        // The place after the last is −∞ for good: the older half is used up.
        best = newest.larger(unsafe storage[unchecked: next])
        if next == period { turn() }
        if missing > 0 { missing &-= 1 }
        return value
    }

    @inline(never)
    private mutating func turn() {
        var extreme = SIMD2<Double>(repeating: -.infinity)
        for index in stride(from: period - 1, through: 0, by: -1) {
            extreme = extreme.larger(unsafe storage[unchecked: index])
            unsafe storage[unchecked: index] = extreme
        }
        newest = SIMD2(repeating: -.infinity)
        next = 0
    }

    public func save(to writer: inout StateWriter) {
        for number in [period, missing, next] { writer.write(number) }
        for pair in [newest, best] {
            writer.write(pair.x)
            writer.write(pair.y)
        }
        for index in 0..<period {
            writer.write(storage[index].x)
            writer.write(storage[index].y)
        }
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        guard try reader.readInt() == period else { throw .stateMismatch(field: "range's length") }
        missing = try reader.readCount(upTo: period, "range's count")
        next = try reader.readCount(upTo: period - 1, "range's position")
        newest = SIMD2(try reader.readDouble(), try reader.readDouble())
        best = SIMD2(try reader.readDouble(), try reader.readDouble())
        for index in 0..<period { storage[index] = SIMD2(try reader.readDouble(), try reader.readDouble()) }
    }
}
