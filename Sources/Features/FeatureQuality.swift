internal import Kernels
public import MarketData

/// What a table of vectors is worth, column by column: coverage, staleness, distribution, drift, and which columns say
/// the same.
public struct FeatureQuality: Sendable {
    public struct Column: Sendable {
        public let definition: FeatureDefinition
        /// Rows with a value.
        public let count: Int
        /// How often each reason for its absence occurs.
        public let absences: [Absence: Int]
        /// The first and the last row's bar with a value.
        public let firstKnown: Timestamp?
        public let lastKnown: Timestamp?
        public let mean: Double
        /// Population standard deviation; 0 for a column that never changes.
        public let deviation: Double
        /// At 0, 1, 25, 50, 75, 99, 100 %; empty without a value.
        public let quantiles: [Double]
        /// The longest run of rows in which the value did not change.
        public let longestConstantRun: Int
        /// Largest distance of the distribution functions of the first and the second half of its values
        /// (Kolmogorov and Smirnov), within [0, 1]; `nil` for fewer than 100 values.
        public let drift: Double?
        /// Values at equally spaced bins between the 1 % and 99 % quantiles, for a histogram.
        public let histogram: [(from: Double, count: Int)]
        /// Rows outside what the definition promises. Must be 0.
        public let outOfBounds: Int
    }

    public let columns: [Column]
    public let rows: Int
    /// Columns whose values go together, |correlation| ≥ `clusterThreshold` directly or through others; by name,
    /// clusters of two and more.
    public let clusters: [[String]]
    public static let clusterThreshold = 0.95

    /// O(rows × D·log rows) and O(min(rows, 20,000) × D²).
    public init(_ table: FeatureTable) {
        rows = table.count
        columns = table.schema.definitions.indices.map { Self.judge(table, $0) }
        clusters = Self.clusters(table)
    }

    private static func judge(_ table: FeatureTable, _ index: Int) -> Column {
        let definition = table.schema.definitions[index]
        var values: [Double] = []
        values.reserveCapacity(table.count)
        var absences: [Absence: Int] = [:]
        var (first, last): (Int?, Int?)
        var (run, longest, outside) = (0, 0, 0)
        for row in 0..<table.count {
            let place = row * table.schema.count + index
            if let reason = table.absences[place] {
                absences[reason, default: 0] += 1
                run = 0
                continue
            }
            let value = table.values[place]
            run = run > 0 && values.last == value ? run + 1 : 1
            longest = max(longest, run)
            if let bounds = definition.bounds, !bounds.contains(value) { outside += 1 }
            if first == nil { first = row }
            last = row
            values.append(value)
        }
        let n = Double(values.count)
        let mean = values.isEmpty ? .nan : values.reduce(0, +) / n
        let variance = values.isEmpty ? .nan : values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / n
        let sorted = values.sorted()
        let quantiles = sorted.isEmpty ? [] : [0, 0.01, 0.25, 0.5, 0.75, 0.99, 1].map { quantile(sorted, $0) }
        return Column(
            definition: definition, count: values.count, absences: absences,
            firstKnown: first.map { table.barTimes[$0] }, lastKnown: last.map { table.barTimes[$0] }, mean: mean,
            deviation: variance.squareRoot(), quantiles: quantiles, longestConstantRun: longest, drift: drift(values),
            histogram: histogram(sorted), outOfBounds: outside)
    }

    /// Linear between the order statistics (Hyndman, Fan 1996, type 7).
    private static func quantile(_ sorted: [Double], _ share: Double) -> Double {
        let place = share * Double(sorted.count - 1)
        let below = Int(place)
        let above = min(below + 1, sorted.count - 1)
        return sorted[below] + (place - Double(below)) * (sorted[above] - sorted[below])
    }

    private static func drift(_ values: [Double]) -> Double? {
        guard values.count >= 100 else { return nil }
        let early = values[..<(values.count / 2)].sorted()
        let late = values[(values.count / 2)...].sorted()
        var (i, j, widest) = (0, 0, 0.0)
        while i < early.count, j < late.count {
            let next = min(early[i], late[j])
            while i < early.count, early[i] == next { i += 1 }
            while j < late.count, late[j] == next { j += 1 }
            widest = max(widest, abs(Double(i) / Double(early.count) - Double(j) / Double(late.count)))
        }
        return widest
    }

    private static func histogram(_ sorted: [Double]) -> [(from: Double, count: Int)] {
        guard sorted.count >= 2 else { return [] }
        let (low, high) = (quantile(sorted, 0.01), quantile(sorted, 0.99))
        guard high > low else { return [] }
        let bins = 24
        var counts = [Int](repeating: 0, count: bins)
        for value in sorted where value >= low && value <= high {
            counts[min(bins - 1, Int((value - low) / (high - low) * Double(bins)))] += 1
        }
        return counts.enumerated().map { (low + (high - low) * Double($0) / Double(bins), $1) }
    }

    /// Over at most 20,000 rows, evenly spaced; absent values count as the column's mean.
    private static func clusters(_ table: FeatureTable) -> [[String]] {
        let width = table.schema.count
        let step = max(1, table.count / 20_000)
        let rows = Array(stride(from: 0, to: table.count, by: step))
        guard rows.count >= 30 else { return [] }
        // Each column as a unit vector about its mean, or nothing where it does not move.
        var units: [[Double]] = []
        for column in 0..<width {
            var values = rows.map { table.values[$0 * width + column] }
            let known = values.filter { !$0.isNaN }
            let mean = known.isEmpty ? 0 : known.reduce(0, +) / Double(known.count)
            values = values.map { $0.isNaN ? 0 : $0 - mean }
            let length = values.reduce(0) { $0 + $1 * $1 }.squareRoot()
            units.append(length > 0 && known.count >= 30 ? values.map { $0 / length } : [])
        }
        var parent = Array(0..<width)
        func root(_ index: Int) -> Int {
            var index = index
            while parent[index] != index { index = parent[index] }
            return index
        }
        for a in 0..<width where !units[a].isEmpty {
            for b in 0..<a where !units[b].isEmpty {
                var product = 0.0
                for row in rows.indices { product += units[a][row] * units[b][row] }
                if abs(product) >= clusterThreshold { parent[root(a)] = root(b) }
            }
        }
        var members: [Int: [String]] = [:]
        for column in 0..<width { members[root(column), default: []].append(table.schema.names[column]) }
        return members.values.filter { $0.count > 1 }.sorted { $0[0] < $1[0] }
    }
}
