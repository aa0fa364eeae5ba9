public import Kernels

/// Whether a series foretells another: their rank correlation, and how often chance does as well.
public struct PermutationTest: Sendable, Equatable {
    /// Spearman's ρ, in [−1, 1]; 0 where one of the two never changes.
    public var correlation: Double
    /// The share of shifts, the real place counted among them, whose correlation is as great: small is not chance.
    public var pValue: Double
    /// Shifts that were tried.
    public var shifts: Int

    /// `forecast` and `truth` are of the same instants, in order of time. The second is shifted around in time, so that
    /// what hangs together in either stays so, and only their relation is lost; a permutation of single values would
    /// find nearly everything significant in series as calm as prices and positions. O(shifts × count).
    ///
    /// Traps when the counts differ, or for fewer than eight values.
    public init(
        forecast: [Double], truth: [Double], shifts: Int = 999, random: inout RandomGenerator
    ) {
        precondition(forecast.count == truth.count && forecast.count >= 8, "two series of at least eight values")
        let count = forecast.count
        let (a, b) = (Self.centredRanks(forecast), Self.centredRanks(truth))
        let scale = (Self.sumOfSquares(a) * Self.sumOfSquares(b)).squareRoot()
        self.shifts = shifts
        guard scale > 0 else {
            (correlation, pValue) = (0, 1)
            return
        }
        let doubled = b + b
        func score(_ shift: Int) -> Double {
            var sum = 0.0
            for i in 0..<count { sum += a[i] * doubled[i + shift] }
            return sum
        }
        let found = score(0)
        // Rounding must not tell equals apart.
        let bound = found - 1e-12 * scale
        // Shifts by little move what hangs together only a little.
        let least = max(1, count / 20)
        var asGreat = 1
        for _ in 0..<shifts where score(least + random.index(below: count - 2 * least + 1)) >= bound { asGreat += 1 }
        correlation = found / scale
        pValue = Double(asGreat) / Double(shifts + 1)
    }

    private static func sumOfSquares(_ values: [Double]) -> Double { values.reduce(0) { $0 + $1 * $1 } }

    /// Ranks less their mean; equals share the mean of their places.
    static func centredRanks(_ values: [Double]) -> [Double] {
        let order = values.indices.sorted { values[$0] < values[$1] }
        var ranks = [Double](repeating: 0, count: values.count)
        var start = 0
        while start < order.count {
            var end = start + 1
            while end < order.count, values[order[end]] == values[order[start]] { end += 1 }
            let rank = 0.5 * Double(start + end - 1) - 0.5 * Double(values.count - 1)
            for place in start..<end { ranks[order[place]] = rank }
            start = end
        }
        return ranks
    }
}
