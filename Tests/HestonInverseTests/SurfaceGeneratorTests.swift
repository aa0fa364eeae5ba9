import Heston
import Kernels
import MarketData
import NeuralNetworks
import Testing

@testable import HestonInverse

@Suite struct SurfaceGeneratorTests {
    @Test(arguments: ParameterPreset.allCases)
    func surfacesAreTheirParametersPriced(_ preset: ParameterPreset) throws {
        let data = try SurfaceGenerator(preset, seed: 3).surfaces(count: 50)
        for row in 0..<data.count {
            let parameters = try HestonParameters(array: Array(data.parameters[row * 5..<row * 5 + 5]))
            let exact = try HestonPricer(parameters, Market(spot: 1)).surface()
            for cell in 0..<30 {
                let volatility = data.volatilities[row * 30 + cell]
                guard !volatility.isNaN else { continue }
                #expect(abs(volatility - exact.impliedVolatility[cell]) < 1e-5, "surface \(row), cell \(cell)")
            }
        }
    }

    @Test func aSurfaceDoesNotDependOnWhatElseIsMade() throws {
        let generator = SurfaceGenerator(.crypto, seed: 9)
        let all = try generator.surfaces(count: 200, threads: 2)
        #expect(try generator.surfaces(count: 200, threads: 1).safetensors() == all.safetensors())
        let some = try generator.surfaces(first: 130, count: 7)
        #expect(some.parameters == Array(all.parameters[(130 * 5)..<(137 * 5)]))
        #expect(try SurfaceGenerator(.crypto, seed: 10).surfaces(count: 1).parameters != Array(all.parameters[..<5]))
    }

    @Test func parametersAreSpreadAsThePresetSays() throws {
        let data = try SurfaceGenerator(.crypto, seed: 5).surfaces(count: 2000, threads: 2)
        func column(_ i: Int) -> [Double] {
            stride(from: i, to: data.parameters.count, by: 5).map { data.parameters[$0] }
        }
        for (i, range) in [0.5...8.0, 0.04...1.5, 0.3...5, -0.7...0.5, 0.04...1.5].enumerated() {
            #expect(column(i).allSatisfy { range.contains($0) })
        }
        // Half of a logarithmically uniform number is below its range's geometric mean.
        let below = column(0).count { $0 < 2 }
        #expect(abs(Double(below) / 2000 - 0.5) < 0.04)
        let equity = try SurfaceGenerator(.equity, seed: 5).surfaces(count: 2000, threads: 2)
        let rho = stride(from: 3, to: equity.parameters.count, by: 5).map { equity.parameters[$0] }
        #expect(rho.allSatisfy { (-0.95...0.2).contains($0) })
        #expect(abs(rho.reduce(0, +) / 2000 + 0.375) < 0.02)
    }

    @Test func aProxyIsItsFormulaAndFreeOfArbitrage() throws {
        let data = try SurfaceGenerator(.crypto, kind: .proxy, seed: 1).surfaces(count: 300)
        #expect(data.refused > 0, "some of the formula's surfaces have arbitrage")
        for row in 0..<data.count {
            let p = Array(data.parameters[row * 5..<row * 5 + 5])
            let surface = Array(data.volatilities[row * 30..<row * 30 + 30])
            #expect(try Arbitrage.isAbsent(surface, .standard))
            for (i, k) in SurfaceGrid.standard.logMoneyness.enumerated() {
                for (t, tau) in SurfaceGrid.standard.tau.enumerated() where !surface[i * 6 + t].isNaN {
                    let level = (p[1] + (p[4] - p[1]) * exp(-p[0] * tau)).squareRoot()
                    let value = max(level + p[3] * k / (1 + tau).squareRoot() + p[2] * k * k, 1e-4)
                    #expect(abs(surface[i * 6 + t] - value) < 1e-14)
                }
            }
        }
    }

    @Test func arbitrageIsSeen() throws {
        let flat = [Double](repeating: 0.5, count: 30)
        #expect(try Arbitrage.isAbsent(flat, .standard))
        var falling = flat
        falling[2 * 6 + 5] = 0.3
        #expect(try !Arbitrage.isAbsent(falling, .standard), "total variance 0.25 at one year, 0.18 at two")
        var bent = flat
        bent[2 * 6 + 0] = 0.9
        #expect(try !Arbitrage.isAbsent(bent, .standard), "a butterfly of negative price around the money")
        var holed = flat
        for cell in [3, 17, 29] { holed[cell] = .nan }
        #expect(try Arbitrage.isAbsent(holed, .standard))
    }

    @Test func aDatasetComesBackFromItsFile() throws {
        let data = try SurfaceGenerator(.equity, seed: 2).surfaces(count: 20)
        let bytes = data.safetensors()
        let again = try SurfaceDataset(safetensors: bytes)
        #expect(again.safetensors() == bytes)
        #expect(again.generator == data.generator && again.parameters == data.parameters)
        // A file that says it holds moments of paths, on a grid of surfaces, is refused.
        let lying = try Safetensors(bytes: bytes)
        var metadata = lying.metadata
        metadata["generator"] = "paths"
        #expect(throws: InversionError.self) {
            try SurfaceDataset(safetensors: Safetensors(metadata: metadata, tensors: lying.tensors).bytes())
        }
        for end in stride(from: 0, to: bytes.count, by: 97) {
            #expect(throws: InversionError.self) { try SurfaceDataset(safetensors: Array(bytes[..<end])) }
        }
    }
}
