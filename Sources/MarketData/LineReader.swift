internal import Compression
internal import Kernels

/// Where rows come from: a file, plain or gzip, or bytes in memory.
public enum RowSource: Sendable, Equatable {
    case file(path: String)
    case bytes([UInt8])

    /// The path, or a stand-in for it in errors.
    public var name: String {
        switch self {
        case .file(let path): path
        case .bytes: "(bytes)"
        }
    }
}

/// Cuts a source into lines within bounded memory, whatever the bytes are.
struct LineReader: ~Copyable {
    /// What a delivered line is.
    enum Kind { case whole, tooLong, unbalancedQuote }

    /// A longer line is not text that we know: it is reported once, skipped, and reading goes on behind it.
    static let maximumLineBytes = 1 << 18

    private var file: GzipReader?
    private let path: String
    private var buffer: [UInt8]
    private var start = 0
    private var end: Int
    private var isAtEnd: Bool

    init(_ source: RowSource) throws(MarketDataError) {
        switch source {
        case .file(let path):
            do throws(GzipFileError) {
                file = try GzipReader(path: path)
            } catch {
                throw MarketDataError(error, path: path)
            }
            self.path = path
            buffer = [UInt8](repeating: 0, count: 2 * Self.maximumLineBytes)
            end = 0
            isAtEnd = false
        case .bytes(let bytes):
            file = nil
            path = source.name
            buffer = bytes
            end = bytes.count
            isAtEnd = true
        }
    }

    /// Calls `body` with each line: its number from 1 and its bytes without the line end, until it returns false.
    ///
    /// `quoted`: a line end inside double quotes belongs to the record (CSV texts); the number is the first line's.
    /// A quote that never closes spoils its own line only. Bytes of a `tooLong` line are not given.
    mutating func forEach(
        quoted: Bool = false, _ body: (Int, Span<UInt8>, Kind) -> Bool
    ) throws(MarketDataError) {
        var line = 1
        var scanned = 0  // bytes behind `start` already searched
        var inQuotes = false
        var inner = 0  // line ends inside the record
        var firstInner = 0  // offset of the first of them
        var isSkipping = false
        while true {
            // Search for the end of the record.
            var found: Int?
            if quoted {
                let bytes = buffer.span
                var i = start + scanned
                while i < end {
                    let byte = bytes[i]
                    if byte == UInt8(ascii: "\"") {
                        inQuotes.toggle()
                    } else if byte == UInt8(ascii: "\n") {
                        if !inQuotes || isSkipping {
                            found = i
                            break
                        }
                        if inner == 0 { firstInner = i - start }
                        inner += 1
                    }
                    i += 1
                }
            } else {
                found = Self.newline(in: buffer, from: start + scanned, to: end)
            }
            scanned = end - start

            let isFull = end - start >= Self.maximumLineBytes
            if let stop = found {
                if isSkipping {
                    isSkipping = false
                } else if !body(line, buffer.span.extracting(trimmed(start, stop)), .whole) {
                    return
                }
                line += 1 + inner
                start = stop + 1
            } else if inner > 0, isAtEnd || isFull {
                // The quote was a stray one: give up its line, go on with the next.
                if !body(line, buffer.span.extracting(trimmed(start, start + firstInner)), .unbalancedQuote) { return }
                line += 1
                start += firstInner + 1
            } else if isAtEnd {
                if end > start, !isSkipping {
                    _ = body(line, buffer.span.extracting(trimmed(start, end)), inQuotes ? .unbalancedQuote : .whole)
                }
                return
            } else if isFull {
                if !isSkipping, !body(line, buffer.span.extracting(0..<0), .tooLong) { return }
                isSkipping = true
                start = end
            } else {
                try refill()
                continue
            }
            scanned = 0
            inQuotes = false
            inner = 0
        }
    }

    /// Moves what is left to the front of the buffer and reads behind it.
    private mutating func refill() throws(MarketDataError) {
        if start > 0 {
            unsafe buffer.withUnsafeMutableBytes { bytes in
                guard let base = bytes.baseAddress else { return }
                _ = unsafe memmove(base, base + start, end - start)
            }
            end -= start
            start = 0
        }
        let count: Int
        do throws(GzipFileError) {
            count = try file?.read(into: &buffer, from: end) ?? 0
        } catch {
            throw MarketDataError(error, path: path)
        }
        end += count
        if count == 0 { isAtEnd = true }
    }

    private static func newline(in buffer: [UInt8], from: Int, to: Int) -> Int? {
        unsafe buffer.withUnsafeBytes { bytes in
            guard from < to, let base = bytes.baseAddress,
                let found = unsafe memchr(base + from, 0x0A, to - from)
            else { return nil }
            return unsafe UnsafeRawPointer(found) - base
        }
    }

    /// The range of a line without a carriage return at its end.
    private func trimmed(_ from: Int, _ to: Int) -> Range<Int> {
        from..<(to > from && buffer[to - 1] == UInt8(ascii: "\r") ? to - 1 : to)
    }
}

extension MarketDataError {
    fileprivate init(_ error: GzipFileError, path: String) {
        switch error {
        case .cannotOpen(let reason): self = .cannotOpen(path: path, reason: reason)
        case .damaged(let reason): self = .corruptFile(path: path, reason: reason)
        }
    }
}
