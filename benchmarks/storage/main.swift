// The storage benchmark: COPY beside psql's, a pipeline beside single statements, point reads through the pool beside
// psycopg's, in interleaved rounds on a private cluster with fsync on. benchmarks/storage.sh runs it.
internal import ChildProcesses
internal import Glibc
internal import MarketData
internal import Storage

/// Median, least and greatest of some rounds.
struct Rounds {
    private(set) var values: [Double] = []
    mutating func add(_ value: Double) { values.append(value) }
    var median: Double { values.sorted()[values.count / 2] }
    func shown(_ unit: String) -> String {
        "\(Int(median)) \(unit) (\(Int(values.min() ?? 0)) … \(Int(values.max() ?? 0)))"
    }
}

func seconds(_ body: () async throws -> Void) async rethrows -> Double {
    let begin = ContinuousClock.now
    try await body()
    let (seconds, attoseconds) = (ContinuousClock.now - begin).components
    return Double(seconds) + Double(attoseconds) * 1e-18
}

struct Failure: Error, CustomStringConvertible { var description: String }

let arguments = CommandLine.arguments
guard arguments.count >= 2 else {
    print("storage-bench <folder> [<python with psycopg> <script>]")
    exit(64)
}
let folder = arguments[1]
let copyRows = 300_000
let upsertRows = 20_000
let reads = 20_000
let rounds = 5

let cluster = try EmbeddedCluster(.init(folder: folder + "/cluster"))
let url = try await cluster.start()
let pool = ConnectionPool(try StorageConfiguration(url: url))
try await pool.migrate()

let start = Timestamp(seconds: 1_704_067_200)
func bar(_ index: Int) -> Bar {
    let price = 40_000 + Double(index % 977) * 0.5
    return Bar(
        openTime: start + .minutes(Int64(index)), interval: .minutes(1), open: price, high: price + 1, low: price - 1,
        close: price + 0.25, volume: Double(index % 313) + 0.125)
}
let bars = (0..<copyRows).map(bar)
let columns = ["exchange", "symbol", "interval_seconds", "open_time", "open", "high", "low", "close", "volume"]

/// An empty `bars`, with the partitions of all rows.
func empty() async throws {
    try await pool.withConnection { connection in
        try connection.command("TRUNCATE bars")
        try connection.ensurePartitions("bars", from: start, to: start + .minutes(Int64(copyRows)))
        try connection.command("CHECKPOINT")
    }
}

func psql(_ command: String) async throws -> Double {
    let (status, output) = try await ChildProcess.run("/usr/bin/psql", [url, "-X", "-c", "\\timing on", "-c", command])
    // `Time: 1234.567 ms (00:01.235)`
    guard status == 0, let line = output.split(separator: "\n").last(where: { $0.hasPrefix("Time: ") }),
        let milliseconds = Double(line.split(separator: " ")[1])
    else { throw Failure(description: "psql: \(output)") }
    return milliseconds / 1000
}

// MARK: COPY

func copyIn() async throws -> Double {
    try await pool.withConnection { connection in
        let begin = ContinuousClock.now
        let count = try connection.copyIn("bars", columns: columns) { writer in
            for bar in bars {
                try writer.row(
                    "binance", "BTCUSDT", Int32(60), bar.openTime, bar.open, bar.high, bar.low, bar.close, bar.volume)
            }
        }
        guard count == copyRows else { throw Failure(description: "\(count) rows") }
        let (seconds, attoseconds) = (ContinuousClock.now - begin).components
        return Double(seconds) + Double(attoseconds) * 1e-18
    }
}

let list = columns.joined(separator: ", ")
try await empty()
_ = try await copyIn()
unsafe _ = chmod(folder, 0o777)
_ = try await psql("\\copy (SELECT \(list) FROM bars ORDER BY open_time) TO '\(folder)/bars.bin' (FORMAT binary)")
_ = try await psql("\\copy (SELECT \(list) FROM bars ORDER BY open_time) TO '\(folder)/bars.csv' (FORMAT csv)")
var ours = Rounds()
var binary = Rounds()
var text = Rounds()
for _ in 0..<rounds {
    try await empty()
    ours.add(Double(copyRows) / (try await copyIn()))
    try await empty()
    binary.add(Double(copyRows) / (try await psql("\\copy bars (\(list)) FROM '\(folder)/bars.bin' (FORMAT binary)")))
    try await empty()
    text.add(Double(copyRows) / (try await psql("\\copy bars (\(list)) FROM '\(folder)/bars.csv' (FORMAT csv)")))
}
print("COPY of \(copyRows) bars into monthly partitions, rows/s, median (least … greatest) of \(rounds) rounds")
print("  ours, encoded on the way     \(ours.shown("rows/s"))")
print("  psql \\copy, binary file      \(binary.shown("rows/s"))")
print("  psql \\copy, CSV file         \(text.shown("rows/s"))")

var out = Rounds()
for _ in 0..<rounds {
    var sum = 0.0
    let time = try await seconds {
        sum = try await pool.withConnection { connection in
            var sum = 0.0
            try connection.copyOut("bars", columns: columns) { row in sum += try row.get(7, as: Double.self) }
            return sum
        }
    }
    guard sum > 0 else { throw Failure(description: "no rows came out") }
    out.add(Double(copyRows) / time)
}
print("  ours out, one field decoded  \(out.shown("rows/s"))")

// MARK: Upserts

let upsert = """
    INSERT INTO bars (exchange, symbol, interval_seconds, open_time, open, high, low, close, volume)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (exchange, symbol, interval_seconds, open_time) DO UPDATE
    SET (open, high, low, close, volume) = (excluded.open, excluded.high, excluded.low, excluded.close, excluded.volume)
    """
let rows: [[any PostgresEncodable]] = bars.prefix(upsertRows).map { bar in
    [
        "binance", "BTCUSDT", Int32(60), bar.openTime, bar.open, bar.high, bar.low, bar.close, bar.volume,
    ] as [any PostgresEncodable]
}
var single = Rounds()
var committed = Rounds()
var pipelined = Rounds()
for _ in 0..<rounds {
    try await empty()
    single.add(
        Double(upsertRows) / (try await seconds {
            try await pool.withTransaction { connection in for row in rows { try connection.execute(upsert, row) } }
        }))
    try await empty()
    // What a caller without a batch does: each row by itself. A tenth of the rows: each commit waits for the disk.
    committed.add(
        Double(upsertRows / 10) / (try await seconds {
            try await pool.withConnection { connection in
                for row in rows.prefix(upsertRows / 10) { try connection.execute(upsert, row) }
            }
        }))
    try await empty()
    pipelined.add(
        Double(upsertRows) / (try await seconds {
            _ = try await pool.withConnection { try $0.executeBatch(upsert, rows) }
        }))
}
print("upserts of \(upsertRows) bars, rows/s")
print("  one by one, each committed   \(committed.shown("rows/s"))")
print("  one by one, one transaction  \(single.shown("rows/s"))")
print("  pipelined, one transaction   \(pipelined.shown("rows/s"))")

// MARK: Point reads

let select = """
    SELECT open, high, low, close, volume FROM bars
    WHERE exchange = $1 AND symbol = $2 AND interval_seconds = $3 AND open_time = $4
    """
try await empty()
_ = try await copyIn()
try await pool.withConnection { try $0.command("ANALYZE bars") }
await pool.close()
var readers = try StorageConfiguration(url: url)
readers.maximumConnections = 8
let readPool = ConnectionPool(readers)
/// Reads a second of so many callers: `shares` through `pool.queryOne`, otherwise each on a lease of its own.
func readRate(callers: Int, shares: Bool) async throws -> Double {
    let count = reads / callers
    let time = try await seconds {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for caller in 0..<callers {
                group.addTask {
                    for index in 0..<count {
                        let place = (index * 7919 + caller * 104_729) % copyRows
                        let key: [any PostgresEncodable] = [
                            "binance", "BTCUSDT", Int32(60), start + .minutes(Int64(place)),
                        ]
                        @Sendable func close(_ row: Row) throws(StorageError) -> Double { try row.get(3) }
                        let price =
                            shares
                            ? try await readPool.queryOne(select, key, decode: close)
                            : try await readPool.withConnection { try $0.queryOne(select, key, decode: close) }
                        guard price == bars[place].close else { throw Failure(description: "a wrong row") }
                    }
                }
            }
            try await group.waitForAll()
        }
    }
    return Double(count * callers) / time
}

/// `rate` lines of the peer's script.
func psycopg(callers: Int) async throws -> Double {
    let (status, output) = try await ChildProcess.run(arguments[2], [arguments[3], url, "\(reads)", "\(callers)"])
    guard status == 0, let line = output.split(separator: "\n").last, let rate = Double(line) else {
        throw Failure(description: "psycopg: \(output)")
    }
    return rate
}

var readOne = Rounds()
var readMany = Rounds()
var leasedMany = Rounds()
var peerOne = Rounds()
var peerMany = Rounds()
let hasPeer = arguments.count >= 4
for shares in [true, false] { _ = try await readRate(callers: 8, shares: shares) }
for _ in 0..<rounds {
    readOne.add(try await readRate(callers: 1, shares: true))
    if hasPeer { peerOne.add(try await psycopg(callers: 1)) }
    readMany.add(try await readRate(callers: 8, shares: true))
    if hasPeer { peerMany.add(try await psycopg(callers: 8)) }
    leasedMany.add(try await readRate(callers: 8, shares: false))
}
print("point reads of a bar by its key, reads/s; a pool of 8 connections each")
print("  ours, 1 caller               \(readOne.shown("reads/s"))")
print("  ours, 8 callers              \(readMany.shown("reads/s"))")
print("  ours, 8 callers, withConnection for each read  \(leasedMany.shown("reads/s"))")
if hasPeer {
    print("  psycopg, 1 caller            \(peerOne.shown("reads/s"))")
    print("  psycopg, 8 callers           \(peerMany.shown("reads/s"))")
}

// MARK: Claims

/// Prints one claim; false where it falls short.
func claim(_ name: String, _ ours: Double, _ peer: Double, _ unit: String, bound: Double) -> Bool {
    let ratio = ours / peer
    let shown = (ratio * 100).rounded() / 100
    print(
        "CLAIM storage.\(name) ours=\(Int(ours))\(unit) peer=\(Int(peer))\(unit) ratio=\(shown) bound=\(bound) "
            + (ratio < bound ? "short" : "ok"))
    return ratio >= bound
}
var holds = [
    claim("copy", ours.median, max(binary.median, text.median), "rows/s", bound: 0.9),
    claim("pipeline", pipelined.median, single.median, "rows/s", bound: 5),
]
if hasPeer {
    holds.append(claim("reads", readMany.median, peerMany.median, "reads/s", bound: 2))
}
await readPool.close()
try await cluster.stop()
exit(holds.contains(false) ? 1 : 0)
