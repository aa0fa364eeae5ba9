import ChildProcesses
import Foundation
import MarketData
import Testing

/// `vomma features` on files, as a person would use it.
@Suite struct FeaturesCommandTests {
    private static func vomma(_ arguments: String...) async throws -> (status: Int32, output: String) {
        try await run(arguments)
    }

    private static func run(_ arguments: [String]) async throws -> (status: Int32, output: String) {
        try await ChildProcess.run(
            Bundle.main.bundleURL.appending(path: "vomma").path, ["features"] + arguments, environment: [:])
    }

    /// 300 bars of a market that moves up and down, with two rows that no market has, in a folder of their own.
    private static func folder() throws -> URL {
        let folder = FileManager.default.temporaryDirectory.appending(path: "vomma-features-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        var text = "open_time_ms,open,high,low,close,volume\n"
        var close = 100.0
        for minute in 0..<300 {
            let open = close
            close = 100 + 3 * (Double((minute * 37) % 100) / 100 - 0.5) + Double(minute) / 100
            let time = 1_769_990_400_000 + minute * 60_000
            let volume = 1 + (minute * 13) % 7
            text += "\(time),\(open),\(max(open, close) + 0.1),\(min(open, close) - 0.1),\(close),\(volume)\n"
            if minute == 100 { text += "\(time),1,2,3,4,5\n\(time + 60_000),x,2,3,4,5\n" }
        }
        try text.write(to: folder.appending(path: "TESTUSDT_1m.csv"), atomically: true, encoding: .utf8)
        try "time_ms,quantity,price,fee\n1769990460500,2,100,0.1\n1769990580500,-2,101,0.1\n"
            .write(to: folder.appending(path: "fills.csv"), atomically: true, encoding: .utf8)
        return folder
    }

    @Test("The catalogue lists every module; one that does not exist is told with those that do")
    func list() async throws {
        let all = try await Self.vomma("list")
        #expect(all.status == 0 && all.output.contains("v2: 53 columns") && all.output.contains("flow.vpin"))
        let one = try await Self.vomma("list", "--module", "session")
        #expect(one.output.contains("session.volatility") && !one.output.contains("v2.feat_atr"))
        let none = try await Self.vomma("list", "--module", "nothing")
        #expect(none.status != 0 && none.output.contains("generic, shitcoin"))
    }

    @Test("A file of candles becomes columns, targets and an account's columns; refused rows are told by line and reason")
    func compute() async throws {
        let folder = try Self.folder()
        defer { try? FileManager.default.removeItem(at: folder) }
        func path(_ name: String) -> String { folder.appending(path: name).path }
        let made = try await Self.vomma(
            "compute", path("TESTUSDT_1m.csv"), "-o", path("out.csv"), "--targets", "--fills", path("fills.csv"))
        #expect(made.status == 0, "\(made.output)")
        #expect(made.output.contains("line 103: ") && made.output.contains("line 104: notANumber in open"))
        let table = try String(contentsOfFile: path("out.csv"), encoding: .utf8).split(separator: "\n")
        let header = table[0].split(separator: ",")
        #expect(table.count == 301 && header.count == 93 && header[0] == "time_ms")
        let close = try #require(header.firstIndex(of: "market.close"))
        let average = try #require(header.firstIndex(of: "market.sma_50"))
        let first = table[1].split(separator: ",", omittingEmptySubsequences: false)
        #expect(first.count == 93 && !first[close].isEmpty && first[average].isEmpty)
        #expect(!table[60].split(separator: ",", omittingEmptySubsequences: false)[average].isEmpty)
        #expect(!table[0].contains("target_") && !table[0].contains("future_") && !table[0].contains("system."))
        let targets = try String(contentsOfFile: path("out.targets.csv"), encoding: .utf8).split(separator: "\n")
        #expect(targets[0].contains("future_return_60s") && targets[0].contains("target_dir_60"))
        #expect(targets[300].hasSuffix(",,,,,,,,,,,,,,,,"), "nothing lies ahead of the last bar")
        let system = try String(contentsOfFile: path("out.system.csv"), encoding: .utf8).split(separator: "\n")
        #expect(system[0].hasPrefix("time_ms,system.position,system.pnl"))
        #expect(system[2].split(separator: ",")[1] == "2.0" && system[4].split(separator: ",")[1] == "0.0")

        let archive = try await Self.vomma("compute", path("TESTUSDT_1m.csv"), "-o", path("out.npz"), "--modules", "v2")
        #expect(archive.status == 0, "\(archive.output)")
        let arrays = try NumPyArchive(bytes: [UInt8](Data(contentsOf: folder.appending(path: "out.npz")))).arrays
        #expect(arrays["values"]?.shape == [300, 53] && arrays["time_ms"]?.values.first == 1_769_990_460_000)
        let names = try String(contentsOfFile: path("out.names.txt"), encoding: .utf8).split(separator: "\n")
        #expect(names.count == 53 && names.first == "v2.feat_adx")
    }

    @Test("A check judges every column, finds no look-ahead, and draws; bad calls say what is missing")
    func check() async throws {
        let folder = try Self.folder()
        defer { try? FileManager.default.removeItem(at: folder) }
        func path(_ name: String) -> String { folder.appending(path: name).path }
        let checked = try await Self.vomma("check", path("TESTUSDT_1m.csv"), "--output", path("page.html"))
        #expect(checked.status == 0, "\(checked.output)")
        #expect(checked.output.contains("none looks ahead, all within their bounds"))
        let twins = checked.output.split(separator: "\n").filter { $0.contains("market.close,") }
        #expect(twins.count == 1 && twins[0].contains("market.price"), "a close is its market's price")
        let page = try String(contentsOfFile: path("page.html"), encoding: .utf8)
        #expect(page.contains("<svg") && page.contains("v2.feat_rsi_14"))
        let drawn = try await Self.vomma(
            "plot", path("TESTUSDT_1m.csv"), "--columns", "market.close,market.rsi_14", "--output", path("plot.html"))
        #expect(drawn.status == 0, "\(drawn.output)")
        #expect(try String(contentsOfFile: path("plot.html"), encoding: .utf8).contains("market.rsi_14"))
        func fills(_ text: String) throws -> [String] {
            let file = folder.appending(path: "fills-\(UUID().uuidString).csv")
            try text.write(to: file, atomically: true, encoding: .utf8)
            return ["compute", path("TESTUSDT_1m.csv"), "-o", path("x.csv"), "--fills", file.path]
        }
        for (arguments, message) in try [
            (["check"], "give a file of candles or --stream"), (["check", "--stream", "x"], "--stream needs --symbol"),
            (["check", path("none.csv")], "none.csv"),
            (["compute", path("TESTUSDT_1m.csv"), "-o", path("x.txt")], "ends in .csv or .npz"),
            (["compute", path("TESTUSDT_1m.csv"), "-o", path("x.csv"), "--modules", "v3"], "no module “v3”"),
            (fills("time_ms,quantity,price,fee\n1769990460500,,100,0.1\n"), "fill 1: quantity is missing"),
            (fills("time_ms,quantity,price,fee\n,1,100,0.1\n"), "fill 1: time_ms is missing"),
            (fills("time_ms,quantity,price,fee\n9,1,100,0\n8,1,100,0\n"), "fill 2: it is earlier"),
            (fills("time_ms,quantity,price,fee\n9,1,100\n"), "line 2: wrongFieldCount"),
            (fills("time_ms,quantity,price,fee,decided_ms\n9,1,1,0,\n9,1,1,0,1e300\n"), "fill 2: decided_ms is no time"),
            (["plot", path("TESTUSDT_1m.csv"), "--columns", "a.b"], "no column a.b"),
        ] {
            let outcome = try await Self.run(arguments)
            #expect(outcome.status != 0 && outcome.output.contains(message), "\(arguments): \(outcome.output)")
        }
    }
}
