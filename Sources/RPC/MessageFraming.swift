// gRPC's length-prefixed messages, https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md: one byte
// "compressed", four bytes length (big-endian), then the message. Pure value types, driven by bytes.

internal import Compression

/// Cuts a stream of bytes, in whatever pieces it comes, into messages.
struct Deframer {
    /// Longest message let through, in bytes.
    let maxMessageByteCount: Int
    /// The stream's head declared gzip, so that messages may be compressed.
    var acceptsGzip = false
    /// Whether the latest message, whole or not, is compressed.
    private(set) var isCompressed = false
    private var prefix: UInt64 = 0
    private var prefixCount = 0
    private var body: [UInt8] = []
    private var remaining = 0

    init(maxMessageByteCount: Int) { self.maxMessageByteCount = maxMessageByteCount }

    /// Bytes of memory that the message takes which is being put together: those that came, and the room made for more.
    var partialByteCount: Int { body.capacity }

    /// Whether the bytes so far end between two messages, as a stream must.
    var isBetweenMessages: Bool { prefixCount == 0 }

    /// Takes bytes and calls `deliver` with each message they complete.
    ///
    /// Memory is bounded by `maxMessageByteCount` and grows with what has really come, not with what a prefix
    /// announces.
    /// - Throws: RESOURCE_EXHAUSTED for a longer message, INTERNAL for a compressed one where gzip was not declared, or
    ///   for a bad flag. No further bytes may be given then.
    mutating func append(_ input: UnsafeRawBufferPointer, deliver: ([UInt8]) -> Void) throws(RPCStatus) {
        var input = unsafe input[...]
        while let message = unsafe try next(&input) { deliver(message) }
    }

    /// Takes bytes off the input until they complete a message, or there are no more (`nil`). Throws as `append`.
    mutating func next(_ input: inout Slice<UnsafeRawBufferPointer>) throws(RPCStatus) -> [UInt8]? {
        if prefixCount == 0, unsafe input.count >= 5 {
            let start = unsafe input.startIndex
            prefix =
                unsafe UInt64(input.base[start]) << 32
                | UInt64(UInt32(bigEndian: input.base.loadUnaligned(fromByteOffset: start + 1, as: UInt32.self)))
            prefixCount = 5
            try startBody()
            unsafe input = input.base[start + 5..<input.endIndex]
            if unsafe remaining <= input.count {
                // The whole message lies here, as most do.
                let end = start + 5 + remaining
                defer { unsafe input = input.base[end..<input.endIndex] }
                prefixCount = 0
                prefix = 0
                return unsafe [UInt8](UnsafeRawBufferPointer(rebasing: input.base[start + 5..<end]))
            }
            body.reserveCapacity(min(remaining, 64 << 10))
        }
        while prefixCount < 5 {
            guard let byte = unsafe input.popFirst() else { return nil }
            prefix = prefix << 8 | UInt64(byte)
            prefixCount += 1
            if prefixCount == 5 {
                try startBody()
                body.reserveCapacity(min(remaining, 64 << 10))
            }
        }
        let take = unsafe min(remaining, input.count)
        // In steps of four times what has come: a message of a megabyte is moved twice on its way.
        let come = body.count + take
        if come > body.capacity { body.reserveCapacity(min(body.count + remaining, 4 * come)) }
        unsafe body.append(contentsOf: UnsafeRawBufferPointer(rebasing: input.prefix(take)))
        unsafe input.removeFirst(take)
        remaining -= take
        guard remaining == 0 else { return nil }
        prefixCount = 0
        prefix = 0
        defer { body = [] }
        return body
    }

    /// Frees the bytes of the message that is being put together. No further bytes may be given then.
    mutating func forgetPartial() { body = [] }

    static func tooLong(_ byteCount: Int, limit: Int) -> RPCStatus {
        RPCStatus(.resourceExhausted, "message of \(byteCount) bytes, at most \(limit) are accepted")
    }

    private mutating func startBody() throws(RPCStatus) {
        let flag = prefix >> 32
        remaining = Int(prefix & 0xFFFF_FFFF)
        isCompressed = flag == 1
        guard flag == 0 || isCompressed && acceptsGzip else {
            throw RPCStatus(
                .internal, isCompressed ? "compressed message without a known grpc-encoding" : "bad message prefix")
        }
        guard remaining <= maxMessageByteCount else {
            throw Self.tooLong(remaining, limit: maxMessageByteCount)
        }
    }
}

/// The receiving half of a gRPC stream: messages that wait for the application, and the flow-control credit they hold.
///
/// Credit rule: bytes of complete messages that wait are credited only when the application takes them; the bytes of
/// the message being put together are credited at once while nothing waits, so that a message may be longer than the
/// window. A sender is therefore ahead by at most one window and one message.
struct InboundMessages {
    /// A message as it came.
    struct Message: Sendable {
        var bytes: [UInt8]
        var isCompressed: Bool

        /// What it is once unpacked, as it says itself.
        var unpackedByteCount: Int { isCompressed ? Gzip.toldByteCount(bytes) : bytes.count }

        /// - Throws: RESOURCE_EXHAUSTED for one that is too long, INTERNAL for one that is damaged.
        func unpacked(maxByteCount: Int) throws(RPCStatus) -> [UInt8] {
            guard isCompressed else { return bytes }
            do throws(GzipError) {
                return try Gzip.decompressed(bytes, maxByteCount: maxByteCount)
            } catch {
                switch error {
                case .tooLong(let byteCount): throw Deframer.tooLong(byteCount, limit: maxByteCount)
                case .damaged(let reason):
                    throw RPCStatus(.internal, "a compressed message is damaged: \(reason)")
                }
            }
        }
    }

    private var deframer: Deframer
    private var waiting = FIFO<Message>()
    private var waitingByteCount = 0
    private var uncredited = 0
    /// Complete messages so far, and their bytes as they came.
    private(set) var receivedCount = 0
    private(set) var receivedByteCount = 0
    /// The peer has sent its last byte.
    private(set) var isEnded = false

    init(maxMessageByteCount: Int) { deframer = Deframer(maxMessageByteCount: maxMessageByteCount) }

    /// Whether the peer may compress messages: its head says so.
    var acceptsGzip: Bool {
        get { deframer.acceptsGzip }
        set { deframer.acceptsGzip = newValue }
    }
    var count: Int { waiting.count }
    /// Bytes held: of messages that wait, and of the one that has not come whole, with the room made for it.
    var heldByteCount: Int { waitingByteCount + deframer.partialByteCount }
    /// Nothing waits and nothing more will come.
    var isExhausted: Bool { isEnded && waiting.isEmpty }

    /// Takes DATA. Returns the bytes to credit to the stream's window now.
    mutating func receive(_ bytes: UnsafeRawBufferPointer) throws(RPCStatus) -> Int {
        uncredited += bytes.count
        var rest = unsafe bytes[...]
        while unsafe !rest.isEmpty, let message = unsafe try deframer.next(&rest) {
            waitingByteCount += message.count + 5
            receivedCount += 1
            receivedByteCount += message.count
            waiting.append(Message(bytes: message, isCompressed: deframer.isCompressed))
        }
        return creditIfIdle()
    }

    /// The peer's END_STREAM. Throws INTERNAL in the middle of a message.
    mutating func end() throws(RPCStatus) {
        isEnded = true
        guard deframer.isBetweenMessages else { throw RPCStatus(.internal, "the stream ended inside a message") }
    }

    /// Longest message let through, as it came and once unpacked.
    var maxMessageByteCount: Int { deframer.maxMessageByteCount }

    /// The next message as it came and the bytes to credit for it, or `nil` while none waits. Messages are unpacked
    /// when they are taken, not before: so no peer makes us hold more than its window and one message.
    mutating func takePacked() -> (message: Message, credit: Int)? {
        guard let message = waiting.popFirst() else { return nil }
        let byteCount = message.bytes.count + 5
        waitingByteCount -= byteCount
        let credit = min(byteCount, uncredited)
        uncredited -= credit
        return (message, credit + creditIfIdle())
    }

    /// The next message, unpacked here and now, and the bytes to credit for it, or `nil` while none waits. Throws as
    /// `Message.unpacked`.
    mutating func take() throws(RPCStatus) -> (message: [UInt8], credit: Int)? {
        guard let (message, credit) = takePacked() else { return nil }
        return (try message.unpacked(maxByteCount: maxMessageByteCount), credit)
    }

    /// Forgets what waits: nobody will take it.
    mutating func removeAll() {
        waiting.removeAll()
        waitingByteCount = 0
        deframer.forgetPartial()
    }

    private mutating func creditIfIdle() -> Int {
        guard waiting.isEmpty else { return 0 }
        defer { uncredited = 0 }
        return uncredited
    }
}
