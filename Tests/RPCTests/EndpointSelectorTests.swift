import NIOCore
import Testing

@testable import RPC

/// `10.0.0.<n>`, of the one server `pricer`.
private func endpoint(_ n: Int) throws -> Endpoint {
    Endpoint(address: try SocketAddress(ipAddress: "10.0.0.\(n)", port: 1), target: Address(host: "pricer", port: 1))
}

/// Durations are multiplied in floating point.
private func isNear(_ pause: Duration?, _ seconds: Double) -> Bool {
    pause.map { abs($0 / .seconds(1) - seconds) < 1e-9 } ?? false
}

@Suite struct EndpointSelectorTests {
    /// Endpoints 1 … count, which get the numbers 1 … count.
    private func selector(_ balancing: Balancing, _ count: Int) throws -> EndpointSelector {
        var selector = EndpointSelector(balancing, backoff: Backoff(initial: .seconds(1), longest: .seconds(100)))
        #expect(selector.replace(try (1...count).map(endpoint)) == [])
        return selector
    }

    @Test("Pick-first tries one address after the other, and stays with the first that answers")
    func pickFirst() throws {
        var selector = try selector(.pickFirst, 3)
        #expect(selector.pick() == nil)
        #expect(selector.connect() == [.connect(1, try endpoint(1))])
        #expect(selector.connect() == [])
        #expect(!selector.hasFailed(since: 0))
        #expect(selector.failed(1, random: 0.5) == .seconds(1))
        #expect(selector.connect() == [.connect(2, try endpoint(2))])
        #expect(selector.connected(2) == [])
        #expect(selector.pick() == 2 && selector.pick() == 2)
        #expect(selector.connect() == [])
        // Afterwards from the first again, as soon as its pause is over.
        selector.paused(1)
        #expect(selector.lost(2, isShort: true, random: 0) == nil)
        #expect(selector.pick() == nil)
        #expect(selector.connect() == [.connect(1, try endpoint(1))])
    }

    @Test("Pick-first: a slow attempt gets company; who is first stays, and the others are abandoned")
    func stagger() throws {
        var selector = try selector(.pickFirst, 3)
        #expect(selector.connect() == [.connect(1, try endpoint(1))])
        #expect(selector.connectAnother() == [.connect(2, try endpoint(2))])
        #expect(selector.connectAnother() == [.connect(3, try endpoint(3))])
        #expect(selector.connectAnother() == [])
        #expect(selector.connected(2) == [.drop(1), .drop(3)])
        // Its success was under way already.
        #expect(selector.connected(3) == [.drop(3)])
        #expect(selector.pick() == 2)
        #expect(selector.connectAnother() == [])
    }

    @Test("A call has seen all fail when each address failed since it came, or pauses")
    func failure() throws {
        var selector = try selector(.pickFirst, 2)
        let early = selector.failureCount
        _ = selector.connect()
        _ = selector.failed(1, random: 0.5)
        _ = selector.connect()
        #expect(!selector.hasFailed(since: early))
        let late = selector.failureCount
        // The first is tried again beside the second, which takes long.
        selector.paused(1)
        #expect(selector.connectAnother() == [.connect(1, try endpoint(1))])
        _ = selector.failed(2, random: 0.5)
        #expect(selector.hasFailed(since: early))
        #expect(!selector.hasFailed(since: late))
        #expect(isNear(selector.failed(1, random: 0.5), 1.6))
        #expect(selector.hasFailed(since: late) && selector.hasFailed(since: selector.failureCount))
        // Both may be tried again, in turn: the one that has rested longest first.
        selector.paused(1)
        selector.paused(2)
        #expect(!selector.hasFailed(since: selector.failureCount))
        #expect(selector.connect() == [.connect(2, try endpoint(2))])
    }

    @Test("Each address has its own pauses; a connection ends their growth")
    func pauses() throws {
        var selector = try selector(.roundRobin, 2)
        #expect(selector.connect() == [.connect(1, try endpoint(1)), .connect(2, try endpoint(2))])
        for expected in [1.0, 1.6, 2.56] {
            #expect(isNear(selector.failed(1, random: 0.5), expected))
            selector.paused(1)
            #expect(selector.connect().first == .connect(1, try endpoint(1)))
        }
        #expect(selector.failed(2, random: 0.5) == .seconds(1))
        _ = selector.connected(1)
        #expect(selector.lost(1, isShort: false, random: 0.5) == nil)
        #expect(selector.connect() == [.connect(1, try endpoint(1))])
        #expect(selector.failed(1, random: 0.5) == .seconds(1))
    }

    @Test("Round-robin connects to all, and goes round those that are ready")
    func roundRobin() throws {
        var selector = try selector(.roundRobin, 3)
        _ = selector.connect()
        _ = selector.connected(1)
        #expect(selector.pick() == 1 && selector.pick() == 1)
        _ = selector.connected(3)
        _ = selector.connected(2)
        #expect((0..<6).map { _ in selector.pick() } == [2, 3, 1, 2, 3, 1])
        // One that hangs up at once is given a pause, one that lasted is connected to again.
        #expect(selector.lost(2, isShort: true, random: 0.5) == .seconds(1))
        #expect(selector.lost(3, isShort: false, random: 0.5) == nil)
        #expect(selector.connect() == [.connect(3, try endpoint(3))])
        #expect((0..<2).map { _ in selector.pick() } == [1, 1])
    }

    @Test("New addresses: those that stay keep their connection, those that are gone are let go")
    func replacement() throws {
        var selector = try selector(.roundRobin, 3)
        _ = selector.connect()
        _ = selector.connected(1)
        _ = selector.connected(2)
        #expect(selector.replace([try endpoint(4), try endpoint(2), try endpoint(4)]) == [.drop(1), .drop(3)])
        #expect(selector.connect() == [.connect(4, try endpoint(4))])
        #expect((0..<2).map { _ in selector.pick() } == [2, 2])
        // What is told of those that are gone changes nothing.
        #expect(selector.connected(3) == [.drop(3)])
        #expect(selector.failed(1, random: 0) == nil && selector.lost(1, isShort: true, random: 0) == nil)
        #expect(selector.pick() == 2)
        #expect(selector.replace([]) == [.drop(4), .drop(2)])
        #expect(selector.isEmpty && selector.pick() == nil && !selector.hasFailed(since: 0))
    }
}
