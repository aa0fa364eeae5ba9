internal import MarketData

@testable internal import Storage

extension FuzzTarget {
    static let storage = [FuzzTarget(name: "cells", seeds: { cellSeeds }, run: fuzzCells)]

    private static func bytes(_ value: some PostgresEncodable) -> [UInt8] {
        var writer = BinaryWriter()
        value.write(to: &writer)
        return writer.bytes
    }

    private static let cellSeeds: [[UInt8]] = [
        bytes(true), bytes(Int64(-2)), bytes(1.5), bytes("zürich"), bytes(JSON("{}")),
        bytes(DecimalNumber(-1250, scale: 2)), bytes(Timestamp(microseconds: 1 << 50)), bytes([1.5, -0.0]),
        bytes(["a", ""]), bytes([Int64?](arrayLiteral: 1, nil)),
        bytes([[UInt8]]([[1, 2], []])), bytes([DecimalNumber(7, scale: 1)]), bytes([true, false]),
        bytes([JSON("1")]), bytes([Timestamp(microseconds: 5)]), bytes([Float(2)]), bytes([UInt8]([1, 2, 3])),
    ]

    /// A cell or COPY field of any type: what is read is written, and read again as the same.
    @Sendable private static func fuzzCells(_ input: [UInt8]) {
        func check<Value: PostgresDecodable & PostgresEncodable>(_ type: Value.Type) {
            guard let value = unsafe Value(binary: input.span.bytes, type: Value.postgresType) else { return }
            let once = bytes(value)
            guard let again = unsafe Value(binary: once.span.bytes, type: Value.postgresType) else {
                preconditionFailure("\(type) is written, but not read")
            }
            precondition(bytes(again) == once, "\(type) has two forms")
        }
        check(Bool.self)
        check(Int16.self)
        check(Int32.self)
        check(Int64.self)
        check(Float.self)
        check(Double.self)
        check(String.self)
        check(JSON.self)
        check(Timestamp.self)
        check(DecimalNumber.self)
        check([UInt8].self)
        check([Bool].self)
        check([Int32].self)
        check([Int64].self)
        check([Float].self)
        check([Double].self)
        check([String].self)
        check([JSON].self)
        check([Timestamp].self)
        check([DecimalNumber].self)
        check([[UInt8]].self)
        check([Int64?].self)
        check([String?].self)
    }
}
