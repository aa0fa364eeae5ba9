internal import Indicators

/// Statistics that follow the market: z-scores of a vector by what came before it, and then the vector counts too.
///
/// For screens and for models that were trained on such scores. Two vectors of one value can have different scores, so
/// a state of a model trained with a frozen `Normaliser` must not come from here: it is another type, and a model's
/// normaliser cannot become one.
public struct RollingNormaliser: Sendable, Equatable {
    private var learning: LearningNormaliser

    /// `halfLife`: in values of a column. Throws `invalidConfiguration` unless `clip` and it are positive.
    public init(_ schema: FeatureSchema, clip: Double = 5, halfLife: Double) throws(FeatureError) {
        learning = try LearningNormaliser(schema, clip: clip, halfLife: halfLife)
    }

    /// The scores of `vector` by the vectors before it: 0 where the mask (1: a reading) is 0. Throws `schemaMismatch`,
    /// and has not changed then.
    public mutating func normalise(_ vector: FeatureVector) throws(FeatureError) -> (values: [Float], mask: [UInt8]) {
        let scores = try learning.freeze().normalise(vector)
        try learning.observe(vector)
        return scores
    }

    /// The state, from which `init(_:bytes:)` goes on bit for bit.
    public var bytes: [UInt8] { learning.bytes }

    /// Throws `schemaMismatch`, and `invalidState` for bytes that are no such state, or one without a half-life.
    public init(_ schema: FeatureSchema, bytes: [UInt8]) throws(FeatureError) {
        learning = try LearningNormaliser(schema, bytes: bytes)
        guard learning.halfLife != nil else { throw .invalidState(reason: "statistics without a half-life") }
    }
}
