internal import ArgumentParser
internal import Foundation
internal import Heston
internal import Kernels
internal import MarketData
internal import Reports

/// `vomma surface`: from a file of option quotes to a volatility surface, Heston's parameters and pictures. Needs no
/// stack.
struct SurfaceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "surface", abstract: "Turn a file of option quotes into a volatility surface and Heston parameters.",
        discussion: """
            The file is CSV, plain or gzip, a row an option: snapshot_ms, instrument_name (BTC-27MAR26-90000-C), \
            underlying_price, index_price, bid_price, ask_price, mark_price (in coin), mark_iv (a fraction), \
            open_interest, volume. Of several snapshots the last is taken, or the last until --until. A surface on a grid \
            may also come from NumPy: <currency>_iv_<timestamp>.npz with iv_surface, k_grid, t_grid, spot and timestamp.
            """,
        subcommands: [
            Build.self, Plot.self, Fit.self, Export.self, Generate.self, Train.self, Invert.self, Gate.self,
        ])

    /// `vomma surface build FILE`.
    struct Build: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "build", abstract: "Show the surface on the grid, what each cell rests on, and what was cleaned.")

        @OptionGroup var source: SurfaceSource
        @Option(help: "A CSV file for what became of each quote.")
        var quotes: String?

        func run() async throws {
            try await explaining {
                let (chain, count) = try source.chain()
                let result = try source.build(chain)
                print(SurfaceReport(chain: chain, snapshots: count, surface: result, fit: nil).report().text())
                guard let quotes else { return }
                let lines = zip(chain.quotes, result.hygiene.fates).map { "\($0.instrument),\($1.rawValue)\n" }
                try ("instrument,fate\n" + lines.joined()).write(toFile: quotes, atomically: true, encoding: .utf8)
                print("quotes: \(quotes)")
            }
        }
    }

    /// `vomma surface fit FILE`.
    struct Fit: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "fit", abstract: "Fit Heston's five parameters to all kept quotes, with errors and pictures.")

        @OptionGroup var source: SurfaceSource
        @Option(help: "Where the page with the pictures goes.")
        var output = "surface.html"
        @Option(help: "A folder for the pictures as SVG files of their own.")
        var pictures: String?
        @Flag(help: "Keep 2κθ ≥ σ².")
        var feller = false

        func run() async throws {
            try await explaining {
                let (chain, count) = try source.chain()
                let result = try source.build(chain)
                var configuration = Calibrator.Configuration()
                configuration.enforcesFeller = feller
                let fit = try SurfaceFit(result, Calibrator(configuration))
                let report = SurfaceReport(chain: chain, snapshots: count, surface: result, fit: fit).report()
                print(report.text())
                try report.html().write(toFile: output, atomically: true, encoding: .utf8)
                print("pictures: \(output)")
                guard let pictures else { return }
                let folder = URL(fileURLWithPath: pictures)
                try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
                for (name, svg) in report.pictures() {
                    try svg.write(to: folder.appendingPathComponent(name), atomically: true, encoding: .utf8)
                }
            }
        }
    }
}

/// A calibration to every quote that the surface kept.
struct SurfaceFit {
    var calibration: Calibration
    /// The fit's residuals by smile, in order of strike; `nil` where a quote was left out.
    var residuals: [[Double?]]
    /// Root mean square over a smile's fitted quotes, absolute volatility.
    var errors: [Double]

    init(_ surface: SurfaceBuilder.Result, _ calibrator: Calibrator) throws {
        var quotes: [CalibrationQuote] = []
        for smile in surface.smiles {
            for (k, volatility) in zip(smile.quotedLogMoneyness, smile.quotedVolatility) {
                quotes.append(.init(logMoneyness: k, tau: smile.tau, impliedVolatility: volatility))
            }
        }
        calibration = try calibrator.calibrate(quotes)
        residuals = []
        errors = []
        var first = 0
        for smile in surface.smiles {
            let count = smile.quotedVolatility.count
            let differences = calibration.residuals[first..<(first + count)].map {
                $0.status == .fitted ? $0.difference : nil
            }
            let known = differences.compactMap { $0 }
            let squares = known.reduce(0) { $0 + $1 * $1 }
            residuals.append(differences)
            errors.append(known.isEmpty ? .nan : (squares / Double(known.count)).squareRoot())
            first += count
        }
    }
}
