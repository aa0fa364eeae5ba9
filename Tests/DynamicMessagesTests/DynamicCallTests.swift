import Logging
import Testing
internal import RPC
internal import ServiceKit
internal import VommaProto

@testable import DynamicMessages

private struct TestService: TestingTestService {
    func echo(_ request: TestingEverything, context: CallContext) async throws -> TestingEverything {
        if request.aString == "details" {
            let unknown = GoogleAny(typeURL: "x/nobody.Knows", value: [1, 2])
            let damaged = GoogleAny(typeURL: "x/google.rpc.Help", value: [0xFF])
            let known = [GoogleBadRequest(fieldViolations: [.init(field: "a_string", description: "is “details”")])]
            let status = GoogleStatus(
                details: known.compactMap { GoogleAny(packing: $0) }
                    + [GoogleAny(packing: TestingNumber(value: 7)), unknown, damaged].compactMap(\.self))
            throw RPCStatus(.invalidArgument, "no", detailsBytes: try status.serializedBytes())
        }
        if request.aString == "fail" { throw RPCStatus(.failedPrecondition, "as asked for") }
        if let extra = context.metadata["extra"] { return TestingEverything(aString: extra) }
        return request
    }

    func count(
        _ request: TestingCountRequest, responses: ResponseWriter<TestingNumber>, context: CallContext
    ) async throws {
        for value in 0..<request.count { try await responses.write(TestingNumber(value: value)) }
        if request.count == 13 { throw RPCStatus(.outOfRange, "13 is enough") }
    }

    func sum(_ requests: RequestStream<TestingNumber>, context: CallContext) async throws -> TestingNumber {
        var sum: Int64 = 0
        for try await number in requests { sum += number.value }
        return TestingNumber(value: sum)
    }

    func accumulate(
        _ requests: RequestStream<TestingNumber>, responses: ResponseWriter<TestingNumber>, context: CallContext
    ) async throws {
        var sum: Int64 = 0
        for try await number in requests {
            sum += number.value
            try await responses.write(TestingNumber(value: sum))
            if sum < 0 { throw RPCStatus(.aborted, "below zero") }
        }
    }
}

/// Sends a file alone: the client asks for what it imports, one file after another.
private struct SparseReflection: ReflectionServerReflectionService {
    func serverReflectionInfo(
        _ requests: RequestStream<ReflectionServerReflectionRequest>,
        responses: ResponseWriter<ReflectionServerReflectionResponse>, context: CallContext
    ) async throws {
        for try await request in requests {
            let file: FileDescriptor? =
                switch request.messageRequest {
                case .fileContainingSymbol(let name): FileDescriptors.file(containing: name)
                case .fileByFilename(let name): FileDescriptors.file(named: name)
                default: nil
                }
            let files = ReflectionFileDescriptorResponse(fileDescriptorProto: file.map { [$0.serializedBytes] } ?? [])
            try await responses.write(
                ReflectionServerReflectionResponse(messageResponse: .fileDescriptorResponse(files)))
        }
    }
}

private let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// Runs a server with these services and a channel to it around the body.
private func withServer(
    _ services: [any RPCService], _ body: @escaping @Sendable (RPCChannel) async throws -> Void
) async throws {
    let server = RPCServer(RPCServerConfiguration(), services: services, log: quiet)
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await server.run() }
        let channel = RPCChannel(host: "127.0.0.1", port: try await server.boundPort, log: quiet)
        do {
            try await body(channel)
        } catch {
            Issue.record(error)
        }
        await channel.close()
        group.cancelAll()
        try await group.waitForAll()
    }
}

/// Calls a method by name with JSON texts; the responses' texts.
private func call(
    _ channel: RPCChannel, _ service: String, _ method: String, _ json: String, options: CallOptions = CallOptions()
) async throws -> [String] {
    let (schema, pool) = try await ServerReflection(channel).service(named: service)
    let call = DynamicCall(try schema.method(named: method), of: pool, on: channel)
    var responses: [String] = []
    try await call.run(JSONDocument.sequence(parsing: json.utf8), options: options) { responses.append($0.text()) }
    return responses
}

@Suite(.timeLimit(.minutes(1))) struct DynamicCallTests {
    private static func services() -> [any RPCService] {
        let services: [any RPCService] = [TestService(), Health(services: ["vomma.testing.v1.Test"])]
        return services + Reflection.versions(of: services)
    }

    @Test("All four kinds of method, by reflection alone")
    func kinds() async throws {
        try await withServer(Self.services()) { channel in
            let json = #"{"aDouble":1.5,"anInt64":"-7","colours":["COLOUR_RED",9],"bytesById":{"1":"AAE="}}"#
            #expect(try await call(channel, "vomma.testing.v1.Test", "Echo", json) == [json])
            #expect(try await call(channel, "Test", "Echo", "") == ["{}"])
            let numbers = try await call(channel, "Test", "Count", #"{"count":3}"#)
            #expect(numbers == ["{}", #"{"value":"1"}"#, #"{"value":"2"}"#])
            #expect(try await call(channel, "Test", "Sum", #"{"value":1}{"value":2}"#) == [#"{"value":"3"}"#])
            #expect(try await call(channel, "Test", "Sum", "") == ["{}"])
            let many = (1...2000).map { _ in #"{"value":1}"# }.joined()
            let sums = try await call(channel, "Test", "Accumulate", many)
            #expect(sums.count == 2000 && sums.last == #"{"value":"2000"}"#)
            #expect(try await call(channel, "grpc.health.v1.Health", "Check", "{}") == [#"{"status":"SERVING"}"#])
            var options = CallOptions()
            try options.metadata.append("extra", "yes")
            #expect(try await call(channel, "Test", "Echo", "{}", options: options) == [#"{"aString":"yes"}"#])
        }
    }

    @Test("A status's details are JSON, by their types; where a type is unknown, or does not fit, bytes")
    func details() async throws {
        try await withServer(Self.services()) { channel in
            do {
                _ = try await call(channel, "Test", "Echo", #"{"aString":"details"}"#)
                Issue.record("no status")
            } catch let status as RPCStatus {
                let texts = await ServerReflection(channel).details(of: status).map { $0.text() }
                let type = #""@type":"type.googleapis.com/"#
                #expect(
                    texts == [
                        "{\(type)google.rpc.BadRequest\","
                            + #""fieldViolations":[{"field":"a_string","description":"is “details”"}]}"#,
                        "{\(type)vomma.testing.v1.Number\"," + #""value":"7"}"#,
                        #"{"@type":"x/nobody.Knows","@value":"AQI="}"#, #"{"@type":"x/google.rpc.Help","@value":"/w=="}"#,
                    ])
                #expect(await ServerReflection(channel).details(of: RPCStatus(.notFound)).isEmpty)
            }
        }
    }

    @Test("The call's status is thrown, after the responses that came before it; a bad document calls nothing")
    func failures() async throws {
        try await withServer(Self.services()) { channel in
            func fails(_ method: String, _ json: String) async -> (any Error)? {
                do {
                    let responses = try await call(channel, "Test", method, json)
                    Issue.record("\(responses)")
                    return nil
                } catch {
                    return error
                }
            }
            #expect(
                await fails("Echo", #"{"aString":"fail"}"#) as? RPCStatus
                    == RPCStatus(.failedPrecondition, "as asked for"))
            #expect(await fails("Count", #"{"count":13}"#) as? RPCStatus == RPCStatus(.outOfRange, "13 is enough"))
            #expect(
                await fails("Accumulate", #"{"value":1}{"value":-2}{"value":3}"#) as? RPCStatus
                    == RPCStatus(.aborted, "below zero"))
            #expect(
                await fails("Echo", "{}{}") as? DynamicMessageError == .wrongRequestCount(method: "Echo", count: 2))
            #expect(
                await fails("Sum", #"{"value":1}{"value":true}"#) as? DynamicMessageError
                    == .unfitJSON(path: "value", reason: "a boolean where an integer is expected"))
            let known = ["Echo", "Count", "Sum", "Accumulate"]
            #expect(
                await fails("None", "") as? DynamicMessageError
                    == .unknownMethod(service: "vomma.testing.v1.Test", method: "None", known: known))
        }
    }

    @Test("The list of services, and names that are not on it")
    func list() async throws {
        try await withServer(Self.services()) { channel in
            let reflection = ServerReflection(channel)
            let names = [
                "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection", "vomma.testing.v1.Test",
            ]
            #expect(try await reflection.services() == names)
            await #expect(throws: DynamicMessageError.unknownService(name: "None", known: names)) {
                try await reflection.service(named: "None")
            }
            // Two services end so: neither is meant.
            await #expect(throws: DynamicMessageError.unknownService(name: "ServerReflection", known: names)) {
                try await reflection.service(named: "ServerReflection")
            }
            do {
                _ = try await reflection.pool(containing: "no.Such")
                Issue.record("found")
            } catch let status as RPCStatus {
                #expect(status.code == .notFound)
            }
        }
    }

    @Test("Servers with only the older version, with files one at a time, and without reflection")
    func versions() async throws {
        let older = Self.services().filter { $0.serviceName != "grpc.reflection.v1.ServerReflection" }
        try await withServer(older) { channel in
            let sum = try await call(channel, "Test", "Sum", #"{"value":5}"#)
            #expect(sum == [#"{"value":"5"}"#])
        }
        try await withServer([SparseReflection()]) { channel in
            let pool = try await ServerReflection(channel).pool(containing: "vomma.v1.HestonInverter")
            #expect(pool.missingFiles.isEmpty && pool.message(named: "vomma.v1.Surface") != nil)
        }
        try await withServer([TestService()]) { channel in
            do {
                _ = try await ServerReflection(channel).services()
                Issue.record("listed")
            } catch let status as RPCStatus {
                #expect(status.code == .unimplemented && status.message.contains("no reflection"))
            }
        }
    }
}
