internal import CProtobufC

/// What the generated code implements to cross to C and back.
protocol WireMessage: ProtoMessage {
    /// protoc-c's struct of this message.
    associatedtype CStruct
    /// Whether the schema lets this message, or one within it, contain itself: then the depth is checked.
    static var canNestWithoutBound: Bool { get }
    /// Whether this message, or one within it, holds a message otherwise than in a list: then two may be to be merged.
    static var holdsSingleMessages: Bool { get }
    /// Sets a struct to the message's defaults.
    static func initialise(_ wire: UnsafeMutablePointer<CStruct>)
    /// Reads an unpacked struct.
    init(wire: UnsafePointer<CStruct>) throws(MessageError)
    /// Fills an initialised struct, with memory from the arena.
    func write(_ wire: UnsafeMutablePointer<CStruct>, _ arena: inout Arena)
}

/// Bytes to Swift values, and the values to bytes, through protobuf-c.
enum Wire {
    /// Messages within messages: 100 levels below the outermost, as other implementations have it.
    static let depthLimit = 100
    /// Messages are smaller than 2 GiB, as in other implementations.
    static let byteLimit = Int(Int32.max)
    /// The memory that unpacking may take. protobuf-c notes 32 bytes for each field it meets, of which the least has 2
    /// bytes, and its notes grow by doubling: 32 times the bytes hold for any numbers and texts. Empty messages in a
    /// list cost more (2 bytes become a struct): the constant is for them. Beyond that a message was made to cost.
    static func memoryLimit(byteCount: Int) -> Int { (4 << 20) + 32 * byteCount }

    static func decode<M: WireMessage>(_ bytes: RawSpan) throws(MessageError) -> M {
        try unsafe bytes.withUnsafeBytes { (buffer) throws(MessageError) in try unsafe decode(buffer) }
    }

    private static func decode<M: WireMessage>(_ bytes: UnsafeRawBufferPointer) throws(MessageError) -> M {
        try unsafe withUnsafeTemporaryAllocation(byteCount: Arena.firstByteCount, alignment: 16) {
            (first) throws(MessageError) in try unsafe decode(bytes, first)
        }
    }

    private static func decode<M: WireMessage>(
        _ bytes: UnsafeRawBufferPointer, _ first: UnsafeMutableRawBufferPointer
    ) throws(MessageError) -> M {
        guard bytes.count <= byteLimit else {
            throw .tooLarge(message: M.protoName, byteCount: bytes.count)
        }
        // Most messages are unpacked in twice their size: numbers stay what they are, structs add their headers.
        var arena = unsafe Arena(
            limit: memoryLimit(byteCount: bytes.count), expected: 512 + 2 * bytes.count, first: first)
        defer { arena.free() }
        let blank = unsafe arena.struct(M.CStruct.self)
        unsafe M.initialise(blank)
        guard let descriptor = unsafe UnsafeRawPointer(blank).load(as: ProtobufCMessage.self).descriptor else {
            throw .malformed(message: M.protoName)
        }
        if M.canNestWithoutBound {
            switch unsafe MessageScan.check(bytes, descriptor, limit: depthLimit) {
            case .plain: break
            case .odd: return try unsafe decodeOdd(bytes, descriptor)
            case .tooDeep: throw .tooDeep(message: M.protoName, limit: depthLimit)
            case .malformed: throw .malformed(message: M.protoName)
            }
        }
        guard let message = unsafe unpack(bytes, descriptor, &arena) else {
            guard !arena.isExhausted else { throw .tooLarge(message: M.protoName, byteCount: bytes.count) }
            return try unsafe decodeOdd(bytes, descriptor)
        }
        // Something was replaced by its second occurrence, or there are more fields than protobuf-c notes on its stack.
        if arena.hasTakenBack, M.holdsSingleMessages, !M.canNestWithoutBound {
            guard case .plain = unsafe MessageScan.check(bytes, descriptor, limit: depthLimit) else {
                return try unsafe decodeOdd(bytes, descriptor)
            }
        }
        return try unsafe M(wire: UnsafeRawPointer(message).assumingMemoryBound(to: M.CStruct.self))
    }

    /// The way of the few messages that protobuf-c does not read as the standard has it.
    private static func decodeOdd<M: WireMessage>(
        _ bytes: UnsafeRawBufferPointer, _ descriptor: UnsafePointer<ProtobufCMessageDescriptor>
    ) throws(MessageError) -> M {
        let plain: [UInt8]
        do {
            plain = try unsafe MessageRepair.rewrite(bytes, descriptor, limit: depthLimit)
        } catch {
            throw error == .tooDeep
                ? .tooDeep(message: M.protoName, limit: depthLimit) : .malformed(message: M.protoName)
        }
        var arena = unsafe Arena(
            limit: memoryLimit(byteCount: bytes.count), expected: 512 + 2 * plain.count,
            first: UnsafeMutableRawBufferPointer(start: nil, count: 0))
        defer { arena.free() }
        guard let message = unsafe plain.withUnsafeBytes({ unsafe unpack($0, descriptor, &arena) }) else {
            throw arena.isExhausted
                ? .tooLarge(message: M.protoName, byteCount: bytes.count) : .malformed(message: M.protoName)
        }
        unsafe MessageRepair.unwrap(message)
        return try unsafe M(wire: UnsafeRawPointer(message).assumingMemoryBound(to: M.CStruct.self))
    }

    private static func unpack(
        _ bytes: UnsafeRawBufferPointer, _ descriptor: UnsafePointer<ProtobufCMessageDescriptor>, _ arena: inout Arena
    ) -> UnsafeMutablePointer<ProtobufCMessage>? {
        let start = unsafe bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
        return unsafe withUnsafeMutablePointer(to: &arena) { arena in
            var allocator = unsafe Arena.allocator(arena)
            return unsafe protobuf_c_message_unpack(descriptor, &allocator, bytes.count, start)
        }
    }

    static func encode<M: WireMessage>(_ value: M) throws(MessageError) -> [UInt8] {
        try unsafe withUnsafeTemporaryAllocation(byteCount: Arena.firstByteCount, alignment: 16) {
            (first) throws(MessageError) in try unsafe encode(value, first)
        }
    }

    private static func encode<M: WireMessage>(
        _ value: M, _ first: UnsafeMutableRawBufferPointer
    ) throws(MessageError) -> [UInt8] {
        var arena = unsafe Arena(limit: .max, expected: 0, first: first)
        defer { arena.free() }
        let root = unsafe arena.message(value)
        guard !arena.isTooDeep else { throw .tooDeep(message: M.protoName, limit: depthLimit) }
        guard arena.textByteCount <= byteLimit else {
            throw .tooLarge(message: M.protoName, byteCount: arena.textByteCount)
        }
        let base = unsafe UnsafeRawPointer(root).assumingMemoryBound(to: ProtobufCMessage.self)
        let byteCount = unsafe protobuf_c_message_get_packed_size(base)
        guard byteCount <= byteLimit else { throw .tooLarge(message: M.protoName, byteCount: byteCount) }
        guard byteCount > 0 else { return [] }
        if byteCount <= Arena.firstByteCount, let target = unsafe arena.allocate(byteCount) {
            // An array made of bytes costs less than one that is filled later: more than copying so few.
            _ = unsafe protobuf_c_message_pack(base, target.assumingMemoryBound(to: UInt8.self))
            return unsafe [UInt8](UnsafeRawBufferPointer(start: target, count: byteCount))
        }
        return unsafe [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, count in
            count = unsafe protobuf_c_message_pack(base, buffer.baseAddress)
        }
    }

    /// Keys in the order of their UTF-8 bytes.
    static func sorted(_ keys: some Sequence<String>) -> [String] {
        keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }
}

// MARK: Reading C values as Swift ones

extension Wire {
    /// A text; `message` and `field` name it if it's no UTF-8.
    static func string(
        _ data: ProtobufCBinaryData, _ message: String, _ field: StaticString
    ) throws(MessageError) -> String {
        guard let start = unsafe data.data, unsafe data.len > 0 else { return "" }
        let bytes = unsafe UnsafeBufferPointer(start: start, count: data.len)
        guard let result = unsafe String(validating: bytes, as: UTF8.self) else {
            throw .invalidUTF8(field: "\(message).\(field)")
        }
        return result
    }

    static func bytes(_ data: ProtobufCBinaryData) -> [UInt8] {
        unsafe [UInt8](UnsafeBufferPointer(start: data.data, count: data.data == nil ? 0 : data.len))
    }

    static func message<M: WireMessage>(_ pointer: UnsafeMutablePointer<M.CStruct>?) throws(MessageError) -> M {
        guard let pointer = unsafe pointer else { return M() }
        return try unsafe M(wire: pointer)
    }

    static func optional<M: WireMessage>(_ pointer: UnsafeMutablePointer<M.CStruct>?) throws(MessageError) -> M? {
        guard let pointer = unsafe pointer else { return nil }
        return try unsafe M(wire: pointer)
    }

    /// Numbers in bulk; C's type has the size of Swift's, floating-point numbers coming as their bits.
    static func numbers<From, To: BitwiseCopyable>(_ count: Int, _ elements: UnsafeMutablePointer<From>?) -> [To] {
        assert(MemoryLayout<From>.stride == MemoryLayout<To>.stride)
        guard count > 0, let elements = unsafe elements else { return [] }
        return unsafe [To](unsafeUninitializedCapacity: count) { buffer, initialized in
            guard let target = buffer.baseAddress else { return }
            unsafe UnsafeMutableRawPointer(target)
                .copyMemory(from: elements, byteCount: count * MemoryLayout<To>.stride)
            initialized = count
        }
    }

    static func bools(_ count: Int, _ elements: UnsafeMutablePointer<UInt64>?) -> [Bool] {
        unsafe UnsafeBufferPointer(start: elements, count: elements == nil ? 0 : count).map { $0 != 0 }
    }

    static func enums<E: ProtoEnum>(_ count: Int, _ elements: UnsafeMutablePointer<Int32>?) -> [E] {
        unsafe UnsafeBufferPointer(start: elements, count: elements == nil ? 0 : count).map { E(rawValue: $0) }
    }

    static func strings(
        _ count: Int, _ elements: UnsafeMutablePointer<ProtobufCBinaryData>?, _ message: String, _ field: StaticString
    ) throws(MessageError) -> [String] {
        guard count > 0, let elements = unsafe elements else { return [] }
        var result: [String] = []
        result.reserveCapacity(count)
        for index in 0..<count { result.append(try unsafe string(elements[index], message, field)) }
        return result
    }

    static func byteArrays(_ count: Int, _ elements: UnsafeMutablePointer<ProtobufCBinaryData>?) -> [[UInt8]] {
        unsafe UnsafeBufferPointer(start: elements, count: elements == nil ? 0 : count).map { unsafe bytes($0) }
    }

    static func messages<M: WireMessage>(
        _ count: Int, _ elements: UnsafeMutablePointer<UnsafeMutablePointer<M.CStruct>?>?
    ) throws(MessageError) -> [M] {
        guard count > 0, let elements = unsafe elements else { return [] }
        var result: [M] = []
        result.reserveCapacity(count)
        for index in 0..<count { result.append(try unsafe message(elements[index])) }
        return result
    }
}

extension Wire {
    /// The fields that protobuf-c set aside, back in their wire form.
    static func unknown(_ base: ProtobufCMessage, _ message: String) throws(MessageError) -> UnknownFields {
        var result = UnknownFields()
        guard unsafe base.n_unknown_fields > 0, let fields = unsafe base.unknown_fields else { return result }
        for index in 0..<Int(unsafe base.n_unknown_fields) {
            let field = unsafe fields[index]
            // protobuf-c takes numbers that no field has for ones that are not known.
            guard unsafe field.tag > 0, unsafe field.tag < WireFields.numberLimit else {
                throw .malformed(message: message)
            }
            var tag = unsafe UInt64(field.tag) << 3 | UInt64(field.wire_type.rawValue)
            while tag >= 0x80 {
                result.bytes.append(UInt8(tag & 0x7F) | 0x80)
                tag >>= 7
            }
            result.bytes.append(UInt8(tag))
            unsafe result.bytes.append(contentsOf: UnsafeBufferPointer(start: field.data, count: field.len))
        }
        return result
    }
}
