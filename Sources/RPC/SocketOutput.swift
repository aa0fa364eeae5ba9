private import Glibc
internal import NIOCore

/// A connection's way past SwiftNIO to its socket, for output. To hand NIO a buffer, and to have it written at once,
/// costs as much as all of HTTP/2 for a small call; most output fits into the socket, and needs nothing of what NIO is
/// for.
///
/// On the channel's loop only, and only while the channel is open: the descriptor is another's afterwards.
@safe struct SocketOutput {
    private let handle: NIOBSDSocket.Handle

    /// `nil` where the channel is not a socket (such as in tests).
    init?(_ channel: any Channel) {
        let pipeline = channel.pipeline.syncOperations
        let handle = try? pipeline.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) { $0 }
        guard let handle else { return nil }
        self.handle = handle
    }

    /// How many of the bytes, from the first, the socket has taken: fewer where it is full. 0 too where it is broken,
    /// which NIO finds when it is given the rest.
    func write(_ bytes: UnsafeRawBufferPointer) -> Int {
        let flags = Int32(MSG_DONTWAIT | MSG_NOSIGNAL)
        return max(unsafe send(handle, bytes.baseAddress, bytes.count, flags), 0)
    }
}
