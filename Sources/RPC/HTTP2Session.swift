internal import CNGHTTP2
internal import NIOCore

/// One end of an HTTP/2 connection, without any I/O: bytes in become `events`, actions become bytes out.
///
/// Owns an `nghttp2_session`; the pointer never leaves this file and `HTTP2Session+Callbacks.swift`. Not Sendable: one
/// connection, one thread at a time. The owner's loop is: `receive` bytes, handle each of `events`, `clearEvents`, act,
/// `produce` bytes, and handle events again, for sending makes some too. Actions never run inside a callback.
///
/// Streams live in slots. A `StreamReference` stays valid until its owner has handled `.closed` and calls `release`;
/// between the two every action on it is ignored, so that an owner need not know what the peer did meanwhile.
///
/// Properties that each frame touches are `@exclusivity(unchecked)`, here and in the connection and the call: the check
/// at run time, two calls an access, costs a call more than a tenth of its instructions. Safe, for none is passed
/// `inout` to what could come back to it: nghttp2 calls back only inside `receive` and `produce`, and those callbacks
/// only note.
@safe final class HTTP2Session {
    enum Role { case server, client }

    struct StreamReference: Hashable {
        let slot: Int
        let id: Int32
    }

    struct HeaderBlock: Equatable {
        /// Which of `HTTP2Session.headers`.
        var fields: Range<Int>
        var endStream: Bool
        /// Over the limit, and cut there.
        var isOversized: Bool
        /// The stream's first one.
        var isFirst: Bool
        /// How many of the fields, from the first, are those of another block with the same `knownGeneration`.
        var knownCount = 0
        var knownGeneration = 0
    }

    enum Event: Equatable {
        /// A complete header block.
        case headers(StreamReference, HeaderBlock)
        /// DATA: a range of the bytes given to the latest `receive`.
        case data(StreamReference, Range<Int>)
        /// The peer has ended its side with a DATA frame.
        case endStream(StreamReference)
        /// The stream is over, for the given reason. The last event of a stream.
        case closed(StreamReference, HTTP2ErrorCode)
        /// The stream's unsent bytes fell to the low-water mark, after `notifyWhenWritable`.
        case writable(StreamReference)
        /// The peer's SETTINGS came.
        case settings
        /// An answer to `ping`.
        case pingAnswered
        /// The peer accepts no new streams.
        case goAway(HTTP2ErrorCode)
    }

    /// A connection-level failure: nothing more can be received or sent.
    struct Failure: Error, Equatable {
        let reason: String
        /// What to tell the peer.
        var code = HTTP2ErrorCode.protocolError
    }

    /// A piece of an outgoing body: a few head bytes, first in the high bits, then the rest.
    struct Chunk {
        var head: UInt64 = 0
        var headCount = 0
        var body: [UInt8]
        var byteCount: Int { headCount + body.count }

        /// A gRPC message with its prefix.
        init(message: [UInt8], isCompressed: Bool = false) {
            head = UInt64(message.count) | (isCompressed ? 1 << 32 : 0)
            headCount = 5
            body = message
        }

        init(_ bytes: [UInt8]) { body = bytes }
    }

    struct Slot {
        var id: Int32 = 0
        var isClosed = false
        /// A header block of the peer's came.
        var hasHead = false
        /// The peer's END_STREAM came.
        var isRemoteEnded = false
        /// Our header block went out.
        var isHeadSent = false
        /// No chunk will follow those queued.
        var isFinished = false
        /// nghttp2 waits for `resume`.
        var isDeferred = false
        var wantsWritable = false
        var chunks = FIFO<Chunk>()
        var current: Chunk?
        var currentOffset = 0
        var queuedByteCount = 0
        /// Bytes of a DATA frame that nghttp2 has begun and not yet had from us.
        var promisedByteCount = 0
        var trailers: HeaderFields?
        /// In place of those.
        var keptTrailers: KeptHeaders?
        /// They are to be written right behind the DATA frame that nghttp2 has begun.
        var writesTrailers = false
        /// Of the request: what its head declared, and the bytes of its DATA so far.
        var contentLength: Int?
        var receivedByteCount = 0
    }

    let role: Role
    let configuration: HTTP2Configuration
    @safe @exclusivity(unchecked) private(set) var events: [Event] = []
    /// The fields that `.headers` events refer to, until `clearEvents`.
    @safe @exclusivity(unchecked) var headers = HeaderFields()
    /// Control frames received so far (see `HTTP2Configuration.maxControlFrameBurst`).
    var controlFrameCount = 0
    /// PINGs received, and whether headers or data were sent: since their reader has set them back.
    var pingCount = 0
    var hasSentStreamFrame = false

    /// Unsent bytes of all streams.
    var queuedByteTotal = 0

    let handle: OpaquePointer
    /// Outlives the handle.
    private let memory: HTTP2Memory
    @safe @exclusivity(unchecked) var slots = SlotTable()
    @safe @exclusivity(unchecked) private var freeSlots: [Int] = []

    // The state of a header block in progress.
    var blockStart = 0
    var blockByteCount = 0
    var blockKnownCount = 0
    var isBlockOversized = false
    var isBlockOpen = false
    /// Its fields are looked at: not once it broke the rules, for which its stream is reset.
    var takesFields = false
    @safe @exclusivity(unchecked) var rules = RequestRules()
    let known = KnownFields()
    /// A block had so much more than the limit that nothing further is unpacked.
    var isBlockBomb = false

    /// Of clients.
    @safe @exclusivity(unchecked) private var idleResets = IdleResets()

    // The state of one `receive` or `produce`.
    var inputBase: UnsafePointer<UInt8>?
    var inputCount = 0
    var receivedDataByteCount = 0
    /// Where `produce` puts bytes: what the caller's buffer has room for.
    @safe @exclusivity(unchecked) var room = unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0)
    @safe @exclusivity(unchecked) var outputCount = 0
    @safe @exclusivity(unchecked) var outputLimit = 0
    @safe @exclusivity(unchecked) var isOutputFull = false
    /// Room that something wants which did not fit; 0: nothing.
    @safe @exclusivity(unchecked) var wantedRoom = 0
    /// nghttp2 has encoded a header block since the peer's latest SETTINGS. The first one after them may have to begin
    /// with the new size of HPACK's table.
    var hasEncodedBlock = false
    /// The slot that was asked for last, and its stream; 0: none. Frames of one stream often follow each other.
    var latestID: Int32 = 0
    var latestSlot = 0

    /// - Throws: `RPCError.sessionUnavailable` when libnghttp2 has no memory.
    init(_ role: Role, _ configuration: HTTP2Configuration) throws(RPCError) {
        memory = .ofThread
        guard let handle = unsafe makeHandle(role, memory) else { throw .sessionUnavailable }
        self.role = role
        self.configuration = configuration
        unsafe self.handle = handle
        unsafe nghttp2_session_set_user_data(handle, Unmanaged.passUnretained(self).toOpaque())
        guard submitSettings() else { throw .sessionUnavailable }
    }

    deinit {
        known.forget()
        unsafe nghttp2_session_del(handle)
    }

    private func submitSettings() -> Bool {
        func entry(_ id: nghttp2_settings_id, _ value: Int) -> nghttp2_settings_entry {
            nghttp2_settings_entry(settings_id: Int32(id.rawValue), value: UInt32(clamping: value))
        }
        var entries = [
            entry(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, min(configuration.streamWindowByteCount, Int(Int32.max))),
            entry(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, configuration.maxHeaderListByteCount),
        ]
        switch role {
        case .server:
            entries.append(entry(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, configuration.maxConcurrentStreamCount))
        case .client: entries.append(entry(NGHTTP2_SETTINGS_ENABLE_PUSH, 0))
        }
        let settings = unsafe nghttp2_submit_settings(handle, UInt8(NGHTTP2_FLAG_NONE.rawValue), entries, entries.count)
        let window = Int32(clamping: max(configuration.connectionWindowByteCount, 65_535))
        let windowSize = unsafe nghttp2_session_set_local_window_size(handle, 0, 0, window)
        return settings == 0 && windowSize == 0
    }

    // MARK: - Bytes in, bytes out

    /// Takes bytes from the peer and appends to `events`. What the peer does wrong becomes a reset or a GOAWAY that
    /// `produce` sends, after which `isOver`.
    /// - Throws: `Failure` when the bytes are not HTTP/2 at all, or flood us; with what to tell the peer.
    func receive(_ bytes: UnsafeRawBufferPointer) throws(Failure) {
        guard let base = bytes.baseAddress else { return }
        let count = bytes.count
        unsafe inputBase = base.assumingMemoryBound(to: UInt8.self)
        inputCount = count
        defer {
            unsafe inputBase = nil
            if receivedDataByteCount > 0 {
                unsafe nghttp2_session_consume_connection(handle, receivedDataByteCount)
                receivedDataByteCount = 0
            }
        }
        guard role == .server else { return try unsafe take(bytes) }
        let before = idleResets.count
        defer { controlFrameCount += idleResets.count - before }
        try unsafe idleResets.filter(bytes) { (part) throws(Failure) in try unsafe take(part) }
    }

    private func take(_ bytes: UnsafeRawBufferPointer) throws(Failure) {
        let base = unsafe bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
        let result = unsafe nghttp2_session_mem_recv(handle, base, bytes.count)
        if isBlockBomb {
            throw Failure(reason: "a header block of more than \(headerBombByteCount) bytes", code: .enhanceYourCalm)
        }
        if result < 0 { throw failure(Int32(clamping: result)) }
    }

    /// What a header block may unpack to before the connection is given up. HPACK makes thousands of bytes of one, and
    /// what is over the limit has to be unpacked all the same, for the blocks after it: up to here that costs little.
    var headerBombByteCount: Int { 8 * configuration.maxHeaderListByteCount }

    /// Appends bytes to send until about `limit` are in the buffer. Returns whether more are ready.
    func produce(into buffer: inout ByteBuffer, limit: Int) throws(Failure) -> Bool {
        isOutputFull = false
        wantedRoom = 0
        // Of nghttp2, to be copied.
        var frame = unsafe UnsafeRawBufferPointer(start: nil, count: 0)
        var result = 0
        repeat {
            let before = buffer.readableBytes
            unsafe buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: wantedRoom) { room in
                unsafe self.room = room
                outputCount = 0
                outputLimit = limit - before
                wantedRoom = 0
                result = unsafe fillRoom(&frame)
                return outputCount
            }
            unsafe room = UnsafeMutableRawBufferPointer(start: nil, count: 0)
            if result < 0 { throw failure(Int32(clamping: result)) }
        } while wantedRoom > 0
        // With NO_COPY data, 0 also comes when our own callback said "full": that is not the end.
        return result == 0 ? isOutputFull : wantsWrite
    }

    /// Lets nghttp2 write until the limit, or until something does not fit. Returns its latest result.
    private func fillRoom(_ frame: inout UnsafeRawBufferPointer) -> Int {
        var result = frame.count
        while true {
            if unsafe !frame.isEmpty {
                guard outputCount + frame.count <= room.count else {
                    wantedRoom = frame.count
                    return result
                }
                unsafe write(frame)
                unsafe frame = UnsafeRawBufferPointer(start: nil, count: 0)
            }
            guard outputCount < outputLimit else { return result }
            var bytes: UnsafePointer<UInt8>?
            result = unsafe nghttp2_session_mem_send(handle, &bytes)
            if result <= 0 { return result }
            unsafe frame = UnsafeRawBufferPointer(start: bytes, count: result)
        }
    }

    /// Adds bytes to the output. There has to be room for them.
    func write(_ bytes: UnsafeRawBufferPointer) {
        let target = unsafe UnsafeMutableRawBufferPointer(rebasing: room[outputCount..<outputCount + bytes.count])
        unsafe target.copyMemory(from: bytes)
        outputCount += bytes.count
    }

    var wantsWrite: Bool { unsafe nghttp2_session_want_write(handle) != 0 }

    /// Neither side has anything left to say: the owner closes the connection.
    var isOver: Bool { unsafe nghttp2_session_want_read(handle) == 0 && nghttp2_session_want_write(handle) == 0 }

    /// Forgets handled events, and the headers they refer to.
    func clearEvents() {
        guard !events.isEmpty else { return }
        events.removeAll(keepingCapacity: true)
        headers.removeFirst(isBlockOpen ? blockStart : headers.count)
        blockStart = 0
    }

    func emit(_ event: Event) { events.append(event) }

    // MARK: - Actions

    /// Opens a stream (client). The body follows by `enqueue` and `finish`.
    func request(_ fields: HeaderFields) throws(Failure) -> StreamReference {
        let slot = claimSlot()
        let id = unsafe fields.withNameValues { nameValues in
            unsafe withProvider(slot) { provider in
                unsafe nghttp2_submit_request(
                    handle, nil, nameValues.baseAddress, nameValues.count, provider, Self.userData(slot))
            }
        }
        guard id > 0 else {
            freeSlots.append(slot)
            throw failure(id)
        }
        slots[slot].id = id
        return StreamReference(slot: slot, id: id)
    }

    /// Answers a request (server). Without a body the block also ends the stream.
    func respond(_ stream: StreamReference, _ fields: HeaderFields, hasBody: Bool) {
        guard isOpen(stream) else { return }
        _ = unsafe fields.withNameValues { nameValues in
            unsafe withProvider(stream.slot) { provider in
                unsafe nghttp2_submit_response(
                    handle, stream.id, nameValues.baseAddress, nameValues.count, hasBody ? provider : nil)
            }
        }
    }

    /// Answers a request by a head that most calls have; a body follows.
    func respond(_ stream: StreamReference, _ headers: KeptHeaders) {
        guard isOpen(stream) else { return }
        let fields = unsafe headers.nameValues
        _ = unsafe withProvider(stream.slot) { provider in
            unsafe nghttp2_submit_response(handle, stream.id, fields.baseAddress, fields.count, provider)
        }
    }

    /// Queues a piece of the body. Nothing bounds the queue here: see `queuedByteCount`.
    func enqueue(_ stream: StreamReference, _ chunk: Chunk) {
        guard isOpen(stream), !slots[stream.slot].isFinished else { return }
        if slots[stream.slot].queuedByteCount == 0 {
            slots[stream.slot].current = chunk
            slots[stream.slot].currentOffset = 0
        } else {
            slots[stream.slot].chunks.append(chunk)
        }
        slots[stream.slot].queuedByteCount += chunk.byteCount
        queuedByteTotal += chunk.byteCount
        resume(stream)
    }

    /// Ends our side after what is queued: with trailers if given (server), else by END_STREAM on the last DATA.
    func finish(_ stream: StreamReference, trailers: HeaderFields?) {
        guard isOpen(stream), !slots[stream.slot].isFinished else { return }
        slots[stream.slot].isFinished = true
        slots[stream.slot].trailers = trailers
        resume(stream)
    }

    /// Ends our side after what is queued, by trailers that most calls have (server).
    func finish(_ stream: StreamReference, _ trailers: KeptHeaders) {
        guard isOpen(stream), !slots[stream.slot].isFinished else { return }
        slots[stream.slot].isFinished = true
        slots[stream.slot].keptTrailers = trailers
        resume(stream)
    }

    /// Drops queued chunks that are wholly unsent. `false`: one is half sent, so that only `reset` can end the stream.
    func discardUnsent(_ stream: StreamReference) -> Bool {
        guard isOpen(stream) else { return true }
        guard slots[stream.slot].promisedByteCount == 0, slots[stream.slot].currentOffset == 0 else { return false }
        slots[stream.slot].chunks.removeAll()
        slots[stream.slot].current = nil
        queuedByteTotal -= slots[stream.slot].queuedByteCount
        slots[stream.slot].queuedByteCount = 0
        return true
    }

    func reset(_ stream: StreamReference, _ code: HTTP2ErrorCode) {
        guard isOpen(stream) else { return }
        unsafe nghttp2_submit_rst_stream(handle, UInt8(NGHTTP2_FLAG_NONE.rawValue), stream.id, code.rawValue)
    }

    /// Credits bytes to the stream's window: the application has taken them.
    func consume(_ stream: StreamReference, _ byteCount: Int) {
        // Where nothing more will come, nobody waits for a window.
        guard byteCount > 0, isOpen(stream), !slots[stream.slot].isRemoteEnded else { return }
        unsafe nghttp2_session_consume_stream(handle, stream.id, byteCount)
    }

    /// Asks for one `.writable`, when the unsent bytes are at most half the high-water mark.
    func notifyWhenWritable(_ stream: StreamReference) {
        guard isOpen(stream) else { return }
        slots[stream.slot].wantsWritable = true
    }

    func queuedByteCount(_ stream: StreamReference) -> Int { isOpen(stream) ? slots[stream.slot].queuedByteCount : 0 }

    /// Whether the server may have seen a stream of ours.
    func wasHeadSent(slot: Int) -> Bool { slots[slot].isHeadSent }

    func ping() { unsafe nghttp2_submit_ping(handle, UInt8(NGHTTP2_FLAG_NONE.rawValue), nil) }

    /// Tells clients to stop opening streams, without refusing those on their way (server). `goAway` follows later.
    func submitShutdownNotice() { unsafe nghttp2_submit_shutdown_notice(handle) }

    /// Accepts no stream beyond those begun. `reason` goes to the peer.
    func goAway(_ code: HTTP2ErrorCode, reason: String = "") {
        let last = unsafe nghttp2_session_get_last_proc_stream_id(handle)
        let text = Array(reason.utf8)
        unsafe nghttp2_submit_goaway(
            handle, UInt8(NGHTTP2_FLAG_NONE.rawValue), last, code.rawValue, text, text.count)
    }

    /// Sends GOAWAY and nothing more: `isOver` once it is produced.
    func terminate(_ code: HTTP2ErrorCode) { unsafe nghttp2_session_terminate_session(handle, code.rawValue) }

    /// Gives the slot back, after `.closed`.
    func release(_ stream: StreamReference) {
        guard slots[stream.slot].id == stream.id, slots[stream.slot].isClosed else { return }
        slots[stream.slot] = Slot()
        freeSlots.append(stream.slot)
    }

    /// Slots in use; for invariants in tests.
    var liveStreamCount: Int { slots.count - freeSlots.count }

    // MARK: - Slots

    func claimSlot() -> Int {
        if let slot = freeSlots.popLast() { return slot }
        slots.append(Slot())
        return slots.count - 1
    }

    /// Whether actions on the stream still have an effect.
    func isOpen(_ stream: StreamReference) -> Bool {
        slots[stream.slot].id == stream.id && !slots[stream.slot].isClosed
    }

    private func resume(_ stream: StreamReference) {
        guard slots[stream.slot].isDeferred else { return }
        slots[stream.slot].isDeferred = false
        unsafe nghttp2_session_resume_data(handle, stream.id)
    }

    /// A slot as nghttp2's opaque pointer; 1 more than its index, for `nil` means none.
    static func userData(_ slot: Int) -> UnsafeMutableRawPointer? {
        unsafe UnsafeMutableRawPointer(bitPattern: slot + 1)
    }

    // MARK: - nghttp2

    private func withProvider<Result>(
        _ slot: Int, _ body: (UnsafePointer<nghttp2_data_provider>) -> Result
    ) -> Result {
        var provider = unsafe nghttp2_data_provider(
            source: nghttp2_data_source(ptr: Self.userData(slot)), read_callback: HTTP2Callbacks.read)
        return unsafe withUnsafePointer(to: &provider) { unsafe body($0) }
    }

    private func failure(_ code: Int32) -> Failure { Failure(reason: unsafe String(cString: nghttp2_strerror(code))) }
}

/// Makes the nghttp2 session with our options and callbacks; `nil` without memory.
private func makeHandle(_ role: HTTP2Session.Role, _ memory: HTTP2Memory) -> OpaquePointer? {
    var callbacks: OpaquePointer?
    var option: OpaquePointer?
    guard unsafe nghttp2_session_callbacks_new(&callbacks) == 0, let callbacks = unsafe callbacks else { return nil }
    defer { unsafe nghttp2_session_callbacks_del(callbacks) }
    guard unsafe nghttp2_option_new(&option) == 0, let option = unsafe option else { return nil }
    defer { unsafe nghttp2_option_del(option) }
    unsafe HTTP2Callbacks.install(callbacks)
    unsafe nghttp2_option_set_no_auto_window_update(option, 1)
    // `RequestRules` are ours, for requests; of responses libnghttp2 looks after itself.
    if role == .server { unsafe nghttp2_option_set_no_http_messaging(option, 1) }
    // Answers to PING and SETTINGS that a peer makes us queue while it does not read.
    unsafe nghttp2_option_set_max_outbound_ack(option, 1000)
    unsafe nghttp2_option_set_max_settings(option, 32)
    // Rapid reset (CVE-2023-44487): this many RST_STREAM at once, then this many a second.
    unsafe nghttp2_option_set_stream_reset_rate_limit(option, 1000, 200)
    var functions = unsafe memory.functions
    var handle: OpaquePointer?
    let result =
        switch role {
        case .server: unsafe nghttp2_session_server_new3(&handle, callbacks, nil, option, &functions)
        case .client: unsafe nghttp2_session_client_new3(&handle, callbacks, nil, option, &functions)
        }
    return unsafe result == 0 ? handle : nil
}
