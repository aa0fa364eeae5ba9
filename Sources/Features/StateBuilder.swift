public import MarketData

/// What a policy sees: the last `window` vectors of a symbol, normalised and stacked.
public struct State: Sendable, Equatable {
    public var symbol: String
    /// The newest bar's close.
    public var barTime: Timestamp
    public var knownAt: Timestamp
    /// Of the newest vector.
    public var sequence: UInt64
    /// The newest bar's closing price.
    public var close: Double
    public var schemaVersion: String
    public var normaliserID: String
    /// Rows.
    public var window: Int
    /// [window × D], row-major, oldest row first; z-scores clipped, 0 where `mask` is 0.
    public var values: [Float]
    /// [window × D]: 1 for a reading, 0 for what was absent, not learnt, or before the first vector.
    public var mask: [UInt8]
    /// Rows that are vectors: the last ones. Fewer than `window` at the beginning; the rows before them are 0, mask 0.
    public var filled: Int

    public var isPartial: Bool { filled < window }
    /// Columns, D.
    public var featureCount: Int { values.count / window }
}

/// The last vectors of one symbol, as states: a pure function of the last `window` vectors, so that a restarted
/// service that appends them again has the same states.
public struct StateBuffer: Sendable {
    /// Rows of a state, by default.
    public static let defaultWindow = 16

    public let window: Int
    public let normaliser: Normaliser
    private var values: [Float]
    private var mask: [UInt8]
    /// Row that is written next: the oldest, once the window is full.
    private var next = 0
    private var filled = 0
    private var last: (symbol: String, barTime: Timestamp)?

    /// Throws `invalidConfiguration` unless `window` is positive.
    public init(_ normaliser: Normaliser, window: Int = defaultWindow) throws(FeatureError) {
        guard window > 0 else { throw .invalidConfiguration(reason: "window: not positive") }
        self.window = window
        self.normaliser = normaliser
        values = [Float](repeating: 0, count: window * normaliser.count)
        mask = [UInt8](repeating: 0, count: window * normaliser.count)
    }

    /// Adds the next vector and returns the state as of it.
    ///
    /// Missing bars are not filled in: the rows are the vectors there are. Throws `schemaMismatch`, and
    /// `vectorOutOfOrder` for another symbol or a time that does not increase.
    public mutating func append(_ vector: FeatureVector) throws(FeatureError) -> State {
        if let last {
            guard vector.symbol == last.symbol, vector.barTime > last.barTime else {
                throw .vectorOutOfOrder(symbol: vector.symbol, barTime: vector.barTime)
            }
        }
        let width = normaliser.count
        try normaliser.normalise(vector, into: &values, mask: &mask, at: next * width)
        last = (vector.symbol, vector.barTime)
        next = next + 1 == window ? 0 : next + 1
        filled = min(window, filled + 1)

        // Oldest first: what lies from `next` to the end, then from the start to `next`.
        var stacked: [Float] = []
        var stackedMask: [UInt8] = []
        stacked.reserveCapacity(values.count)
        stackedMask.reserveCapacity(mask.count)
        stacked.append(contentsOf: values[(next * width)...])
        stacked.append(contentsOf: values[..<(next * width)])
        stackedMask.append(contentsOf: mask[(next * width)...])
        stackedMask.append(contentsOf: mask[..<(next * width)])
        return State(
            symbol: vector.symbol, barTime: vector.barTime, knownAt: vector.knownAt, sequence: vector.sequence,
            close: vector.close, schemaVersion: normaliser.schemaVersion, normaliserID: normaliser.id, window: window,
            values: stacked, mask: stackedMask, filled: filled)
    }
}

/// States of several symbols: one buffer each, made when a symbol's first vector comes.
public struct StateBuilder: Sendable {
    public let window: Int
    public let normaliser: Normaliser
    private var buffers: [String: StateBuffer] = [:]

    /// Throws `schemaMismatch` when the normaliser was learnt under another schema, and `invalidConfiguration`.
    public init(
        _ schema: FeatureSchema, _ normaliser: Normaliser, window: Int = StateBuffer.defaultWindow
    ) throws(FeatureError) {
        try schema.require(normaliser.schemaVersion)
        guard window > 0 else { throw .invalidConfiguration(reason: "window: not positive") }
        self.window = window
        self.normaliser = normaliser
    }

    /// Adds a vector to its symbol's buffer and returns the state as of it. Throws as `StateBuffer.append`.
    public mutating func append(_ vector: FeatureVector) throws(FeatureError) -> State {
        if buffers[vector.symbol] == nil { buffers[vector.symbol] = try StateBuffer(normaliser, window: window) }
        guard let state = try buffers[vector.symbol]?.append(vector) else {
            throw .vectorOutOfOrder(symbol: vector.symbol, barTime: vector.barTime)
        }
        return state
    }
}
