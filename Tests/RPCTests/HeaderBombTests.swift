import InteropService
import Testing

@testable import RPC

/// Header blocks that are short on the wire and long once unpacked.
@Suite struct HeaderBombTests {
    /// A call's head with an entry of almost 4 KiB for HPACK's table, and so many references to it.
    private static func bomb(references: Int, stream: UInt32 = 1) -> [UInt8] {
        let entry = [0x40] + Wire.field("x", [UInt8](repeating: 0x79, count: 3900)).dropFirst()
        return Wire.frame(
            .headers, flags: Wire.endHeaders | Wire.endStream, stream: stream,
            Wire.head("EmptyCall") + entry + [UInt8](repeating: 0xBE, count: references))
    }

    @Test("One over the limit is refused alone: the calls after it are read as they were sent")
    func oversized() throws {
        let server = try End(.server)
        try server.receive(Wire.preface + Self.bomb(references: 20))
        try server.receive(
            Wire.frame(.headers, flags: Wire.endHeaders | Wire.endStream, stream: 3, Wire.head("EmptyCall") + [0xBE]))
        let blocks = server.events.compactMap { event in
            if case .headers(let stream, let block) = event { (stream.id, block.isOversized) } else { nil }
        }
        #expect(blocks.map(\.0) == [1, 3] && blocks.map(\.1) == [true, false])
        #expect(server.heads.last?.1["x"]?.count == 3900)
        #expect(!server.session.isOver)
    }

    @Test("One far over the limit ends the connection, and the rest of it is not unpacked")
    func farTooLong() throws {
        let server = try End(.server)
        try server.receive(Wire.preface)
        var failure: HTTP2Session.Failure?
        do {
            try server.receive(Self.bomb(references: 2000) + Self.bomb(references: 1, stream: 3))
        } catch {
            failure = error as? HTTP2Session.Failure
        }
        let found = try #require(failure)
        #expect(found.code == .enhanceYourCalm)
        #expect(server.session.blockByteCount < server.session.headerBombByteCount + 4096)
        #expect(server.opened.isEmpty)
        // The owner tells the client, as for every failure.
        server.session.terminate(found.code)
        let sent = try server.produce()
        let goAway = try #require(sent.indices.dropLast(16).last { sent[$0...].starts(with: [0, 0, 8, 7]) })
        #expect(sent[(goAway + 13)...].prefix(4) == [0, 0, 0, 11])
    }
}
