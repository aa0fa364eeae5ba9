import RPC
import Testing
import VommaProto

@testable import ServiceKit

private let check = CallContext(path: "/grpc.health.v1.Health/Check")

/// Checks what a watcher is told next; `nil` is the call's end.
private func expect(
    _ status: HealthCheckResponse.ServingStatus?, from iterator: inout ResponseStream<HealthCheckResponse>.Iterator,
    at location: SourceLocation = #_sourceLocation
) async throws {
    let told = try await iterator.next()?.status
    #expect(told == status, sourceLocation: location)
}

@Suite(.timeLimit(.minutes(1))) struct HealthTests {
    @Test("the server and each of its services are SERVING, others NOT_FOUND; then all NOT_SERVING")
    func checks() async throws {
        let health = Health(services: ["vomma.v1.Trainer", "vomma.v1.HestonInverter"])
        func status(_ service: String) async throws -> HealthCheckResponse.ServingStatus {
            try await health.check(HealthCheckRequest(service: service), context: check).status
        }
        for expected in [HealthCheckResponse.ServingStatus.serving, .notServing] {
            #expect(try await status("") == expected)
            #expect(try await status("vomma.v1.Trainer") == expected)
            #expect(try await status("vomma.v1.HestonInverter") == expected)
            for unknown in ["vomma.v1.trainer", "vomma.v1", "x", "nö €"] {
                #expect(
                    await thrown { _ = try await status(unknown) } as? RPCStatus
                        == RPCStatus(.notFound, "no service “\(unknown)” here"))
            }
            health.stopServing()
        }
    }

    @Test("a watcher is told the status, then its change, then the call ends; unknown services are watched as such")
    func watches() async throws {
        let health = Health(services: ["vomma.v1.Trainer"])
        try await withServer([health]) { _, channel in
            let client = HealthClient(channel)
            var iterators = ["", "vomma.v1.Trainer", "x"].map { name in
                client.watch(HealthCheckRequest(service: name)).makeAsyncIterator()
            }
            for (index, status) in [HealthCheckResponse.ServingStatus.serving, .serving, .serviceUnknown].enumerated() {
                try await expect(status, from: &iterators[index])
            }
            health.stopServing()
            for index in [0, 1] { try await expect(.notServing, from: &iterators[index]) }
            // That a service is unknown is told once.
            for index in iterators.indices { try await expect(nil, from: &iterators[index]) }
            // A process that drains already: one answer is enough, there will be no other.
            var late = client.watch(HealthCheckRequest()).makeAsyncIterator()
            try await expect(.notServing, from: &late)
            try await expect(nil, from: &late)
        }
    }

    @Test("watchers who leave are forgotten, and a drain does not wait for those who stay")
    func drain() async throws {
        let health = Health(services: [])
        try await withServer([health]) { server, channel in
            let client = HealthClient(channel)
            for _ in 0..<50 {
                let stream = client.watch(HealthCheckRequest())
                var iterator = stream.makeAsyncIterator()
                _ = try await iterator.next()
                stream.cancel()
            }
            var staying = client.watch(HealthCheckRequest()).makeAsyncIterator()
            try await expect(.serving, from: &staying)
            health.stopServing()
            server.beginShutdown()
            try await expect(.notServing, from: &staying)
            try await expect(nil, from: &staying)
        }
    }
}

@Suite(.timeLimit(.minutes(1))) struct ReflectionTests {
    private static let names = [
        "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
    ]

    private static func services() -> [any RPCService] {
        let health = Health(services: [])
        return [health] + Reflection.versions(of: [health])
    }

    private typealias Question = ReflectionServerReflectionRequest.MessageRequest
    private typealias Answer = ReflectionServerReflectionResponse.MessageResponse

    /// Answers to the questions, all asked in one call of either version.
    private static func ask(_ questions: [Question], isAlpha: Bool, on channel: RPCChannel) async throws -> [Answer?] {
        var answers: [Answer?] = []
        let requests = questions.map { ReflectionServerReflectionRequest(host: "here", messageRequest: $0) }
        if isAlpha {
            let call = ReflectionV1AlphaServerReflectionClient(channel).serverReflectionInfo()
            for request in requests {
                try await call.requests.write(.init(serializedBytes: request.serializedBytes()))
            }
            call.requests.finish()
            for try await response in call.responses {
                let same = try ReflectionServerReflectionResponse(serializedBytes: response.serializedBytes())
                #expect(same.validHost == "here" && same.originalRequest == requests[answers.count])
                answers.append(same.messageResponse)
            }
        } else {
            let call = ReflectionServerReflectionClient(channel).serverReflectionInfo()
            for request in requests { try await call.requests.write(request) }
            call.requests.finish()
            for try await response in call.responses {
                #expect(response.validHost == "here" && response.originalRequest == requests[answers.count])
                answers.append(response.messageResponse)
            }
        }
        return answers
    }

    @Test("services, files by name and by symbol; what is not there is an error response, and the call goes on",
        arguments: [false, true])
    func answers(isAlpha: Bool) async throws {
        try await withServer(Self.services()) { _, channel in
            let questions: [Question] = [
                .listServices("*"), .fileByFilename("vomma/v1/heston.proto"), .fileByFilename("no.proto"),
                .fileContainingSymbol("vomma.v1.HestonInverter"),
                .fileContainingSymbol("vomma.v1.HestonInverter.Price"),
                .fileContainingSymbol("vomma.v1.HestonParameters"), .fileContainingSymbol("vomma.v1.InversionMethod"),
                .fileContainingSymbol("vomma.v1.Nothing"), .fileContainingSymbol(""),
                .fileContainingExtension(.init(containingType: "vomma.v1.Surface", extensionNumber: 100)),
                .listServices(""),
            ]
            let answers = try await Self.ask(questions, isAlpha: isAlpha, on: channel)
            try #require(answers.count == questions.count)
            let list = Answer.listServicesResponse(
                .init(service: Self.names.map { ReflectionServiceResponse(name: $0) }))
            #expect(answers[0] == list && answers[10] == list)
            // The file asked for comes first, and all that it imports comes with it.
            let wanted = ["heston.proto", "market.proto"].map {
                FileDescriptors.file(named: "vomma/v1/\($0)")?.serializedBytes
            }
            for index in [1, 3, 4, 5, 6] {
                guard case .fileDescriptorResponse(let files) = answers[index] else {
                    Issue.record("\(questions[index]): \(String(describing: answers[index]))")
                    continue
                }
                #expect(files.fileDescriptorProto.map(Optional.some) == wanted, "\(questions[index])")
            }
            for index in [2, 7, 8, 9] {
                guard case .errorResponse(let error) = answers[index] else {
                    Issue.record("\(questions[index]): \(String(describing: answers[index]))")
                    continue
                }
                #expect(error.errorCode == 5 && !error.errorMessage.isEmpty, "\(questions[index])")
            }
        }
    }

    @Test(
        "messages have no extensions; what is no message is an error response", arguments: [false, true])
    func extensionNumbers(isAlpha: Bool) async throws {
        try await withServer(Self.services()) { _, channel in
            // The last is declared inside another message.
            let messages = [
                "vomma.v1.Surface", "grpc.health.v1.HealthCheckResponse", "google.rpc.BadRequest.FieldViolation",
            ]
            let others = [
                "vomma.v1.Nothing", "", "vomma.v1", "vomma.v1.HestonInverter", "vomma.v1.HestonInverter.Price",
                "grpc.health.v1.HealthCheckResponse.ServingStatus",
            ]
            let answers = try await Self.ask(
                (messages + others).map { .allExtensionNumbersOfType($0) }, isAlpha: isAlpha, on: channel)
            try #require(answers.count == messages.count + others.count)
            for (type, answer) in zip(messages, answers) {
                #expect(answer == .allExtensionNumbersResponse(.init(baseTypeName: type)))
            }
            for (type, answer) in zip(others, answers.dropFirst(messages.count)) {
                guard case .errorResponse(let error) = answer else {
                    Issue.record("\(type): \(String(describing: answer))")
                    continue
                }
                #expect(error.errorCode == 5 && error.errorMessage == "no message “\(type)”")
            }
        }
    }

    @Test("a question of no kind that we know is INVALID_ARGUMENT")
    func nothingAsked() {
        let answer = Reflection(serviceNames: []).answer(ReflectionServerReflectionRequest(host: "here"))
        guard case .errorResponse(let error) = answer.messageResponse else { Issue.record("\(answer)"); return }
        #expect(error.errorCode == 3)
    }

    @Test("every service served can be described, down to each message of its methods")
    func complete() async throws {
        let served = Self.services()
        for service in served {
            let file = try #require(FileDescriptors.file(containing: service.serviceName), "\(service.serviceName)")
            #expect(file.services.contains(service.serviceName))
            for method in service.methods {
                let name = String(method.path.dropFirst().map { $0 == "/" ? "." : $0 })
                #expect(FileDescriptors.file(containing: name)?.name == file.name, "\(name)")
            }
        }
    }
}
