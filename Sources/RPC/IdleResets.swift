/// Takes out of a client's bytes what only gRPC's own clients send: RST_STREAM for a stream that was never opened.
///
/// A call of gRPC's C core (Python, C++, Ruby, PHP, …) that is cancelled, or whose deadline passes, after it was given
/// a number and before its headers went out, is reset all the same (https://github.com/grpc/grpc/issues/19655).
/// RFC 9113 section 5.1 makes that a connection error, and libnghttp2 does: all other calls of that client would be
/// lost. gRPC's servers pass over it, and so do we, once the connection has had a call. Frames are looked at here, and
/// never changed.
struct IdleResets {
    private static let headByteCount = 9
    private static let resetByteCount = 9 + 4

    /// Of the frame that is on its way; at first, of the client's preface.
    private var payloadByteCount = 24
    /// The beginning of a frame, while it cannot be told what it is.
    private var held: [UInt8] = []
    /// The highest stream that was opened.
    private var latestStream: UInt32 = 0
    /// CONTINUATION has to follow: then everything else is an error.
    private var isBlockOpen = false
    /// Frames taken out so far.
    private(set) var count = 0

    /// Calls `pass` with all other bytes, in order: parts of `input`, and beginnings of frames (never DATA's content)
    /// that had come before it.
    mutating func filter(
        _ input: UnsafeRawBufferPointer, pass: (UnsafeRawBufferPointer) throws(HTTP2Session.Failure) -> Void
    ) throws(HTTP2Session.Failure) {
        var index = 0
        if !held.isEmpty {
            guard unsafe complete(input, &index) else { return }
            if !held.isEmpty {
                try unsafe held.span.bytes.withUnsafeBytes { (bytes) throws(HTTP2Session.Failure) in
                    try unsafe pass(bytes)
                }
            }
            held.removeAll(keepingCapacity: true)
        }
        var start = index
        while true {
            let step = min(payloadByteCount, input.count - index)
            index += step
            payloadByteCount -= step
            let left = input.count - index
            guard left > 0 else { break }
            let isWhole = left >= Self.headByteCount
            let isReset = isWhole ? unsafe isIdleReset(UnsafeRawBufferPointer(rebasing: input[index...])) : false
            if !isWhole || isReset {
                if index > start { try unsafe pass(UnsafeRawBufferPointer(rebasing: input[start..<index])) }
                guard isReset, left >= Self.resetByteCount else {
                    unsafe held.append(contentsOf: input[index...])
                    return
                }
                count += 1
                index += Self.resetByteCount
                start = index
            } else {
                unsafe note(UnsafeRawBufferPointer(rebasing: input[index...]))
                index += Self.headByteCount
            }
        }
        if index > start { try unsafe pass(UnsafeRawBufferPointer(rebasing: input[start..<index])) }
    }

    /// Adds to `held` what is missing to tell what it is. When it is a frame to pass on, that is noted; else `held` is
    /// emptied. `false`: there is not enough yet.
    private mutating func complete(_ input: UnsafeRawBufferPointer, _ index: inout Int) -> Bool {
        var wanted = Self.headByteCount
        while true {
            while held.count < wanted {
                guard index < input.count else { return false }
                unsafe held.append(input[index])
                index += 1
            }
            let isReset = unsafe held.withUnsafeBytes { unsafe isIdleReset($0) }
            if !isReset {
                unsafe held.withUnsafeBytes { unsafe note($0) }
                return true
            }
            if wanted == Self.resetByteCount {
                count += 1
                held.removeAll(keepingCapacity: true)
                return true
            }
            wanted = Self.resetByteCount
        }
    }

    private func isIdleReset(_ head: UnsafeRawBufferPointer) -> Bool {
        guard unsafe head[3] == 3, unsafe length(head) == 4, latestStream > 0, !isBlockOpen else { return false }
        let stream = unsafe stream(head)
        return stream % 2 == 1 && stream > latestStream
    }

    private mutating func note(_ head: UnsafeRawBufferPointer) {
        payloadByteCount = unsafe length(head)
        switch unsafe head[3] {
        case 1:
            latestStream = unsafe max(latestStream, stream(head))
            isBlockOpen = unsafe head[4] & 4 == 0
        case 9: isBlockOpen = unsafe head[4] & 4 == 0
        default: break
        }
    }

    private func length(_ head: UnsafeRawBufferPointer) -> Int {
        unsafe Int(head[0]) << 16 | Int(head[1]) << 8 | Int(head[2])
    }

    private func stream(_ head: UnsafeRawBufferPointer) -> UInt32 {
        unsafe UInt32(bigEndian: head.loadUnaligned(fromByteOffset: 5, as: UInt32.self)) & 0x7FFF_FFFF
    }
}
