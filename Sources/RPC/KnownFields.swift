internal import CNGHTTP2

/// The fields of one of a connection's header blocks, to know them again by nghttp2's buffers alone: a client's calls
/// mostly have the same ones in the same places, and nghttp2 hands out its table's entries, not copies of them.
///
/// Holds a reference to each buffer, so that no other can have its address meanwhile: `countLimit` fields of together
/// `byteLimit` bytes at most. Not Sendable, as its session is not.
@safe final class KnownFields {
    private static let byteLimit = 4096
    private static let countLimit = 64
    private static let longestPause = 256

    @safe private struct Entry {
        /// `nil`: never known again.
        var name: OpaquePointer?
        var value: OpaquePointer?
        var byteCount: Int
        var effect: RequestRules.Effect
    }

    /// Room for `countLimit`, the first `count` of which are there.
    private let entries = UnsafeMutablePointer<Entry>.allocate(capacity: KnownFields.countLimit)
    @safe @exclusivity(unchecked) private var count = 0
    /// The same fields with their bytes.
    @safe @exclusivity(unchecked) private(set) var fields = HeaderFields()
    /// The present block's fields are to be learnt.
    @safe @exclusivity(unchecked) private var isLearning = false
    /// The latest block was learnt.
    @safe @exclusivity(unchecked) private var hasLearnt = false
    /// Blocks to go before the next one is learnt, where that has not helped: twice as many each time.
    @safe @exclusivity(unchecked) private var pause = 0
    @safe @exclusivity(unchecked) private var nextPause = 1
    /// Of the present block: fields so far, and those that were known.
    @safe @exclusivity(unchecked) private var position = 0
    @safe @exclusivity(unchecked) private var knownCount = 0

    deinit {
        forget()
        unsafe entries.deallocate()
    }

    /// Before each block. The first one is learnt, and again one where less than half was known.
    func begin() {
        if knownCount * 2 > position {
            if position > 0, !hasLearnt { nextPause = 1 }
        } else if pause > 0 {
            pause -= 1
        } else {
            forget()
            isLearning = true
            pause = nextPause - 1
            nextPause = min(2 * nextPause, Self.longestPause)
        }
        hasLearnt = false
        position = 0
        knownCount = 0
    }

    /// The block is over, or not looked at any further.
    func end(isGood: Bool) {
        guard isLearning else { return }
        isLearning = false
        if !isGood { forget() }
        // Learnt, not known: but no reason to learn again.
        knownCount = position
        hasLearnt = true
    }

    /// The next field of the block: where it is in `fields`, and what it is, if it is known.
    @inline(__always)
    func next(
        _ name: OpaquePointer, _ value: OpaquePointer
    ) -> (index: Int, byteCount: Int, effect: RequestRules.Effect)? {
        let index = position
        position += 1
        guard index < count, unsafe entries[index].value == value, unsafe entries[index].name == name else {
            return nil
        }
        knownCount += 1
        return unsafe (index, entries[index].byteCount, entries[index].effect)
    }

    /// The field that `next` did not know. `isSteady`: its effect is always the same.
    func learn(
        _ name: OpaquePointer, _ value: OpaquePointer, _ effect: RequestRules.Effect, isSteady: Bool,
        _ kind: HeaderName, _ nameBytes: Span<UInt8>, _ valueBytes: Span<UInt8>
    ) {
        guard isLearning else { return }
        let byteCount = nameBytes.count + valueBytes.count
        guard count < Self.countLimit, fields.byteCount + byteCount <= Self.byteLimit else {
            isLearning = false
            return
        }
        fields.append(kind, name: nameBytes, value: valueBytes)
        var entry = unsafe Entry(name: nil, value: nil, byteCount: byteCount, effect: effect)
        if isSteady {
            unsafe nghttp2_rcbuf_incref(name)
            unsafe nghttp2_rcbuf_incref(value)
            unsafe entry.name = name
            unsafe entry.value = value
        }
        unsafe (entries + count).initialize(to: entry)
        count += 1
    }

    /// The field that `next` did not know is none: what comes after it would be out of place.
    func learnNothing() { isLearning = false }

    /// Gives the buffers back.
    func forget() {
        for index in 0..<count {
            guard let name = unsafe entries[index].name, let value = unsafe entries[index].value else { continue }
            unsafe nghttp2_rcbuf_decref(name)
            unsafe nghttp2_rcbuf_decref(value)
        }
        count = 0
        fields.removeFirst(fields.count)
    }
}
