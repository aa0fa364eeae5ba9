public import RPC
public import VommaProto

/// Server reflection: clients without our protos learn them here. Both versions of the protocol are served, which have
/// the same wire form under two names.
public struct Reflection: ReflectionServerReflectionService {
    private let serviceNames: [String]

    init(serviceNames: [String]) { self.serviceNames = serviceNames }

    /// Both versions, describing `services` and themselves.
    public static func versions(of services: [any RPCService]) -> [any RPCService] {
        let names = services.map(\.serviceName)
        let own = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]
        let reflection = Reflection(serviceNames: (names + own).sorted())
        return [reflection, ReflectionV1Alpha(current: reflection)]
    }

    public func serverReflectionInfo(
        _ requests: RequestStream<ReflectionServerReflectionRequest>,
        responses: ResponseWriter<ReflectionServerReflectionResponse>, context: CallContext
    ) async throws {
        for try await request in requests { try await responses.write(answer(request)) }
    }

    func answer(_ request: ReflectionServerReflectionRequest) -> ReflectionServerReflectionResponse {
        let answer: ReflectionServerReflectionResponse.MessageResponse
        switch request.messageRequest {
        case .listServices:
            answer = .listServicesResponse(
                ReflectionListServiceResponse(service: serviceNames.map { ReflectionServiceResponse(name: $0) }))
        case .fileByFilename(let name):
            answer = files(FileDescriptors.file(named: name), or: "no file “\(name)”")
        case .fileContainingSymbol(let symbol):
            answer = files(FileDescriptors.file(containing: symbol), or: "no symbol “\(symbol)”")
        case .fileContainingExtension:
            answer = Self.failure(.notFound, "there are no extensions")
        case .allExtensionNumbersOfType(let type):
            answer =
                FileDescriptors.file(containing: type)?.messages.contains(type) == true
                ? .allExtensionNumbersResponse(ReflectionExtensionNumberResponse(baseTypeName: type))
                : Self.failure(.notFound, "no message “\(type)”")
        case nil:
            answer = Self.failure(.invalidArgument, "the request asks for nothing")
        }
        return ReflectionServerReflectionResponse(
            validHost: request.host, originalRequest: request, messageResponse: answer)
    }

    /// A file with everything that it imports, so that the client need not ask again.
    private func files(
        _ file: FileDescriptor?, or message: String
    ) -> ReflectionServerReflectionResponse.MessageResponse {
        guard let file else { return Self.failure(.notFound, message) }
        // The file asked for comes first, as clients expect.
        let all = FileDescriptors.withDependencies(file).reversed()
        return .fileDescriptorResponse(
            ReflectionFileDescriptorResponse(fileDescriptorProto: all.map(\.serializedBytes)))
    }

    private static func failure(
        _ code: StatusCode, _ message: String
    ) -> ReflectionServerReflectionResponse.MessageResponse {
        .errorResponse(ReflectionErrorResponse(errorCode: Int32(code.rawValue), errorMessage: message))
    }
}

/// The older name of the same protocol.
private struct ReflectionV1Alpha: ReflectionV1AlphaServerReflectionService {
    let current: Reflection

    func serverReflectionInfo(
        _ requests: RequestStream<ReflectionV1AlphaServerReflectionRequest>,
        responses: ResponseWriter<ReflectionV1AlphaServerReflectionResponse>, context: CallContext
    ) async throws {
        for try await request in requests {
            // The two versions differ in nothing but their package: the bytes of one are the bytes of the other.
            let same = try ReflectionServerReflectionRequest(serializedBytes: request.serializedBytes())
            let answer = try current.answer(same).serializedBytes()
            try await responses.write(ReflectionV1AlphaServerReflectionResponse(serializedBytes: answer))
        }
    }
}
