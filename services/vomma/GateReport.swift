internal import Foundation
internal import Heston
internal import HestonInverse
internal import MarketData
internal import Reports

/// Whether an inverse network is solid, for machines and with pictures for people.
struct GateReport {
    /// What became of the snapshots of files of quotes.
    struct Market {
        /// One snapshot, inverted.
        struct Point {
            var time: Timestamp
            var network: HestonParameters
            var polished: HestonParameters
            var networkError: Double
            var polishedError: Double
            var novelty: Double
        }

        /// Those with an answer.
        var points: [Point]
        /// Snapshots without a surface, or with too few cells.
        var skipped: Int
        var quality: InversionQuality
        /// Mean difference by cell of the grid, network less market, absolute volatility; NaN where there was none.
        var residuals: [Double]
        var last: NetworkInversion?

        init(
            _ files: [String], from start: Timestamp?, _ model: InverseModel, _ calibrator: Calibrator, threads: Int
        ) throws {
            let inverter = SharedInverter(model)
            let cells = model.grid.count
            var (points, skipped): ([Point], Int) = ([], 0)
            var surfaces: [Double] = []
            var last: NetworkInversion?
            var (sums, counts) = ([Double](repeating: 0, count: cells), [Double](repeating: 0, count: cells))
            let span = start.map { $0..<Timestamp(microseconds: .max) }
            for file in files {
                _ = try ChainReader().forEach(.file(path: file), span: span) { chain in
                    guard let built = try? SurfaceSource.build(chain, bids: true),
                        let seen = try? model.grid.volatilities(built.surface), (try? model.grid.check(seen)) != nil
                    else {
                        skipped += 1
                        return true
                    }
                    surfaces += seen
                    // What has no answer has no picture; the quality counts it as a failure.
                    guard
                        let inversion = try? NetworkInversion(
                            .init(
                                title: "\(chain.currency) options, \(chain.snapshotTime)", currency: chain.currency,
                                time: chain.snapshotTime, surface: built.surface), inverter, calibrator)
                    else { return true }
                    for cell in 0..<cells {
                        let difference = inversion.networkVolatilities[cell] - seen[cell]
                        guard difference.isFinite else { continue }
                        sums[cell] += difference
                        counts[cell] += 1
                    }
                    points.append(
                        Point(
                            time: chain.snapshotTime, network: inversion.answer.parameters,
                            polished: inversion.polished.parameters, networkError: inversion.networkError,
                            polishedError: inversion.polished.volatilityRootMeanSquare,
                            novelty: inversion.answer.novelty))
                    last = inversion
                    return true
                }
            }
            (self.points, self.skipped, self.last) = (points, skipped, last)
            residuals = zip(sums, counts).map { $1 > 0 ? $0 / $1 : .nan }
            quality = try model.quality(onMarket: surfaces, calibrator, threads: threads)
        }
    }

    let model: InverseModel
    let synthetic: InversionQuality
    let market: Market?

    var gate: InversionGate { InversionGate(synthetic: synthetic, market: market?.quality) }

    private struct Verdict: Encodable {
        var model: [String: String]
        var gate: InversionGate
        var synthetic: InversionQuality
        var market: InversionQuality?
    }

    func json() throws -> Data {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
        return try encoder.encode(
            Verdict(model: model.metadata, gate: gate, synthetic: synthetic, market: market?.quality))
    }

    func report() -> Report {
        var sections = [checks, quality("Synthetic surfaces", synthetic)]
        if let market {
            sections.append(quality("Market surfaces", market.quality))
            sections.append(paths(market))
            if let last = market.last {
                sections += last.report().sections.map { .init("Last snapshot: \($0.title)", $0.blocks) }
            }
        }
        sections.append(
            Report.Section(
                "The network",
                [.table(header: ["", ""], rows: model.metadata.sorted { $0.key < $1.key }.map { [$0.key, $0.value] })]))
        return Report(
            title: "Inverse network: the gate",
            verdict: gate.passed
                ? "Passed: the network is solid." : "Not passed: \(gate.checks.count { !$0.passed }) demands are not met.",
            sections: sections)
    }

    private var checks: Report.Section {
        let rows = gate.checks.map { check in
            // Volatilities in points, shares as they are.
            let isShare = check.name.hasSuffix("failures")
            func text(_ value: Double) -> String { isShare ? value.shown(4) : "\((100 * value).shown(4)) pt" }
            return [check.name, text(check.value), text(check.bound), check.passed ? "ok" : "not met"]
        }
        return Report.Section("Demands", [.table(header: ["what", "found", "at most", ""], rows: rows)])
    }

    private func quality(_ title: String, _ quality: InversionQuality) -> Report.Section {
        func row(_ name: String, _ spread: InversionQuality.Spread) -> [String] {
            [name] + [spread.median, spread.high, spread.highest, spread.worst].map { (100 * $0).shown(4) }
        }
        var rows = [row("network", quality.network), row("polished", quality.polished)]
        if let calibrated = quality.calibrated { rows.append(row("calibrated alone", calibrated)) }
        if let excess = quality.excess { rows.append(row("network less best fit", excess)) }
        var blocks: [Report.Block] = [
            .table(header: ["error, points", "median", "95 %", "99 %", "worst"], rows: rows),
            .text(
                "\(quality.count) surfaces, \(quality.failures) without an answer; "
                    + "\((100 * quality.novel).shown(1)) % are new to the network; polished in \(quality.steps.shown(0)) "
                    + "steps, median."),
        ]
        if !quality.parameters.isEmpty {
            blocks.append(
                .table(
                    header: ["parameter", "network, median error", "polished", "within its own deviation"],
                    rows: quality.parameters.map {
                        [$0.name, $0.network.shown(5), $0.polished.shown(9), "\((100 * $0.coverage).shown(0)) %"]
                    }))
        }
        let bars = zip(quality.errorEdges, quality.errorCounts).enumerated().map { index, pair in
            (label: index % 4 == 0 ? (100 * pair.0).shown(1) : "", value: Double(pair.1))
        }
        blocks.append(
            .bars(BarChart(title: "Surfaces by the network's error in points", unit: "surfaces", bars: bars)))
        return Report.Section(title, blocks)
    }

    /// Parameters over time, and where the network is off.
    private func paths(_ market: Market) -> Report.Section {
        func series(_ value: (Market.Point) -> Double) -> [(x: Double, y: Double)] {
            market.points.map { (x: $0.time.seconds, y: value($0)) }
        }
        var blocks: [Report.Block] = HestonParameters.names.enumerated().map { index, name in
            .chart(
                LineChart(
                    title: name, unit: "", axis: .time,
                    series: [
                        .init(name: "network", points: series { $0.network.array[index] }),
                        .init(name: "polished", points: series { $0.polished.array[index] }),
                    ]))
        }
        blocks.append(
            .chart(
                LineChart(
                    title: "Error", unit: "points", axis: .time,
                    series: [
                        .init(name: "network", points: series { 100 * $0.networkError }),
                        .init(name: "polished", points: series { 100 * $0.polishedError }),
                    ])))
        if let last = market.last {
            blocks.append(
                SurfacePictures.residuals(
                    last.found.surface, market.residuals, title: "The network's mean difference by cell"))
        }
        return Report.Section("Parameters over time", blocks)
    }
}
