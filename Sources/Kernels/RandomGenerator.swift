/// A seeded stream of random numbers: the only source of randomness in the project, always passed in.
///
/// xoshiro256++ (Blackman, Vigna 2019, "Scrambled linear pseudorandom number generators"), its state filled from the
/// seed by splitmix64. One seed gives the same numbers on every machine. Not for secrets.
public struct RandomGenerator: RandomNumberGenerator, Sendable, Equatable {
    private var s0: UInt64
    private var s1: UInt64
    private var s2: UInt64
    private var s3: UInt64
    /// The second of a pair of normals, kept for the next call.
    private var spare: Double?

    public init(seed: UInt64) {
        var x = seed
        func splitmix() -> UInt64 {
            x &+= 0x9E37_79B9_7F4A_7C15
            var z = x
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return z ^ (z >> 31)
        }
        s0 = splitmix()
        s1 = splitmix()
        s2 = splitmix()
        s3 = splitmix()
    }

    /// 64 uniformly distributed bits.
    @inlinable
    public mutating func next() -> UInt64 { nextBits() }

    @usableFromInline
    mutating func nextBits() -> UInt64 {
        func rotl(_ x: UInt64, _ k: UInt64) -> UInt64 { (x << k) | (x >> (64 - k)) }
        let result = rotl(s0 &+ s3, 23) &+ s0
        let t = s1 << 17
        s2 ^= s0
        s3 ^= s1
        s1 ^= s2
        s0 ^= s3
        s2 ^= t
        s3 = rotl(s3, 45)
        return result
    }

    /// Uniform on [0, 1), 53 bits.
    public mutating func uniform() -> Double { Double(nextBits() >> 11) * 0x1p-53 }

    /// Uniform on [low, high).
    public mutating func uniform(_ low: Double, _ high: Double) -> Double { low + (high - low) * uniform() }

    /// Uniform on 0 ..< count. Traps when `count` is not positive.
    public mutating func index(below count: Int) -> Int {
        precondition(count > 0, "index(below:) needs a positive count")
        return Int(nextBits().multipliedFullWidth(by: UInt64(count)).high)
    }

    /// Standard normal, by Marsaglia's polar method.
    public mutating func normal() -> Double {
        if let value = spare {
            spare = nil
            return value
        }
        while true {
            let u = 2 * uniform() - 1
            let v = 2 * uniform() - 1
            let s = u * u + v * v
            guard s > 0, s < 1 else { continue }
            let factor = (-2 * log(s) / s).squareRoot()
            spare = v * factor
            return u * factor
        }
    }

    /// The whole state, for a checkpoint: five words, the last two being the spare normal's presence and bits.
    public var state: [UInt64] { [s0, s1, s2, s3, spare == nil ? 0 : 1, spare?.bitPattern ?? 0] }

    /// Restores what `state` returned. `nil` when the words are not such a state.
    public init?(state: [UInt64]) {
        guard state.count == 6, state[0] | state[1] | state[2] | state[3] != 0, state[4] <= 1 else { return nil }
        (s0, s1, s2, s3) = (state[0], state[1], state[2], state[3])
        spare = state[4] == 1 ? Double(bitPattern: state[5]) : nil
    }
}
