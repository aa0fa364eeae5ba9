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

    struct Entry {
        /// nghttp2's buffers, as numbers; 0: never known again.
        fileprivate var name = 0
        fileprivate var value = 0
        var byteCount: Int
        var effect: RequestRules.Effect
    }

    /// Room for `countLimit`, the first `count` of which are there.
    private let entries = UnsafeMutablePointer<Entry>.allocate(capacity: KnownFields.countLimit)
    @safe @exclusivity(unchecked) private var count = 0
    /// The same fields with their bytes.
    @safe @exclusivity(unchecked) private(set) var fields = HeaderFields()
    /// Another one since the fields are others.
    @safe @exclusivity(unchecked) private(set) var generation = 0
    /// The present block's fields are to be learnt.
    @safe @exclusivity(unchecked) private var isLearning = false
    /// The latest block was learnt.
    @safe @exclusivity(unchecked) private var hasLearnt = false
    /// Blocks to go before the next one is learnt, where that has not helped: twice as many each time.
    @safe @exclusivity(unchecked) private var pause = 0
    @safe @exclusivity(unchecked) private var nextPause = 1
    /// Of the present block: fields so far, and those that were known, as far as their runs are taken.
    @safe @exclusivity(unchecked) private var position = 0
    @safe @exclusivity(unchecked) private var knownCount = 0
    /// Where the run of known fields began that goes on up to `position`.
    @safe @exclusivity(unchecked) private var runStart = 0

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
        runStart = 0
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

    /// What the next field of the block is, if it is known. Known fields that follow each other are a run.
    @inline(__always)
    func next(_ name: OpaquePointer, _ value: OpaquePointer) -> UnsafePointer<Entry>? {
        let index = position
        position = index &+ 1
        guard index < count, unsafe entries[index].value == Int(bitPattern: value),
            unsafe entries[index].name == Int(bitPattern: name)
        else { return nil }
        return unsafe UnsafePointer(entries + index)
    }

    /// Which of `fields` the run was, now that it is over: at the end of the block, or because of the latest field
    /// (`butLatest`), which is not one of it.
    func takeRun(butLatest: Bool) -> Range<Int> {
        let end = butLatest ? position - 1 : position
        defer { runStart = position }
        guard runStart < end else { return 0..<0 }
        knownCount += end - runStart
        return runStart..<end
    }

    func dropRun() { runStart = position }

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
        var entry = Entry(byteCount: byteCount, effect: effect)
        if isSteady {
            unsafe nghttp2_rcbuf_incref(name)
            unsafe nghttp2_rcbuf_incref(value)
            entry.name = Int(bitPattern: name)
            entry.value = Int(bitPattern: value)
        }
        unsafe (entries + count).initialize(to: entry)
        count += 1
    }

    /// The field that `next` did not know is none: what comes after it would be out of place.
    func learnNothing() { isLearning = false }

    /// Gives the buffers back.
    func forget() {
        for index in 0..<count {
            unsafe nghttp2_rcbuf_decref(OpaquePointer(bitPattern: entries[index].name))
            unsafe nghttp2_rcbuf_decref(OpaquePointer(bitPattern: entries[index].value))
        }
        count = 0
        generation += 1
        fields.removeFirst(fields.count)
    }
}
