@testable import Heston
import Kernels
import MarketData
import Testing

@Suite struct TiltedContourTests {
    /// κ, θ, σ, ρ, v₀, τ and k of slices that the vertical line serves, with high peaks between the points of the
    /// coarse sum along the widest strip's outer edge.
    static let peaks = [
        [0.28297349302590985, 0.008859422699381914, 0.026741092235896394, 0.9302171078591922, 0.0012469857896786718,
         2.242038063034045, -0.1],
        [4.677352282346415, 0.004610548449955015, 0.09638831130489799, -0.17408950421075486, 0.018981868678644355,
         1.0250343358241638, 0],
        [2.2723202342505426, 0.00013490935382785564, 1.0125250981907234, -0.08248853515083177, 1.3598405729039011,
         0.42041886139675905, 0],
        [0.46169228424321146, 0.17770506703156128, 0.15846624734466366, 0.07131410053165743, 0.07624196799277119,
         3.1081772972464803, 0],
    ]

    @Test("the step keeps its promise where singularities hide peaks from the coarse sum", arguments: peaks)
    func step(row: [Double]) throws {
        let heston = try HestonParameters(array: Array(row[0..<5]))
        let (tau, k) = (row[5], row[6])
        let accuracy = HestonPricer.Accuracy(tolerance: 1e-13, maximumNodes: 8192)
        let exact = try HestonPricer(heston, Market(spot: 1), accuracy: accuracy).call(strike: exp(k), tau: tau)
        let c = CharacteristicConstants(heston, tau: tau)
        let side: Double = k + heston.rho / heston.sigma * (heston.v0 + c.kappaTheta * tau) >= 0 ? 1 : -1
        let records = UnsafeMutableRawPointer.allocate(
            byteCount: 32 * SliceEngine.recordCount * TiltedContour.groups, alignment: 32)
        defer { unsafe records.deallocate() }
        for tolerance in [1e-7, 1e-9, 1e-10] {
            let rule = try #require(
                unsafe TiltedContour.rule(
                    c, side: side, range: k...k, logTolerance: log(0.5 * tolerance), derivatives: false,
                    nodes: NodeRecords(records)))
            // m, by the rule's step from end to end: nothing is truncated.
            var sum = 0.0
            for first in stride(from: 0.0, to: 9 / rule.step, by: 4) {
                let s = rule.contour.point(rule.step * (Vector(0, 1, 2, 3) + first))
                let kernel = CharacteristicKernel(s, c)
                let exponent = kernel.logarithm(c) + ComplexVector(k * (1 - s.real), -k * s.imaginary)
                var terms = (ComplexVector.exp(exponent) * kernel.inverseW * rule.contour.slope(at: s)).real
                if first == 0 { terms[0] *= 0.5 }
                for lane in 0..<4 where terms[lane].isFinite { sum += terms[lane] }
            }
            // A call is 1 − m.
            #expect(abs(1 - rule.step / .pi * sum - exact) < tolerance)
        }
    }
}
