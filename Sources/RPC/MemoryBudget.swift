private import Synchronization

/// What peers make a server hold for them, over all its connections: messages that have not come whole or have not been
/// taken, and responses that have not been sent.
///
/// Windows bound what one stream is ahead; this bounds the sum, which windows do not: a client that orders large
/// responses and reads none of them, or that sends a thousand messages but for their last bytes.
final class MemoryBudget: Sendable {
    /// What one connection holds is counted here in steps of this many bytes, so that small calls touch nothing shared.
    static let step = 64 << 10

    private let limit: Int
    private let used = Atomic(0)

    init(limit: Int) { self.limit = limit }

    /// Counted so far.
    var usedByteCount: Int { used.load(ordering: .relaxed) }
    var isExceeded: Bool { usedByteCount > limit }

    fileprivate func add(_ byteCount: Int) { used.add(byteCount, ordering: .relaxed) }
}

/// One connection's part of a budget.
struct MemoryShare {
    private let budget: MemoryBudget
    private var charged = 0

    init(_ budget: MemoryBudget) { self.budget = budget }

    /// The connection holds so many bytes now.
    mutating func update(_ byteCount: Int) {
        let steps = byteCount / MemoryBudget.step
        guard steps != charged else { return }
        budget.add((steps - charged) * MemoryBudget.step)
        charged = steps
    }

    /// Whether so many bytes more are too much: the budget is exceeded, and this connection is, or would be, among
    /// those that hold much. Small calls of others go on.
    func refuses(_ byteCount: Int) -> Bool { (charged > 0 || byteCount >= MemoryBudget.step) && budget.isExceeded }
}
