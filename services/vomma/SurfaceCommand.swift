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
            open_interest, volume. Of several snapshots the last is taken, or the last until --until.
            """,
        subcommands: [Build.self, Fit.self])

    /// Which snapshot of which file.
    struct Source: ParsableArguments {
        @Argument(help: "A CSV file of option quotes, plain or gzip.")
        var file: String
        @Option(help: "Take the last snapshot until this time, such as 2026-01-31T12:00:00Z.")
        var until: String?
        @Flag(help: "Keep quotes that nobody bids for.")
        var withoutBids = false

        /// The chain, and how many snapshots the file has until then.
        func chain() throws -> (chain: OptionChain, snapshots: Int) {
            if let fault = Processor.fault { throw ValidationError(fault) }
            var span: Range<Timestamp>?
            if let until {
                guard let time = try? Date(until, strategy: .iso8601) else {
                    throw ValidationError("--until is a time such as 2026-01-31T12:00:00Z")
                }
                // The end of a span is not in it.
                span = Timestamp(microseconds: .min)..<Timestamp(seconds: Int64(time.timeIntervalSince1970) + 1)
            }
            var last: OptionChain?
            var count = 0
            let report = try ChainReader().forEach(.file(path: file), span: span) { chain in
                (last, count) = (chain, count + 1)
                return true
            }
            guard let last else {
                throw ValidationError(
                    "no snapshot in \(file)\(until.map { " until \($0)" } ?? ""): \(report.accepted) quotes read, "
                        + "\(report.rejected) refused")
            }
            return (last, count)
        }

        func build(_ chain: OptionChain) throws -> SurfaceBuilder.Result {
            var configuration = SurfaceBuilder.Configuration()
            configuration.requiresBid = !withoutBids
            return try SurfaceBuilder(configuration).build(chain)
        }
    }

    /// `vomma surface build FILE`.
    struct Build: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "build", abstract: "Show the surface on the grid, what each cell rests on, and what was cleaned.")

        @OptionGroup var source: Source

        func run() async throws {
            try await explaining {
                let (chain, count) = try source.chain()
                let result = try source.build(chain)
                print(SurfaceReport(chain: chain, snapshots: count, surface: result, fit: nil).report().text())
            }
        }
    }

    /// `vomma surface fit FILE`.
    struct Fit: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "fit", abstract: "Fit Heston's five parameters to all kept quotes, with errors and pictures.")

        @OptionGroup var source: Source
        @Option(help: "Where the page with the pictures goes.")
        var output = "surface.html"
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
