internal import ArgumentParser
internal import Features
internal import Foundation
internal import MarketData
internal import VommaProto

/// Columns against time, to be written as CSV or as NumPy's .npz.
struct ColumnFile {
    private let names: [String]
    private var times: [Timestamp] = []
    /// [rows × names], row-major; NaN where absent.
    private var values: [Double] = []

    var count: Int { times.count }

    init(names: [String]) { self.names = names }

    init(_ table: FeatureTable) {
        names = table.schema.names
        times = table.barTimes
        values = table.values
    }

    init(_ targets: Targets) {
        names = targets.columns.map(\.name)
        times = targets.barTimes
        values.reserveCapacity(times.count * names.count)
        for row in times.indices { for column in targets.columns { values.append(column.values[row] ?? .nan) } }
    }

    /// The account's columns at the bars' closes. Throws `ValidationError` for a file that is not one of fills.
    init(_ bars: [MarketData.Bar], fills path: String, capital: Double) throws {
        names = SystemColumns.definitions.map { "system.\($0.name)" }
        let table = try NumericTable(.file(path: path))
        func column(_ name: String) throws -> [Double] {
            guard let values = table[name] else {
                throw ValidationError("\(path) has no column \(name): fills have time_ms, quantity, price and fee")
            }
            return values
        }
        let stamps = try column("time_ms")
        let (quantities, prices, fees) = (try column("quantity"), try column("price"), try column("fee"))
        let decided = table["decided_ms"]
        var tracker = SystemColumnTracker(capital: capital)
        var next = 0
        for bar in bars {
            while next < stamps.count, stamps[next] < Double(bar.closeTime.milliseconds) {
                guard next == 0 || stamps[next] >= stamps[next - 1] else {
                    throw ValidationError("\(path), fill \(next + 1): earlier than the one before")
                }
                tracker.take(
                    Execution(
                        time: Timestamp(milliseconds: Int64(stamps[next])), signedQuantity: quantities[next],
                        price: prices[next], fee: fees[next],
                        decidedAt: decided.map { Timestamp(milliseconds: Int64($0[next])) }))
                next += 1
            }
            times.append(bar.closeTime)
            values += tracker.close(at: bar.close).values.map { $0 ?? .nan }
        }
    }

    /// Adds vectors as the service sends them.
    mutating func append(_ block: FeatureBlock) throws {
        let rows = block.barTimesMicroseconds.count
        let width = (names.count + 7) / 8
        guard block.values.count == rows * names.count, block.valid.count == rows * width else {
            throw ValidationError("\(rows) vectors of \(block.values.count) values; the schema has \(names.count)")
        }
        times += block.barTimesMicroseconds.map { Timestamp(microseconds: $0) }
        for row in 0..<rows {
            for index in names.indices {
                let isThere = block.valid[row * width + (index >> 3)] >> UInt8(index & 7) & 1 == 1
                values.append(isThere ? block.values[row * names.count + index] : .nan)
            }
        }
    }

    /// To `path`, whole or not at all; an .npz gets its columns' names beside it, a line each.
    func write(to path: String) throws {
        let url = URL(fileURLWithPath: path)
        guard path.hasSuffix(".npz") else { return try Data(csv()).write(to: url, options: .atomic) }
        let archive = NumPyArchive([
            "time_ms": .init(times.map { Double($0.milliseconds) }),
            "values": .init(shape: [count, names.count], values),
        ])
        try Data(archive.bytes()).write(to: url, options: .atomic)
        let list = url.deletingPathExtension().appendingPathExtension("names.txt")
        try (names.joined(separator: "\n") + "\n").write(to: list, atomically: true, encoding: .utf8)
    }

    private func csv() -> [UInt8] {
        var bytes = Array(("time_ms," + names.joined(separator: ",") + "\n").utf8)
        bytes.reserveCapacity(values.count * 20)
        for row in 0..<count {
            bytes += "\(times[row].milliseconds)".utf8
            for column in names.indices {
                bytes.append(UInt8(ascii: ","))
                let value = values[row * names.count + column]
                if !value.isNaN { bytes += "\(value)".utf8 }
            }
            bytes.append(UInt8(ascii: "\n"))
        }
        return bytes
    }
}
