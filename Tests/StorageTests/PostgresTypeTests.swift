import Kernels
import MarketData
import Storage
import TestKit
import Testing

/// Every type, there and back through a real server, in binary both ways.
@Suite struct PostgresTypeTests {
    private func roundTrip<T: PostgresEncodable & PostgresDecodable & Equatable>(
        _ pool: ConnectionPool, _ values: [T]
    ) async throws {
        let back = try await pool.withConnection { connection in
            try values.map { value in
                try connection.queryOne("SELECT $1", [value]) { (row) throws(StorageError) in try row.get(0, as: T.self)
                }
            }
        }
        #expect(back == values)
    }

    @Test func scalars() async throws {
        let pool = ConnectionPool(try await TestCluster.shared.database(migrated: false))
        try await roundTrip(pool, [true, false])
        try await roundTrip(pool, [Int16.min, -1, 0, .max])
        try await roundTrip(pool, [Int32.min, -1, 0, .max])
        try await roundTrip(pool, [Int64.min, -1, 0, .max])
        try await roundTrip(
            pool, [Double.infinity, -.infinity, 0, -.leastNonzeroMagnitude, .greatestFiniteMagnitude, .pi])
        try await roundTrip(pool, [Float.infinity, -0.1, .leastNonzeroMagnitude])
        try await roundTrip(pool, ["", "a", "Łódź ’; DROP TABLE bars; --", "\u{1F600}\n\t\\"])
        try await roundTrip(pool, [[UInt8](), [0, 255, 39, 92], [UInt8](repeating: 7, count: 100_000)])
        try await roundTrip(
            pool, [Timestamp(seconds: 0), .init(microseconds: 1_772_323_200_000_001), .init(seconds: -86_400)])
        try await roundTrip(pool, [Double?.none, 1.5])
        try await roundTrip(pool, [JSON("{\"a\": [1, null, \"\u{E9}\"]}"), "[]"])
    }

    @Test func arrays() async throws {
        let pool = ConnectionPool(try await TestCluster.shared.database(migrated: false))
        try await roundTrip(pool, [[Double](), [1, -.infinity], (0..<5000).map(Double.init)])
        try await roundTrip(pool, [[Float](), [1, 2.5]])
        try await roundTrip(pool, [[Int64](), [.min, .max]])
        try await roundTrip(pool, [[Int32](), [.min, .max]])
        try await roundTrip(pool, [[String](), ["", "NULL", "{a,b}", "\""]])
        try await roundTrip(pool, [[[UInt8]](), [[], [0, 1]]])
        try await roundTrip(pool, [[Timestamp](), [Timestamp(seconds: 1), .init(microseconds: -1)]])
        try await roundTrip(pool, [[Bool](), [true, false]])
        try await roundTrip(pool, [[Double?](), [nil, 1, nil], [nil]])
        try await roundTrip(pool, [[String?.none, "", "x"]])
        try await roundTrip(pool, [[DecimalNumber("0.1"), nil]])
    }

    @Test("random numbers keep their bits, NaN's included") func bits() async throws {
        var random = RandomGenerator(seed: 11)
        let doubles = (0..<2000).map { _ in Double(bitPattern: random.next()) } + [.nan, -0.0, .signalingNaN]
        let pool = ConnectionPool(try await TestCluster.shared.database(migrated: false))
        let (array, one) = try await pool.withConnection { connection in
            try connection.queryOne("SELECT $1, $2", [doubles, Double.nan]) { (row) throws(StorageError) in
                (try row.get(0, as: [Double].self), try row.get(1, as: Double.self))
            }
        }
        #expect(array.map(\.bitPattern) == doubles.map(\.bitPattern))
        #expect(one.isNaN)
    }

    @Test("decimals agree with the server's own text, digit for digit") func decimals() async throws {
        var random = RandomGenerator(seed: 5)
        var values = [
            "0", "1", "-1", "0.0001", "10000", "12345.6789", "0.00000001", "99999999999999999999999999999999999999",
        ]
        .compactMap { DecimalNumber($0) }
        for _ in 0..<500 {
            let coefficient = Int128(Int64(bitPattern: random.next()) >> Int64(random.index(below: 60)))
            values.append(DecimalNumber(coefficient, scale: random.index(below: 30)))
        }
        let decimals = values
        let pool = ConnectionPool(try await TestCluster.shared.database(migrated: false))
        try await pool.withConnection { connection in
            for value in decimals {
                let (text, back) = try connection.queryOne("SELECT trim_scale($1)::text, $1 + 0", [value]) {
                    (row) throws(StorageError) in
                    (try row.get(0, as: String.self), try row.get(1, as: DecimalNumber.self))
                }
                #expect(text == value.description && back == value)
                #expect(DecimalNumber(text) == value)
            }
            #expect(throws: StorageError.decoding(column: "numeric", reason: "not a value of DecimalNumber")) {
                try connection.queryOne("SELECT 'NaN'::numeric") { (row) throws(StorageError) in
                    try row.get(0, as: DecimalNumber.self)
                }
            }
        }
        for text in ["", "-", ".5", "5.", "1e3", "1.2.3", " 1", String(repeating: "9", count: 39)] {
            #expect(DecimalNumber(text) == nil)
        }
    }

    @Test("NULL, other types and missing columns are typed errors") func mismatches() async throws {
        let pool = ConnectionPool(try await TestCluster.shared.database(migrated: false))
        try await pool.withConnection { connection in
            let row = try connection.queryOne("SELECT NULL::int AS a, 7::bigint AS b, 'infinity'::timestamptz AS c") {
                (row) throws(StorageError) in row
            }
            #expect(throws: StorageError.decoding(column: "a", reason: "NULL")) { try row.get("a", as: Int32.self) }
            #expect(try row.get("a", as: Int32?.self) == nil)
            #expect(try row.get("b", as: Int.self) == 7)
            #expect(throws: StorageError.self) { try row.get("b", as: Int32.self) }
            #expect(throws: StorageError.self) { try row.get("b", as: String.self) }
            #expect(throws: StorageError.self) { try row.get("c", as: Timestamp.self) }
            #expect(throws: StorageError.decoding(column: "d", reason: "no such column in the result")) {
                try row.get("d", as: Int.self)
            }
            #expect(throws: StorageError.self) { try row.get(3, as: Int.self) }
            #expect(throws: StorageError.self) {
                try connection.queryOne("SELECT ARRAY[[1,2],[3,4]]::float8[]") { (row) throws(StorageError) in
                    try row.get(0, as: [Double].self)
                }
            }
        }
    }

    @Test("names can't break out of their quotes") func identifiers() async throws {
        let pool = ConnectionPool(try await TestCluster.shared.database(migrated: false))
        let name = "t\"; DROP TABLE x; --ü"
        try await pool.withConnection { connection in
            try connection.command("CREATE TABLE \(try Identifier(name)) (\(try Identifier("a\"b")) bigint)")
            let count = try connection.copyIn(name, columns: ["a\"b"]) { try $0.row(Int64(1)) }
            #expect(count == 1)
            let names = try connection.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'") {
                (row) throws(StorageError) in try row.get(0, as: String.self)
            }
            #expect(names == [name])
        }
        for bad in ["", "a\0b", String(repeating: "x", count: 64)] {
            #expect(throws: StorageError.self) { try Identifier(bad) }
        }
    }
}
