internal import Kernels
internal import MarketData
internal import Trading

/// A result too good to be true: something is wrong with the test, not right with the model.
public struct Implausible: Error, Equatable, CustomStringConvertible {
    /// What was found, and from where on it is not believed.
    public var finding: String
    /// What most likely is behind it.
    public var cause: String

    public var description: String { "not plausible: \(finding). Likely cause: \(cause)" }
}

/// Stops on results that no honest test gives.
public enum PlausibilityGuard {
    /// Annualised.
    public static let mostSharpe = 10.0
    public static let mostWinRate = 0.9
    /// So many standard errors is a Sharpe ratio above 0 before it counts: three good days have one of 30.
    static let leastStandardErrors = 3.0
    static let leastRoundTrips = 10

    /// Throws `Implausible` for a Sharpe ratio above 10, more than 90 % of at least ten trades won, or a profit while
    /// nothing was held.
    public static func check(_ result: BacktestResult) throws(Implausible) {
        let free = profitWithoutPosition(result)
        guard abs(free) <= 1e-9 * (result.equity.first ?? 1) else {
            throw Implausible(
                finding: "the account changed by \(free) while it held nothing",
                cause: "the books: a fill, a fee or a settlement that was booked twice or not at all")
        }
        let statistics = result.statistics
        let years = Double(statistics.intervalCount) * result.interval.years
        if let sharpe = statistics.sharpe, sharpe > mostSharpe, sharpe * years.squareRoot() > leastStandardErrors {
            throw Implausible(
                finding: "a Sharpe ratio of \(rounded(sharpe)), above \(mostSharpe)", cause: cause(result, statistics))
        }
        if let rate = statistics.winRate, rate > mostWinRate, statistics.roundTripCount >= leastRoundTrips {
            throw Implausible(
                finding: "\(rounded(100 * rate)) % of \(statistics.roundTripCount) trades won, above "
                    + "\(100 * mostWinRate) %",
                cause: cause(result, statistics))
        }
    }

    /// The change of equity over intervals at both of whose ends nothing was held: with one order a bar, nothing was
    /// traded in them.
    static func profitWithoutPosition(_ result: BacktestResult) -> Double {
        zip(result.curve, result.curve.dropFirst()).reduce(0) { sum, points in
            let isFlat = points.0.position == .zero && points.1.position == .zero
            return isFlat ? sum + points.1.equity - points.0.equity : sum
        }
    }

    /// What a result that cannot be says about its cause.
    private static func cause(_ result: BacktestResult, _ statistics: PerformanceStatistics) -> String {
        let foresight = foresight(result)
        if foresight > 0.2 {
            return "look-ahead: the targets go with the next bar's return (rank correlation \(rounded(foresight))). "
                + "Search the features for what is known only later (vomma features check), and the model's training "
                + "span for these bars"
        }
        if statistics.fillCount > 0, statistics.fees == 0 {
            return "no fees were charged: the rules of \(result.fills[0].symbol) have none"
        }
        if statistics.fillCount > 0, statistics.executionCosts == 0 {
            return "no spread or slippage was charged: the account's settings have none"
        }
        return "look-ahead over more than a bar, or a model that was trained or chosen on these bars"
    }

    /// The rank correlation of targets with the returns of the bars after them.
    static func foresight(_ result: BacktestResult) -> Double {
        var targets: [Double] = []
        var returns: [Double] = []
        for (index, target) in result.targets.enumerated() where index + 1 < result.curve.count {
            guard let target, target.isFinite else { continue }
            targets.append(target)
            returns.append(result.curve[index + 1].price / result.curve[index].price - 1)
        }
        guard targets.count >= 8 else { return 0 }
        var random = RandomGenerator(seed: 1)
        return PermutationTest(forecast: targets, truth: returns, shifts: 1, random: &random).correlation
    }

    private static func rounded(_ value: Double) -> Double { (value * 100).rounded() / 100 }
}
