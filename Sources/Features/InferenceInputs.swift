public import MarketData
internal import Indicators
internal import Kernels

/// The Heston parameters fitted to one surface, by whoever called the inverter. Times as for a market event.
public struct HestonFit: Sendable, Equatable {
    /// The symbol or option currency the surface belongs to: `BTC`, `BTCUSDT`.
    public var symbol: String
    /// The surface's own time.
    public var eventTime: Timestamp
    /// When the fit could be known: no earlier than the surface.
    public var knownAt: Timestamp
    /// Per year.
    public var kappa: Double
    /// Variance: 0.04 is 20 % volatility.
    public var theta: Double
    public var sigma: Double
    /// Within [−1, 1].
    public var rho: Double
    /// Variance.
    public var v0: Double
    /// Root-mean-square error in absolute volatility: 0.01 is one volatility point.
    public var rmse: Double

    public init(
        symbol: String, eventTime: Timestamp, knownAt: Timestamp, kappa: Double, theta: Double, sigma: Double,
        rho: Double, v0: Double, rmse: Double
    ) {
        self.symbol = symbol
        self.eventTime = eventTime
        self.knownAt = knownAt
        self.kappa = kappa
        self.theta = theta
        self.sigma = sigma
        self.rho = rho
        self.v0 = v0
        self.rmse = rmse
    }

    /// What makes it no fit at all; `nil` when it is one.
    var fault: String? {
        if knownAt < eventTime { return "a fit known before its surface" }
        guard eventTime.isPlausible, knownAt.isPlausible else { return "an impossible time" }
        guard [kappa, theta, sigma, rho, v0, rmse].allSatisfy(\.isFinite) else { return "a parameter is not finite" }
        guard kappa > 0, theta > 0, sigma > 0, v0 >= 0, rmse >= 0 else { return "a parameter is out of its domain" }
        return abs(rho) <= 1 ? nil : "rho is outside [-1, 1]"
    }
}

/// What the columns need of a surface. A part whose cells are missing is `nil`.
public struct SurfaceSummary: Sendable, Equatable {
    /// Volatility at k = 0 of the shortest maturity that has it.
    public var atmShort: Double?
    /// Volatility at k = 0 of the longest maturity that has it.
    public var atmLong: Double?
    /// Slope of the smile at the maturity nearest 0.1 years: (σ(k₊) − σ(k₋))/(k₊ − k₋) over the cells next to k = 0.
    public var smileSlope: Double?
    /// (atmLong − atmShort)/(√τ long − √τ short).
    public var termSlope: Double?

    public init(atmShort: Double?, atmLong: Double?, smileSlope: Double?, termSlope: Double?) {
        self.atmShort = atmShort
        self.atmLong = atmLong
        self.smileSlope = smileSlope
        self.termSlope = termSlope
    }

    /// Interpolates linearly in k where 0 is between two grid points. Stale cells do not count.
    public init(_ surface: ImpliedVolatilitySurface) {
        let grid = surface.logMoneyness
        func volatility(_ k: Int, _ t: Int) -> Double? {
            guard surface.cells[k * surface.tau.count + t] != .stale, let value = surface[k, t] else { return nil }
            return value.isFinite && value > 0 ? value : nil
        }
        let above = grid.firstIndex { $0 >= 0 }
        func atTheMoney(_ t: Int) -> Double? {
            guard let above else { return nil }
            if grid[above] == 0 { return volatility(above, t) }
            guard above > 0, let left = volatility(above - 1, t), let right = volatility(above, t) else { return nil }
            return left + (right - left) * -grid[above - 1] / (grid[above] - grid[above - 1])
        }
        let known = surface.tau.indices.compactMap { t in atTheMoney(t).map { (tau: surface.tau[t], value: $0) } }
        atmShort = known.first?.value
        atmLong = known.last?.value
        if let short = known.first, let long = known.last, long.tau > short.tau {
            termSlope = (long.value - short.value) / (long.tau.squareRoot() - short.tau.squareRoot())
        } else {
            termSlope = nil
        }
        let nearest = surface.tau.indices.min { abs(surface.tau[$0] - 0.1) < abs(surface.tau[$1] - 0.1) }
        let left = grid.lastIndex { $0 < 0 }
        let right = grid.firstIndex { $0 > 0 }
        if let nearest, let left, let right, let low = volatility(left, nearest),
            let high = volatility(right, nearest)
        {
            smileSlope = (high - low) / (grid[right] - grid[left])
        } else {
            smileSlope = nil
        }
    }
}

/// What the hidden-Markov model is fed at one bar: computed from bars alone.
public struct RegimeObservation: Sendable, Equatable {
    /// ln(close/previous close).
    public var logReturn: Double
    /// Natural logarithm of the realised volatility per bar over 30 bars.
    public var logVolatility: Double
    /// ln((volume + m/100)/(1.01·m)), m the mean volume of 30 bars: bounded below for a bar without trades.
    public var logVolumeRatio: Double

    public init(logReturn: Double, logVolatility: Double, logVolumeRatio: Double) {
        self.logReturn = logReturn
        self.logVolatility = logVolatility
        self.logVolumeRatio = logVolumeRatio
    }

    /// In the order above: the model's observation vector.
    public var values: [Double] { [logReturn, logVolatility, logVolumeRatio] }
}

/// Bars in, the model's observations out. `nil` in warm-up (30 bars), and where 30 bars did not move or trade.
///
/// The engine and the fit of the model on the training span use this one type.
public struct RegimeObserver: Sendable {
    private var logReturn = LogReturn()
    private var volatility = RealisedVolatility(30)
    private var volume = RollingSum(30)

    public init() {}

    /// Enough bars have been seen: what is still `nil` then is not defined.
    public var isWarm: Bool { mutating get { volatility.isWarm } }

    public mutating func update(_ bar: Bar) -> RegimeObservation? {
        volume.update(bar.volume)
        guard let change = logReturn.update(bar.close) else { return nil }
        volatility.update(change)
        guard let deviation = volatility.value, deviation > 0, volume.isWarm, volume.sum > 0 else { return nil }
        let mean = volume.sum / 30
        return RegimeObservation(
            logReturn: change, logVolatility: log(deviation),
            logVolumeRatio: log((bar.volume + mean / 100) / (1.01 * mean)))
    }

    func save(to writer: inout StateWriter) {
        logReturn.save(to: &writer)
        volatility.save(to: &writer)
        volume.save(to: &writer)
    }

    mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try logReturn.restore(from: &reader)
        try volatility.restore(from: &reader)
        try volume.restore(from: &reader)
    }
}

/// The filtered probabilities of the market's regimes after one bar: what could be known at its close, never smoothed.
public struct RegimePosterior: Sendable, Equatable {
    public var symbol: String
    /// The bar's close.
    public var barTime: Timestamp
    /// One a state, in the model's order (by volatility); they sum to 1.
    public var probabilities: [Double]

    public init(symbol: String, barTime: Timestamp, probabilities: [Double]) {
        self.symbol = symbol
        self.barTime = barTime
        self.probabilities = probabilities
    }
}

/// The sentiment of one message, by whoever called the model. Times as for the message's event.
public struct SentimentScore: Sendable, Equatable {
    /// Of the message: with its source, its identity.
    public var messageID: String
    public var source: String
    /// The symbol the message is about; empty for the whole market.
    public var symbol: String
    public var eventTime: Timestamp
    public var knownAt: Timestamp
    /// −1 (bearish) … 1 (bullish).
    public var score: Double

    public init(
        messageID: String, source: String, symbol: String, eventTime: Timestamp, knownAt: Timestamp, score: Double
    ) {
        self.messageID = messageID
        self.source = source
        self.symbol = symbol
        self.eventTime = eventTime
        self.knownAt = knownAt
        self.score = score
    }
}
