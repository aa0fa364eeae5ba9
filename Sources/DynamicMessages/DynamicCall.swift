public import RPC

/// A method of any server, called with JSON.
public struct DynamicCall: Sendable {
    public let method: MethodSchema
    private let pool: DescriptorPool
    private let channel: RPCChannel

    /// `pool` has the method's message types.
    public init(_ method: MethodSchema, of pool: DescriptorPool, on channel: RPCChannel) {
        self.method = method
        self.pool = pool
        self.channel = channel
    }

    /// Sends the requests and hands each response to `onResponse`, in order and as soon as it comes; what that throws
    /// cancels the call.
    ///
    /// A method with one request takes exactly one document, and none as `{}`. All documents are translated before the
    /// first is sent, so that a bad one calls nothing.
    /// - Throws: `DynamicMessageError` for a document or response that doesn't fit; `RPCStatus` for the call's failure.
    public func run(
        _ requests: [JSONDocument], options: CallOptions = CallOptions(),
        onResponse: (JSONDocument) async throws -> Void
    ) async throws {
        let messages = try requests.map { (request) throws(DynamicMessageError) in
            RawMessage(try pool.encode(request, as: method.requestType))
        }
        if method.requestIsStream {
            try await runStream(messages, options, onResponse)
            return
        }
        guard messages.count <= 1 else {
            throw DynamicMessageError.wrongRequestCount(method: method.name, count: messages.count)
        }
        let request = messages.first ?? RawMessage([])
        if method.responseIsStream {
            let responses: ResponseStream<RawMessage> = channel.serverStreaming(method.path, request, options: options)
            for try await response in responses { try await onResponse(decode(response)) }
        } else {
            let response: RawMessage = try await channel.unary(method.path, request, options: options)
            try await onResponse(decode(response))
        }
    }

    private func decode(_ response: RawMessage) throws(DynamicMessageError) -> JSONDocument {
        try pool.decode(response.bytes, as: method.responseType)
    }

    private func runStream(
        _ requests: [RawMessage], _ options: CallOptions, _ onResponse: (JSONDocument) async throws -> Void
    ) async throws {
        guard method.responseIsStream else {
            let response: RawMessage = try await channel.clientStreaming(method.path, options: options) {
                (writer: RequestWriter<RawMessage>) in
                for request in requests { try await writer.write(request) }
            }
            try await onResponse(decode(response))
            return
        }
        let call = channel.bidirectional(
            method.path, options: options, request: RawMessage.self, response: RawMessage.self)
        // Both ends at once: a server that answers each request stops reading when nobody reads its answers.
        async let sending: Void = Self.send(requests, call.requests)
        for try await response in call.responses { try await onResponse(decode(response)) }
        await sending
    }

    /// Errors of the writer are not told: a call that has ended has a status, which its reader gets.
    private static func send(_ requests: [RawMessage], _ writer: RequestWriter<RawMessage>) async {
        do {
            for request in requests { try await writer.write(request) }
            writer.finish()
        } catch {
            return
        }
    }
}
