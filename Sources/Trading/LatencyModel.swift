package import Kernels
public import MarketData

/// How long messages take between us and the exchange. Each kind has a delay of its own: a fixed part, the best the
/// connection can do, and a random part on top of it.
public struct LatencyModel: Sendable, Equatable {
    /// The random part of a delay.
    public enum Jitter: Sendable, Equatable {
        case none
        case exponential(mean: Interval)
        /// exp(ln median + sigma·Z): many short ones and a few very long ones.
        case logNormal(median: Interval, sigma: Double)
    }

    public struct Delay: Sendable, Equatable {
        public var fixed: Interval
        public var jitter: Jitter

        public init(_ fixed: Interval, jitter: Jitter = .none) {
            self.fixed = fixed
            self.jitter = jitter
        }

        /// One delay: never below the fixed part, and at most a minute above it.
        package func sample(_ random: inout RandomGenerator) -> Interval {
            let extra: Double
            switch jitter {
            case .none: return fixed
            // 1 − u is in (0, 1]: its logarithm is finite.
            case .exponential(let mean): extra = -Double(mean.microseconds) * log(1 - random.uniform())
            case .logNormal(let median, let sigma): extra = Double(median.microseconds) * exp(sigma * random.normal())
            }
            return fixed + Int64(min(extra, 60_000_000).rounded())
        }

        func validate() throws(TradingError) {
            let isSound =
                switch jitter {
                case .none: true
                case .exponential(let mean): mean.microseconds >= 0 && mean <= .minutes(1)
                case .logNormal(let median, let sigma):
                    median.microseconds >= 0 && median <= .minutes(1) && sigma >= 0 && sigma <= 5
                }
            guard isSound, fixed.microseconds >= 0, fixed <= .minutes(1) else {
                throw .invalidConfiguration(reason: "a delay is 0 … 60 s, its sigma 0 … 5")
            }
        }
    }

    /// From our sending of an order until the exchange has it.
    public var order: Delay
    /// The same for a cancellation.
    public var cancel: Delay
    /// From the exchange's acknowledgement or fill until we know it.
    public var acknowledgement: Delay
    /// From an event in the market until we see it.
    public var marketData: Delay

    public init(order: Delay, cancel: Delay, acknowledgement: Delay, marketData: Delay) {
        self.order = order
        self.cancel = cancel
        self.acknowledgement = acknowledgement
        self.marketData = marketData
    }

    /// Nothing takes any time: for tests, and to show what latency costs.
    public static let zero = LatencyModel(
        order: Delay(Interval(microseconds: 0)), cancel: Delay(Interval(microseconds: 0)),
        acknowledgement: Delay(Interval(microseconds: 0)), marketData: Delay(Interval(microseconds: 0)))

    /// Every message takes `milliseconds`, and a random part whose mean is a quarter of it: an assumption about a
    /// private line, to be replaced by what is measured.
    public static func typical(milliseconds: Int64) -> LatencyModel {
        let mean = Interval(microseconds: milliseconds * 250)
        let delay = Delay(.milliseconds(milliseconds), jitter: .exponential(mean: mean))
        return LatencyModel(order: delay, cancel: delay, acknowledgement: delay, marketData: delay)
    }

    func validate() throws(TradingError) {
        for delay in [order, cancel, acknowledgement, marketData] { try delay.validate() }
    }
}

extension Interval {
    fileprivate static func + (a: Interval, microseconds: Int64) -> Interval {
        Interval(microseconds: a.microseconds + microseconds)
    }
}
