import Kernels
import NeuralNetworks
import Policies
import Testing

@testable import Learning

/// Markets that differ in everything: one factor, two, three; cheap and dear; patient and not.
private let markets: [PredictableMarket.Parameters] = {
    typealias Factor = PredictableMarket.Factor
    func make(_ factors: [Factor], _ variance: Double, _ gamma: Double, _ cost: Double, _ rho: Double)
        -> PredictableMarket.Parameters
    {
        var parameters = PredictableMarket.Parameters()
        parameters.factors = factors
        (parameters.variance, parameters.riskAversion) = (variance, gamma)
        (parameters.tradingCost, parameters.discountRate) = (cost, rho)
        return parameters
    }
    return [
        .init(), make([.unit(loading: 0.2, meanReversion: 0.1)], 1, 0.1, 1, 0.02),
        make([.init(loading: -0.4, meanReversion: 1, shock: 2)], 0.3, 2, 0.05, 0.3),
        make(
            [
                .init(loading: 0.02, meanReversion: 0.01, shock: 0.1), .unit(loading: 0.1, meanReversion: 0.5),
                .unit(loading: -0.05, meanReversion: 0.2),
            ], 4, 0.01, 20, 0.005),
    ]
}()

/// A linear policy x_t = keep·x_{t−1} + weights·f_t, and what it is worth by the law of total variance alone: the
/// second moments of (x_{t−1}, f_t) go forward in time, and each period's expected reward is added up.
private struct LinearRule {
    var keep: Double
    var weights: [Double]

    func meanValue(_ parameters: PredictableMarket.Parameters) -> Double {
        let factors = parameters.factors
        let kept = 1 - parameters.discountRate
        var square = 0.0
        var cross = [Double](repeating: 0, count: factors.count)
        var (sum, discount) = (0.0, 1.0)
        while discount > 1e-16 {
            // E x_t², E x_t·f_t and E (x_t − x_{t−1})²; the factors are independent and stationary throughout.
            var (next, traded, forecast) = (keep * keep * square, (keep - 1) * (keep - 1) * square, 0.0)
            var nextCross = cross
            for (k, factor) in factors.enumerated() {
                let own = weights[k] * weights[k] * factor.variance
                next += 2 * keep * weights[k] * cross[k] + own
                traded += 2 * (keep - 1) * weights[k] * cross[k] + own
                let here = keep * cross[k] + weights[k] * factor.variance
                forecast += factor.loading * here
                nextCross[k] = here * (1 - factor.meanReversion)
            }
            let risk = 0.5 * parameters.riskAversion * parameters.variance * next
            sum += discount * (kept * (forecast - risk) - 0.5 * parameters.tradingCost * traded)
            (square, cross, discount) = (next, nextCross, discount * kept)
        }
        return sum
    }
}

/// Solves a·X = b by elimination with pivots; a [n × n], b [n × m], row-major.
private func solve(_ a: [Double], _ b: [Double], _ n: Int) -> [Double] {
    var (a, b) = (a, b)
    let m = b.count / n
    for column in 0..<n {
        let pivot = (column..<n).max { abs(a[$0 * n + column]) < abs(a[$1 * n + column]) } ?? column
        for k in 0..<n { a.swapAt(column * n + k, pivot * n + k) }
        for k in 0..<m where pivot != column { b.swapAt(column * m + k, pivot * m + k) }
        for row in 0..<n where row != column {
            let factor = a[row * n + column] / a[column * n + column]
            for k in 0..<n { a[row * n + k] -= factor * a[column * n + k] }
            for k in 0..<m { b[row * m + k] -= factor * b[column * m + k] }
        }
    }
    for row in 0..<n { for k in 0..<m { b[row * m + k] /= a[row * n + row] } }
    return b
}

/// The optimum found without the closed form: the textbook's discounted linear-quadratic regulator in the state
/// (x_{t−1}, f_t) and the control x_t, by value iteration from 0. The value is s′Ps + constant.
private struct ValueIteration {
    /// x_t = gain·(x_{t−1}, f_t).
    var gain: [Double] = []
    var value: [Double]
    var constant = 0.0

    init(_ parameters: PredictableMarket.Parameters) {
        let factors = parameters.factors
        let n = factors.count + 1
        let kept = 1 - parameters.discountRate
        let cost = parameters.tradingCost
        value = Array(repeating: 0, count: n * n)
        for _ in 0..<Int(40 / parameters.discountRate) {
            // s = (x, f) leads to (u, (1 − φ)f): the reward −½Λ(u − x)² + (1−ρ)(uB·f − ½γΣu²) plus what follows, as
            // the quadratic form in (x, f, u), is maximised over u.
            let m = n + 1
            var form = [Double](repeating: 0, count: m * m)
            func add(_ i: Int, _ j: Int, _ amount: Double) {
                form[i * m + j] += 0.5 * amount
                form[j * m + i] += 0.5 * amount
            }
            add(0, 0, -0.5 * cost)
            add(0, n, cost)
            add(n, n, -0.5 * cost - 0.5 * kept * parameters.riskAversion * parameters.variance)
            for (k, factor) in factors.enumerated() { add(k + 1, n, kept * factor.loading) }
            // The next state's components by place in (x, f, u), and their weights.
            let places = [n] + Array(1..<n)
            let weights = [1] + factors.map { 1 - $0.meanReversion }
            for i in 0..<n {
                for j in 0..<n { add(places[i], places[j], kept * weights[i] * weights[j] * value[i * n + j]) }
            }
            let curvature = form[n * m + n]
            gain = (0..<n).map { -form[n * m + $0] / curvature }
            var noise = 0.0
            for (k, factor) in factors.enumerated() {
                noise += value[(k + 1) * n + k + 1] * factor.shock * factor.shock
            }
            constant = kept * (constant + noise)
            for i in 0..<n {
                for j in 0..<n { value[i * n + j] = form[i * m + j] - form[i * m + n] * form[n * m + j] / curvature }
            }
        }
    }
}

@Suite struct PredictableMarketTests {
    @Test("The closed form is the fixed point of value iteration", arguments: markets)
    func riccati(parameters: PredictableMarket.Parameters) {
        let optimum = PredictableMarket.Optimum(parameters)
        let iterated = ValueIteration(parameters)
        func isNear(_ a: Double, _ b: Double) -> Bool { abs(a - b) <= 1e-9 * max(1, abs(b)) }
        #expect(isNear(1 - optimum.tradingRate, iterated.gain[0]))
        let n = parameters.factors.count + 1
        #expect(isNear(-0.5 * optimum.positionCurvature, iterated.value[0]))
        for k in 1..<n {
            #expect(isNear(optimum.tradingRate * optimum.aimLoadings[k - 1], iterated.gain[k]))
            #expect(isNear(0.5 * optimum.positionByFactor[k - 1], iterated.value[k]))
            for l in 1..<n {
                #expect(isNear(0.5 * optimum.factorCurvature[(k - 1) * (n - 1) + l - 1], iterated.value[k * n + l]))
            }
        }
        #expect(isNear(optimum.constant, iterated.constant))
    }

    @Test("The general matrices of proposition 2 reduce to the scalars", arguments: markets)
    func generalForm(parameters: PredictableMarket.Parameters) {
        // aim = A_xx⁻¹A_xf·f; without proposition 3, A_xf solves A_xf = (1 − A_xx/Λ)(1−ρ)(B + A_xf(1 − Φ)).
        let optimum = PredictableMarket.Optimum(parameters)
        let count = parameters.factors.count
        let share = (1 - optimum.positionCurvature / parameters.tradingCost) * (1 - parameters.discountRate)
        var (matrix, right) = ([Double](repeating: 0, count: count * count), [Double]())
        for (k, factor) in parameters.factors.enumerated() {
            matrix[k * count + k] = 1 - share * (1 - factor.meanReversion)
            right.append(share * factor.loading)
        }
        for (k, found) in solve(matrix, right, count).enumerated() {
            #expect(abs(found - optimum.positionByFactor[k]) < 1e-12 * max(1, abs(found)))
            #expect(abs(found / optimum.positionCurvature - optimum.aimLoadings[k]) < 1e-10)
        }
        #expect(optimum.tradingRate > 0 && optimum.tradingRate < 1)
        // In front of the target: less of each factor than the Markowitz portfolio, the less the faster it fades.
        for (k, factor) in parameters.factors.enumerated() {
            let target = factor.loading / (parameters.riskAversion * parameters.variance)
            #expect(abs(optimum.aimLoadings[k]) < abs(target))
        }
    }

    @Test("No linear policy near the optimum earns as much", arguments: markets)
    func perturbed(parameters: PredictableMarket.Parameters) {
        let optimum = PredictableMarket.Optimum(parameters)
        let rate = optimum.tradingRate
        let best = LinearRule(keep: 1 - rate, weights: optimum.aimLoadings.map { rate * $0 })
        let value = best.meanValue(parameters)
        #expect(abs(value - optimum.meanValue) < 1e-9 * abs(value))
        var random = RandomGenerator(seed: 3)
        for size in [1e-3, 0.01, 0.1, 0.5] {
            for _ in 0..<50 {
                var other = best
                other.keep *= 1 + size * random.uniform(-1, 1)
                if abs(other.keep) > 0.999 { continue }
                for k in other.weights.indices { other.weights[k] *= 1 + size * random.uniform(-1, 1) }
                #expect(other.meanValue(parameters) < value)
            }
        }
    }

    @Test("Episodes of the market earn what the formula says, and hold what it says")
    func simulated() {
        var market = PredictableMarket(episodeLength: 400)
        let optimum = PredictableMarket.Optimum(market.parameters)
        var random = RandomGenerator(seed: 8)
        var observation = [Float](repeating: 0, count: market.observationSize)
        var (sum, squares, positions, count) = (0.0, 0.0, 0.0, 0)
        let episodes = 2000
        for _ in 0..<episodes {
            var row = observation.mutableSpan
            market.reset(&random, observation: &row)
            var (total, weight) = (0.0, 1.0)
            for period in 0..<market.episodeLength {
                total += weight * market.trade(to: optimum.position(from: market.position, factors: market.factors))
                weight *= 1 - market.parameters.discountRate
                if period >= 100 { (positions, count) = (positions + market.position * market.position, count + 1) }
            }
            sum += total
            squares += total * total
        }
        let mean = sum / Double(episodes)
        let error = ((squares / Double(episodes) - mean * mean) / Double(episodes)).squareRoot()
        // Four standard errors: wrong once in 16,000 seeds. 400 periods leave out 0.98⁴⁰⁰ of the value.
        #expect(abs(mean - optimum.meanValue) < 4 * error + 4e-4 * optimum.meanValue)
        #expect(error < 0.03 * mean)
        #expect(abs(positions / Double(count) / optimum.stationaryPositionVariance - 1) < 0.02)
    }

    @Test("An action is the position's share of the greatest; what is seen is scaled; the end is a truncation")
    func steps() {
        var market = PredictableMarket(greatestPosition: 10, episodeLength: 2)
        var random = RandomGenerator(seed: 1)
        var observation = [Float](repeating: 0, count: market.observationSize)
        var row = observation.mutableSpan
        market.reset(&random, observation: &row)
        let factors = market.factors
        #expect(row[2] == 0 && row[3] == 1)
        var twin = market
        let reward = twin.trade(to: -5)
        let result = market.step([Float(-0.5)].span, observation: &row)
        #expect(result == StepResult(reward: Float(reward)) && market.position == -5 && row[2] == -2.5)
        #expect(market == twin && market.factors != factors)
        #expect(abs(Double(row[1]) - market.factors[1]) < 1e-6)
        #expect(market.step([Float(3)].span, observation: &row).truncated && market.position == 10)
        // By hand: ½Λ·5² = 12.5 is paid whatever the return.
        let (kept, parameters) = (0.98, market.parameters)
        let change = ((reward + 12.5) / kept + 0.5 * parameters.riskAversion * 25) / -5
        let expected = parameters.factors[0].loading * factors[0] + parameters.factors[1].loading * factors[1]
        #expect(abs(change - expected) < 6)
    }
}
