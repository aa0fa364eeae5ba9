// The model as bytes: `VHMM`, version, kind, states, features (32-bit little-endian words), the parameters' bit
// patterns in the order of the properties, and an FNV-1a checksum of all before. Reads back bit for bit.
extension GaussianHMM {
    private static let magic: [UInt8] = Array("VHMM".utf8)
    private static let version: UInt32 = 1

    /// The model's bytes.
    public var serialised: [UInt8] {
        var bytes = Self.magic
        for word in [Self.version, UInt32(covariance.rawValue), UInt32(stateCount), UInt32(dimension)] {
            Self.append(UInt64(word), count: 4, to: &bytes)
        }
        for value in initial + transition + means + covariances { Self.append(value.bitPattern, count: 8, to: &bytes) }
        Self.append(Self.checksum(bytes[...]), count: 8, to: &bytes)
        return bytes
    }

    /// Throws `notAModel` for bytes that are not what `serialised` gave, `invalidModel` for parameters that are none.
    public init(serialised bytes: [UInt8]) throws(RegimeError) {
        guard bytes.count >= 28, Array(bytes[..<4]) == Self.magic else { throw .notAModel }
        func word(_ index: Int) -> Int { Int(Self.number(bytes, at: 4 + 4 * index, count: 4)) }
        let (states, dimension) = (word(2), word(3))
        guard word(0) == Int(Self.version), let kind = Covariance(rawValue: UInt8(clamping: word(1))),
            (1...Self.maximumStates).contains(states), (1...Self.maximumDimension).contains(dimension)
        else { throw .notAModel }
        let counts = [states, states * states, states * dimension, states * dimension * dimension]
        let end = 20 + 8 * counts.reduce(0, +)
        guard bytes.count == end + 8, Self.checksum(bytes[..<end]) == Self.number(bytes, at: end, count: 8) else {
            throw .notAModel
        }
        var offset = 20
        let arrays = counts.map { count in
            (0..<count).map { _ in
                defer { offset += 8 }
                return Double(bitPattern: Self.number(bytes, at: offset, count: 8))
            }
        }
        try self.init(
            covariance: kind, initial: arrays[0], transition: arrays[1], means: arrays[2], covariances: arrays[3],
            dimension: dimension)
    }

    private static func append(_ number: UInt64, count: Int, to bytes: inout [UInt8]) {
        for i in 0..<count { bytes.append(UInt8(truncatingIfNeeded: number >> (8 * UInt64(i)))) }
    }

    private static func number(_ bytes: [UInt8], at offset: Int, count: Int) -> UInt64 {
        (0..<count).reduce(0) { $0 | UInt64(bytes[offset + $1]) << (8 * UInt64($1)) }
    }

    private static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        bytes.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
    }
}
