public import RPC
internal import VommaProto

/// `inference.GRPCInferenceService` over some models: the Open Inference Protocol, version 2, typed and raw.
///
/// All that a request's tensors can have wrong is found here and answered with INVALID_ARGUMENT, which names the
/// tensor, what it has and what is expected; a model sees only what it declares.
public struct InferenceServer: RPCService {
    let service: InferenceService

    /// `name` is that of the server, `version` its release. Traps when two models have one name.
    public init(name: String, version: String = "unreleased", models: [any TensorModel]) {
        service = InferenceService(
            name: name, version: version,
            models: Dictionary(uniqueKeysWithValues: models.map { ($0.name, $0) }))
    }

    public var serviceName: String { service.serviceName }

    /// Models compute: where everything else of a server may run on its event loops, inference does not.
    public var methods: [RPCMethod] {
        service.methods.map { $0.path.hasSuffix("/ModelInfer") ? $0.running(on: .sharedPool) : $0 }
    }
}

/// The six methods.
struct InferenceService: GRPCInferenceService {
    let name: String
    let version: String
    let models: [String: any TensorModel]

    func serverLive(_ request: ServerLiveRequest, context: CallContext) async throws -> ServerLiveResponse {
        ServerLiveResponse(live: true)
    }

    func serverReady(_ request: ServerReadyRequest, context: CallContext) async throws -> ServerReadyResponse {
        for model in models.values where !model.isOptional {
            if await model.versions.isEmpty { return ServerReadyResponse(ready: false) }
        }
        return ServerReadyResponse(ready: true)
    }

    func serverMetadata(
        _ request: ServerMetadataRequest, context: CallContext
    ) async throws -> ServerMetadataResponse {
        ServerMetadataResponse(name: name, version: version)
    }

    func modelReady(_ request: ModelReadyRequest, context: CallContext) async throws -> ModelReadyResponse {
        let versions = await (try model(request.name)).versions
        let isReady = request.version.isEmpty ? !versions.isEmpty : versions.contains { $0.version == request.version }
        return ModelReadyResponse(ready: isReady)
    }

    func modelMetadata(_ request: ModelMetadataRequest, context: CallContext) async throws -> ModelMetadataResponse {
        let model = try model(request.name)
        let versions = await model.versions
        let version = try select(request.version, of: versions, model)
        return ModelMetadataResponse(
            name: model.name, versions: versions.map(\.version), platform: version.platform,
            inputs: version.inputs.map(Self.metadata), outputs: version.outputs.map(Self.metadata),
            properties: version.properties)
    }

    func modelInfer(_ request: ModelInferRequest, context: CallContext) async throws -> ModelInferResponse {
        let model = try model(request.modelName)
        let version = try select(request.modelVersion, of: await model.versions, model)
        let names = try request.requestedOutputs(of: version, model: model.name)
        let answer = try await version.infer(InferenceRequest(request, version, model: model.name, outputs: Set(names)))
        var response = ModelInferResponse(modelName: model.name, modelVersion: version.version, id: request.id)
        let tensors = try names.map { name in
            guard let tensor = answer[name] else {
                throw RPCStatus(.internal, "model “\(model.name)” did not compute its output “\(name)”")
            }
            return tensor
        }
        // Halves have no typed form.
        let isRaw =
            !request.rawInputContents.isEmpty
            || tensors.contains { $0.datatype == .float16 || $0.datatype == .bfloat16 }
        for (name, tensor) in zip(names, tensors) {
            var output = ModelInferResponse.InferOutputTensor(
                name: name, datatype: tensor.datatype.rawValue, shape: tensor.shape.map(Int64.init))
            if isRaw {
                response.rawOutputContents.append(tensor.rawContents)
            } else {
                output.contents = tensor.contents
            }
            response.outputs.append(output)
        }
        return response
    }

    private func model(_ name: String) throws -> any TensorModel {
        guard let model = models[name] else {
            let known = models.keys.sorted().joined(separator: ", ")
            throw RPCStatus(.notFound, "no model “\(name)” here; there are \(known)")
        }
        return model
    }

    private func select(
        _ wanted: String, of versions: [any TensorModelVersion], _ model: any TensorModel
    ) throws -> any TensorModelVersion {
        guard let first = versions.first else { throw RPCStatus(.failedPrecondition, model.absence) }
        guard let found = wanted.isEmpty ? first : versions.first(where: { $0.version == wanted }) else {
            let ready = versions.map(\.version).joined(separator: ", ")
            throw RPCStatus(.notFound, "version “\(wanted)” of model “\(model.name)” is not ready; \(ready) is")
        }
        return found
    }

    private static func metadata(_ tensor: TensorDeclaration) -> ModelMetadataResponse.TensorMetadata {
        .init(
            name: tensor.name, datatype: tensor.datatype.rawValue,
            shape: tensor.shape.map { if case .fixed(let count) = $0 { Int64(count) } else { -1 } })
    }
}
