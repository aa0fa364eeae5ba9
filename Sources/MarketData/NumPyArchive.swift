internal import Compression

/// NumPy's `.npz`: arrays by name, as `numpy.load` reads and `numpy.savez` (also compressed) writes them. Only real
/// numbers of double or single precision and integers; all are held in double precision.
public struct NumPyArchive: Sendable, Equatable {
    public struct Array: Sendable, Equatable {
        /// Empty for a scalar.
        public var shape: [Int]
        /// Row-major.
        public var values: [Double]

        /// Traps when the shape does not hold the values.
        public init(shape: [Int], _ values: [Double]) {
            precondition(shape.allSatisfy { $0 >= 0 }, "dimensions are not negative")
            precondition(shape.reduce(1, *) == values.count, "the shape holds the values")
            (self.shape, self.values) = (shape, values)
        }

        public init(_ values: [Double]) { self.init(shape: [values.count], values) }
        public init(scalar value: Double) { self.init(shape: [], [value]) }
    }

    public var arrays: [String: Array]

    public init(_ arrays: [String: Array]) { self.arrays = arrays }

    /// Bytes that all arrays of a file may have together.
    private static let maxByteCount = 1 << 30

    // MARK: Writing

    /// The file's bytes, arrays in order of their names: the same for the same arrays.
    public func bytes() -> [UInt8] {
        ZipArchive(files: arrays.sorted { $0.key < $1.key }.map { ("\($0.key).npy", Self.npy($0.value)) }).bytes()
    }

    /// Format 1.0: magic, a header padded to 64 bytes, the values in little-endian.
    private static func npy(_ array: Array) -> [UInt8] {
        // A tuple of one has a comma behind it.
        let shape = array.shape.map(String.init).joined(separator: ", ") + (array.shape.count == 1 ? "," : "")
        var header = "{'descr': '<f8', 'fortran_order': False, 'shape': (\(shape)), }"
        let length = (10 + header.utf8.count + 1 + 63) / 64 * 64 - 10
        header += String(repeating: " ", count: length - header.utf8.count - 1) + "\n"
        var bytes: [UInt8] = magic + [1, 0, UInt8(length & 0xFF), UInt8(length >> 8)]
        bytes += header.utf8
        for value in array.values {
            let bits = value.bitPattern
            for byte in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: bits >> UInt64(8 * byte))) }
        }
        return bytes
    }

    private static let magic: [UInt8] = [0x93] + [UInt8]("NUMPY".utf8)

    // MARK: Reading

    /// Reads a whole file. Throws `malformedFile` with the array and what is wrong with it.
    public init(bytes: [UInt8]) throws(MarketDataError) {
        let archive: ZipArchive
        do throws(GzipError) { archive = try ZipArchive(bytes: bytes, maxByteCount: Self.maxByteCount) } catch {
            throw .malformedFile(reason: "no .npz: \(error)")
        }
        arrays = [:]
        for file in archive.files {
            let name = file.name.hasSuffix(".npy") ? String(file.name.dropLast(4)) : file.name
            arrays[name] = try Self.array(name, file.bytes)
        }
    }

    /// One array of a file `.npy`. Throws `malformedFile`.
    public init(npy bytes: [UInt8]) throws(MarketDataError) { arrays = ["": try Self.array("", bytes)] }

    private static func array(_ name: String, _ bytes: [UInt8]) throws(MarketDataError) -> Array {
        func malformed(_ reason: String) -> MarketDataError { .malformedFile(reason: "array \(name): \(reason)") }
        guard bytes.count >= 12, bytes.starts(with: magic), (1...3).contains(bytes[6]) else {
            throw malformed("no .npy of version 1 to 3")
        }
        let wide = bytes[6] > 1
        let start = wide ? 12 : 10
        let length = (8..<start).reversed().reduce(0) { $0 << 8 | Int(bytes[$1]) }
        guard length <= bytes.count - start else { throw malformed("its header ends early") }
        let header = String(decoding: bytes[start..<(start + length)], as: UTF8.self)
        guard let type = field("descr", of: header), let order = field("fortran_order", of: header),
            let tuple = field("shape", of: header)
        else { throw malformed("its header lacks descr, fortran_order or shape") }
        var shape: [Int] = []
        var count = 1
        for part in tuple.split(separator: ",") {
            let text = part.filter { $0 != " " }
            guard !text.isEmpty else { continue }
            guard let extent = Int(text), extent >= 0 else { throw malformed("its shape is (\(tuple))") }
            let (product, overflows) = count.multipliedReportingOverflow(by: extent)
            guard !overflows else { throw malformed("its shape is (\(tuple))") }
            shape.append(extent)
            count = product
        }
        guard let element = Element(type) else { throw malformed("its numbers are of the kind \(type)") }
        let data = start + length
        let (size, overflows) = count.multipliedReportingOverflow(by: element.width)
        guard !overflows, bytes.count - data == size else { throw malformed("its shape (\(tuple)) has not its size") }
        var values: [Double] = []
        values.reserveCapacity(count)
        for i in 0..<count {
            var bits: UInt64 = 0
            for byte in 0..<element.width { bits |= UInt64(bytes[data + i * element.width + byte]) << UInt64(8 * byte) }
            values.append(element.value(bits))
        }
        return Array(shape: shape, order == "True" ? rowMajor(values, shape) : values)
    }

    /// The kinds of numbers that are read, by NumPy's names.
    private enum Element: String {
        case double = "<f8"
        case float = "<f4"
        case long = "<i8"
        case int = "<i4"

        init?(_ text: String) { self.init(rawValue: text) }

        var width: Int { self == .double || self == .long ? 8 : 4 }

        func value(_ bits: UInt64) -> Double {
            switch self {
            case .double: Double(bitPattern: bits)
            case .float: Double(Float(bitPattern: UInt32(truncatingIfNeeded: bits)))
            case .long: Double(Int64(bitPattern: bits))
            case .int: Double(Int32(bitPattern: UInt32(truncatingIfNeeded: bits)))
            }
        }
    }

    /// The text of one field of the header, a Python dictionary: what is in quotes or parentheses, or a word.
    private static func field(_ name: String, of header: String) -> String? {
        guard let key = header.firstRange(of: "'\(name)'") else { return nil }
        let rest = header[key.upperBound...].drop { $0 == ":" || $0 == " " }
        switch rest.first {
        case "'": return rest.dropFirst().prefix { $0 != "'" }.description
        case "(": return rest.dropFirst().prefix { $0 != ")" }.description
        default: return rest.prefix { $0.isLetter }.description
        }
    }

    /// From the order in which the first index runs fastest.
    private static func rowMajor(_ values: [Double], _ shape: [Int]) -> [Double] {
        var result = values
        var index = [Int](repeating: 0, count: shape.count)
        for place in values.indices {
            var (source, step) = (0, 1)
            for (i, extent) in zip(index, shape) {
                source += i * step
                step *= extent
            }
            result[place] = values[source]
            var axis = shape.count - 1
            while axis >= 0 {
                index[axis] += 1
                if index[axis] < shape[axis] { break }
                index[axis] = 0
                axis -= 1
            }
        }
        return result
    }
}
