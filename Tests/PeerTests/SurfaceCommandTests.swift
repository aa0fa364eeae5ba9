import ChildProcesses
import Foundation
import Heston
import MarketData
import Testing

/// `vomma surface` on files that a person may have.
@Suite struct SurfaceCommandTests {
    private static func vomma(_ arguments: String...) async throws -> (status: Int32, output: String) {
        try await ChildProcess.run(
            Bundle.main.bundleURL.appending(path: "vomma").path, arguments, environment: [:])
    }

    /// A snapshot of 2026-01-01T00:00:00Z whose marks are the model's, seven expiries of nineteen strikes each.
    private static func chain(_ heston: HestonParameters) throws -> String {
        var lines = [
            "snapshot_ms,instrument_name,underlying_price,index_price,bid_price,ask_price,mark_price,mark_iv,open_interest,"
                + "volume"
        ]
        let pricer = try HestonPricer(heston, Market(spot: 50_000))
        let days = [("9JAN26", 8), ("30JAN26", 29), ("27FEB26", 57), ("27MAR26", 85), ("26JUN26", 176), ("25DEC26", 358)]
        for (name, day) in days {
            // Deribit's options end at eight in the morning.
            let tau = (Double(day) + 8.0 / 24) / 365
            for strike in stride(from: 32_000.0, through: 77_000, by: 2_500) {
                let k = log(strike / 50_000)
                let surface = try pricer.surface(logMoneyness: [k], tau: [tau])
                guard let volatility = surface[0, 0] else { continue }
                for kind in ["C", "P"] {
                    lines.append(
                        "1767225600000,BTC-\(name)-\(Int(strike))-\(kind),50000,50000,0.01,0.02,0.015,\(volatility),10,5")
                }
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    @Test("a chain that Heston made gives its parameters back, a page with a picture an expiry, and the grid")
    func fit() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "vomma-surface-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = folder.appending(path: "chain.csv").path
        let page = folder.appending(path: "page.html").path
        let heston = HestonParameters(kappa: 2.5, theta: 0.3, sigma: 1.1, rho: -0.25, v0: 0.2)
        try Self.chain(heston).write(toFile: file, atomically: true, encoding: .utf8)

        let (status, output) = try await Self.vomma("surface", "fit", file, "--output", page)
        #expect(status == 0, "\(output)")
        for (name, value) in zip(HestonParameters.names, heston.array) {
            let found = try #require(output.firstMatch(of: try Regex("(?m)^  \(name) +(-?[0-9.]+) ")), "\(name): \(output)")
            let shown = try #require(found.output[1].substring.flatMap { Double($0) })
            #expect(abs(shown - value) <= 1e-4, "\(name): \(output)")
        }
        let html = try String(contentsOfFile: page, encoding: .utf8)
        // The surface in space, and six smiles.
        #expect(html.matches(of: /<svg/).count == 7)

        let quotes = folder.appending(path: "quotes.csv")
        let (_, grid) = try await Self.vomma("surface", "build", file, "--quotes", quotes.path)
        #expect(grid.contains("Surface, per cent") && grid.contains("6 expiries"), "\(grid)")
        let fates = try String(contentsOf: quotes, encoding: .utf8).split(separator: "\n")
        // A line a quote, half of them out of the money.
        let lines = try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n").count
        #expect(fates.count == lines && 2 * fates.count { $0.hasSuffix(",kept") } == lines - 1)
    }

    @Test("a network is trained, asked, judged; a surface goes to NumPy's format and back")
    func network() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "vomma-surface-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        func path(_ name: String) -> String { folder.appending(path: name).path }
        let heston = HestonParameters(kappa: 2.5, theta: 0.3, sigma: 1.1, rho: -0.25, v0: 0.2)
        try Self.chain(heston).write(toFile: path("chain.csv"), atomically: true, encoding: .utf8)

        let trained = try await Self.vomma(
            "surface", "train", "--surfaces", "2000", "--epochs", "2", "--held-out", "200", "-o", path("a.safetensors"))
        #expect(trained.status == 0 && trained.output.contains("synthetic.network.median"), "\(trained.output)")

        let exported = try await Self.vomma("surface", "export", path("chain.csv"), "-o", folder.path)
        let array = path("BTC_iv_1767225600.npz")
        #expect(exported.status == 0 && exported.output.contains("BTC_iv_1767225600.npz"), "\(exported.output)")
        for source in [path("chain.csv"), array] {
            let asked = try await Self.vomma(
                "surface", "invert", source, "--model", path("a.safetensors"), "--output", path("page.html"))
            #expect(asked.status == 0, "\(asked.output)")
            // The last column is the polished answer; the grid is an interpolation of the chain.
            let row = try #require(asked.output.firstMatch(of: /(?m)^  theta .* ([0-9.]+)$/), "\(asked.output)")
            #expect(abs((Double(row.output.1) ?? 0) - 0.3) < 0.02, "\(asked.output)")
            let html = try String(contentsOfFile: path("page.html"), encoding: .utf8)
            // Market and model in space, what is left, six maturities.
            #expect(html.matches(of: /<svg/).count == 9)
        }
        let drawn = try await Self.vomma("surface", "plot", array, "--output", path("plot.html"))
        #expect(drawn.status == 0 && FileManager.default.fileExists(atPath: path("plot.html")), "\(drawn.output)")

        // So short a training makes no solid network: the verdict is an exit code too.
        let judged = try await Self.vomma(
            "surface", "gate", path("chain.csv"), "--model", path("a.safetensors"), "--held-out", "200", "-o",
            path("gate.html"))
        #expect(judged.status == 1 && judged.output.contains("Not passed"), "\(judged.output)")
        let verdict = try JSONSerialization.jsonObject(with: Data(contentsOf: folder.appending(path: "gate.json")))
        let gate = (verdict as? [String: Any])?["gate"] as? [String: Any]
        #expect(gate?["passed"] as? Bool == false && (gate?["checks"] as? [Any])?.count == 7)

        let made = try await Self.vomma(
            "surface", "generate", "--preset", "equity", "--generator", "proxy", "--surfaces", "50", "-o",
            path("s.safetensors"))
        #expect(made.status == 0 && made.output.contains("50 surfaces"), "\(made.output)")
        for (arguments, words) in [
            (["generate", "--preset", "bonds"], "none of equity, crypto"),
            (["train", "--generator", "paths"], "none of heston, proxy"),
            (["invert", array, "--model", "/nowhere"], "cannot read /nowhere"),
            (["invert", array, "--model", array], "header"),
            (["train", "--base", "x"], "go together"), (["fit", array], "needs a file of quotes"),
        ] {
            let refused = try await ChildProcess.run(
                Bundle.main.bundleURL.appending(path: "vomma").path, ["surface"] + arguments, environment: [:])
            #expect(refused.status != 0 && refused.output.contains(words), "\(arguments): \(refused.output)")
        }
    }

    @Test("what is no chain is said to be none, with what is missing")
    func faults() async throws {
        let missing = try await Self.vomma("surface", "fit", "/nowhere/chain.csv")
        #expect(missing.status == 1 && missing.output.contains("cannot open /nowhere/chain.csv"), "\(missing.output)")
        let file = FileManager.default.temporaryDirectory.appending(path: "vomma-\(UUID().uuidString).csv").path
        defer { try? FileManager.default.removeItem(atPath: file) }
        try "time,open\n1,2\n".write(toFile: file, atomically: true, encoding: .utf8)
        let other = try await Self.vomma("surface", "build", file)
        #expect(other.status == 1 && other.output.contains("missing column(s) snapshot_ms"), "\(other.output)")
        let time = try await Self.vomma("surface", "build", file, "--until", "yesterday")
        #expect(time.status == 64 && time.output.contains("--until is a time"), "\(time.output)")
    }
}
