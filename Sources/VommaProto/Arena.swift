internal import CProtobufC
internal import Glibc

/// Memory for the C form of one message: taken piece by piece, freed all at once.
///
/// Not thread-safe, and not freed by itself: whoever makes one calls `free()`, after the last use of its pointers.
@safe
struct Arena: ~Copyable {
    /// Where the next piece starts, and what is left of its chunk.
    private var cursor: UnsafeMutableRawPointer?
    private var left = 0
    /// The latest chunk; the first word of each points to the one before.
    private var chunk: UnsafeMutableRawPointer?
    private var nextChunkSize: Int
    private var budget: Int
    /// Whether a piece was refused because it went beyond the limit.
    private(set) var isExhausted = false
    /// Whether protobuf-c gave something back: what a later occurrence replaced, or notes beyond those on its stack.
    private(set) var hasTakenBack = false
    /// The strings and bytes to be written, together. Beyond the limit of a message they are counted only.
    private(set) var textByteCount = 0
    /// How many messages enclose the one being written, and whether they were ever too many.
    private(set) var depth = 0
    private(set) var isTooDeep = false

    /// At most `limit` bytes in pieces. They come from `first` while that lasts (the caller's memory, which outlives
    /// the arena: on the stack, so that small messages need no malloc), then from chunks; `expected` sizes their first.
    init(limit: Int, expected: Int, first: UnsafeMutableRawBufferPointer) {
        budget = limit
        nextChunkSize = min(max(expected, 1024), 1 << 20)
        unsafe cursor = first.baseAddress
        left = first.count
    }

    /// What callers take from the stack as `first`; the compiler would take more from the heap.
    static let firstByteCount = 1024

    /// A piece of uninitialised memory aligned to 8 bytes; `nil` beyond the limit.
    mutating func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer? {
        guard byteCount >= 0, byteCount <= budget else {
            isExhausted = true
            return nil
        }
        let size = (max(byteCount, 1) + 7) & ~7
        budget -= min(size, budget)
        if size > left {
            guard grow(size) else {
                isExhausted = true
                return nil
            }
        }
        let piece = unsafe cursor
        unsafe cursor = piece.map { unsafe $0 + size }
        left -= size
        return unsafe piece
    }

    private mutating func grow(_ size: Int) -> Bool {
        let capacity = max(size, nextChunkSize)
        guard let memory = unsafe malloc(capacity + 16) else { return false }
        unsafe memory.storeBytes(of: chunk, as: UnsafeMutableRawPointer?.self)
        unsafe chunk = memory
        unsafe cursor = memory + 16
        left = capacity
        nextChunkSize = min(capacity * 2, 1 << 20)
        return true
    }

    /// Gives all memory back.
    mutating func free() {
        while let memory = unsafe chunk {
            unsafe chunk = memory.load(as: UnsafeMutableRawPointer?.self)
            unsafe Glibc.free(memory)
        }
        unsafe cursor = nil
        left = 0
    }

    /// The form in which protobuf-c takes an allocator. The arena must stay where it is while that is used.
    static func allocator(_ arena: UnsafeMutablePointer<Arena>) -> ProtobufCAllocator {
        unsafe ProtobufCAllocator(
            alloc: { data, byteCount in
                guard let arena = unsafe data?.assumingMemoryBound(to: Arena.self) else { return nil }
                return unsafe arena.pointee.allocate(byteCount)
            },
            free: { data, _ in
                guard let arena = unsafe data?.assumingMemoryBound(to: Arena.self) else { return }
                unsafe arena.pointee.hasTakenBack = true
            },
            allocator_data: arena)
    }
}

// MARK: Writing Swift values as C ones

extension Arena {
    /// Uninitialised room. Writing has no limit: it takes what the message already takes as Swift values, twice or so.
    private mutating func room<T>(_ count: Int, _ type: T.Type = T.self) -> UnsafeMutablePointer<T> {
        guard let memory = unsafe allocate(count * MemoryLayout<T>.stride) else {
            preconditionFailure("out of memory")
        }
        return unsafe memory.bindMemory(to: type, capacity: count)
    }

    /// Room for one C struct.
    mutating func `struct`<T>(_ type: T.Type) -> UnsafeMutablePointer<T> { unsafe room(1, type) }

    /// Room for the pointers of a repeated message field.
    mutating func pointers<T>(_ count: Int) -> UnsafeMutablePointer<UnsafeMutablePointer<T>?>? {
        unsafe count == 0 ? nil : room(count)
    }

    private mutating func copy(_ source: UnsafeRawBufferPointer) -> ProtobufCBinaryData {
        textByteCount += source.count
        guard let start = source.baseAddress, unsafe !source.isEmpty, textByteCount <= Wire.byteLimit else {
            return unsafe ProtobufCBinaryData(len: 0, data: nil)
        }
        let target: UnsafeMutablePointer<UInt8> = unsafe room(source.count)
        unsafe UnsafeMutableRawPointer(target).copyMemory(from: start, byteCount: source.count)
        return unsafe ProtobufCBinaryData(len: source.count, data: target)
    }

    mutating func string(_ value: String) -> ProtobufCBinaryData {
        var value = value
        return value.withUTF8 { unsafe copy(UnsafeRawBufferPointer($0)) }
    }

    mutating func bytes(_ value: [UInt8]) -> ProtobufCBinaryData {
        unsafe value.withUnsafeBytes { unsafe copy($0) }
    }

    /// Numbers in bulk; C's type has the size of Swift's, floating-point numbers going as their bits.
    mutating func numbers<From: BitwiseCopyable, To>(_ values: [From]) -> UnsafeMutablePointer<To>? {
        assert(MemoryLayout<From>.stride == MemoryLayout<To>.stride)
        guard !values.isEmpty else { return nil }
        let target: UnsafeMutablePointer<To> = unsafe room(values.count)
        unsafe values.withUnsafeBytes { source in
            guard let start = source.baseAddress else { return }
            unsafe UnsafeMutableRawPointer(target).copyMemory(from: start, byteCount: source.count)
        }
        return unsafe target
    }

    mutating func bools(_ values: [Bool]) -> UnsafeMutablePointer<UInt64>? {
        guard !values.isEmpty else { return nil }
        let target: UnsafeMutablePointer<UInt64> = unsafe room(values.count)
        for index in values.indices { unsafe target[index] = values[index] ? 1 : 0 }
        return unsafe target
    }

    mutating func enums<E: ProtoEnum>(_ values: [E]) -> UnsafeMutablePointer<Int32>? {
        guard !values.isEmpty else { return nil }
        let target: UnsafeMutablePointer<Int32> = unsafe room(values.count)
        for index in values.indices { unsafe target[index] = values[index].rawValue }
        return unsafe target
    }

    mutating func strings(_ values: [String]) -> UnsafeMutablePointer<ProtobufCBinaryData>? {
        guard !values.isEmpty else { return nil }
        let target: UnsafeMutablePointer<ProtobufCBinaryData> = unsafe room(values.count)
        for index in values.indices { unsafe target[index] = string(values[index]) }
        return unsafe target
    }

    mutating func byteArrays(_ values: [[UInt8]]) -> UnsafeMutablePointer<ProtobufCBinaryData>? {
        guard !values.isEmpty else { return nil }
        let target: UnsafeMutablePointer<ProtobufCBinaryData> = unsafe room(values.count)
        for index in values.indices { unsafe target[index] = bytes(values[index]) }
        return unsafe target
    }

    /// The C form of a message and of all within it. One that is nested too deep is left empty, and noted.
    mutating func message<M: WireMessage>(_ value: M) -> UnsafeMutablePointer<M.CStruct> {
        let target: UnsafeMutablePointer<M.CStruct> = unsafe room(1)
        unsafe M.initialise(target)
        guard depth <= Wire.depthLimit else {
            isTooDeep = true
            return unsafe target
        }
        depth += 1
        unsafe value.write(target, &self)
        depth -= 1
        return unsafe target
    }

    mutating func messages<M: WireMessage>(
        _ values: [M]
    ) -> UnsafeMutablePointer<UnsafeMutablePointer<M.CStruct>?>? {
        guard let target: UnsafeMutablePointer<UnsafeMutablePointer<M.CStruct>?> = unsafe pointers(values.count) else {
            return nil
        }
        for index in values.indices { unsafe target[index] = message(values[index]) }
        return unsafe target
    }

    /// The unknown fields, all as one: protobuf-c writes the tag of the first, then its bytes, which end with the rest.
    mutating func unknown(_ fields: UnknownFields, _ base: inout ProtobufCMessage) {
        guard !fields.isEmpty else { return }
        var tag: UInt64 = 0
        var count = 0
        for byte in fields.bytes.prefix(5) {
            tag |= UInt64(byte & 0x7F) << UInt64(7 * count)
            count += 1
            if byte < 0x80 { break }
        }
        let rest = unsafe fields.bytes.withUnsafeBytes { unsafe copy(UnsafeRawBufferPointer(rebasing: $0[count...])) }
        let field: UnsafeMutablePointer<ProtobufCMessageUnknownField> = unsafe room(1)
        unsafe field.initialize(
            to: ProtobufCMessageUnknownField(
                tag: UInt32(truncatingIfNeeded: tag >> 3), wire_type: ProtobufCWireType(UInt32(tag & 7)),
                len: rest.len, data: rest.data))
        unsafe base.n_unknown_fields = 1
        unsafe base.unknown_fields = field
    }
}
