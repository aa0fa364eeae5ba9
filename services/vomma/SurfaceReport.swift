internal import Foundation
internal import Heston
internal import MarketData
internal import Reports

/// What `vomma surface` found, for the terminal and as a page with a picture an expiry.
struct SurfaceReport {
    var chain: OptionChain
    /// How many the file has until this one.
    var snapshots: Int
    var surface: SurfaceBuilder.Result
    var fit: SurfaceFit?

    func report() -> Report {
        var sections = [cleaning, expiries, grid]
        var verdict = "\(surface.hygiene[.kept]) of \(surface.hygiene.total) quotes kept, \(surface.smiles.count) expiries"
        if let fit {
            sections.insert(parameters(fit), at: 0)
            sections.append(
                Report.Section(
                    "In space",
                    [
                        SurfacePictures.space(
                            surface.surface, surface.surface.impliedVolatility, title: "Market, on the grid")
                    ]))
            sections.append(pictures(fit))
            verdict += "; Heston fits them to \(points(fit.calibration.volatilityRootMeanSquare)) volatility points"
        }
        return Report(
            title: "\(chain.currency) options, \(chain.snapshotTime)", verdict: verdict + ".", sections: sections)
    }

    /// Volatility as points with two decimals.
    private func points(_ volatility: Double) -> String { volatility.isFinite ? (100 * volatility).shown(2) : "–" }

    private func parameters(_ fit: SurfaceFit) -> Report.Section {
        let found = fit.calibration
        let errors = found.standardErrors
        let rows = zip(HestonParameters.names, found.parameters.array).enumerated().map { index, pair in
            [pair.0, pair.1.shown(5), errors.map { $0[index].shown(5) } ?? "not determined"]
        }
        var blocks: [Report.Block] = [
            .table(header: ["parameter", "value", "standard error"], rows: rows),
            .text(
                "\(found.fittedCount) quotes fitted in \(found.iterations) steps (\(found.termination.rawValue)); "
                    + "condition number \(found.conditionNumber.shown(0)); 2κθ \(found.satisfiesFeller ? "≥" : "<") σ²."),
        ]
        if found.conditionNumber > 1000 {
            blocks.append(.warning("This surface does not determine all five parameters: some trade places with others."))
        }
        let bounds = Calibrator.Bounds()
        let ranges = [bounds.kappa, bounds.theta, bounds.sigma, bounds.rho, bounds.v0]
        for (name, (value, range)) in zip(HestonParameters.names, zip(found.parameters.array, ranges)) {
            let near = 1e-3 * (range.upperBound - range.lowerBound)
            guard value > range.upperBound - near || value < range.lowerBound + min(near, 0.01 * abs(range.lowerBound))
            else { continue }
            blocks.append(.warning("\(name) is at its bound: these smiles ask for more than Heston's model can bend."))
        }
        let silent = found.residuals.count { $0.status == .noInformation }
        if silent > 0 {
            blocks.append(.text("\(silent) quotes were left out: their price carries no volatility information."))
        }
        return Report.Section("Heston", blocks)
    }

    private var cleaning: Report.Section {
        let rows = SurfaceBuilder.Fate.allCases.compactMap { fate in
            surface.hygiene[fate] > 0 ? [fate.rawValue, "\(surface.hygiene[fate])"] : nil
        }
        let arbitrage = surface.arbitrage
        return Report.Section(
            "Quotes",
            [
                .table(header: ["what became of them", "count"], rows: rows),
                .text(
                    "Arbitrage in the fitted smiles: \(arbitrage.butterflyExpiries) expiries with a negative density, "
                        + "\(arbitrage.calendarPairs) pairs of expiries with falling total variance "
                        + "(worst \(arbitrage.worstCalendar.shownPercent)). Snapshot \(snapshots) of the file."),
            ])
    }

    private var expiries: Report.Section {
        var header = ["expiry", "days", "forward", "quotes", "SVI error, points"]
        if fit != nil { header.append("Heston error, points") }
        let rows = surface.smiles.enumerated().map { index, smile in
            var row = [
                "\(smile.expiry)".prefix(10).description, (365 * smile.tau).shown(1), smile.forward.shown(2),
                "\(smile.quotedVolatility.count)", points(smile.rootMeanSquare),
            ]
            if let fit { row.append(points(fit.errors[index])) }
            return row
        }
        return Report.Section("Expiries", [.table(header: header, rows: rows)])
    }

    private var grid: Report.Section {
        let surface = surface.surface
        let marks: [ImpliedVolatilitySurface.Cell: String] = [
            .observed: "", .interpolated: "", .extrapolated: "*", .stale: "!",
        ]
        let rows = surface.logMoneyness.enumerated().map { i, k in
            [k.shown(2)]
                + surface.tau.indices.map { t in
                    surface[i, t].map { points($0) + (marks[surface.cells[i * surface.tau.count + t]] ?? "") } ?? "–"
                }
        }
        return Report.Section(
            "Surface, per cent (* extrapolated, ! stale)",
            [.table(header: ["ln(K/F)"] + surface.tau.map { "\($0.shown(2)) years" }, rows: rows)])
    }

    /// Market, SVI and Heston over ln(K/F), an expiry each.
    private func pictures(_ fit: SurfaceFit) -> Report.Section {
        let charts = surface.smiles.enumerated().map { index, smile -> Report.Block in
            let market = zip(smile.quotedLogMoneyness, smile.quotedVolatility).map { (x: $0, y: 100 * $1) }
            let svi = smile.quotedLogMoneyness.map { (x: $0, y: 100 * smile.impliedVolatility($0)) }
            let heston = zip(market, fit.residuals[index]).map { point, difference in
                (x: point.x, y: difference.map { point.y + 100 * $0 } ?? .nan)
            }
            return .chart(
                LineChart(
                    title: "\("\(smile.expiry)".prefix(10)), \((365 * smile.tau).shown(0)) days: volatility over ln(K/F)",
                    unit: "%", axis: .number,
                    series: [
                        .init(name: "market", points: market), .init(name: "SVI", points: svi),
                        .init(name: "Heston", points: heston),
                    ]))
        }
        return Report.Section("Smiles", charts)
    }
}
