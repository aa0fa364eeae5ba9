import InteropService
import Testing

@testable import RPC

private func begin(_ stream: UInt32, flags: UInt8 = Wire.endHeaders) -> [UInt8] {
    Wire.frame(.headers, flags: flags, stream: stream, Wire.head("EmptyCall"))
}

private func reset(_ stream: UInt32) -> [UInt8] { Wire.frame(.rstStream, stream: stream, Wire.number(8)) }

/// What gRPC's C core sends when it cancels a call before its headers went out.
@Suite struct IdleResetsTests {
    /// Calls 1 and 5 with a byte each, 3 and 7 only reset, and a PING that shows whether the connection lives.
    private static let calls: [UInt8] =
        begin(1) + reset(3) + begin(5) + Wire.frame(.data, stream: 1, [11]) + reset(7)
        + Wire.frame(.data, flags: Wire.endStream, stream: 5, [55]) + Wire.frame(.ping, [UInt8](repeating: 9, count: 8))

    private static func kinds(_ bytes: [UInt8]) -> [UInt8] {
        var kinds: [UInt8] = []
        var index = 0
        while index + 9 <= bytes.count {
            kinds.append(bytes[index + 3])
            index += 9 + Int(bytes[index]) << 16 + Int(bytes[index + 1]) << 8 + Int(bytes[index + 2])
        }
        return kinds
    }

    @Test("The reset of a call that was never sent costs nobody else anything, however the bytes are cut")
    func never() throws {
        let bytes = Wire.preface + Self.calls
        for size in 1...bytes.count {
            let server = try End(.server)
            for start in stride(from: 0, to: bytes.count, by: size) {
                try server.receive(Array(bytes[start..<min(start + size, bytes.count)]))
            }
            #expect(server.opened.map(\.id) == [1, 5], "pieces of \(size)")
            #expect(server.data == [1: [11], 5: [55]], "pieces of \(size)")
            #expect(server.closed.isEmpty)
            // Floods of them are floods: SETTINGS, PING, and these two.
            #expect(server.session.controlFrameCount == 4, "pieces of \(size)")
            let kinds = Self.kinds(try server.produce())
            #expect(kinds.contains(Wire.Kind.ping.rawValue) && !kinds.contains(Wire.Kind.goAway.rawValue))
        }
    }

    @Test("An open call is reset as ever, once; afterwards its reset says nothing")
    func opened() throws {
        let server = try End(.server)
        try server.receive(Wire.preface + begin(1) + begin(5) + reset(5) + reset(5) + reset(1))
        #expect(server.closed == [5: .cancel, 1: .cancel])
        #expect(!server.session.isOver)
    }

    @Test(
        "What the RFC forbids stays forbidden: before any call, within a header block, of even streams, misshapen",
        arguments: [
            reset(3),
            begin(1, flags: 0) + reset(3),
            begin(1) + reset(4),
            begin(1) + reset(0),
            begin(1) + Wire.frame(.rstStream, stream: 3, [0, 0, 0]),
            begin(1) + Wire.frame(.rstStream, stream: 3, [0, 0, 0, 8, 0]),
        ])
    func forbidden(bytes: [UInt8]) throws {
        let server = try End(.server)
        try server.receive(Wire.preface + bytes)
        #expect(Self.kinds(try server.produce()).contains(Wire.Kind.goAway.rawValue))
        #expect(server.session.isOver)
    }
}
