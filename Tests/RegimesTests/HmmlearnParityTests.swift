import Kernels
import MarketData
import Testing

@testable import Regimes

/// hmmlearn's fit of 20,000 observations from given starts; the folder's README says how it was made.
private enum Reference {
    static let folder: String? = {
        let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let path = "/\(root)/../shared/reference"
        return unsafe access("\(path)/hmm.json", R_OK) == 0 ? path : nil
    }()

    static func json(_ path: String) throws -> JSONValue {
        let descriptor = unsafe open(path, O_RDONLY)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = unsafe bytes.withUnsafeMutableBytes { unsafe read(descriptor, $0.baseAddress, $0.count) }
        let value = JSONValue(bytes.span.extracting(0..<max(0, count)))
        return try #require(value)
    }

    /// All numbers below a value, in order.
    static func numbers(_ value: JSONValue?) -> [Double] {
        switch value {
        case .number(let number): [number]
        case .array(let elements): elements.flatMap { numbers($0) }
        default: []
        }
    }
}

@Suite("Parity with hmmlearn", .enabled(if: Reference.folder != nil))
struct HmmlearnParityTests {
    private func model(
        _ kind: GaussianHMM.Covariance, _ object: JSONValue?, _ covariances: String
    ) throws -> GaussianHMM {
        var spread = Reference.numbers(object?[covariances])
        if kind == .diagonal { spread = (0..<3).flatMap { [spread[2 * $0], 0, 0, spread[2 * $0 + 1]] } }
        return try GaussianHMM(
            covariance: kind, initial: Reference.numbers(object?["startprob"]),
            transition: Reference.numbers(object?["transmat"]), means: Reference.numbers(object?["means"]),
            covariances: spread, dimension: 2)
    }

    @Test("Likelihood history, fitted values, paths, posteriors", arguments: [GaussianHMM.Covariance.full, .diagonal])
    func parity(kind: GaussianHMM.Covariance) throws {
        let folder = try #require(Reference.folder)
        let json = try Reference.json("\(folder)/hmm.json")
        let table = try NumericTable(.file(path: "\(folder)/hmm.csv.gz"))
        let x0 = try #require(table["x0"])
        let x1 = try #require(table["x1"])
        let x = zip(x0, x1).flatMap { [$0, $1] }
        let name = kind == .full ? "full" : "diag"
        let expected = try #require(json[name])
        let history = Reference.numbers(expected["history"])

        // From the same start: ten iterations, the reference's first ten, to the digits that the CSV's x keep
        // (12 significant ones on 20,000 terms of order 1).
        let start = try model(kind, json["start"], kind == .full ? "covars_full" : "covars_diag")
        var configuration = GaussianHMM.FitConfiguration()
        configuration.maximumIterations = 10
        configuration.tolerance = -.infinity
        configuration.order = .mean(feature: 1)
        let fit = try start.refined(x, configuration)
        #expect(fit.history.count == 10)
        for (ours, theirs) in zip(fit.history, history) { #expect(abs(ours - theirs) < 1e-6) }

        // At the reference's fitted values: EM has nothing left to do, and all that it says of the history agrees.
        let final = try model(kind, expected["final"], "covars")
        #expect(abs(try final.logLikelihood(x) - (history.last ?? 0)) < 1e-6)
        configuration.maximumIterations = 1
        let step = try final.refined(x, configuration)
        func largest(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).map { abs($0 - $1) }.max() ?? .nan }
        #expect(largest(step.model.means, final.means) < 1e-6)
        #expect(largest(step.model.covariances, final.covariances) < 1e-6)
        #expect(largest(step.model.transition, final.transition) < 1e-6)

        let path = try final.mostProbablePath(x)
        let theirs = try #require(table["viterbi_\(name)"]).map { Int($0) }
        #expect(path == theirs)
        if kind == .full {
            let posterior = try final.smoothed(x)
            for state in 0..<3 {
                let column = try #require(table["post_full_\(state)"])
                #expect(largest((0..<x0.count).map { posterior[3 * $0 + state] }, column) < 1e-7)
            }
        }
    }
}
