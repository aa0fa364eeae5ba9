public import RPC
internal import VommaProto

/// Asks a server what it offers: grpc.reflection.v1, or v1alpha where the server has only that.
///
/// Everything throws `RPCStatus`: NOT_FOUND for a name that the server doesn't know, UNIMPLEMENTED for a server without
/// reflection.
public struct ServerReflection: Sendable {
    /// Files that one question may lead to.
    public static let maxFileCount = 4096

    private let channel: RPCChannel
    private let options: CallOptions

    /// `options` hold for each question, of which one call may ask many.
    public init(_ channel: RPCChannel, options: CallOptions = CallOptions()) {
        self.channel = channel
        self.options = options
    }

    /// The full names of all services, sorted.
    public func services() async throws -> [String] {
        try await converse { conversation in
            guard case .listServicesResponse(let list) = try await conversation.ask(.listServices("*")) else {
                throw Conversation.wrongKind
            }
            return list.service.map(\.name).sorted()
        }
    }

    /// The file that declares a service, method, message or enum of this full name, and all that it imports.
    public func pool(containing symbol: String) async throws -> DescriptorPool {
        try await converse { conversation in
            var pool = DescriptorPool()
            try pool.add(try await conversation.files(.fileContainingSymbol(symbol)))
            // Servers send the imports with the file, or leave the client to ask for them.
            var asked: Set<String> = []
            while let name = pool.missingFiles.first(where: { !asked.contains($0) }) {
                asked.insert(name)
                do {
                    try pool.add(try await conversation.files(.fileByFilename(name)))
                } catch let status as RPCStatus where status.code == .notFound {
                    // Perhaps nothing of it is needed; if something is, its name is in the error then.
                    continue
                }
            }
            return pool
        }
    }

    /// A service by its full name, or by the last part of it if no two services share that.
    /// - Throws: also `DynamicMessageError.unknownService`.
    public func service(named name: String) async throws -> (service: ServiceSchema, pool: DescriptorPool) {
        do {
            let pool = try await pool(containing: name)
            if let service = pool.service(named: name) { return (service, pool) }
        } catch let status as RPCStatus where status.code == .notFound {
            // Not a full name; the list tells.
        }
        let all = try await services()
        let candidates = all.filter { $0.lastComponent == name }
        guard candidates.count == 1, let fullName = candidates.first else {
            throw DynamicMessageError.unknownService(name: name, known: all)
        }
        let pool = try await pool(containing: fullName)
        guard let service = pool.service(named: fullName) else { throw DynamicMessageError.unknownType(name: fullName) }
        return (service, pool)
    }

    // MARK: Questions and answers

    private func converse<R>(_ body: (inout Conversation) async throws -> R) async throws -> R {
        let client = ReflectionServerReflectionClient(channel)
        do {
            var conversation = Conversation(client.serverReflectionInfo(options: options))
            return try await body(&conversation)
        } catch let status as RPCStatus where status.code == .unimplemented {
            // The two versions have the same messages under two names.
            let path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
            var conversation = Conversation(channel.bidirectional(path, options: options))
            do {
                return try await body(&conversation)
            } catch let status as RPCStatus where status.code == .unimplemented {
                throw RPCStatus(.unimplemented, "the server has no reflection: it can't be called without its protos")
            }
        }
    }

    /// One call: questions are answered in order.
    private struct Conversation {
        static let wrongKind = RPCStatus(.internal, "the server's reflection answers another question")

        private let requests: RequestWriter<ReflectionServerReflectionRequest>
        private var responses: ResponseStream<ReflectionServerReflectionResponse>.Iterator

        init(_ call: BidirectionalCall<ReflectionServerReflectionRequest, ReflectionServerReflectionResponse>) {
            requests = call.requests
            responses = call.responses.makeAsyncIterator()
        }

        mutating func ask(
            _ question: ReflectionServerReflectionRequest.MessageRequest
        ) async throws -> ReflectionServerReflectionResponse.MessageResponse {
            try await requests.write(ReflectionServerReflectionRequest(messageRequest: question))
            guard let answer = try await responses.next()?.messageResponse else {
                throw RPCStatus(.internal, "the server's reflection gives no answer")
            }
            if case .errorResponse(let error) = answer {
                throw RPCStatus(StatusCode(rawValue: Int(error.errorCode)) ?? .unknown, error.errorMessage)
            }
            return answer
        }

        mutating func files(_ question: ReflectionServerReflectionRequest.MessageRequest) async throws -> [[UInt8]] {
            guard case .fileDescriptorResponse(let files) = try await ask(question) else { throw Self.wrongKind }
            return files.fileDescriptorProto
        }
    }
}

extension DescriptorPool {
    fileprivate mutating func add(_ files: [[UInt8]]) throws(DynamicMessageError) {
        for file in files {
            try add(fileDescriptor: file)
            guard fileCount <= ServerReflection.maxFileCount else {
                throw .tooManyFiles(limit: ServerReflection.maxFileCount)
            }
        }
    }
}
