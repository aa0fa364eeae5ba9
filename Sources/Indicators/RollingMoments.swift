internal import Kernels

/// Mean, standard deviation, skewness and kurtosis of the last n values.
///
/// Power sums of x − shift are kept by adding and subtracting, and recomputed around the window's own mean when the
/// window has been overwritten once, when the mean has moved more than four standard deviations from the shift, and
/// when the highest sum has fallen to 1e-3 of its largest since (an outlier has left): so the moments stay within
/// about 1e-10 of two passes over the window, at amortised O(1). A constant window has variance 0 exactly.
///
/// With central moments mₖ = Σ(x − mean)ᵏ/n: variance m₂ (population, as TA-Lib's), skewness m₃/m₂^1.5, excess
/// kurtosis m₄/m₂² − 3.
public struct RollingMoments: Indicator {
    private var window: Window
    private var shift = 0.0
    private var sum1 = 0.0
    private var sum2 = 0.0
    private var sum3 = 0.0
    private var sum4 = 0.0
    private var peak = 0.0

    public init(_ period: Int) { window = Window(period) }

    public var warmUp: Int { window.capacity - 1 }
    public var isWarm: Bool { mutating get { window.isFull } }

    /// Adds `value` and returns the mean of the window once it is full.
    @discardableResult
    @inline(__always)
    public mutating func update(_ value: Double) -> Double? {
        if window.count == 0 { shift = value }
        let wasFull = window.isFull
        let evicted = window.exchange(value)
        add(value - shift, weight: 1)
        if wasFull { add(evicted - shift, weight: -1) }
        let drift = sum1 / Double(window.count)
        let spread = sum2 / Double(window.count) - drift * drift
        if window.hasWrapped || drift * drift > 16 * max(spread, 0) || sum4 < 1e-3 * peak {
            recompute()
        } else if sum4 > peak {
            peak = sum4
        }
        return mean
    }

    private mutating func add(_ deviation: Double, weight: Double) {
        let square = deviation * deviation
        sum1 += weight * deviation
        sum2 += weight * square
        sum3 += weight * square * deviation
        sum4 += weight * square * square
    }

    private mutating func recompute() {
        shift = window.mean()
        let center = shift
        if window.isFull {
            sum1 = window.total { $0 - center }
            sum2 = window.total { ($0 - center) * ($0 - center) }
            sum3 = window.total { ($0 - center) * ($0 - center) * ($0 - center) }
            sum4 = window.total { value in
                let square = (value - center) * (value - center)
                return square * square
            }
        } else {
            sum1 = window.partialTotal { $0 - center }
            sum2 = window.partialTotal { pow($0 - center, 2) }
            sum3 = window.partialTotal { pow($0 - center, 3) }
            sum4 = window.partialTotal { pow($0 - center, 4) }
        }
        peak = sum4
    }

    /// `nil` until the window is full.
    public var mean: Double? { mutating get { isWarm ? shift + sum1 / Double(window.count) : nil } }

    /// Population variance; `nil` until the window is full.
    public var variance: Double? {
        mutating get {
            guard isWarm else { return nil }
            let drift = sum1 / Double(window.count)
            return max(0, sum2 / Double(window.count) - drift * drift)
        }
    }

    /// Population standard deviation; `nil` until the window is full.
    public var standardDeviation: Double? { mutating get { variance?.squareRoot() } }

    /// `nil` until the window is full, and while all its values are equal.
    public var skewness: Double? {
        mutating get {
            guard let variance, variance > 0 else { return nil }
            let n = Double(window.count)
            let drift = sum1 / n
            let m3 = sum3 / n - 3 * drift * (sum2 / n) + 2 * drift * drift * drift
            return m3 / (variance * variance.squareRoot())
        }
    }

    /// Excess kurtosis, 0 for a normal distribution; `nil` until the window is full, and while all values are equal.
    public var kurtosis: Double? {
        mutating get {
            guard let variance, variance > 0 else { return nil }
            let n = Double(window.count)
            let drift = sum1 / n
            let square = drift * drift
            let m4 = sum4 / n - 4 * drift * (sum3 / n) + 6 * square * (sum2 / n) - 3 * square * square
            return m4 / (variance * variance) - 3
        }
    }

    public func save(to writer: inout StateWriter) {
        window.save(to: &writer)
        for value in [shift, sum1, sum2, sum3, sum4, peak] { writer.write(value) }
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try window.restore(from: &reader)
        shift = try reader.readDouble()
        sum1 = try reader.readDouble()
        sum2 = try reader.readDouble()
        sum3 = try reader.readDouble()
        sum4 = try reader.readDouble()
        peak = try reader.readDouble()
    }
}

/// Mean and standard deviation of the last n values: the first two of `RollingMoments`, kept in the same way at half
/// the cost.
public struct RollingDeviation: Indicator {
    private var window: Window
    private let reciprocal: Double
    /// 16·n/17: (Σ)²/ΣΣ beyond which the mean is more than four deviations from the shift.
    private let far: Double
    private var newest = 0.0
    private var shift = 0.0
    private var sum1 = 0.0
    private var sum2 = 0.0
    private var peak = 0.0

    public init(_ period: Int) {
        window = Window(period)
        reciprocal = 1 / Double(period)
        far = Double(period) * 16 / 17
    }

    public var warmUp: Int { window.capacity - 1 }
    public var isWarm: Bool { mutating get { window.isFull } }

    /// Adds `value` and returns the mean of the window once it is full.
    @discardableResult
    @inline(__always)
    public mutating func update(_ value: Double) -> Double? {
        newest = value
        if window.count == 0 { shift = value }
        let wasFull = window.isFull
        let evicted = window.exchange(value)
        let entering = value - shift
        let leaving = wasFull ? evicted - shift : 0
        sum1 += entering - leaving
        sum2 += entering * entering - leaving * leaving
        // Too far from the shift, or much smaller than before: what rounding has taken would show.
        if window.hasWrapped || sum1 * sum1 > far * sum2 || sum2 < 1e-3 * peak {
            recompute()
        } else {
            peak = max(peak, sum2)
        }
        return mean
    }

    private mutating func recompute() {
        let center = window.mean()
        shift = center
        if window.isFull {
            sum1 = window.total { $0 - center }
            sum2 = window.total { ($0 - center) * ($0 - center) }
        } else {
            sum1 = window.partialTotal { $0 - center }
            sum2 = window.partialTotal { ($0 - center) * ($0 - center) }
        }
        peak = sum2
    }

    /// `nil` until the window is full.
    public var mean: Double? { mutating get { isWarm ? shift + sum1 * reciprocal : nil } }

    /// Population variance; `nil` until the window is full.
    public var variance: Double? {
        mutating get {
            guard isWarm else { return nil }
            let drift = sum1 * reciprocal
            return max(0, sum2 * reciprocal - drift * drift)
        }
    }

    /// Population standard deviation; `nil` until the window is full.
    public var standardDeviation: Double? { mutating get { variance?.squareRoot() } }

    /// How many standard deviations the newest value lies from the window's mean, itself included.
    /// `nil` until the window is full, and while all values are equal.
    public var zScore: Double? {
        mutating get {
            guard let mean, let deviation = standardDeviation, deviation > 0 else { return nil }
            return (newest - mean) / deviation
        }
    }

    public func save(to writer: inout StateWriter) {
        window.save(to: &writer)
        for value in [newest, shift, sum1, sum2, peak] { writer.write(value) }
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try window.restore(from: &reader)
        newest = try reader.readDouble()
        shift = try reader.readDouble()
        sum1 = try reader.readDouble()
        sum2 = try reader.readDouble()
        peak = try reader.readDouble()
    }
}

/// How two series move together over the last n pairs: y's beta on x and their correlation.
public struct RollingComovement: Restorable {
    private var x: RollingMoments
    private var y: RollingMoments
    private var products: RollingSum

    public init(_ period: Int) {
        x = RollingMoments(period)
        y = RollingMoments(period)
        products = RollingSum(period)
    }

    public var isWarm: Bool { mutating get { products.isWarm } }

    @inline(__always)
    public mutating func update(x newX: Double, y newY: Double) {
        x.update(newX)
        y.update(newY)
        products.update(newX * newY)
    }

    /// Σxy/n − x̄·ȳ; meant for returns, whose means are small beside their deviations.
    private var covariance: Double? {
        mutating get {
            guard let meanX = x.mean, let meanY = y.mean else { return nil }
            return products.sum / Double(products.count) - meanX * meanY
        }
    }

    /// cov(x, y)/var(x); `nil` in warm-up and while x does not move.
    public var beta: Double? {
        mutating get {
            guard let covariance, let variance = x.variance, variance > 0 else { return nil }
            return covariance / variance
        }
    }

    /// Within [−1, 1]; `nil` in warm-up and while either does not move.
    public var correlation: Double? {
        mutating get {
            guard let covariance, let varianceX = x.variance, let varianceY = y.variance, varianceX > 0, varianceY > 0
            else { return nil }
            return min(1, max(-1, covariance / (varianceX.squareRoot() * varianceY.squareRoot())))
        }
    }

    public func save(to writer: inout StateWriter) {
        x.save(to: &writer)
        y.save(to: &writer)
        products.save(to: &writer)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try x.restore(from: &reader)
        try y.restore(from: &reader)
        try products.restore(from: &reader)
    }
}
