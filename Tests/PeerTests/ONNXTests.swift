import ChildProcesses
import Foundation
import Kernels
import Policies
import Testing

/// Python's onnx, ONNX Runtime, safetensors and NumPy judge the files of policies.
@Suite(.timeLimit(.minutes(5)))
struct ONNXTests {
    @Test(
        "ONNX Runtime computes what we do, from models and from checkpoints: see Tests/Peers/onnx_models.py",
        .enabled("PyPI cannot be reached for onnxruntime: Tests/Peers/make-venv.sh") {
            await PeerPython.interpreter.value != nil
        })
    func models() async throws {
        let python = try #require(await PeerPython.interpreter.value)
        let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        var random = RandomGenerator(seed: 12)
        for (name, actionSize) in [("mlp", 1), ("mlp-several", 3)] {
            try Self.writeMLP(name, actionSize: actionSize, to: folder, &random)
        }
        for (name, actionSize) in [("recurrent", 1), ("recurrent-several", 2)] {
            try Self.writeRecurrent(name, actionSize: actionSize, to: folder, &random)
        }
        let (exitCode, output) = try await ChildProcess.run(
            python, [PeerPython.root.appending(path: "Tests/Peers/onnx_models.py").path, folder.path],
            environment: PeerPython.environment)
        #expect(exitCode == 0, "\(output)")
        // The script's own words, so that one that checks nothing cannot pass.
        #expect(output.split(separator: "\n").count { $0.hasPrefix("ok ") } == 45, "\(output)")
    }

    private static let metadata = ["symbol": "BTCUSDT"]
    private static let (steps, rows, size) = (6, 3, 7)

    /// What a policy answered, in the order steps × rows; of the means that of the first component.
    private struct Answers {
        var observations: [Float] = []
        var (means, actions, values) = ([Float](), [Float](), [Float]())

        mutating func append(_ decision: PolicyDecision, _ actions: [Float]) {
            values.append(decision.value)
            self.actions += actions
            means.append(decision.mean)
        }
    }

    private static func drawn(_ count: Int, _ random: inout RandomGenerator) -> [Float] {
        (0..<count).map { _ in Float(random.normal()) }
    }

    private static func write(_ values: [Float], _ name: String, to folder: URL) throws {
        try unsafe values.withUnsafeBytes { try unsafe Data($0).write(to: folder.appending(path: name)) }
    }

    private static func writeMLP(
        _ name: String, actionSize: Int, to folder: URL, _ random: inout RandomGenerator
    ) throws {
        var policy = MLPPolicy(
            .init(observationSize: size, actionSize: actionSize, hidden: [9, 6]), metadata: metadata, random: &random)
        for i in policy.parameters.indices { policy.parameters[i] += 0.2 * Float(random.normal()) }
        try write(onnx: policy.onnx(), checkpoint: policy.safetensors(), name, to: folder)
        var runner = PolicyRunner(policy)
        var answers = Answers()
        for _ in 0..<steps * rows {
            let observation = drawn(size, &random)
            answers.observations += observation
            answers.append(try runner.decide(observation.span), runner.actions)
        }
        try write(answers, logStd: Array(policy.parameters[policy.logStd]), name, to: folder)
    }

    private static func writeRecurrent(
        _ name: String, actionSize: Int, to folder: URL, _ random: inout RandomGenerator
    ) throws {
        var policy = RecurrentPolicy(
            .init(observationSize: size, actionSize: actionSize, encoded: 6, hidden: 5), metadata: metadata,
            random: &random)
        for i in policy.parameters.indices { policy.parameters[i] += 0.3 * Float(random.normal()) }
        try write(onnx: policy.onnx(), checkpoint: policy.safetensors(), name, to: folder)
        var runners = [RecurrentRunner](repeating: RecurrentRunner(policy), count: rows)
        var answers = Answers()
        for _ in 0..<steps {
            for row in 0..<rows {
                let observation = drawn(size, &random)
                answers.observations += observation
                answers.append(try runners[row].decide(observation.span), runners[row].actions)
            }
        }
        try write(answers, logStd: Array(policy.parameters[policy.logStd]), name, to: folder)
        try write(runners.flatMap(\.state), "\(name).state", to: folder)
    }

    private static func write(onnx: [UInt8], checkpoint: [UInt8], _ name: String, to folder: URL) throws {
        try Data(onnx).write(to: folder.appending(path: "\(name).onnx"))
        try Data(checkpoint).write(to: folder.appending(path: "\(name).safetensors"))
    }

    private static func write(_ answers: Answers, logStd: [Float], _ name: String, to folder: URL) throws {
        try write(answers.observations, "\(name).observations", to: folder)
        try write(answers.means, "\(name).mean", to: folder)
        try write(answers.actions, "\(name).action", to: folder)
        try write(answers.values, "\(name).value", to: folder)
        try write(logStd, "\(name).log_std", to: folder)
    }
}
