internal import Features
internal import MarketData
internal import Regimes
internal import Storage

/// What a job of kind `hmm` is to do: fit the regime model on the bars of a span.
struct RegimeSpecification: Decodable, Equatable {
    /// Of the model that is registered. Default `regime`.
    var name: String
    var exchange: String
    /// The first one's bars are used.
    var symbols: [String]
    /// Bars that open in `from ..< to`.
    var from: Timestamp
    var to: Timestamp
    /// Default 3; 2 … 8.
    var states: Int
    var seed: UInt64
    /// Starting points of the fit. Default 4.
    var restarts: Int

    init(from decoder: any Decoder) throws {
        var reader = try SpecificationReader(decoder)
        name = try reader.text("name", default: "regime")
        exchange = try reader.text("exchange")
        symbols = try reader.field("symbols")
        from = try reader.time("from")
        to = try reader.time("to")
        states = try reader.number("states", default: 3, in: 2...8)
        seed = try reader.field("seed", default: 1)
        restarts = try reader.number("restarts", default: 4, in: 1...100)
        try reader.finish()
        if symbols.isEmpty { throw reader.fault("symbols", "is empty") }
        if from >= to { throw reader.fault("to", "is not after “from”") }
    }
}

/// Fits a Gaussian hidden Markov model to one-minute bars and registers it.
///
/// The observations are those that feature-service computes, by the same type. A model's transitions are from one
/// minute to the next, so it is fitted on the longest run of the first symbol's observations without a gap. It is
/// quick, and needs no checkpoint: repeated, it gives the same bytes.
struct RegimeJob {
    private let context: JobContext
    private let specification: RegimeSpecification

    init(_ context: JobContext) throws {
        self.context = context
        specification = try SpecificationReader.read(RegimeSpecification.self, from: context.job.spec)
    }

    private struct Metrics: Encodable {
        var symbol: String
        /// Fitted on, and computed in all.
        var observations: Int
        var observationsInSpan: Int
        var logLikelihoodPerObservation: Double
        var bic: Double
        var iterations: Int
        var converged: Bool
        /// By state: share of the time on the most probable path and in the long run; mean stay in bars.
        var occupancy: [Double]
        var stationary: [Double]
        var dwellBars: [Double]
        var expectedDwellBars: [Double?]
    }

    private struct Result: Encodable {
        var model: ModelReference
        var metrics: Metrics
    }

    func run() async throws {
        let specification = specification
        let symbol = specification.symbols[0]
        try context.proceed(0, "reading bars")
        let bars = try await context.pool.withConnection { connection in
            try BarRepository.bars(
                exchange: specification.exchange, symbol: symbol, interval: .minutes(1), from: specification.from,
                to: specification.to, on: connection)
        }
        guard !bars.isEmpty else {
            throw JobError.badData(
                "no bars of \(symbol) on \(specification.exchange) from \(specification.from) to \(specification.to)")
        }
        let (observations, total) = Self.longestRun(of: bars)
        try context.proceed(0.2, "fitting \(specification.states) states on \(observations.count / 3) observations")
        var configuration = GaussianHMM.FitConfiguration()
        configuration.stateCount = specification.states
        configuration.seed = specification.seed
        configuration.restarts = specification.restarts
        let fit = try GaussianHMM.fit(observations, dimension: 3, configuration)
        let occupancy = try fit.model.occupancy(observations)
        let metrics = Metrics(
            symbol: symbol, observations: fit.observationCount, observationsInSpan: total,
            logLikelihoodPerObservation: fit.logLikelihood / Double(fit.observationCount), bic: fit.bic,
            iterations: fit.history.count, converged: fit.hasConverged, occupancy: occupancy.share,
            stationary: occupancy.stationaryShare, dwellBars: occupancy.meanDwell,
            expectedDwellBars: occupancy.expectedDwell.map { $0.isFinite ? $0 : nil })
        try context.proceed(0.9, "registering")
        let bytes = fit.model.serialised
        let metricsJSON = try JSON(encoding: metrics)
        let job = context.job
        try await context.record(
            [
                ("log_likelihood_per_observation", metrics.logLikelihoodPerObservation), ("bic", metrics.bic),
            ], step: metrics.iterations)
        let end = fit.hasConverged ? "converged" : "not converged"
        try await context.complete(
            "\(specification.states) states fitted on \(fit.observationCount) observations, \(end)"
        ) { connection in
            let model = try ModelRepository.register(
                name: specification.name, kind: JobKind.hmm.rawValue, checkpoint: bytes, metrics: metricsJSON,
                lineage: .lineage(of: job), jobID: job.id, on: connection)
            return try JSON(encoding: Result(model: ModelReference(model), metrics: metrics))
        }
    }

    /// The longest run of observations without a gap, `[rows × 3]`, and how many there are in all.
    static func longestRun(of bars: [Bar]) -> (observations: [Double], total: Int) {
        var observer = RegimeObserver()
        var best: [Double] = []
        var run: [Double] = []
        var total = 0
        var last: Bar?
        for bar in bars {
            if let last, bar.openTime != last.closeTime {
                if run.count > best.count { best = run }
                run = []
                // The first return after a gap spans it, and so would the volatility.
                observer = RegimeObserver()
            }
            last = bar
            if let observation = observer.update(bar) {
                run += observation.values
                total += 1
            } else {
                if run.count > best.count { best = run }
                run = []
            }
        }
        return (run.count > best.count ? run : best, total)
    }
}
