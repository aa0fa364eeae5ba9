public import MarketData

/// Why a feature, a vector or a state was refused. Whatever threw has not changed, unless its case says otherwise.
public enum FeatureError: Error, Sendable, Equatable {
    /// The configuration contradicts itself; `reason` names the field. Fix it and start again.
    case invalidConfiguration(reason: String)
    /// A vector, state or normaliser of another schema. Recompute it, or load the model of this schema.
    case schemaMismatch(expected: String, found: String)
    /// No such column.
    case unknownFeature(name: String)
    /// A value that no market can have. Drop the event and report it: the gateway should have refused it.
    case invalidInput(symbol: String, eventTime: Timestamp, reason: String)
    /// A bar of another length than the engine's.
    case wrongInterval(symbol: String, expected: Interval, found: Interval)
    /// A bar that opened no later than the last of its symbol: a repetition, or a stream out of order.
    case barOutOfOrder(symbol: String, openTime: Timestamp, last: Timestamp)
    /// An event known earlier, by more than the configured lateness, than one that was already taken.
    case outOfOrder(symbol: String, knownAt: Timestamp, clock: Timestamp)
    /// Vectors of a symbol are completed in the order in which `ingest` returned them.
    case completionOutOfOrder(symbol: String, barTime: Timestamp)
    /// The engine can only be saved when every pending vector has been completed.
    case outstandingVectors(count: Int)
    /// More results are known in the future than the engine keeps. Apply them as their time comes.
    case tooManyPendingInputs(limit: Int)
    /// Not a saved state of this engine, schema, symbols and format. Start anew, from history.
    case invalidState(reason: String)
    /// Numbers that do not fit their schema's columns.
    case wrongCount(expected: Int, found: Int)
    /// Vectors of one state buffer have one symbol and increasing times.
    case vectorOutOfOrder(symbol: String, barTime: Timestamp)
}
