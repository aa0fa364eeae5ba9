/// What a policy sees, value by value: the one definition for training and serving.
///
///     [ window × featureCount normalised values, oldest row first
///     | featureCount: 1 where the newest row's value is valid, 0 where it is missing
///     | 1: the target exposure of the decision before, in [−1, 1]; 0 at the start ]
///
/// Missing values are 0 in the first part (the mean of a normalised feature).
public struct ObservationLayout: Sendable, Equatable {
    /// Rows, at least 1. Default 16.
    public let window: Int
    /// D; may be 0.
    public let featureCount: Int

    /// Traps when `window` < 1 or `featureCount` < 0.
    public init(window: Int = 16, featureCount: Int) {
        precondition(window >= 1 && featureCount >= 0, "an observation has a row and a count of features")
        self.window = window
        self.featureCount = featureCount
    }

    /// The number of values: window·D + D + 1.
    public var count: Int { (window + 1) * featureCount + 1 }

    /// Writes an observation. `values` is `[window × featureCount]`, row-major, oldest row first; `mask` has
    /// `featureCount` cells for the newest row, 0 is missing. Traps when a length is wrong. No allocation.
    @inlinable
    public func write(
        values: Span<Float>, mask: Span<UInt8>, previousExposure: Float, into observation: inout MutableSpan<Float>
    ) {
        let valueCount = window * featureCount
        precondition(values.count == valueCount, "values are [window × featureCount]")
        precondition(mask.count == featureCount, "mask is [featureCount]")
        precondition(observation.count == count, "an observation has layout.count values")
        // One copy and one conversion, lengths checked above.
        unsafe observation.withUnsafeMutableBufferPointer { target in
            guard let base = target.baseAddress else { return }
            unsafe values.withUnsafeBufferPointer { source in
                guard let first = source.baseAddress else { return }
                unsafe base.update(from: first, count: valueCount)
            }
            for column in 0..<featureCount {
                unsafe base[valueCount + column] = mask[unchecked: column] == 0 ? 0 : 1
            }
            unsafe base[valueCount + featureCount] = previousExposure
        }
    }
}
