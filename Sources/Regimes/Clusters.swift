internal import Kernels

// Where the fit's starts come from: a cluster number for each row.

/// Clusters by how volatile the neighbourhood is: quantiles of the mean squared standardised distance from the overall
/// mean over the last 20 rows. Regimes of a market differ by that more than by anything else.
func volatilityClusters(
    _ observations: [Double], _ d: Int, _ scales: GaussianHMM.Scales, _ count: Int
) -> [Int] {
    let rows = observations.count / d
    var smoothed = [Double](repeating: 0, count: rows)
    var level = Double(d)
    for t in 0..<rows {
        var distance = 0.0
        for i in 0..<d {
            let x = observations[t * d + i] - scales.mean[i]
            distance += x * x / scales.variance[i]
        }
        level += (distance - level) / 20
        smoothed[t] = level
    }
    let sorted = smoothed.sorted()
    let bounds = (1..<max(1, count)).map { sorted[rows * $0 / count] }
    return smoothed.map { value in bounds.count { value >= $0 } }
}

/// k-means++ (Arthur, Vassilvitskii 2007) with ten rounds of Lloyd's algorithm on standardised features; centres are
/// found on at most 4,096 evenly spaced rows, then all rows are assigned.
func kMeansClusters(
    _ observations: [Double], _ d: Int, _ scales: GaussianHMM.Scales, _ count: Int, _ random: inout RandomGenerator
) -> [Int] {
    let rows = observations.count / d
    let inverse = scales.variance.map { 1 / $0.squareRoot() }
    let step = max(1, rows / 4096)
    let sample = Array(stride(from: 0, to: rows, by: step))
    func point(_ row: Int, _ i: Int) -> Double { (observations[row * d + i] - scales.mean[i]) * inverse[i] }
    func distance(_ row: Int, _ centre: [Double]) -> Double {
        var sum = 0.0
        for i in 0..<d {
            let x = point(row, i) - centre[i]
            sum += x * x
        }
        return sum
    }
    func centre(at row: Int) -> [Double] { (0..<d).map { point(row, $0) } }

    var centres = [centre(at: sample[random.index(below: sample.count)])]
    var nearest = sample.map { distance($0, centres[0]) }
    while centres.count < count {
        // The next centre: a row drawn with probability proportional to its squared distance from those there are.
        var remaining = random.uniform() * nearest.reduce(0, +)
        var chosen = sample.count - 1
        for (k, weight) in nearest.enumerated() {
            remaining -= weight
            if remaining < 0 {
                chosen = k
                break
            }
        }
        let next = centre(at: sample[chosen])
        centres.append(next)
        for k in sample.indices { nearest[k] = min(nearest[k], distance(sample[k], next)) }
    }
    func assign(_ row: Int) -> Int {
        var best = 0
        var least = Double.infinity
        for (k, centre) in centres.enumerated() {
            let value = distance(row, centre)
            if value < least {
                least = value
                best = k
            }
        }
        return best
    }
    for _ in 0..<10 {
        var sums = [[Double]](repeating: [Double](repeating: 0, count: d), count: count)
        var sizes = [Double](repeating: 0, count: count)
        for row in sample {
            let cluster = assign(row)
            sizes[cluster] += 1
            for i in 0..<d { sums[cluster][i] += point(row, i) }
        }
        for k in 0..<count where sizes[k] > 0 { centres[k] = sums[k].map { $0 / sizes[k] } }
    }
    return (0..<rows).map(assign)
}
