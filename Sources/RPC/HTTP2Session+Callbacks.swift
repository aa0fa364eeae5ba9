internal import CNGHTTP2
internal import NIOCore

/// What libnghttp2 calls. Each only notes what happened; none calls back into the owner.
///
/// The functions are formed here, outside any actor: a C callback formed in isolated code traps on another thread. The
/// `userData` they get is the unretained `HTTP2Session`, which outlives every call it makes into nghttp2.
enum HTTP2Callbacks {
    static func install(_ callbacks: OpaquePointer) {
        unsafe nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks) { _, frame, userData in
            guard let frame = unsafe frame else { return 0 }
            let opensStream = unsafe frame.pointee.headers.cat == NGHTTP2_HCAT_REQUEST
            unsafe withSession(userData) { unsafe $0.beginHeaders(frame.pointee.hd.stream_id, opensStream) }
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_header_callback2(callbacks) { _, frame, name, value, _, userData in
            guard let frame = unsafe frame, let name = unsafe name, let value = unsafe value else { return 0 }
            let goesOn = unsafe withSession(userData) {
                unsafe $0.header(frame.pointee.hd.stream_id, name, value)
                return !$0.isBlockBomb
            }
            return goesOn == true ? 0 : Int32(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue)
        }
        unsafe nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { _, frame, userData in
            guard let frame = unsafe frame else { return 0 }
            unsafe withSession(userData) { unsafe $0.frameReceived(frame) }
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks) {
            _, _, id, bytes, count, userData in
            guard let bytes = unsafe bytes else { return 0 }
            unsafe withSession(userData) { unsafe $0.dataReceived(id, bytes, count) }
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_stream_close_callback(callbacks) { _, id, code, userData in
            unsafe withSession(userData) { $0.streamClosed(id, HTTP2ErrorCode(rawValue: code)) }
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_frame_send_callback(callbacks) { _, frame, userData in
            guard let frame = unsafe frame else { return 0 }
            unsafe withSession(userData) { unsafe $0.frameSent(frame.pointee.hd) }
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks) { _, frame, _, userData in
            guard let frame = unsafe frame else { return 0 }
            unsafe withSession(userData) { unsafe $0.frameNotSent(frame.pointee.hd) }
            return 0
        }
        unsafe nghttp2_session_callbacks_set_send_data_callback(callbacks) { _, frame, head, count, source, userData in
            guard let frame = unsafe frame, let head = unsafe head, let source = unsafe source,
                let slot = unsafe slot(source)
            else { return Int32(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue) }
            return unsafe withSession(userData) {
                unsafe $0.sendData(slot, id: frame.pointee.hd.stream_id, head: head, count: count)
            } ?? Int32(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue)
        }
    }

    /// The data provider of every stream.
    static let read: nghttp2_data_source_read_callback = { _, id, _, count, flags, source, userData in
        guard let flags = unsafe flags, let source = unsafe source, let slot = unsafe slot(source) else {
            return Int(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue)
        }
        return unsafe withSession(userData) { unsafe $0.readData(slot, id: id, limit: count, flags: flags) }
            ?? Int(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue)
    }
}

/// Of each frame, before its payload.
private let frameHeadByteCount = 9

/// Lends the session of a callback, without counting the reference: its owner holds it during the call it came from.
@inline(__always)
private func withSession<Result>(_ userData: UnsafeMutableRawPointer?, _ body: (HTTP2Session) -> Result) -> Result? {
    guard let userData = unsafe userData else { return nil }
    return unsafe Unmanaged<HTTP2Session>.fromOpaque(userData)._withUnsafeGuaranteedRef { body($0) }
}

private func slot(_ source: UnsafeMutablePointer<nghttp2_data_source>) -> Int? {
    unsafe source.pointee.ptr.map { Int(bitPattern: $0) - 1 }
}

extension HTTP2Session {
    /// The slot of a stream, if it has one.
    private func slotOf(_ id: Int32) -> Int? {
        if id == latestID { return latestSlot }
        guard let slot = unsafe nghttp2_session_get_stream_user_data(handle, id).map({ Int(bitPattern: $0) - 1 }) else {
            return nil
        }
        latestID = id
        latestSlot = slot
        return slot
    }

    private func reference(_ id: Int32) -> StreamReference? { slotOf(id).map { StreamReference(slot: $0, id: id) } }

    // MARK: - Receiving

    fileprivate func beginHeaders(_ id: Int32, _ opensStream: Bool) {
        if opensStream {
            let slot = claimSlot()
            slots[slot].id = id
            unsafe nghttp2_session_set_stream_user_data(handle, id, Self.userData(slot))
            latestID = id
            latestSlot = slot
        }
        blockStart = headers.count
        blockByteCount = 0
        blockKnownCount = 0
        isBlockOversized = false
        isBlockOpen = true
        takesFields = true
        known.dropRun()
        guard role == .server, let slot = slotOf(id) else { return }
        rules.begin(isTrailers: slots[slot].hasHead, contentLength: slots[slot].contentLength)
        if !slots[slot].hasHead { known.begin() }
    }

    @inline(__always)
    fileprivate func header(_ id: Int32, _ name: OpaquePointer, _ value: OpaquePointer) {
        guard takesFields, let entry = unsafe known.next(name, value) else {
            return unsafe unknownHeader(id, name, value)
        }
        guard unsafe rules.apply(entry.pointee.effect) else { return refuseMalformed(id) }
        // What is over the limit does not go with the fields before it.
        if unsafe !takesIntoBlock(entry.pointee.byteCount) { takeKnownRun(butLatest: true) }
    }

    @inline(never)
    private func unknownHeader(_ id: Int32, _ name: OpaquePointer, _ value: OpaquePointer) {
        let (nameBuffer, valueBuffer) = unsafe (nghttp2_rcbuf_get_buf(name), nghttp2_rcbuf_get_buf(value))
        let nameBytes = unsafe Span(
            _unsafeElements: UnsafeBufferPointer(start: nameBuffer.base, count: nameBuffer.len))
        let valueBytes = unsafe Span(
            _unsafeElements: UnsafeBufferPointer(start: valueBuffer.base, count: valueBuffer.len))
        let isWithinLimit = takesIntoBlock(nameBytes.count + valueBytes.count)
        guard takesFields else { return }
        takeKnownRun(butLatest: true)
        let kind = HeaderName(nameBytes)
        if role == .server {
            switch RequestRules.read(kind, nameBytes, valueBytes) {
            case .malformed: return refuseMalformed(id)
            case .ignored:
                rules.applyIgnored()
                return known.learnNothing()
            case .field(let effect):
                let isLength = kind == .contentLength
                guard rules.apply(effect), !isLength || rules.declareLength(valueBytes) else {
                    return refuseMalformed(id)
                }
                unsafe known.learn(name, value, effect, isSteady: !isLength, kind, nameBytes, valueBytes)
            }
        }
        if isWithinLimit { headers.append(kind, name: nameBytes, value: valueBytes) }
    }

    /// The known fields so far, all at once. `butLatest`: those before the present one.
    private func takeKnownRun(butLatest: Bool) {
        let run = known.takeRun(butLatest: butLatest)
        guard !run.isEmpty else { return }
        if run.lowerBound == 0 { blockKnownCount = run.count }
        headers.append(known.fields, run)
    }

    /// Counts a field. Whether the block is still within its limit.
    @inline(__always)
    private func takesIntoBlock(_ byteCount: Int) -> Bool {
        blockByteCount += byteCount + 32
        guard blockByteCount > configuration.maxHeaderListByteCount else { return true }
        isBlockOversized = true
        isBlockBomb = blockByteCount > headerBombByteCount
        return false
    }

    /// Resets a stream whose request breaks the rules. Nothing more of it becomes an event, but its end.
    private func refuseMalformed(_ id: Int32) {
        takesFields = false
        isBlockOpen = false
        known.dropRun()
        known.end(isGood: false)
        let flags = UInt8(NGHTTP2_FLAG_NONE.rawValue)
        unsafe nghttp2_submit_rst_stream(handle, flags, id, HTTP2ErrorCode.protocolError.rawValue)
    }

    fileprivate func frameReceived(_ frame: UnsafePointer<nghttp2_frame>) {
        let head = unsafe frame.pointee.hd
        let flags = UInt32(head.flags)
        switch UInt32(head.type) {
        case NGHTTP2_HEADERS.rawValue:
            isBlockOpen = false
            takeKnownRun(butLatest: false)
            guard let stream = reference(head.stream_id) else { return }
            let endStream = flags & NGHTTP2_FLAG_END_STREAM.rawValue != 0
            if role == .server {
                let received = slots[stream.slot].receivedByteCount
                guard rules.end(endStream: endStream, receivedByteCount: received) else {
                    return refuseMalformed(head.stream_id)
                }
                slots[stream.slot].contentLength = rules.contentLength
                known.end(isGood: !isBlockOversized)
            }
            if endStream { slots[stream.slot].isRemoteEnded = true }
            let block = HeaderBlock(
                fields: blockStart..<headers.count, endStream: endStream, isOversized: isBlockOversized,
                isFirst: !slots[stream.slot].hasHead, knownCount: blockKnownCount, knownGeneration: known.generation)
            slots[stream.slot].hasHead = true
            emit(.headers(stream, block))
        case NGHTTP2_DATA.rawValue:
            if flags & NGHTTP2_FLAG_END_STREAM.rawValue != 0 {
                guard let stream = reference(head.stream_id) else { return }
                if let length = slots[stream.slot].contentLength, length != slots[stream.slot].receivedByteCount {
                    return refuseMalformed(head.stream_id)
                }
                slots[stream.slot].isRemoteEnded = true
                emit(.endStream(stream))
            } else if head.length == 0 {
                controlFrameCount += 1
            }
        case NGHTTP2_SETTINGS.rawValue:
            guard flags & NGHTTP2_FLAG_ACK.rawValue == 0 else { return }
            controlFrameCount += 1
            hasEncodedBlock = false
            emit(.settings)
        case NGHTTP2_PING.rawValue:
            guard flags & NGHTTP2_FLAG_ACK.rawValue == 0 else { return emit(.pingAnswered) }
            controlFrameCount += 1
            pingCount += 1
        case NGHTTP2_PRIORITY.rawValue:
            controlFrameCount += 1
        case NGHTTP2_GOAWAY.rawValue:
            unsafe emit(.goAway(HTTP2ErrorCode(rawValue: frame.pointee.goaway.error_code)))
        default: break
        }
    }

    fileprivate func dataReceived(_ id: Int32, _ bytes: UnsafePointer<UInt8>, _ count: Int) {
        receivedDataByteCount += count
        guard let stream = reference(id), let inputBase = unsafe inputBase else { return }
        // nghttp2 hands out parts of its input, never copies; `receive`'s caller relies on it.
        let offset = unsafe bytes - inputBase
        precondition(offset >= 0 && offset + count <= inputCount, "DATA lies in the input")
        slots[stream.slot].receivedByteCount += count
        if let length = slots[stream.slot].contentLength, slots[stream.slot].receivedByteCount > length {
            return refuseMalformed(id)
        }
        emit(.data(stream, offset..<offset + count))
    }

    fileprivate func streamClosed(_ id: Int32, _ code: HTTP2ErrorCode) {
        guard let stream = reference(id) else { return }
        close(stream, code)
    }

    private func close(_ stream: StreamReference, _ code: HTTP2ErrorCode) {
        guard slots[stream.slot].id == stream.id, !slots[stream.slot].isClosed else { return }
        latestID = 0
        slots[stream.slot].isClosed = true
        slots[stream.slot].chunks.removeAll()
        slots[stream.slot].current = nil
        queuedByteTotal -= slots[stream.slot].queuedByteCount
        slots[stream.slot].queuedByteCount = 0
        slots[stream.slot].trailers = nil
        emit(.closed(stream, code))
    }

    // MARK: - Sending

    fileprivate func frameSent(_ head: nghttp2_frame_hd) {
        guard UInt32(head.type) <= NGHTTP2_HEADERS.rawValue else { return }
        hasSentStreamFrame = true
        if UInt32(head.type) == NGHTTP2_HEADERS.rawValue { hasEncodedBlock = true }
        if role == .client {
            if UInt32(head.type) == NGHTTP2_HEADERS.rawValue, let slot = slotOf(head.stream_id) {
                slots[slot].isHeadSent = true
            }
            return
        }
        // Our status is out while the client still sends: tell it to stop, as RFC 9113 section 8.1 allows.
        guard UInt32(head.flags) & NGHTTP2_FLAG_END_STREAM.rawValue != 0, let slot = slotOf(head.stream_id),
            !slots[slot].isRemoteEnded
        else { return }
        let flags = UInt8(NGHTTP2_FLAG_NONE.rawValue)
        unsafe nghttp2_submit_rst_stream(handle, flags, head.stream_id, HTTP2ErrorCode.noError.rawValue)
    }

    /// A request that could not be sent (GOAWAY came first, or it was cancelled in the queue) closes its stream.
    fileprivate func frameNotSent(_ head: nghttp2_frame_hd) {
        guard role == .client, UInt32(head.type) == NGHTTP2_HEADERS.rawValue else { return }
        let id = head.stream_id
        guard let slot = (0..<slots.count).first(where: { slots[$0].id == id }) else { return }
        close(StreamReference(slot: slot, id: id), .refusedStream)
    }

    fileprivate func readData(_ slot: Int, id: Int32, limit: Int, flags: UnsafeMutablePointer<UInt32>) -> Int {
        guard slots[slot].id == id || slots[slot].id == 0 else {
            return Int(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue)
        }
        let count = min(slots[slot].queuedByteCount, limit)
        let isLast = slots[slot].isFinished && count == slots[slot].queuedByteCount
        if count == 0, !isLast {
            slots[slot].isDeferred = true
            return Int(NGHTTP2_ERR_DEFERRED.rawValue)
        }
        if count > 0 { unsafe flags.pointee |= NGHTTP2_DATA_FLAG_NO_COPY.rawValue }
        slots[slot].promisedByteCount = count
        if isLast {
            unsafe flags.pointee |= NGHTTP2_DATA_FLAG_EOF.rawValue
            if let kept = slots[slot].keptTrailers {
                slots[slot].writesTrailers = count > 0 && hasEncodedBlock
                if !slots[slot].writesTrailers { unsafe submitTrailers(id, kept.nameValues, flags) }
            } else if let trailers = slots[slot].trailers.take() {
                unsafe trailers.withNameValues { unsafe submitTrailers(id, $0, flags) }
            }
        }
        return count
    }

    private func submitTrailers(
        _ id: Int32, _ fields: UnsafeBufferPointer<nghttp2_nv>, _ flags: UnsafeMutablePointer<UInt32>
    ) {
        unsafe flags.pointee |= NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
        unsafe nghttp2_submit_trailer(handle, id, fields.baseAddress, fields.count)
    }

    fileprivate func sendData(_ slot: Int, id: Int32, head: UnsafePointer<UInt8>, count: Int) -> Int32 {
        guard outputCount < outputLimit else {
            isOutputFull = true
            return Int32(NGHTTP2_ERR_WOULDBLOCK.rawValue)
        }
        guard slots[slot].id == id, slots[slot].queuedByteCount >= count else {
            return Int32(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue)
        }
        let trailers = slots[slot].writesTrailers ? slots[slot].keptTrailers : nil
        let trailersByteCount = trailers.map { unsafe frameHeadByteCount + $0.block.count } ?? 0
        let byteCount = frameHeadByteCount + count + trailersByteCount
        guard outputCount + byteCount <= room.count else {
            wantedRoom = byteCount
            return Int32(NGHTTP2_ERR_WOULDBLOCK.rawValue)
        }
        // `frameSent` and `streamClosed` follow, for the same one.
        latestID = id
        latestSlot = slot
        unsafe write(UnsafeRawBufferPointer(start: head, count: frameHeadByteCount))
        let end = outputCount + count
        while outputCount < end {
            outputCount += unsafe copyChunk(slot, to: UnsafeMutableRawBufferPointer(rebasing: room[outputCount..<end]))
        }
        if let trailers {
            slots[slot].writesTrailers = false
            unsafe write(trailers: trailers.block, id, dataHead: end - count - frameHeadByteCount)
        }
        slots[slot].queuedByteCount -= count
        queuedByteTotal -= count
        slots[slot].promisedByteCount = 0
        if slots[slot].wantsWritable, slots[slot].queuedByteCount <= configuration.writeHighWaterMark / 2 {
            slots[slot].wantsWritable = false
            emit(.writable(StreamReference(slot: slot, id: id)))
        }
        return 0
    }

    /// Writes a header block that ends the stream, behind the DATA frame whose head is at that place of the output.
    ///
    /// nghttp2 believes that DATA to end the stream; the flag moves to this frame. Most calls end with the same block,
    /// and this way it costs them a copy, instead of a frame more that nghttp2 makes, encodes, queues and frees.
    private func write(trailers block: UnsafeRawBufferPointer, _ id: Int32, dataHead: Int) {
        let endStream = UInt8(NGHTTP2_FLAG_END_STREAM.rawValue)
        room[dataHead + 4] &= ~endStream
        let length = UInt64(block.count) << 40
        let kind = UInt64(NGHTTP2_HEADERS.rawValue) << 32
        let flags = UInt64(endStream | UInt8(NGHTTP2_FLAG_END_HEADERS.rawValue)) << 24
        // The head's nine bytes: three of length, kind, flags, four of the stream's number.
        unsafe withUnsafeBytes(of: (length | kind | flags | UInt64(UInt32(id) >> 8)).bigEndian) { unsafe write($0) }
        unsafe withUnsafeBytes(of: UInt8(truncatingIfNeeded: id)) { unsafe write($0) }
        unsafe write(block)
    }

    /// Copies from the slot's first unsent chunk what fits; returns how many bytes that was. There has to be a chunk.
    private func copyChunk(_ slot: Int, to target: UnsafeMutableRawBufferPointer) -> Int {
        if slots[slot].current == nil {
            slots[slot].current = slots[slot].chunks.popFirst()
            slots[slot].currentOffset = 0
        }
        // Taken out, so that it is not copied.
        guard let chunk = slots[slot].current.take() else { preconditionFailure("queued bytes lie in chunks") }
        let start = slots[slot].currentOffset
        let end = min(chunk.byteCount, start + target.count)
        var offset = start
        if offset < min(chunk.headCount, end) {
            // The head's bytes come last in its eight.
            let first = 8 - chunk.headCount + start
            offset = min(chunk.headCount, end)
            unsafe withUnsafeBytes(of: chunk.head.bigEndian) { head in
                unsafe target.copyMemory(from: UnsafeRawBufferPointer(rebasing: head[first..<first + offset - start]))
            }
        }
        if offset < end {
            unsafe chunk.body.withUnsafeBytes { body in
                let part = unsafe body[offset - chunk.headCount..<end - chunk.headCount]
                unsafe UnsafeMutableRawBufferPointer(rebasing: target[(offset - start)...])
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: part))
            }
        }
        slots[slot].currentOffset = end < chunk.byteCount ? end : 0
        if end < chunk.byteCount { slots[slot].current = chunk }
        return end - start
    }
}
