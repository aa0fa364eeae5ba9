import Heston
import Kernels
import MarketData
import Testing

@Suite struct AdamCalibratorTests {
    private static func quotes(_ heston: HestonParameters) throws -> [CalibrationQuote] {
        let surface = try HestonPricer(heston, Market(spot: 100)).surface()
        var quotes: [CalibrationQuote] = []
        for (i, k) in surface.logMoneyness.enumerated() {
            for (t, tau) in surface.tau.enumerated() {
                guard let volatility = surface[i, t] else { continue }
                quotes.append(.init(logMoneyness: k, tau: tau, impliedVolatility: volatility))
            }
        }
        return quotes
    }

    /// The loss ends at 1e-7 of volatility, or the steps do; condition numbers near 1,000 make 1e-4 of that.
    @Test("recovers the parameters of model surfaces, and its loss falls", arguments: [false, true])
    func recovery(crypto: Bool) throws {
        var random = RandomGenerator(seed: crypto ? 71 : 72)
        let calibrator = try AdamCalibrator()
        for _ in 0..<20 {
            let heston = crypto ? Draw.crypto(&random) : Draw.equity(&random)
            let result = try calibrator.calibrate(try Self.quotes(heston))
            for (found, exact) in zip(result.calibration.parameters.array, heston.array) {
                #expect(abs(found - exact) < 1e-3 * abs(exact), "\(heston) → \(result.calibration.parameters)")
            }
            let (first, last) = try (#require(result.trajectory.first), #require(result.trajectory.last))
            #expect(first.step == 0 && last.step == result.calibration.iterations && last.loss < 1e-6 * first.loss)
            #expect(zip(result.trajectory, result.trajectory.dropFirst()).allSatisfy { $0.step < $1.step })
            #expect(last.parameters == result.calibration.parameters || result.calibration.termination != .exact)
        }
    }

    @Test("plain prices do as well, from a given start; equal inputs give equal bits")
    func prices() throws {
        let heston = HestonParameters(kappa: 2, theta: 0.3, sigma: 1.2, rho: -0.4, v0: 0.25)
        let start = HestonParameters(kappa: 4, theta: 0.2, sigma: 0.7, rho: 0, v0: 0.4)
        var configuration = AdamCalibrator.Configuration()
        configuration.isVegaWeighted = false
        let calibrator = try AdamCalibrator(configuration)
        let result = try calibrator.calibrate(try Self.quotes(heston), start: start)
        for (found, exact) in zip(result.calibration.parameters.array, heston.array) {
            #expect(abs(found - exact) < 1e-3 * abs(exact))
        }
        for (found, exact) in zip(result.trajectory[0].parameters.array, start.array) {
            #expect(abs(found - exact) < 1e-12)
        }
        #expect(try calibrator.calibrate(try Self.quotes(heston), start: start) == result)
    }

    @Test("on quotes that no parameters fit, it ends where Levenberg–Marquardt does")
    func comparison() throws {
        let heston = HestonParameters(kappa: 2.5, theta: 0.3, sigma: 1.6, rho: -0.3, v0: 0.4)
        var random = RandomGenerator(seed: 73)
        var quotes = try Self.quotes(heston)
        for i in quotes.indices { quotes[i].impliedVolatility += random.uniform(-0.005, 0.005) }
        let exact = try Calibrator().calibrate(quotes)
        let result = try AdamCalibrator().calibrate(quotes).calibration
        // Differences over the market's vega are those of volatility to first order; far out, they weigh less.
        #expect(result.volatilityRootMeanSquare < 1.02 * exact.volatilityRootMeanSquare)
        #expect(result.volatilityRootMeanSquare > 0.999 * exact.volatilityRootMeanSquare)
        #expect(result.termination == .iterations && result.residuals.count == quotes.count)
        let errors = try #require(exact.standardErrors)
        for i in 0..<5 { #expect(abs(result.parameters.array[i] - exact.parameters.array[i]) < errors[i]) }
    }

    @Test("what can't be fitted is refused")
    func errors() throws {
        let quote = CalibrationQuote(logMoneyness: 0, tau: 1, impliedVolatility: 0.5)
        #expect(throws: HestonError.tooFewCells(usable: 4, needed: 5)) {
            try AdamCalibrator().calibrate([CalibrationQuote](repeating: quote, count: 4))
        }
        var configuration = AdamCalibrator.Configuration()
        configuration.learningRate = 0
        #expect(throws: HestonError.self) { try AdamCalibrator(configuration) }
        configuration = .init()
        configuration.bounds.sigma = 0...1
        #expect(throws: HestonError.self) { try AdamCalibrator(configuration) }
        configuration = .init()
        configuration.accuracy.maximumNodes = 16
        let heston = HestonParameters(kappa: 0.5, theta: 0.01, sigma: 8, rho: -0.9, v0: 0.01)
        let calibrator = try AdamCalibrator(configuration)
        #expect(throws: HestonError.calibrationFailed(starts: 1)) {
            try calibrator.calibrate(try Self.quotes(heston), start: heston)
        }
    }
}
