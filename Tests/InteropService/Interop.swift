public import RPC
public import VommaProto

/// `vomma.testing.v1.Interop` as its proto says: what foreign clients and hostile ones are let loose on.
public struct Interop: TestingInteropService {
    public init() {}

    public func emptyCall(
        _ request: TestingInteropEmpty, context: CallContext
    ) async throws -> TestingInteropEmpty {
        try Self.echoMetadata(context)
        return TestingInteropEmpty()
    }

    public func unaryCall(_ request: TestingUnaryRequest, context: CallContext) async throws -> TestingUnaryResponse {
        try Self.echoMetadata(context)
        try Self.end(request.status)
        return TestingUnaryResponse(
            payload: request.responseSize == 0 ? request.payload : try Self.payload(request.responseSize),
            requestSize: Int32(request.payload?.body.count ?? 0))
    }

    public func streamingOutputCall(
        _ request: TestingOutputRequest, responses: ResponseWriter<TestingOutputResponse>, context: CallContext
    ) async throws {
        try Self.echoMetadata(context)
        try await Self.answer(request, responses)
    }

    public func streamingInputCall(
        _ requests: RequestStream<TestingInputRequest>, context: CallContext
    ) async throws -> TestingInputResponse {
        try Self.echoMetadata(context)
        var total: Int64 = 0
        for try await request in requests { total += Int64(request.payload?.body.count ?? 0) }
        return TestingInputResponse(totalSize: total)
    }

    public func fullDuplexCall(
        _ requests: RequestStream<TestingOutputRequest>, responses: ResponseWriter<TestingOutputResponse>,
        context: CallContext
    ) async throws {
        try Self.echoMetadata(context)
        for try await request in requests { try await Self.answer(request, responses) }
    }

    private static func answer(
        _ request: TestingOutputRequest, _ responses: ResponseWriter<TestingOutputResponse>
    ) async throws {
        for order in request.responses {
            if order.intervalMicroseconds > 0 { try await Task.sleep(for: .microseconds(order.intervalMicroseconds)) }
            try await responses.write(TestingOutputResponse(payload: try payload(order.size)))
        }
        try end(request.status)
    }

    /// Zeros; a test's service has no use for more than 64 MiB of them.
    private static func payload(_ size: Int32) throws(RPCStatus) -> TestingInteropPayload {
        guard (0...64 << 20).contains(size) else { throw RPCStatus(.invalidArgument, "a response of \(size) bytes") }
        return TestingInteropPayload(body: [UInt8](repeating: 0, count: Int(size)))
    }

    private static func end(_ status: TestingInteropStatus?) throws(RPCStatus) {
        guard let status, status.code != 0 else { return }
        throw RPCStatus(
            StatusCode(rawValue: Int(status.code)) ?? .unknown, status.message,
            detailsBytes: status.details.isEmpty ? nil : status.details)
    }

    private static func echoMetadata(_ context: CallContext) throws {
        if let text = context.metadata["x-echo-initial"] {
            var initial = Metadata()
            try initial.append("x-echo-initial", text)
            context.setInitialMetadata(initial)
        }
        if let bytes = context.metadata[binary: "x-echo-trailing-bin"] {
            var trailing = Metadata()
            try trailing.append("x-echo-trailing-bin", binary: bytes)
            context.setTrailingMetadata(trailing)
        }
    }
}
