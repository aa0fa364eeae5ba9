// A year of one-minute bars through the services: market-gateway replays them, feature-service computes every column
// that bars give and stores it in PostgreSQL (fsync on), is killed with SIGKILL on the way and started again, and
// serves a month of it.
//
//   feature-store-bench <folder of services> <folder of data> <symbol> <from> <to>
//
// Prints one JSON object: rows, columns, seconds without a kill and with kills, milliseconds for a month.
import Foundation
import LocalStack
import Logging
import MarketData
import RPC
import Storage
import VommaProto

struct Bench {
    let stack: LocalStack
    let pool: ConnectionPool
    let gateway: MarketGatewayClient
    let features: FeatureClient
    let symbol: String
    let from: Timestamp
    let to: Timestamp
    let patient = CallOptions(timeout: .seconds(900), waitForReady: true)

    func load(_ data: String) async throws -> Int {
        var rows = 0
        for try await report in gateway.loadHistory(
            LoadHistoryRequest(
                directory: data, symbols: [symbol], currencies: [], fromMicroseconds: from.microseconds,
                toMicroseconds: to.microseconds), options: patient) where report.finished {
            if report.item.hasPrefix("bars") { rows += Int(report.rowsStored) }
        }
        return rows
    }

    /// Seconds from a stream's creation until all of its features are stored, and how often the service was killed on
    /// the way: `kills` times, at equal distances.
    func compute(_ stream: String, kills: Int) async throws -> (seconds: Double, kills: Int) {
        let clock = ContinuousClock()
        let info = try await gateway.createStream(
            CreateStreamRequest(
                stream: stream, exchange: "binance", symbols: [symbol], currencies: [],
                fromMicroseconds: from.microseconds, toMicroseconds: to.microseconds), options: patient)
        let start = clock.now
        var left = kills
        while true {
            do {
                for try await progress in features.compute(ComputeRequest(stream: stream), options: patient) {
                    let share = Double(progress.sequence) / Double(max(1, info.lastSequence))
                    if left > 0, share > 1 - Double(left) / Double(kills + 1) {
                        left -= 1
                        stack.child(.featureService).kill()
                        try await stack.restart(stack.child(.featureService))
                    }
                    if progress.sequence >= info.lastSequence {
                        let duration = (clock.now - start).components
                        return (Double(duration.seconds) + Double(duration.attoseconds) * 1e-18, kills - left)
                    }
                }
            } catch let status as RPCStatus where status.code == .unavailable || status.code == .cancelled {
                continue
            }
        }
    }

    /// A hash of all vectors of a stream, and how many there are.
    func digest(_ stream: String) async throws -> (hash: String, rows: Int) {
        try await pool.withConnection { connection in
            try connection.queryOne(
                """
                SELECT coalesce(md5(string_agg(md5(sequence::text || bar_time::text || close::text || values::text
                       || valid::text), '' ORDER BY bar_time)), ''), count(*)
                FROM features WHERE stream = $1
                """, [stream]
            ) { (row) throws(StorageError) in (try row.get(0, as: String.self), try Int(row.get(1, as: Int64.self))) }
        }
    }

    /// The median of five fetches of the last month.
    func month(_ stream: String) async throws -> (milliseconds: Double, rows: Int) {
        let clock = ContinuousClock()
        let last = to
        var times: [Double] = []
        var rows = 0
        for _ in 0..<5 {
            let start = clock.now
            rows = 0
            for try await block in features.getFeatures(
                GetFeaturesRequest(
                    stream: stream, symbol: symbol, fromMicroseconds: (last - .days(30)).microseconds,
                    toMicroseconds: last.microseconds), options: patient) { rows += block.closes.count }
            let duration = (clock.now - start).components
            times.append(Double(duration.seconds) * 1000 + Double(duration.attoseconds) * 1e-15)
        }
        return (times.sorted()[2], rows)
    }
}

func main() async throws {
    let arguments = CommandLine.arguments
    guard arguments.count == 6, let from = Timestamp(arguments[4]), let to = Timestamp(arguments[5]) else {
        print("usage: feature-store-bench <folder of services> <folder of data> <symbol> <from> <to>")
        exit(2)
    }
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("vomma-features-\(getpid())").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    // Run by root, PostgreSQL runs as another user, who has to be able to enter.
    try FileManager.default.setAttributes([.posixPermissions: 0o711], ofItemAtPath: folder)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let log = Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() }
    let cluster = try EmbeddedCluster(EmbeddedCluster.Configuration(folder: folder + "/postgres"))
    let url = try await cluster.start()
    var configuration = LocalStack.Configuration(
        binaries: arguments[1], dataFolder: folder + "/stack", databaseURL: url)
    configuration.databaseURLs = try await LocalStack.roleURLs(url: url, credentials: folder + "/roles", log: log)
    // Every module that has something to compute from a market's own bars.
    configuration.environment = [
        "VOMMA_FEATURE_MODULES": "generic,shitcoin,btc_heston,sentiment,regime,market,v2,flow,session"
    ]
    let stack = try LocalStack(configuration, log: log)
    let pool = try ConnectionPool(StorageConfiguration(url: url), log: log)
    try await stack.start()
    let bench = Bench(
        stack: stack, pool: pool, gateway: MarketGatewayClient(stack.channel(.marketGateway)),
        features: FeatureClient(stack.channel(.featureService)), symbol: arguments[3], from: from, to: to)
    func say(_ text: String) { FileHandle.standardError.write(Data((text + "\n").utf8)) }
    let bars = try await bench.load(arguments[2])
    say("\(bars) bars loaded")
    let whole = try await bench.compute("whole", kills: 0)
    say("whole: \(whole.seconds) s")
    let month = try await bench.month("whole")
    say("a month: \(month.milliseconds) ms")
    let killed = try await bench.compute("killed", kills: 3)
    say("with three kills: \(killed.seconds) s")
    let (first, second) = (try await bench.digest("whole"), try await bench.digest("killed"))
    let columns = try await bench.features.describeSchema(DescribeSchemaRequest(), options: bench.patient).names.count
    await stack.stop()
    await pool.close()
    try await cluster.stop()
    print(
        """
        {"bars": \(bars), "rows": \(first.rows), "columns": \(columns), "seconds": \(whole.seconds), \
        "kills": \(killed.kills), "killed_seconds": \(killed.seconds), "killed_rows": \(second.rows), \
        "identical": \(first == second), "month_rows": \(month.rows), "month_milliseconds": \(month.milliseconds)}
        """)
}

try await main()
