internal import ArgumentParser
internal import Foundation
internal import Heston
internal import MarketData
internal import Reports

extension SurfaceCommand {
    /// `vomma surface plot FILE`.
    struct Plot: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "plot", abstract: "Draw the surface in space, and its smiles; nothing is fitted but the grid.")

        @OptionGroup var source: SurfaceSource
        @Option(help: "Where the page goes.")
        var output = "surface.html"

        func run() async throws {
            try await explaining {
                let found = try source.surface()
                let surface = found.surface
                let smiles = SurfacePictures.smiles(
                    surface, series: [(name: "surface", values: surface.impliedVolatility)])
                let report = Report(
                    title: found.title,
                    verdict: "\(surface.cells.count { $0 != .missing }) of \(surface.cells.count) cells.",
                    sections: [
                        .init("Surface", [SurfacePictures.space(surface, surface.impliedVolatility)]),
                        .init("Smiles", smiles),
                    ])
                try report.html().write(toFile: output, atomically: true, encoding: .utf8)
                print("pictures: \(output)")
            }
        }
    }

    /// `vomma surface export FILE`.
    struct Export: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "export",
            abstract: "Write surfaces as NumPy's .npz, <currency>_iv_<timestamp>.npz: the last snapshot, or all of them.")

        @OptionGroup var source: SurfaceSource
        @Option(name: .shortAndLong, help: "The folder they go to; it is made.")
        var output = "."
        @Flag(help: "Every snapshot of the file, not only the last.")
        var all = false

        func run() async throws {
            try await explaining {
                let folder = URL(fileURLWithPath: output)
                try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
                func write(_ file: SurfaceFile) throws {
                    try Data(file.bytes()).write(to: folder.appendingPathComponent(file.name), options: .atomic)
                }
                guard all else {
                    let found = try source.surface()
                    let file = SurfaceFile(currency: found.currency, time: found.time, surface: found.surface)
                    try write(file)
                    print("\(folder.appendingPathComponent(file.name).path)")
                    return
                }
                try SurfaceSource.requireProcessor()
                var (written, refused) = (0, 0)
                var failure: (any Error)?
                let span = try SurfaceSource.span(until: source.until)
                _ = try ChainReader().forEach(.file(path: source.file), span: span) { chain in
                    guard let built = try? source.build(chain) else {
                        refused += 1
                        return true
                    }
                    do {
                        try write(
                            SurfaceFile(currency: chain.currency, time: chain.snapshotTime, surface: built.surface))
                        written += 1
                    } catch { failure = error }
                    return failure == nil
                }
                if let failure { throw failure }
                let sparse = refused > 0 ? ", \(refused) snapshots were too sparse" : ""
                print("\(written) surfaces in \(folder.path)\(sparse)")
            }
        }
    }
}

/// Pictures of surfaces on a grid.
enum SurfacePictures {
    /// Per cent.
    static func space(
        _ surface: ImpliedVolatilitySurface, _ values: [Double], title: String = "Implied volatility"
    ) -> Report.Block {
        .surface(
            SurfacePlot(
                title: title, unit: "%", axes: ("ln(K/F)", "years"), first: surface.logMoneyness, second: surface.tau,
                values: values.map { 100 * $0 }))
    }

    /// One chart a maturity: volatilities over ln(K/F), by series of values on the surface's grid.
    static func smiles(
        _ surface: ImpliedVolatilitySurface, series: [(name: String, values: [Double])]
    ) -> [Report.Block] {
        surface.tau.enumerated().map { t, tau in
            .chart(
                LineChart(
                    title: "\(tau.shown(2)) years: volatility over ln(K/F)", unit: "%", axis: .number,
                    series: series.map { one in
                        .init(
                            name: one.name,
                            points: surface.logMoneyness.enumerated().map { i, k in
                                (x: k, y: 100 * one.values[i * surface.tau.count + t])
                            })
                    }))
        }
    }

    /// Differences in volatility points by cell.
    static func residuals(_ surface: ImpliedVolatilitySurface, _ differences: [Double], title: String) -> Report.Block {
        .heatMap(
            HeatMap(
                title: title, unit: "volatility points, model less market",
                rows: surface.logMoneyness.map { $0.shown(2) },
                columns: surface.tau.map { "\($0.shown(2)) y" }, values: differences.map { 100 * $0 }))
    }
}
