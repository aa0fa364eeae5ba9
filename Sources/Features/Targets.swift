internal import Kernels

/// Forward returns: the only columns that look ahead, for supervised training and reports.
///
/// A type of its own that is no `FeatureVector` and holds none of its names: nothing that feeds a policy can contain
/// it. The further targets of spec/features.md §2 belong here.
public struct ForwardReturns: Sendable, Equatable {
    /// In bars.
    public let horizon: Int
    /// One a bar: ln(close `horizon` bars later/close); `nil` for the last `horizon` bars.
    public let values: [Double?]

    /// Traps unless `horizon` is positive. `closes`: positive, of consecutive bars.
    public init(closes: [Double], horizon: Int) {
        precondition(horizon > 0, "a target looks at least one bar ahead")
        self.horizon = horizon
        values = closes.indices.map { index in
            index + horizon < closes.count ? log(closes[index + horizon] / closes[index]) : nil
        }
    }
}
