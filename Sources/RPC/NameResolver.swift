private import Glibc
internal import NIOCore
internal import NIOPosix

/// Finds the numeric addresses of a host.
protocol NameResolver: Sendable {
    /// The addresses in the order in which to try them. Fails with `NameFailure`; an empty list is a failure too.
    func addresses(of target: Address, on loop: any EventLoop) -> EventLoopFuture<[SocketAddress]>
}

/// Why a name has no address, in words.
struct NameFailure: Error, Equatable {
    let reason: String
}

/// The system's resolver: getaddrinfo, which may take long, on threads of its own.
struct SystemResolver: NameResolver {
    /// Two, so that one name that nobody answers for does not hold up all others.
    private static let threads: NIOThreadPool = {
        let pool = NIOThreadPool(numberOfThreads: 2)
        pool.start()
        return pool
    }()

    func addresses(of target: Address, on loop: any EventLoop) -> EventLoopFuture<[SocketAddress]> {
        Self.threads.runIfActive(eventLoop: loop) { try Self.lookUp(target) }
    }

    private static func lookUp(_ target: Address) throws(NameFailure) -> [SocketAddress] {
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        unsafe hints.ai_protocol = Int32(IPPROTO_TCP)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = unsafe getaddrinfo(target.host, "\(target.port)", &hints, &list)
        guard code == 0 else { throw NameFailure(reason: unsafe String(cString: gai_strerror(code))) }
        defer { unsafe freeaddrinfo(list) }
        var found: [SocketAddress] = []
        var next = unsafe list
        while let entry = unsafe next {
            if let address = unsafe socketAddress(entry.pointee), !found.contains(address) { found.append(address) }
            unsafe next = entry.pointee.ai_next
        }
        return found
    }

    private static func socketAddress(_ info: addrinfo) -> SocketAddress? {
        guard let raw = unsafe UnsafeRawPointer(info.ai_addr) else { return nil }
        switch unsafe info.ai_family {
        case AF_INET: return unsafe SocketAddress(raw.loadUnaligned(as: sockaddr_in.self))
        case AF_INET6: return unsafe SocketAddress(raw.loadUnaligned(as: sockaddr_in6.self))
        default: return nil
        }
    }
}
