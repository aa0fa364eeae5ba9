internal import Heston
internal import HestonInverse
internal import MarketData
internal import Reports

/// One surface by a network, and by the calibration that starts from its answer.
struct NetworkInversion {
    let found: SurfaceSource.Found
    let answer: NetworkAnswer
    /// Root mean square over the cells, absolute volatility.
    let networkError: Double
    let polished: Calibration
    /// Of the network's parameters on the grid.
    let networkVolatilities: [Double]

    init(_ found: SurfaceSource.Found, _ inverter: SharedInverter, _ calibrator: Calibrator) throws {
        self.found = found
        let cells = try inverter.model.grid.volatilities(found.surface)
        (answer, networkError) = try inverter.answer(cells)
        polished = try calibrator.calibrate(found.surface, warmStart: answer.parameters)
        let pricer = try HestonPricer(answer.parameters, Market(spot: found.surface.spot))
        networkVolatilities = try pricer.surface(
            logMoneyness: found.surface.logMoneyness, tau: found.surface.tau
        ).impliedVolatility
    }

    func report() -> Report {
        let surface = found.surface
        let rows = HestonParameters.names.enumerated().map { index, name in
            [
                name, answer.parameters.array[index].shown(5), "± \(answer.deviations[index].shown(5))",
                polished.parameters.array[index].shown(5),
            ]
        }
        var blocks: [Report.Block] = [
            .table(header: ["parameter", "network", "its own estimate", "polished"], rows: rows),
            .table(
                header: ["error, points", "network", "polished"],
                rows: [
                    [
                        "root mean square", (100 * networkError).shown(3),
                        (100 * polished.volatilityRootMeanSquare).shown(3),
                    ]
                ]),
            .text("Polished in \(polished.iterations) steps (\(polished.termination.rawValue))."),
        ]
        if answer.novelty > 1 {
            blocks.append(
                .warning(
                    "This surface is unlike 99 % of what the network learnt from (novelty \(answer.novelty.shown(1))): "
                        + "its answer is a guess."))
        }
        let polishedVolatilities = polished.residuals.map { $0.modelVolatility ?? .nan }
        let residuals = zip(polishedVolatilities, surface.impliedVolatility).map { $0 - $1 }
        return Report(
            title: found.title,
            verdict: "The network is \((100 * networkError).shown(2)) volatility points off, the polished answer "
                + "\((100 * polished.volatilityRootMeanSquare).shown(2)).",
            sections: [
                .init("Heston", blocks),
                .init(
                    "Surface",
                    [
                        SurfacePictures.space(surface, surface.impliedVolatility, title: "Market"),
                        SurfacePictures.space(surface, polishedVolatilities, title: "Heston, polished"),
                        SurfacePictures.residuals(surface, residuals, title: "What Heston leaves, polished"),
                    ]),
                .init(
                    "Smiles",
                    SurfacePictures.smiles(
                        surface,
                        series: [
                            (name: "market", values: surface.impliedVolatility),
                            (name: "network", values: networkVolatilities),
                            (name: "polished", values: polishedVolatilities),
                        ])),
            ])
    }
}
