/// A first-in, first-out queue; amortised O(1) at both ends. One element needs no memory beyond the queue itself: many
/// calls have one message each way.
struct FIFO<Element> {
    private var first: Element?
    /// What comes after `first`; empty while that is `nil`.
    private var storage: [Element?] = []
    private var head = 0

    var isEmpty: Bool { first == nil }
    var count: Int { (first == nil ? 0 : 1) + storage.count - head }

    mutating func append(_ element: Element) {
        if first == nil { first = element } else { storage.append(element) }
    }

    mutating func popFirst() -> Element? {
        guard let element = first.take() else { return nil }
        guard head < storage.count else { return element }
        first = storage[head]
        storage[head] = nil
        head += 1
        if head == storage.count {
            storage.removeAll(keepingCapacity: head <= 64)
            head = 0
        } else if head >= 32, head * 2 >= storage.count {
            storage.removeFirst(head)
            head = 0
        }
        return element
    }

    mutating func removeAll() {
        first = nil
        storage.removeAll()
        head = 0
    }
}
