/// Why market data could not be read or ordered at all. A bad row is not an error: it is counted in a `LoadReport`.
public enum MarketDataError: Error, Sendable, Equatable {
    /// The file does not exist or may not be read.
    case cannotOpen(path: String, reason: String)
    /// The file's compression is damaged or it ends early: fetch it again. Rows before the damage are not returned,
    /// because a series cut short without a word looks like a market that stopped.
    case corruptFile(path: String, reason: String)
    /// The first line is neither a header with the needed columns nor a headerless row of a known format.
    case unknownLayout(path: String, missing: [String])
    /// A file of arrays that is none, or has not the arrays that are needed.
    case malformedFile(reason: String)
    /// The folder has no file of this kind for this symbol.
    case notInFolder(kind: String, symbol: String)
    /// A source given to the merger breaks its order: put it through `EventMerger.sorted` first.
    case sourceOutOfOrder(source: Int, previous: Timestamp, next: Timestamp)
}

extension MarketDataError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .cannotOpen(let path, let reason): "cannot open \(path): \(reason)"
        case .corruptFile(let path, let reason): "\(path) is damaged: \(reason)"
        case .unknownLayout(let path, let missing):
            "\(path): unknown layout, missing column(s) \(missing.joined(separator: ", "))"
        case .malformedFile(let reason): reason
        case .notInFolder(let kind, let symbol): "the history folder has no \(kind) of \(symbol)"
        case .sourceOutOfOrder(let source, let previous, let next):
            "event source \(source) is out of order: \(next) after \(previous)"
        }
    }
}
