internal import CoreMetrics
internal import Synchronization

// What swift-metrics' instruments write to: atomics, so that recording takes no lock and allocates nothing.

/// A sum of whole numbers that only grows.
final class CounterCell: CounterHandler {
    private let count = Atomic<Int64>(0)

    var value: Int64 { count.load(ordering: .relaxed) }
    func increment(by amount: Int64) { count.wrappingAdd(max(0, amount), ordering: .relaxed) }
    func reset() { count.store(0, ordering: .relaxed) }
}

/// A number that goes up and down.
final class GaugeCell: MeterHandler, RecorderHandler {
    private let number = AtomicDouble()

    var value: Double { number.value }
    func set(_ value: Int64) { number.set(Double(value)) }
    func set(_ value: Double) { number.set(value) }
    func record(_ value: Int64) { number.set(Double(value)) }
    func record(_ value: Double) { number.set(value) }
    func increment(by amount: Double) { number.add(amount) }
    func decrement(by amount: Double) { number.add(-amount) }
}

/// Observations by size, in the base unit: seconds for timers.
final class HistogramCell: TimerHandler, RecorderHandler {
    private final class Bucket: Sendable { let count = Atomic<Int64>(0) }

    let bounds: [Double]
    /// One more than bounds: the last takes what is above them all.
    private let buckets: [Bucket]
    private let sum = AtomicDouble()

    init(bounds: [Double]) {
        self.bounds = bounds
        buckets = (0...bounds.count).map { _ in Bucket() }
    }

    func recordNanoseconds(_ duration: Int64) { record(Double(duration) / 1e9) }
    func record(_ value: Int64) { record(Double(value)) }

    func record(_ value: Double) {
        guard value.isFinite else { return }
        // Bisection: the first bound that is not below the value.
        var low = 0
        var high = bounds.count
        while low < high {
            let middle = (low + high) / 2
            if bounds[middle] < value { low = middle + 1 } else { high = middle }
        }
        buckets[low].count.wrappingAdd(1, ordering: .relaxed)
        sum.add(value)
    }

    /// Counts up to each bound and in all. Observations that come meanwhile may be in the sum and not yet in a count.
    func snapshot() -> (cumulative: [Int64], sum: Double) {
        let sum = sum.value
        var total: Int64 = 0
        return (buckets.map { total += $0.count.load(ordering: .relaxed); return total }, sum)
    }
}

/// A Double that many threads add to.
private final class AtomicDouble: Sendable {
    private let bits = Atomic<UInt64>(0)

    var value: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }
    func set(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }

    func add(_ amount: Double) {
        var known = bits.load(ordering: .relaxed)
        while true {
            let wanted = (Double(bitPattern: known) + amount).bitPattern
            let (exchanged, original) = bits.weakCompareExchange(expected: known, desired: wanted, ordering: .relaxed)
            if exchanged { return }
            known = original
        }
    }
}
