import ChildProcesses
import Foundation
import Heston
import HestonInverse
import Kernels
import MarketData
import Policies
import Regimes
import Storage
import TestKit
import Testing

/// Foreign inference clients from PyPI judge every service that has a model.
@Suite(.timeLimit(.minutes(5)))
struct InferenceClientTests {
    private static let root = PeerPython.root
    private static let environment = PeerPython.environment
    private static let python = PeerPython.interpreter

    @Test(
        "tritonclient, grpcio-health-checking and grpcio-reflection infer: see Tests/Peers/inference_client.py",
        .enabled("PyPI cannot be reached for tritonclient: Tests/Peers/make-venv.sh") { await python.value != nil })
    func inference() async throws {
        let python = try #require(await Self.python.value)
        let database = try await TestCluster.shared.database()
        let network = FileManager.default.temporaryDirectory.appending(path: "\(UUID().uuidString).safetensors")
        defer { try? FileManager.default.removeItem(at: network) }
        try await Self.promoteModels(database, network: network)
        let heston = try ServiceUnderTest(
            "heston-inverter-service", environment: ["VOMMA_DATABASE_URL": database.url])
        let policy = try ServiceUnderTest("policy-service", environment: ["VOMMA_DATABASE_URL": database.url])
        let regimes = try ServiceUnderTest(
            "regime-sentiment-service", environment: ["VOMMA_DATABASE_URL": database.url])
        let services = [heston, policy, regimes]
        var ports: [Int] = []
        for service in services { ports.append(try await service.port()) }
        for service in services { try await service.logged("model swapped in") }
        let (exitCode, output) = try await ChildProcess.run(
            python,
            [Self.root.appending(path: "Tests/Peers/inference_client.py").path] + ports.map(String.init)
                + [network.path],
            environment: Self.environment)
        #expect(exitCode == 0, "\(output)")
        // The client's own words, so that one that checks nothing cannot pass.
        #expect(output.split(separator: "\n").count { $0.hasPrefix("ok ") } > 60, "\(output)")

        // The example of docs/python.md, against the same service.
        let document = try String(contentsOf: Self.root.appending(path: "docs/python.md"), encoding: .utf8)
        let blocks = document.components(separatedBy: "```python\n").dropFirst().map {
            $0.components(separatedBy: "```")[0]
        }
        let example = try #require(blocks.first { $0.contains("import tritonclient.grpc") })
        let (code, words) = try await ChildProcess.run(
            python, ["-c", example.replacing("127.0.0.1:50053", with: "127.0.0.1:\(ports[0])")],
            environment: Self.environment)
        #expect(code == 0, "\(words)")
        for line in words.split(separator: "\n") {
            #expect(document.contains("    \(line)\n"), "docs/python.md does not print “\(line)”")
        }
        #expect(words.contains("16.070154917029"))
        for service in services { service.closeInput() }
        for service in services {
            let end = await service.end()
            #expect(end.exitCode == 0, "\(end.output)")
        }
    }

    @Test(
        "NumPy reads our surfaces, and we read NumPy's: see Tests/Peers/surface_files.py",
        .enabled("PyPI cannot be reached for numpy: Tests/Peers/make-venv.sh") { await python.value != nil })
    func surfaceFiles() async throws {
        let python = try #require(await Self.python.value)
        let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let pricer = try HestonPricer(
            .init(kappa: 2, theta: 0.3, sigma: 1, rho: -0.3, v0: 0.2), Market(spot: 90_000, rate: 0.01))
        let surface = try pricer.surface(logMoneyness: [-0.4, 0, 0.4], tau: [0.002, 0.5])
        let file = SurfaceFile(currency: "BTC", time: Timestamp(seconds: 1_767_225_600), surface: surface)
        try Data(file.bytes()).write(to: folder.appending(path: file.name))
        let (exitCode, output) = try await ChildProcess.run(
            python, [Self.root.appending(path: "Tests/Peers/surface_files.py").path, folder.path, file.name],
            environment: Self.environment)
        #expect(exitCode == 0, "\(output)")
        for name in ["plain", "packed", "columns", "single"] {
            let bytes = [UInt8](try Data(contentsOf: folder.appending(path: "ETH_\(name).npz")))
            let read = try SurfaceFile(name: "ETH_\(name).npz", bytes: bytes)
            #expect(read.currency == "ETH" && read.time == file.time && read.surface.spot == 90_000)
            #expect(read.surface.logMoneyness == surface.logMoneyness && read.surface.tau == surface.tau)
            for (a, b) in zip(read.surface.impliedVolatility, surface.impliedVolatility) {
                #expect(a.isNaN && b.isNaN || abs(a - b) <= (name == "single" ? 1e-7 : 0))
            }
            #expect(read.surface.cells == surface.cells)
        }
    }

    /// Two versions of an untrained policy with 2 × 3 inputs a state, of which the second is live, and a regime model
    /// of two states and one column; and an inverse network that has learnt for an epoch, whose file goes to `network`
    /// too.
    private static func promoteModels(_ database: StorageConfiguration, network: URL) async throws {
        let pool = ConnectionPool(database)
        var inverse = InverseTraining(try SurfaceGenerator(.crypto, seed: 1).surfaces(count: 2000))
        try inverse.runEpoch()
        let inverseBytes = inverse.model(metadata: ["preset": "crypto"]).safetensors()
        try Data(inverseBytes).write(to: network)
        let paths = SurfaceGenerator(.crypto, kind: .paths, grid: MomentSurface.grid, seed: 1)
        var embedding = InverseTraining(try paths.surfaces(count: 1000))
        try embedding.runEpoch()
        let embeddingBytes = embedding.model().safetensors()
        var random = RandomGenerator(seed: 5)
        let architecture = MLPPolicy.Architecture(
            observationSize: 10, hidden: [8], window: 2, featureCount: 3)
        let checkpoints = (0..<2).map { _ in MLPPolicy(architecture, random: &random).safetensors() }
        try await pool.withConnection { connection in
            try FeatureRepository.putSchema("schema", names: ["a", "b", "c"], on: connection)
            try FeatureRepository.putNormaliser("norm", schema: "schema", bytes: [1], on: connection)
            for checkpoint in checkpoints {
                _ = try ModelRepository.register(
                    name: "policy", kind: "mlp", checkpoint: checkpoint, schemaVersion: "schema", normaliserID: "norm",
                    on: connection)
            }
            let regimes = try GaussianHMM(
                covariance: .diagonal, initial: [0.5, 0.5], transition: [0.9, 0.1, 0.2, 0.8], means: [0, 0],
                covariances: [1, 9], dimension: 1)
            _ = try ModelRepository.register(
                name: "regime", kind: "hmm", checkpoint: regimes.serialised, on: connection)
            _ = try ModelRepository.register(
                name: "heston_inverse", kind: "heston_inverse_synth", checkpoint: inverseBytes, on: connection)
            _ = try ModelRepository.register(
                name: "regime_embedding", kind: "heston_moments", checkpoint: embeddingBytes, on: connection)
            try ModelRepository.promote("regime_embedding", version: 1, on: connection)
            try ModelRepository.promote("heston_inverse", version: 1, on: connection)
            try ModelRepository.promote("regime", version: 1, on: connection)
            try ModelRepository.promote("policy", version: 1, on: connection)
            try ModelRepository.promote("policy", version: 2, on: connection)
        }
        await pool.close()
    }
}
