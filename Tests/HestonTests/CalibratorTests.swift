import Heston
import Kernels
import MarketData
import Testing

@Suite struct CalibratorTests {
    @Test("recovers the parameters of model surfaces from its own starts", arguments: [false, true])
    func recovery(crypto: Bool) throws {
        var random = RandomGenerator(seed: crypto ? 51 : 52)
        let calibrator = try Calibrator()
        for _ in 0..<6 {
            let heston = crypto ? Draw.crypto(&random) : Draw.equity(&random)
            let surface = try HestonPricer(heston, Market(spot: 100)).surface()
            let result = try calibrator.calibrate(surface)
            for (found, true_) in zip(result.parameters.array, heston.array) {
                #expect(abs(found - true_) < 1e-4, "\(heston) → \(result.parameters), \(result.termination)")
            }
            #expect(result.volatilityRootMeanSquare < 1e-6)
            #expect(result.residuals.count == 30 && result.fittedCount <= 30 && result.conditionNumber > 1)
        }
    }

    @Test("what a chain with smiles of a day or two asks for is within the bounds")
    func fast() throws {
        let heston = HestonParameters(kappa: 55, theta: 0.6, sigma: 18, rho: -0.23, v0: 0.53)
        let pricer = try HestonPricer(heston, Market(spot: 100))
        let surface = try pricer.surface(
            logMoneyness: [-0.3, -0.15, -0.05, 0, 0.05, 0.15, 0.3], tau: [0.004, 0.01, 0.03, 0.1, 0.4, 1])
        let result = try Calibrator().calibrate(surface)
        for (found, exact) in zip(result.parameters.array, heston.array) {
            #expect(abs(found - exact) < 1e-4 * abs(exact), "\(result.parameters)")
        }
    }

    @Test("a warm start takes a few steps and gives the same answer; equal inputs give equal bits")
    func warm() throws {
        let heston = HestonParameters(kappa: 3, theta: 0.3, sigma: 1.4, rho: -0.3, v0: 0.25)
        let surface = try HestonPricer(heston, Market(spot: 60_000)).surface()
        let calibrator = try Calibrator()
        let near = HestonParameters(kappa: 3.3, theta: 0.29, sigma: 1.5, rho: -0.25, v0: 0.26)
        let result = try calibrator.calibrate(surface, warmStart: near)
        #expect(result.start == 0 && result.iterations <= 8)
        #expect(abs(result.parameters.kappa - 3) < 1e-4)
        #expect(try calibrator.calibrate(surface, warmStart: near) == result)
    }

    @Test("weights and masks: a wild quote of weight 0 does nothing; one of weight 1 does")
    func masks() throws {
        let heston = HestonParameters(kappa: 2, theta: 0.4, sigma: 1, rho: -0.4, v0: 0.3)
        var surface = try HestonPricer(heston, Market(spot: 100)).surface()
        surface.impliedVolatility[7] = 2.5
        surface.cells[7] = .extrapolated
        surface.impliedVolatility[11] = .nan
        surface.cells[11] = .missing
        let masked = try Calibrator().calibrate(surface)
        #expect(abs(masked.parameters.rho + 0.4) < 1e-4 && masked.fittedCount == 28)
        #expect(masked.residuals[7].status == .unused && masked.residuals[11].modelVolatility != nil)
        #expect(abs((masked.residuals[7].difference ?? 0) + 2.5) < 2)
        surface.cells[7] = .observed
        let disturbed = try Calibrator().calibrate(surface)
        #expect(disturbed.volatilityRootMeanSquare > 0.05)
        // A worse fit must say so in its standard errors.
        let (exact, rough) = try (#require(masked.standardErrors), #require(disturbed.standardErrors))
        #expect(zip(exact, rough).allSatisfy { $0 < $1 })
    }

    @Test("quotes without information are left out with their reason")
    func information() throws {
        let heston = HestonParameters(kappa: 2, theta: 0.04, sigma: 0.3, rho: -0.7, v0: 0.04)
        var quotes: [CalibrationQuote] = []
        let surface = try HestonPricer(heston, Market(spot: 100)).surface()
        for (i, k) in surface.logMoneyness.enumerated() {
            for (t, tau) in surface.tau.enumerated() {
                quotes.append(.init(logMoneyness: k, tau: tau, impliedVolatility: surface[i, t] ?? 0.2))
            }
        }
        let result = try Calibrator().calibrate(quotes)
        // k = ±0.4 at 18 days and 20 %: nine standard deviations.
        #expect(result.residuals[0].status == .noInformation && result.residuals[24].status == .noInformation)
        #expect(abs(result.parameters.sigma - 0.3) < 1e-4)
    }

    @Test("Feller's condition holds when asked for")
    func feller() throws {
        let heston = HestonParameters(kappa: 1, theta: 0.3, sigma: 1.5, rho: -0.3, v0: 0.3)
        let surface = try HestonPricer(heston, Market(spot: 100)).surface()
        var configuration = Calibrator.Configuration()
        configuration.enforcesFeller = true
        let result = try Calibrator(configuration).calibrate(surface)
        #expect(!heston.satisfiesFeller && result.satisfiesFeller)
        #expect(result.volatilityRootMeanSquare > 1e-4 && result.volatilityRootMeanSquare < 0.05)
    }

    @Test("what can't be fitted is refused")
    func errors() throws {
        let calibrator = try Calibrator()
        let quote = CalibrationQuote(logMoneyness: 0, tau: 1, impliedVolatility: 0.5)
        #expect(throws: HestonError.tooFewCells(usable: 4, needed: 5)) {
            try calibrator.calibrate([CalibrationQuote](repeating: quote, count: 4))
        }
        for bad in [
            CalibrationQuote(logMoneyness: 0, tau: 1, impliedVolatility: .nan),
            .init(logMoneyness: .infinity, tau: 1, impliedVolatility: 0.5),
            .init(logMoneyness: 0, tau: 0, impliedVolatility: 0.5),
            .init(logMoneyness: 0, tau: 1, impliedVolatility: 0.5, weight: -1),
        ] {
            #expect(throws: HestonError.self) {
                try calibrator.calibrate([CalibrationQuote](repeating: quote, count: 9) + [bad])
            }
        }
        var configuration = Calibrator.Configuration()
        configuration.bounds.kappa = 0...1
        #expect(throws: HestonError.self) { try Calibrator(configuration) }
        // Two nodes are never enough: every start is refused.
        configuration = .init()
        configuration.accuracy = .init(tolerance: 1e-10, maximumNodes: 2)
        let surface = try HestonPricer(
            .init(kappa: 2, theta: 0.3, sigma: 1, rho: -0.4, v0: 0.3), Market(spot: 100)).surface()
        #expect(throws: HestonError.calibrationFailed(starts: 3)) { try Calibrator(configuration).calibrate(surface) }
    }
}
