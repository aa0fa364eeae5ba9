/// Why a saved state could not be restored. The machine it was meant for is left half-restored: throw it away.
public enum IndicatorError: Error, Sendable, Equatable {
    /// The bytes end before the state does.
    case truncatedState(byteCount: Int)
    /// The bytes are a state of a machine with other parameters, or no state at all; `field` says where it showed.
    case stateMismatch(field: String)
}

/// A machine whose whole state can be written down and read back, so that a restarted process goes on bit for bit.
///
/// Parameters (periods) are not part of the state: a state is restored into a machine made with the same ones, and a
/// state of other lengths is refused.
public protocol Restorable: Sendable {
    func save(to writer: inout StateWriter)
    mutating func restore(from reader: inout StateReader) throws(IndicatorError)
}

/// A streaming indicator: one input in, a value out once it has seen enough.
///
/// `update` costs O(1) and allocates nothing. The batch form is `fold`: the same machine over an array, so that the
/// streaming and the batch value are the same bits.
public protocol Indicator: Restorable {
    associatedtype Input
    associatedtype Output
    /// Inputs before the first value: the value number `warmUp + 1` is the first that can be there.
    var warmUp: Int { get }
    /// Whether enough inputs have been seen. A warm indicator still answers `nil` where its formula has no value.
    ///
    /// What reads a window is `mutating` for speed alone: the compiler calls what does not mutate on a copy, and a
    /// window is two kilobytes.
    var isWarm: Bool { mutating get }
    /// Takes the next input and returns the value as of it; `nil` in warm-up, and where the formula is undefined.
    mutating func update(_ input: Input) -> Output?
}

extension Indicator {
    /// The values after each of `inputs`: the batch form.
    public mutating func fold(_ inputs: [Input]) -> [Output?] {
        var outputs: [Output?] = []
        outputs.reserveCapacity(inputs.count)
        for input in inputs { outputs.append(update(input)) }
        return outputs
    }
}

/// Writes a state as bytes: little-endian, no padding, no field names.
public struct StateWriter: Sendable {
    public private(set) var bytes: [UInt8] = []

    public init(reserving byteCount: Int = 0) { bytes.reserveCapacity(byteCount) }

    public mutating func write(_ value: UInt64) {
        let little = value.littleEndian
        unsafe withUnsafeBytes(of: little) { unsafe bytes.append(contentsOf: $0) }
    }

    public mutating func write(_ value: UInt8) { bytes.append(value) }
    public mutating func write(_ value: Int) { write(UInt64(bitPattern: Int64(value))) }
    public mutating func write(_ value: Int64) { write(UInt64(bitPattern: value)) }
    public mutating func write(_ value: Double) { write(value.bitPattern) }
    public mutating func write(_ value: Bool) { bytes.append(value ? 1 : 0) }

    public mutating func write(_ value: Double?) {
        write(value != nil)
        if let value { write(value) }
    }

    public mutating func write(_ text: String) {
        write(text.utf8.count)
        bytes.append(contentsOf: text.utf8)
    }

    public mutating func write(_ values: ArraySlice<Double>) {
        write(values.count)
        #if _endian(little)
            // The block is copied as it stands: this is what keeps a save of many windows quick.
            unsafe values.withUnsafeBytes { unsafe bytes.append(contentsOf: $0) }
        #else
            for value in values { write(value) }
        #endif
    }
}

/// Reads what `StateWriter` wrote. Never traps: whatever the bytes, it answers or throws.
public struct StateReader: Sendable {
    private let bytes: [UInt8]
    private var offset = 0
    private let end: Int

    public init(_ bytes: [UInt8]) { self.init(bytes, range: 0..<bytes.count) }

    /// Reads only `range` of `bytes`, which must lie inside.
    public init(_ bytes: [UInt8], range: Range<Int>) {
        precondition(range.lowerBound >= 0 && range.upperBound <= bytes.count, "the range lies inside the bytes")
        self.bytes = bytes
        offset = range.lowerBound
        end = range.upperBound
    }

    public var isAtEnd: Bool { offset == end }

    private mutating func take(_ count: Int) throws(IndicatorError) -> Int {
        guard count >= 0, count <= end - offset else { throw .truncatedState(byteCount: bytes.count) }
        defer { offset += count }
        return offset
    }

    public mutating func readUInt64() throws(IndicatorError) -> UInt64 {
        let start = try take(8)
        let raw = unsafe bytes.withUnsafeBytes { unsafe $0.loadUnaligned(fromByteOffset: start, as: UInt64.self) }
        return UInt64(littleEndian: raw)
    }

    public mutating func readUInt8() throws(IndicatorError) -> UInt8 { bytes[try take(1)] }
    public mutating func readInt() throws(IndicatorError) -> Int { Int(Int64(bitPattern: try readUInt64())) }
    public mutating func readInt64() throws(IndicatorError) -> Int64 { Int64(bitPattern: try readUInt64()) }
    public mutating func readDouble() throws(IndicatorError) -> Double { Double(bitPattern: try readUInt64()) }

    public mutating func readBool() throws(IndicatorError) -> Bool {
        let byte = try readUInt8()
        guard byte <= 1 else { throw .stateMismatch(field: "flag") }
        return byte == 1
    }

    public mutating func readOptionalDouble() throws(IndicatorError) -> Double? {
        try readBool() ? try readDouble() : nil
    }

    /// A count between 0 and `limit`.
    public mutating func readCount(upTo limit: Int, _ field: String) throws(IndicatorError) -> Int {
        let count = try readInt()
        guard (0...limit).contains(count) else { throw .stateMismatch(field: field) }
        return count
    }

    /// A text of at most `limit` bytes of UTF-8.
    public mutating func readString(upTo limit: Int = 4096) throws(IndicatorError) -> String {
        let count = try readCount(upTo: limit, "text")
        let start = try take(count)
        guard let text = String(validating: bytes[start..<(start + count)], as: UTF8.self) else {
            throw .stateMismatch(field: "text")
        }
        return text
    }

    /// Reads `write(_: ArraySlice<Double>)` into the front of `values`, and returns how many there were.
    public mutating func readDoubles(into values: inout [Double], _ field: String) throws(IndicatorError) -> Int {
        let count = try readCount(upTo: values.count, field)
        for index in 0..<count { values[index] = try readDouble() }
        return count
    }
}
