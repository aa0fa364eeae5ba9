/// Code that meets bytes from outside, and what must hold of it whatever they are.
///
/// Run for long by `make fuzz`, with libFuzzer and the address sanitizer, and for a moment in every `make test`.
struct FuzzTarget: Sendable, CustomStringConvertible {
    let name: String
    /// Valid inputs to begin with.
    let seeds: @Sendable () throws -> [[UInt8]]
    /// Traps where something is wrong. Errors thrown by what is tested are not wrong: they are its answer.
    let run: @Sendable ([UInt8]) -> Void

    var description: String { name }

    static let all: [FuzzTarget] = rpc + compression + messages + files + storage

    static func named(_ name: String) -> FuzzTarget? { all.first { $0.name == name } }
}

/// Cuts an input into pieces of sizes that the input itself chooses.
struct Pieces: Sequence, IteratorProtocol {
    private var rest: ArraySlice<UInt8>
    private let size: Int

    init(_ bytes: ArraySlice<UInt8>, size: UInt8) {
        rest = bytes
        self.size = size == 0 ? Int.max : Int(size)
    }

    mutating func next() -> ArraySlice<UInt8>? {
        guard !rest.isEmpty else { return nil }
        defer { rest = rest.dropFirst(size) }
        return rest.prefix(size)
    }
}

/// SplitMix64: seeds and short runs are the same every time.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
