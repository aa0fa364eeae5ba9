import Inference
import Logging
import RPC
import Testing
import VommaProto

/// Gives its inputs back, one datatype each: what goes in typed or raw must come out the same.
struct EchoModel: TensorModelVersion {
    var version = "2"
    let platform = "test"
    let properties = ["purpose": "tests"]
    let inputs = TensorDatatype.allCases.map {
        TensorDeclaration($0.rawValue, $0, ["batch", 3], isOptional: true)
    } + [TensorDeclaration("anchor", .int32, ["batch"])]
    var outputs: [TensorDeclaration] { inputs.map { TensorDeclaration("out " + $0.name, $0.datatype, $0.shape) } }

    func infer(_ request: InferenceRequest) async throws -> [String: Tensor] {
        let fail = try request.text("fail")
        if let fail { throw RPCStatus(.aborted, fail) }
        var answer: [String: Tensor] = [:]
        for declaration in inputs {
            if let tensor = request.optionalInput(declaration.name) { answer["out " + declaration.name] = tensor }
        }
        return answer
    }
}

/// Two dimensions that must agree between inputs; answers their sums by row.
struct SumModel: TensorModelVersion {
    let version = "1"
    let platform = "test"
    let properties: [String: String] = [:]
    let inputs = [
        TensorDeclaration("a", .float64, ["batch", "width"]), TensorDeclaration("b", .float64, ["batch", "width"]),
        TensorDeclaration("text", .bytes, ["texts"], isOptional: true),
    ]
    let outputs = [TensorDeclaration("sum", .float64, ["batch"]), TensorDeclaration("count", .int64, ["batch"])]

    func infer(_ request: InferenceRequest) async throws -> [String: Tensor] {
        let (batch, width) = (request.extent("batch"), request.extent("width"))
        var sums = [Double](repeating: 0, count: batch)
        for name in ["a", "b"] {
            request.input(name).withSpan(of: Double.self) { span in
                for index in 0..<span.count { sums[index / width] += span[index] }
            }
        }
        return [
            "sum": Tensor(sums, shape: [batch]),
            "count": Tensor([Int64](repeating: Int64(2 * width), count: batch), shape: [batch]),
        ]
    }
}

/// A model with these versions.
struct Versions: TensorModel {
    let name: String
    let versions: [any TensorModelVersion]
    let absence = "none was promoted"
}

/// Runs a server with these models and a client of it around the body.
func withModels(
    _ models: [any TensorModel], _ body: @escaping @Sendable (GRPCInferenceClient) async throws -> Void
) async throws {
    let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    let server = RPCServer(
        RPCServerConfiguration(), services: [InferenceServer(name: "test", version: "7", models: models)], log: quiet)
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await server.run() }
        let channel = RPCChannel(host: "127.0.0.1", port: try await server.boundPort, log: quiet)
        let result: Result<Void, any Error>
        do { result = .success(try await body(GRPCInferenceClient(channel))) } catch { result = .failure(error) }
        await channel.close()
        group.cancelAll()
        try? await group.waitForAll()
        try result.get()
    }
}

/// Checks that a call ends with this status.
func expect(
    _ status: RPCStatus, at location: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
) async {
    do {
        try await body()
        Issue.record("the call succeeded", sourceLocation: location)
    } catch {
        let ended = error as? RPCStatus
        #expect(ended == status, sourceLocation: location)
    }
}

typealias Input = ModelInferRequest.InferInputTensor
