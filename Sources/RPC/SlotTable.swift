/// The streams' slots of a session, in memory of their own: an array would ask at each access whether it is the only
/// owner of its elements, which each call would pay for some thirty times.
@safe struct SlotTable: ~Copyable {
    typealias Slot = HTTP2Session.Slot

    private var slots = UnsafeMutableBufferPointer<Slot>.allocate(capacity: 4)
    private(set) var count = 0

    deinit {
        unsafe slots[..<count].deinitialize()
        unsafe slots.deallocate()
    }

    subscript(index: Int) -> Slot {
        @inline(__always) _read {
            precondition(index >= 0 && index < count, "slots are used once they are there")
            yield unsafe slots[index]
        }
        @inline(__always) _modify {
            precondition(index >= 0 && index < count, "slots are used once they are there")
            yield unsafe &slots[index]
        }
    }

    mutating func append(_ slot: Slot) {
        if unsafe count == slots.count {
            let larger = UnsafeMutableBufferPointer<Slot>.allocate(capacity: 2 * count)
            _ = unsafe larger.moveInitialize(fromContentsOf: slots)
            unsafe slots.deallocate()
            unsafe slots = larger
        }
        unsafe slots.initializeElement(at: count, to: slot)
        count += 1
    }
}
