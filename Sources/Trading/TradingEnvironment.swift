public import Kernels
internal import MarketData

/// Trading one symbol's history as a learning problem, with Gymnasium's meaning of reset and step.
///
/// An episode starts at the close of a random bar of the span, with the configured capital in cash. Each step: the
/// action's target exposure is decided on at the close of bar t, its order is filled at the open of bar t+1, and the
/// reward is what the account did until the close of t+1. Nothing outside the span is read, neither bars nor features.
///
/// Copies share the series; each copy is an environment of its own, for vectorised training.
public struct TradingEnvironment: Sendable {
    public struct Configuration: Sendable {
        /// Costs, limits, reserve, capital, and one instrument: the series'.
        public var session: TradingSession.Configuration
        public var reward: RewardEngine.Configuration
        /// Rows of an observation. Default 16.
        public var window: Int
        /// Steps until an episode is truncated; shorter where the span is. Default 512.
        public var episodeLength: Int
        /// The episode terminates when equity is at or below this fraction of the capital, or below the exchange's
        /// minimum notional, where nothing can be traded any more. In [0, 1). Default 0.
        public var ruinFraction: Double

        public init(
            session: TradingSession.Configuration, reward: RewardEngine.Configuration = .init(), window: Int = 16,
            episodeLength: Int = 512, ruinFraction: Double = 0
        ) {
            self.session = session
            self.reward = reward
            self.window = window
            self.episodeLength = episodeLength
            self.ruinFraction = ruinFraction
        }
    }

    /// What one step gives, beside the next observation.
    public struct Step: Sendable, Equatable {
        public var reward: Float
        /// The account is ruined: the future is worth 0.
        public var terminated: Bool
        /// We stopped watching at the end of the episode: the future is worth what the value function says.
        public var truncated: Bool
    }

    /// An episode so far.
    public struct Episode: Sendable, Equatable {
        /// The bar at whose close it began.
        public internal(set) var startBar = 0
        public internal(set) var steps = 0
        public internal(set) var terms = RewardTerms()
        public internal(set) var initialEquity = 0.0
        public internal(set) var equity = 0.0
        public internal(set) var peakEquity = 0.0
        public internal(set) var maxDrawdown = 0.0
        /// Σ |exposure| after each step; the mean is this over `steps`.
        public internal(set) var exposureSum = 0.0
        public internal(set) var fills = 0
        /// Σ notional, and fees, in the quote currency.
        public internal(set) var turnover = 0.0
        public internal(set) var fees = 0.0
    }

    public let series: MarketSeries
    /// The rows that may be read.
    public let span: Range<Int>
    public let layout: ObservationLayout
    public private(set) var episode = Episode()
    public private(set) var session: TradingSession
    private let fresh: TradingSession
    private var reward: RewardEngine
    private let stepLimit: Int
    private let ruin: Double
    /// The bar at whose close the next action is decided on; `nil` before `reset` and after the episode's end.
    private var bar: Int?
    private var previousExposure: Float = 0

    /// The numbers in an observation and in an action: one target exposure in [−1, 1].
    public var observationSize: Int { layout.count }
    public var actionSize: Int { 1 }

    /// `span` are rows of the series, at least window + 1 of them. Throws `invalidConfiguration` and `invalidSeries`.
    public init(_ configuration: Configuration, series: MarketSeries, span: Range<Int>) throws(TradingError) {
        func check(_ holds: Bool, _ reason: String) throws(TradingError) {
            if !holds { throw .invalidConfiguration(reason: reason) }
        }
        try check(configuration.window >= 1, "window must be positive")
        try check(configuration.episodeLength >= 1, "episodeLength must be positive")
        try check(configuration.ruinFraction >= 0 && configuration.ruinFraction < 1, "ruinFraction must be in [0, 1)")
        try check(configuration.session.instruments.count == 1, "an environment trades one instrument")
        guard span.lowerBound >= 0, span.upperBound <= series.count, span.count > configuration.window else {
            throw .invalidSeries(reason: "the span needs window + 1 rows within the series")
        }
        fresh = try TradingSession(configuration.session)
        try check(fresh.index(of: series.symbol) == 0, "the session trades another symbol than the series'")
        session = fresh
        reward = try RewardEngine(configuration.reward)
        layout = ObservationLayout(window: configuration.window, featureCount: series.featureCount)
        self.series = series
        self.span = span
        stepLimit = min(configuration.episodeLength, span.count - configuration.window)
        ruin = max(
            configuration.ruinFraction * configuration.session.initialCash.double,
            configuration.session.instruments[0].rules.minNotional.double)
        try check(ruin < configuration.session.initialCash.double, "the capital is below the least order's notional")
    }

    /// Begins an episode at a random bar and writes its first observation.
    public mutating func reset(_ random: inout RandomGenerator, observation: inout MutableSpan<Float>) {
        let first = span.lowerBound + layout.window - 1
        let last = span.upperBound - 1 - stepLimit
        reset(at: first + random.index(below: last - first + 1), observation: &observation)
    }

    /// Begins an episode at the close of bar `start`. Traps where the span has not a whole window before it, or no bar
    /// after it; the episode ends with the span.
    public mutating func reset(at start: Int, observation: inout MutableSpan<Float>) {
        precondition(
            start >= span.lowerBound + layout.window - 1 && start < span.upperBound - 1,
            "an episode starts within the span")
        session = fresh
        advance(to: start)
        reward.reset()
        bar = start
        previousExposure = 0
        episode = Episode()
        episode.startBar = start
        episode.initialEquity = session.equity
        episode.equity = session.equity
        episode.peakEquity = session.equity
        series.observe(start, layout, previousExposure: 0, into: &observation)
    }

    /// One step. `action` has one value, clamped to [−1, 1]; NaN is refused by the risk engine and trades nothing.
    /// Writes the observation after it, the final one too. Traps before `reset` and after the end. No allocation.
    public mutating func step(_ action: Span<Float>, observation: inout MutableSpan<Float>) -> Step {
        guard let current = bar else { preconditionFailure("step needs a running episode: call reset") }
        precondition(action.count == 1, "an action is one target exposure")
        // Written out because max(-1, min(1, NaN)) is 1.
        let exposure = action[0] < -1 ? -1 : action[0] > 1 ? 1 : action[0]
        let equityBefore = session.equity
        let turnoverBefore = session.ledger.turnover
        act(exposure, at: current)
        advance(to: current + 1)
        let isBroken = session.equity <= ruin
        account(equityBefore: equityBefore, turnoverBefore: turnoverBefore)
        let terms = reward.reward(
            RewardInput(
                equityBefore: equityBefore, equityAfter: session.equity, initialEquity: episode.initialEquity,
                tradedNotional: session.ledger.turnover - turnoverBefore,
                drawdown: session.equity / episode.peakEquity - 1, leverage: session.leverage))
        episode.terms += terms
        let isOver = episode.steps >= stepLimit || current + 1 >= span.upperBound - 1
        // No observation may hold NaN.
        previousExposure = exposure.isNaN ? 0 : exposure
        bar = isBroken || isOver ? nil : current + 1
        series.observe(current + 1, layout, previousExposure: previousExposure, into: &observation)
        return Step(reward: Float(terms.total), terminated: isBroken, truncated: isOver && !isBroken)
    }

    // The series was checked when it was made, and the session's index is 0: what is thrown below cannot happen except
    // for sums beyond ±92 billion, which end the run.
    private mutating func advance(to row: Int) {
        do throws(TradingError) {
            try session.onBar(at: 0, series.bars[row])
        } catch {
            preconditionFailure("a checked bar was refused: \(error)")
        }
    }

    private mutating func act(_ exposure: Float, at row: Int) {
        let closed = series.bars[row]
        let decision = Decision(
            symbol: series.symbol, barTime: closed.openTime, modelVersion: "environment",
            targetExposure: Double(exposure), time: closed.closeTime)
        do throws(TradingError) {
            try session.act(decision, at: 0)
        } catch {
            preconditionFailure("a decision was refused: \(error)")
        }
    }

    private mutating func account(equityBefore: Double, turnoverBefore: Double) {
        episode.steps += 1
        episode.equity = session.equity
        episode.peakEquity = max(episode.peakEquity, session.equity)
        episode.maxDrawdown = max(episode.maxDrawdown, 1 - session.equity / episode.peakEquity)
        episode.exposureSum += session.leverage
        episode.fills = session.ledger.fillCount
        episode.turnover = session.ledger.turnover
        episode.fees = session.ledger.fees.double
    }
}
