public import Foundation

/// Ports of 127.0.0.1 that the system gives to nobody else while this object lives, for servers that are told their
/// port, are stopped, and are started again on it.
///
/// Each is held by a socket that is bound and does not listen: a server that asks for the port by number and sets
/// SO_REUSEADDR, as ours do, may have it beside us; a client that connects meanwhile is refused; and the system's
/// choice of a free port passes it by.
public final class ReservedPorts: Sendable {
    public let numbers: [Int]
    private let sockets: [Int32]

    /// Throws when the process has no descriptor, or the system no port left.
    public init(_ count: Int) throws(POSIXError) {
        func failure() -> POSIXError { POSIXError(POSIXErrorCode(rawValue: errno) ?? .EADDRINUSE) }
        var sockets: [Int32] = []
        var numbers: [Int] = []
        do throws(POSIXError) {
            for _ in 0..<count {
                let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
                guard descriptor >= 0 else { throw failure() }
                sockets.append(descriptor)
                var address = sockaddr_in()
                address.sin_family = sa_family_t(AF_INET)
                address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
                var length = socklen_t(MemoryLayout<sockaddr_in>.size)
                let isBound = unsafe withUnsafeMutablePointer(to: &address) { pointer in
                    unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                        unsafe bind(descriptor, generic, length) == 0 && getsockname(descriptor, generic, &length) == 0
                    }
                }
                var yes: Int32 = 1
                let size = socklen_t(MemoryLayout<Int32>.size)
                guard isBound, unsafe setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, size) == 0 else {
                    throw failure()
                }
                numbers.append(Int(UInt16(bigEndian: address.sin_port)))
            }
        } catch {
            for socket in sockets { close(socket) }
            throw error
        }
        self.sockets = sockets
        self.numbers = numbers
    }

    deinit { for socket in sockets { close(socket) } }
}
