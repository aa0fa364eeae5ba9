import Heston
import Kernels
import Testing

@Suite struct CharacteristicFunctionTests {
    /// Ball arithmetic, every printed digit. |ln φ| reaches 1e4 here and is rounded relative to itself: 1e-12.
    @Test("equals high-precision values", .enabled(if: Golden.hasShared))
    func reference() throws {
        for row in try Golden.reference("heston_cf.csv") {
            let heston = try HestonParameters(array: Array(row[0..<5]))
            let value = characteristicFunction(Complex(row[6], row[7]), heston, tau: row[5])
            let expected = Complex(row[8], row[9])
            #expect((value - expected).magnitude <= 1e-12 * expected.magnitude, "row \(row)")
        }
    }

    @Test("φ(0) = 1, φ(−i) = 1 (martingale), |φ| ≤ 1 on the real axis, φ(−u) = conj φ(u)")
    func identities() {
        var random = RandomGenerator(seed: 11)
        for _ in 0..<300 {
            let heston = Draw.wide(&random)
            let tau = Draw.logUniform(1.0 / 365, 10, &random)
            let whole = characteristicFunction(.zero, heston, tau: tau)
            #expect((whole - Complex(1)).magnitude < 1e-12, "\(heston) \(tau)")
            // The forward's martingale property; κ < ρσ makes β negative there, where the plain form loses everything.
            let martingale = characteristicFunction(Complex(0, -1), heston, tau: tau)
            #expect((martingale - Complex(1)).magnitude < 1e-9, "\(heston) \(tau) \(martingale)")
            let u = Draw.logUniform(0.01, 100, &random)
            let value = characteristicFunction(Complex(u), heston, tau: tau)
            #expect(value.magnitude <= 1 + 1e-12)
            let mirrored = characteristicFunction(Complex(-u), heston, tau: tau)
            #expect(abs(value.real - mirrored.real) + abs(value.imaginary + mirrored.imaginary) < 1e-12)
        }
    }

    @Test("tends to Black–Scholes as σ → 0")
    func smallSigma() {
        for sigma in [1e-3, 1e-5, 1e-7] {
            let heston = HestonParameters(kappa: 1.5, theta: 0.09, sigma: sigma, rho: -0.5, v0: 0.09)
            for x in [0.3, 3.0, 15] {
                let u = Complex(x, -0.5)
                let value = characteristicFunction(u, heston, tau: 0.7)
                let limit = Complex.exp(-0.5 * 0.09 * 0.7 * (u * u + .i * u))
                // The first-order term in σ is about σ·x³·10⁻².
                #expect((value - limit).magnitude <= sigma * 40 * limit.magnitude + 1e-14)
            }
        }
    }

    @Test("gradient equals central differences")
    func gradient() throws {
        var random = RandomGenerator(seed: 12)
        for _ in 0..<100 {
            let heston = Draw.crypto(&random)
            let tau = Draw.logUniform(0.02, 3, &random)
            let u = Complex(random.uniform(0, 20), -0.5)
            let (value, gradient) = characteristicFunctionGradient(u, heston, tau: tau)
            #expect((value - characteristicFunction(u, heston, tau: tau)).magnitude <= 1e-14)
            for index in 0..<5 {
                let h = 1e-5 * max(0.1, abs(heston.array[index]))
                func moved(_ by: Double) throws -> Complex {
                    var array = heston.array
                    array[index] += by
                    return characteristicFunction(u, try HestonParameters(array: array), tau: tau)
                }
                // Fourth-order differences: truncation h⁴, rounding 1e-16/h.
                let difference = try (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
                let scale = gradient[index].magnitude + value.magnitude
                #expect((gradient[index] - difference).magnitude < 3e-8 * scale + 1e-10, "\(heston) \(index)")
            }
        }
    }
}
