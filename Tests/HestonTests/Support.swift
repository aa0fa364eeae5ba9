import Foundation
import Heston
import Kernels

/// Numbers from golden files beside the tests, and from the shared reference folder beside the checkout.
enum Golden {
    /// The rows of a CSV in Golden/: comments (#) and the header line left out.
    static func rows(_ name: String, file: String = #filePath) throws -> [[Double]] {
        let folder = URL(fileURLWithPath: file).deletingLastPathComponent().appendingPathComponent("Golden")
        return try read(folder.appendingPathComponent(name))
    }

    static let shared: URL = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../../../shared").standardizedFileURL
    static let hasShared = FileManager.default.fileExists(atPath: shared.appendingPathComponent("reference").path)

    static func reference(_ name: String) throws -> [[Double]] {
        try read(shared.appendingPathComponent("reference").appendingPathComponent(name))
    }

    private static func read(_ url: URL) throws -> [[Double]] {
        try String(contentsOf: url, encoding: .utf8).split(separator: "\n").filter { !$0.hasPrefix("#") }.dropFirst()
            .map { $0.split(separator: ",").map { Double($0) ?? .nan } }
    }
}

/// Draws parameters for property tests.
enum Draw {
    static func logUniform(_ low: Double, _ high: Double, _ random: inout RandomGenerator) -> Double {
        exp(random.uniform(log(low), log(high)))
    }

    /// The spec's synthetic training ranges, equity-like.
    static func equity(_ random: inout RandomGenerator) -> HestonParameters {
        HestonParameters(
            kappa: logUniform(0.5, 8, &random), theta: logUniform(0.01, 0.08, &random),
            sigma: logUniform(0.1, 1, &random), rho: random.uniform(-0.95, 0.2), v0: logUniform(0.01, 0.08, &random))
    }

    /// The spec's `crypto` preset.
    static func crypto(_ random: inout RandomGenerator) -> HestonParameters {
        HestonParameters(
            kappa: logUniform(0.5, 8, &random), theta: logUniform(0.04, 1.5, &random),
            sigma: logUniform(0.3, 5, &random), rho: random.uniform(-0.7, 0.5), v0: logUniform(0.04, 1.5, &random))
    }

    /// The wide box of the pricing promise.
    static func wide(_ random: inout RandomGenerator) -> HestonParameters {
        HestonParameters(
            kappa: logUniform(0.01, 20, &random), theta: logUniform(1e-4, 4, &random),
            sigma: logUniform(0.01, 10, &random), rho: random.uniform(-0.999, 0.999),
            v0: logUniform(1e-4, 4, &random))
    }
}
