public import Heston
internal import Kernels

/// How well a network inverts, on surfaces that it has not seen. Errors of a surface are root mean squares of
/// σ(parameters) − σ(surface) over its cells, absolute volatility: 0.003 is 0.3 points.
public struct InversionQuality: Sendable, Equatable, Codable {
    /// Of one number over the surfaces.
    public struct Spread: Sendable, Equatable, Codable {
        public var median: Double
        public var high: Double
        public var highest: Double
        public var worst: Double

        /// 50th, 95th and 99th percentile and the maximum. Traps on none.
        init(_ values: [Double]) {
            let sorted = values.sorted()
            func at(_ share: Double) -> Double { sorted[min(sorted.count - 1, Int(share * Double(sorted.count)))] }
            (median, high, highest, worst) = (at(0.5), at(0.95), at(0.99), sorted[sorted.count - 1])
        }
    }

    public var count: Int
    /// Of the network's own parameters.
    public var network: Spread
    /// After the calibration that starts from them.
    public var polished: Spread
    /// Of the calibration that knows nothing of the network, from its own starts; absent for synthetic surfaces, which
    /// Heston fits exactly.
    public var calibrated: Spread?
    /// Network − calibrated by surface; absent like it.
    public var excess: Spread?
    /// LM steps of the polishing, median.
    public var steps: Double
    /// Surfaces for which the pricer, or the calibration, had no answer. They count in no error.
    public var failures: Int
    /// Synthetic surfaces only: by parameter the median absolute error of the network and of the polished answer, and
    /// the share of surfaces whose error is within the network's own estimate of its standard deviation (0.68 is
    /// honest).
    public var parameters: [ParameterQuality]
    /// The share of surfaces that the network finds new (`novelty` > 1).
    public var novel: Double
    /// Surfaces by the network's error: how many have one in [edges[i], edges[i + 1]), the last bin open.
    public var errorEdges: [Double]
    public var errorCounts: [Int]

    public struct ParameterQuality: Sendable, Equatable, Codable {
        public var name: String
        public var network: Double
        public var polished: Double
        public var coverage: Double
    }

    /// What was found for one surface.
    struct Case: Sendable {
        var network: Double
        var polished: Double
        var calibrated: Double?
        var steps: Double
        var novelty: Double
        /// By parameter: errors of the network and of the polished answer, and whether within one deviation.
        var errors: [(network: Double, polished: Double, isWithin: Bool)]
    }

    /// Throws `noAnswers` where there is no case: nothing is known then, which is not an error of 0.
    init(_ cases: [Case], failures: Int) throws(InversionError) {
        guard !cases.isEmpty else { throw .noAnswers(surfaces: failures) }
        count = cases.count
        network = Spread(cases.map(\.network))
        polished = Spread(cases.map(\.polished))
        let calibrated = cases.compactMap(\.calibrated)
        self.calibrated = calibrated.isEmpty ? nil : Spread(calibrated)
        excess =
            calibrated.isEmpty
            ? nil : Spread(cases.compactMap { one in one.calibrated.map { one.network - $0 } })
        steps = Spread(cases.map(\.steps)).median
        self.failures = failures
        novel = Double(cases.count { $0.novelty > 1 }) / Double(cases.count)
        parameters = HestonParameters.names.enumerated().compactMap { index, name in
            let errors = cases.compactMap { index < $0.errors.count ? $0.errors[index] : nil }
            guard !errors.isEmpty else { return nil }
            return ParameterQuality(
                name: name, network: Spread(errors.map { abs($0.network) }).median,
                polished: Spread(errors.map { abs($0.polished) }).median,
                coverage: Double(errors.count { $0.isWithin }) / Double(errors.count))
        }
        let (bins, width) = (21, 0.0005)
        errorEdges = (0..<bins).map { width * Double($0) }
        var counts = [Int](repeating: 0, count: bins)
        for one in cases { counts[Int(min(one.network / width, Double(bins - 1)))] += 1 }
        errorCounts = counts
    }
}

extension InverseModel {
    /// Judges the network by synthetic surfaces it has not learnt from: another seed than the training's.
    /// Throws `noAnswers`.
    public func quality(
        on data: SurfaceDataset, _ calibrator: Calibrator, threads: Int = 1
    ) throws(InversionError) -> InversionQuality {
        try quality(data.volatilities, truths: data.parameters, calibrator, threads)
    }

    /// Judges it by market surfaces, `[count × cells]` as `SurfaceGrid.volatilities` gives them.
    /// Throws `noAnswers`.
    public func quality(
        onMarket volatilities: [Double], _ calibrator: Calibrator, threads: Int = 1
    ) throws(InversionError) -> InversionQuality {
        try quality(volatilities, truths: nil, calibrator, threads)
    }

    private func quality(
        _ volatilities: [Double], truths: [Double]?, _ calibrator: Calibrator, _ threads: Int
    ) throws(InversionError) -> InversionQuality {
        let cells = network.cells
        let count = volatilities.count / cells
        precondition(volatilities.count == count * cells, "whole surfaces")
        let lanes = max(1, min(threads, count))
        let found = Parallel.map(lanes) { lane in
            var inverter = Inverter(self)
            return Swift.stride(from: lane, to: count, by: lanes).map { row -> InversionQuality.Case? in
                let surface = Array(volatilities[(row * cells)..<((row + 1) * cells)])
                return judge(&inverter, surface, truths.map { Array($0[(row * 5)..<(row * 5 + 5)]) }, calibrator)
            }
        }
        let cases = (0..<count).compactMap { found[$0 % lanes][$0 / lanes] }
        return try InversionQuality(cases, failures: count - cases.count)
    }

    private func judge(
        _ inverter: inout Inverter, _ surface: [Double], _ truth: [Double]?, _ calibrator: Calibrator
    ) -> InversionQuality.Case? {
        let quotes = grid.quotes(surface)
        inverter.invert(surface)
        let answer = inverter.answer()
        guard let error = try? InverseModel.error(of: answer.parameters, quotes),
            let polished = try? calibrator.calibrate(quotes, warmStart: answer.parameters)
        else { return nil }
        var errors: [(Double, Double, Bool)] = []
        var calibrated: Double?
        if let truth {
            for i in 0..<5 {
                let e = answer.parameters.array[i] - truth[i]
                errors.append((e, polished.parameters.array[i] - truth[i], abs(e) <= answer.deviations[i]))
            }
        } else {
            guard let optimum = try? calibrator.calibrate(quotes) else { return nil }
            calibrated = min(optimum.volatilityRootMeanSquare, polished.volatilityRootMeanSquare)
        }
        return InversionQuality.Case(
            network: error, polished: polished.volatilityRootMeanSquare, calibrated: calibrated,
            steps: Double(polished.iterations), novelty: answer.novelty,
            errors: errors.map { (network: $0.0, polished: $0.1, isWithin: $0.2) })
    }

    /// The root mean square of σ(parameters) − σ(quotes), absolute volatility. Throws `calibration`.
    public static func error(
        of parameters: HestonParameters, _ quotes: [CalibrationQuote]
    ) throws(InversionError) -> Double {
        do throws(HestonError) {
            var loss = try RepricingLoss(quotes)
            guard let found = loss.evaluate(parameters) else { throw .calibrationFailed(starts: 1) }
            return found.meanSquare.squareRoot()
        } catch { throw .calibration(error) }
    }
}

extension SurfaceGrid {
    /// The cells that are there (not NaN) as quotes for a calibration.
    public func quotes(_ volatilities: [Double]) -> [CalibrationQuote] {
        precondition(volatilities.count == count, "one volatility a cell")
        return volatilities.indices.compactMap { cell in
            volatilities[cell].isNaN
                ? nil
                : CalibrationQuote(
                    logMoneyness: logMoneyness[cell / tau.count], tau: tau[cell % tau.count],
                    impliedVolatility: volatilities[cell])
        }
    }
}
