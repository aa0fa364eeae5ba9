internal import Kernels

/// Where rows come from: a file, plain or gzip, or bytes in memory.
public enum RowSource: Sendable, Equatable {
    case file(path: String)
    case bytes([UInt8])

    var name: String {
        switch self {
        case .file(let path): path
        case .bytes: "(bytes)"
        }
    }
}

/// Cuts a source into lines with a buffer that never exceeds `maximumLineBytes` (plus one block), whatever is in it.
struct LineReader: ~Copyable {
    /// A longer line is not text that we know: it is reported once, skipped, and reading goes on behind it.
    static let maximumLineBytes = 1 << 20
    private static let blockBytes = 1 << 18

    private let file: Optional<GzipReader>
    private var buffer: [UInt8]
    private var start = 0
    private var end: Int
    private var isAtEnd: Bool

    init(_ source: RowSource) throws(MarketDataError) {
        switch source {
        case .file(let path):
            file = try GzipReader(path: path)
            buffer = [UInt8](repeating: 0, count: Self.blockBytes)
            end = 0
            isAtEnd = false
        case .bytes(let bytes):
            file = nil
            buffer = bytes
            end = bytes.count
            isAtEnd = true
        }
    }
}
