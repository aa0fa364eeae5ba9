internal import NeuralNetworks

/// Surfaces with the parameters that made them.
public struct SurfaceDataset: Sendable, Equatable {
    public let generator: SurfaceGenerator
    /// Absolute, `[count × cells]`, cells row-major in the log-moneyness; NaN where the price tells nothing.
    public let volatilities: [Double]
    /// `[count × 5]`: kappa, theta, sigma, rho, v0.
    public let parameters: [Double]
    /// Draws that were drawn again.
    public let refused: Int

    init(generator: SurfaceGenerator, volatilities: [Double], parameters: [Double], refused: Int) {
        self.generator = generator
        self.volatilities = volatilities
        self.parameters = parameters
        self.refused = refused
    }

    public var count: Int { parameters.count / 5 }

    // MARK: Files

    private static let kind = "heston-surfaces-1"

    /// A safetensors file: `implied_volatility` [count, log-moneyness, tau], `parameters` [count, 5],
    /// `log_moneyness`, `tau`; the generator in the metadata.
    public func safetensors() -> [UInt8] {
        let grid = generator.grid
        return Safetensors(
            metadata: [
                "kind": Self.kind, "generator": generator.kind.rawValue, "preset": generator.preset.rawValue,
                "seed": "\(generator.seed)", "refused": "\(refused)",
            ],
            tensors: [
                Tensor(
                    "implied_volatility", shape: [count, grid.logMoneyness.count, grid.tau.count],
                    .float64(volatilities)),
                Tensor("parameters", shape: [count, 5], .float64(parameters)),
                Tensor("log_moneyness", shape: [grid.logMoneyness.count], .float64(grid.logMoneyness)),
                Tensor("tau", shape: [grid.tau.count], .float64(grid.tau)),
            ]
        ).bytes()
    }

    /// Reads such a file. Throws `file`, `malformed`.
    public init(safetensors bytes: [UInt8]) throws(InversionError) {
        let file: Safetensors
        do { file = try Safetensors(bytes: bytes) } catch { throw .file(error) }
        guard file.metadata["kind"] == Self.kind else {
            throw .malformed(field: "kind", reason: "is \(file.metadata["kind"] ?? "absent"), not \(Self.kind)")
        }
        guard let kind = file.metadata["generator"].flatMap(SurfaceGenerator.Kind.init(rawValue:)),
            let preset = file.metadata["preset"].flatMap(ParameterPreset.init(rawValue:)),
            let seed = file.metadata["seed"].flatMap(UInt64.init),
            let refused = file.metadata["refused"].flatMap(Int.init)
        else { throw .malformed(field: "metadata", reason: "lacks generator, preset, seed or refused") }
        let grid = try SurfaceGrid(file)
        guard kind != .paths || grid == MomentSurface.grid else {
            throw .malformed(field: "tau", reason: "or log_moneyness is not the grid of moments")
        }
        let parameters = try file.doubles("parameters")
        let volatilities = try file.doubles("implied_volatility")
        guard parameters.shape.count == 2, parameters.shape[1] == 5, parameters.values.allSatisfy(\.isFinite) else {
            throw .malformed(field: "parameters", reason: "has the shape \(parameters.shape) or is not finite")
        }
        guard volatilities.shape == [parameters.shape[0], grid.logMoneyness.count, grid.tau.count] else {
            throw .malformed(field: "implied_volatility", reason: "has the shape \(volatilities.shape)")
        }
        if let bad = volatilities.values.firstIndex(where: { !$0.isNaN && !($0 > 0 && $0.isFinite) }) {
            throw .malformed(field: "implied_volatility", reason: "has \(volatilities.values[bad]) at \(bad)")
        }
        self.init(
            generator: SurfaceGenerator(preset, kind: kind, grid: grid, seed: seed), volatilities: volatilities.values,
            parameters: parameters.values, refused: refused)
    }
}

extension Safetensors {
    func doubles(_ name: String) throws(InversionError) -> (shape: [Int], values: [Double]) {
        let tensor: Tensor
        do { tensor = try self.tensor(name) } catch { throw .file(error) }
        guard case .float64(let values) = tensor.elements else {
            throw .malformed(field: name, reason: "is not of double precision")
        }
        return (tensor.shape, values)
    }
}

extension SurfaceGrid {
    /// From a file's `log_moneyness` and `tau`.
    init(_ file: Safetensors) throws(InversionError) {
        let (k, tau) = (try file.doubles("log_moneyness").values, try file.doubles("tau").values)
        for (name, values, least) in [("log_moneyness", k, -5.0), ("tau", tau, 0)] {
            let isIncreasing = zip([least] + values, values).allSatisfy { $0 < $1 }
            guard !values.isEmpty, isIncreasing, values[values.count - 1] <= 50 else {
                throw .malformed(field: name, reason: "is not a grid's axis")
            }
        }
        self.init(logMoneyness: k, tau: tau)
    }
}
