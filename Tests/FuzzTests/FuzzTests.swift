import Testing

/// A moment of what `make fuzz` does for long: every target's valid inputs, damaged, the same ones each time.
@Suite struct FuzzTests {
    @Test("Valid inputs and damaged ones break nothing", arguments: FuzzTarget.all)
    func short(target: FuzzTarget) throws {
        let seeds = try target.seeds()
        #expect(!seeds.isEmpty)
        for seed in seeds { target.run(seed) }
        target.run([])
        var random = SeededGenerator(seed: 20_260_101)
        for _ in 0..<150 {
            guard var bytes = seeds.randomElement(using: &random) else { return }
            for _ in 0..<Int.random(in: 1...6, using: &random) { Self.damage(&bytes, seeds, &random) }
            target.run(bytes)
        }
    }

    private static func damage(_ bytes: inout [UInt8], _ seeds: [[UInt8]], _ random: inout SeededGenerator) {
        guard !bytes.isEmpty else { return bytes.append(.random(in: 0...255, using: &random)) }
        let place = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0..<7, using: &random) {
        case 0: bytes[place] = .random(in: 0...255, using: &random)
        case 1: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 2: bytes.remove(at: place)
        case 3: bytes.removeSubrange(place...)
        case 4: bytes.insert([0, 1, 0x7F, 0x80, 0xFF].randomElement(using: &random) ?? 0, at: place)
        case 5: bytes.insert(contentsOf: bytes[place...].prefix(40), at: place)
        default:
            guard let other = seeds.randomElement(using: &random), !other.isEmpty else { return }
            bytes.replaceSubrange(place..., with: other.suffix(from: min(place, other.count - 1)))
        }
    }
}
