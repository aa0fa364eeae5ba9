internal import Indicators
internal import Kernels

/// Mean and variance of each column, by Welford's recurrence, optionally forgetting the past exponentially.
///
/// A column's value x with decay λ = 2^(−1/halfLife): W ← λW + 1, δ = x − μ, μ ← μ + δ/W, M ← λM + δ·(x − μ);
/// variance M/W (population). λ = 1 without a half-life: Welford 1962; with one: West 1979. Columns count only where
/// they have a value, so a column's half-life is in its own values.
struct RunningStatistics: Sendable, Equatable {
    let decay: Double
    private(set) var counts: [Int]
    private(set) var weights: [Double]
    private(set) var means: [Double]
    private(set) var squares: [Double]

    init(columns: Int, halfLife: Double?) {
        decay = halfLife.map { exp2(-1 / $0) } ?? 1
        counts = [Int](repeating: 0, count: columns)
        weights = [Double](repeating: 0, count: columns)
        means = weights
        squares = weights
    }

    mutating func observe(_ value: Double, column: Int) {
        counts[column] += 1
        weights[column] = decay * weights[column] + 1
        let delta = value - means[column]
        means[column] += delta / weights[column]
        squares[column] = decay * squares[column] + delta * (value - means[column])
    }

    /// Population standard deviation; 0 for fewer than two values and for a column that never changed.
    func deviation(_ column: Int) -> Double {
        guard counts[column] >= 2 else { return 0 }
        return (max(0, squares[column]) / weights[column]).squareRoot()
    }

    func save(to writer: inout StateWriter) {
        for count in counts { writer.write(count) }
        for list in [weights, means, squares] { writer.write(list[...]) }
    }

    mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        for column in counts.indices { counts[column] = try reader.readCount(upTo: 1 << 53, "counts") }
        for part in 0..<3 {
            var list = [Double](repeating: 0, count: counts.count)
            let found = try reader.readDoubles(into: &list, "statistics")
            guard found == list.count, list.allSatisfy(\.isFinite) else { throw .stateMismatch(field: "statistics") }
            switch part {
            case 0: weights = list
            case 1: means = list
            default: squares = list
            }
        }
    }
}

/// Statistics that are being learnt, on the training span only. `freeze` gives the `Normaliser` that a model is
/// trained, stored and evaluated with: that type cannot learn.
public struct LearningNormaliser: Sendable, Equatable {
    public let schemaVersion: String
    public let clip: Double
    public let halfLife: Double?
    private let isLevel: [Bool]
    private var statistics: RunningStatistics

    /// `clip`: bound of the z-scores; default 5. `halfLife`: in values of a column; `nil` weighs all alike.
    /// Throws `invalidConfiguration` unless both are positive.
    public init(_ schema: FeatureSchema, clip: Double = 5, halfLife: Double? = nil) throws(FeatureError) {
        guard clip > 0, clip.isFinite else { throw .invalidConfiguration(reason: "clip: not positive") }
        if let halfLife {
            guard halfLife > 0 else { throw .invalidConfiguration(reason: "halfLife: not positive") }
        }
        schemaVersion = schema.version
        self.clip = clip
        self.halfLife = halfLife
        isLevel = schema.definitions.map(\.isLevel)
        statistics = RunningStatistics(columns: schema.count, halfLife: halfLife)
    }

    /// Takes the values of a vector that are there and no levels. Throws `schemaMismatch`.
    public mutating func observe(_ vector: FeatureVector) throws(FeatureError) {
        guard vector.schemaVersion == schemaVersion else {
            throw .schemaMismatch(expected: schemaVersion, found: vector.schemaVersion)
        }
        for column in vector.values.indices where vector.absences[column] == nil && !isLevel[column] {
            statistics.observe(vector.values[column], column: column)
        }
    }

    /// How many values each column has given.
    public var counts: [Int] { statistics.counts }

    /// The statistics as they are now, for good.
    public func freeze() -> Normaliser {
        Normaliser(
            schemaVersion: schemaVersion, clip: clip, means: statistics.means,
            deviations: statistics.means.indices.map { statistics.deviation($0) })
    }

    /// The state, from which `init(_:bytes:)` goes on learning bit for bit.
    public var bytes: [UInt8] {
        var writer = StateWriter()
        writer.write(schemaVersion)
        writer.write(clip)
        writer.write(halfLife)
        statistics.save(to: &writer)
        return writer.bytes
    }

    /// Throws `schemaMismatch`, and `invalidState` for bytes that are no such state.
    public init(_ schema: FeatureSchema, bytes: [UInt8]) throws(FeatureError) {
        var reader = StateReader(bytes)
        let version: String
        let clip: Double
        let halfLife: Double?
        do throws(IndicatorError) {
            version = try reader.readString()
            clip = try reader.readDouble()
            halfLife = try reader.readOptionalDouble()
        } catch { throw .invalidState(reason: "\(error)") }
        try schema.require(version)
        try self.init(schema, clip: clip, halfLife: halfLife)
        do throws(IndicatorError) { try statistics.restore(from: &reader) } catch {
            throw .invalidState(reason: "\(error)")
        }
        guard reader.isAtEnd else { throw .invalidState(reason: "bytes after the end") }
    }
}

/// Frozen statistics: z-scores, clipped. Evaluating cannot change it, by construction.
///
/// A column without a value, or that had fewer than two values or never changed while learning, becomes 0 with mask 0:
/// the network sees the mean and is told that it is not a reading.
public struct Normaliser: Sendable, Equatable {
    public let schemaVersion: String
    /// Bound of the z-scores.
    public let clip: Double
    public let means: [Double]
    /// Population standard deviations; 0 for a column that was not learnt.
    public let deviations: [Double]
    /// 32 hexadecimal digits of the hash of `bytes`: stored with every model, and compared before it is used.
    public let id: String
    /// The artefact, from which `init(bytes:)` gives this value again, bit for bit.
    public let bytes: [UInt8]

    private static let magic = "vomma normaliser 1"

    init(schemaVersion: String, clip: Double, means: [Double], deviations: [Double]) {
        self.schemaVersion = schemaVersion
        self.clip = clip
        self.means = means
        self.deviations = deviations
        var writer = StateWriter()
        writer.write(Self.magic)
        writer.write(schemaVersion)
        writer.write(clip)
        writer.write(means.count)
        writer.write(means[...])
        writer.write(deviations[...])
        bytes = writer.bytes
        id = StableHash.name(of: writer.bytes)
    }

    /// Throws `invalidState` for bytes that are no normaliser, or of statistics that cannot be.
    public init(bytes: [UInt8]) throws(FeatureError) {
        var reader = StateReader(bytes)
        do throws(IndicatorError) {
            guard try reader.readString() == Self.magic else { throw IndicatorError.stateMismatch(field: "magic") }
            let version = try reader.readString()
            let clip = try reader.readDouble()
            // No schema has more columns than its own bytes.
            let count = try reader.readCount(upTo: bytes.count / 16, "columns")
            var means = [Double](repeating: 0, count: count)
            var deviations = means
            guard try reader.readDoubles(into: &means, "means") == count,
                try reader.readDoubles(into: &deviations, "deviations") == count, reader.isAtEnd
            else { throw IndicatorError.stateMismatch(field: "columns") }
            guard clip > 0, clip.isFinite, means.allSatisfy(\.isFinite),
                deviations.allSatisfy({ $0 >= 0 && $0.isFinite })
            else { throw IndicatorError.stateMismatch(field: "statistics") }
            self.init(schemaVersion: version, clip: clip, means: means, deviations: deviations)
        } catch { throw .invalidState(reason: "\(error)") }
    }

    /// Number of columns, D.
    public var count: Int { means.count }

    /// Writes the z-scores of `vector` to `values[offset ..< offset + D]`, and 1 or 0 to the same places of `mask`.
    /// Throws `schemaMismatch`. Traps when the buffers are too short.
    func normalise(
        _ vector: FeatureVector, into values: inout [Float], mask: inout [UInt8], at offset: Int
    ) throws(FeatureError) {
        guard vector.schemaVersion == schemaVersion, vector.values.count == count else {
            throw .schemaMismatch(expected: schemaVersion, found: vector.schemaVersion)
        }
        for column in 0..<count {
            let isThere = vector.absences[column] == nil && deviations[column] > 0
            let score = isThere ? (vector.values[column] - means[column]) / deviations[column] : 0
            values[offset + column] = Float(min(clip, max(-clip, score)))
            mask[offset + column] = isThere ? 1 : 0
        }
    }

    /// The z-scores of one vector, 0 where the mask (1: a reading) is 0. Throws `schemaMismatch`.
    public func normalise(_ vector: FeatureVector) throws(FeatureError) -> (values: [Float], mask: [UInt8]) {
        var values = [Float](repeating: 0, count: count)
        var mask = [UInt8](repeating: 0, count: count)
        try normalise(vector, into: &values, mask: &mask, at: 0)
        return (values, mask)
    }
}
