internal import Features
internal import Foundation
internal import MarketData

/// Columns against time, to be written as CSV or as NumPy's .npz.
struct ColumnFile {
    private let names: [String]
    private var times: [Timestamp] = []
    /// [rows × names], row-major; NaN where absent.
    private var values: [Double] = []

    private var count: Int { times.count }

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

    /// The account's columns at the bars' closes; executions after the last of them are not shown.
    init(_ bars: [Bar], _ executions: [Execution], capital: Double) {
        names = SystemColumns.definitions.map { "system.\($0.name)" }
        var tracker = SystemColumnTracker(capital: capital)
        var waiting = executions[...]
        for bar in bars {
            while let next = waiting.first, next.time < bar.closeTime {
                tracker.take(next)
                waiting.removeFirst()
            }
            times.append(bar.closeTime)
            values += tracker.close(at: bar.close).values.map { $0 ?? .nan }
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
