import Foundation
import Glibc
import Logging
import RPC
import Synchronization
import Testing
import VommaProto

@testable import ServiceKit

/// What was logged, as text.
private final class LogRecord: Sendable {
    private let lines = Mutex<[String]>([])
    var all: [String] { lines.withLock { $0 } }

    var log: Logger {
        var log = Logger(label: "test") { _ in Keeper(record: self) }
        log.logLevel = .debug
        return log
    }

    private struct Keeper: LogHandler {
        let record: LogRecord
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.debug
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let values = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
            record.lines.withLock { $0.append("\(event.level) \(event.message)\(values)") }
        }
    }
}

/// A file that tests change.
private struct TokenFile: ~Copyable {
    let path = FileManager.default.temporaryDirectory.appending(path: "tokens-\(UUID().uuidString)").path

    init(_ text: String) throws { try write(text) }
    func write(_ text: String, mode: Int = 0o600) throws { try Self.write(text, to: path, mode: mode) }
    static func write(_ text: String, to path: String, mode: Int = 0o600) throws {
        // Made anew, in one step, so that nobody sees half of it.
        let draft = path + ".new"
        let isMade = FileManager.default.createFile(
            atPath: draft, contents: Data(text.utf8), attributes: [.posixPermissions: mode])
        guard isMade, unsafe rename(draft, path) == 0 else { throw Fault() }
    }
    func remove() throws { try FileManager.default.removeItem(atPath: path) }
    deinit { try? FileManager.default.removeItem(atPath: path) }

    func accepted() throws -> WatchedFile<AcceptedTokens> {
        try WatchedFile(path) { text, path throws(TokenFileError) in try AcceptedTokens(text, path: path) }
    }
}

@Suite struct TokenTests {
    /// SHA-256 of the alphabet, as `printf abc… | sha256sum` has it.
    private static let alphabet = "abcdefghijklmnopqrstuvwxyz"
    private static let sum = "71c480df93d6ae2f1efad1447c66c9525e316218cf51fc8d9ed832f2daf18b73"

    @Test("the line of a token is its name and SHA-256, and lets it in under that name")
    func lines() throws {
        #expect(BearerToken(Self.alphabet)?.line(name: "alice") == "alice \(Self.sum)")
        let tokens = (0..<20).map { _ in BearerToken() }
        #expect(Set(tokens.map(\.text)).count == 20)
        let lines = try tokens.enumerated().map { try #require($1.line(name: "n\($0)")) }
        let accepted = try AcceptedTokens(lines.joined(separator: "\n"), path: "file")
        for (index, token) in tokens.enumerated() {
            #expect(accepted.name(of: token.text) == "n\(index)")
            #expect(BearerToken(token.text) != nil)
            for near in [token.text + "0", String(token.text.dropLast()), token.text.uppercased(), ""] {
                #expect(accepted.name(of: near) == nil, "\(near)")
            }
        }
        for name in ["", "a b", "#a", "ä", "a\n"] { #expect(tokens[0].line(name: name) == nil, "\(name)") }
        for text in ["short", String(repeating: "x", count: 513), "sixteen of them ", "sixteen, but nöt"] {
            #expect(BearerToken(text) == nil, "\(text)")
        }
    }

    @Test("comments, empty lines, spaces, DOS lines, upper case and two tokens of one name are read")
    func forms() throws {
        let other = BearerToken()
        let text = "# who may call\r\n\r\n  alice\t\(Self.sum.uppercased())  \r\n#bob x\n"
            + (try #require(other.line(name: "alice")))
        let accepted = try AcceptedTokens(text, path: "file")
        #expect(accepted.name(of: Self.alphabet) == "alice" && accepted.name(of: other.text) == "alice")
    }

    @Test(
        "a line that is no name and SHA-256 is named by its number, and not shown",
        arguments: ["alice", "alice \(alphabet)", "alice \(sum)0", "alice \(sum) x", "\(sum)", "älice \(sum)",
            "alice \(sum.dropLast())g"])
    func badLines(line: String) {
        #expect(throws: TokenFileError.badLine(path: "file", line: 2)) {
            try AcceptedTokens("# secret\n\(line)\n", path: "file")
        }
        #expect(!"\(TokenFileError.badLine(path: "file", line: 2))".contains(Self.alphabet))
    }

    @Test("a file that lets nobody in, or is not there, or holds no token of ours, is a fault of the configuration")
    func faults() throws {
        for text in ["", "\n# alice\n"] {
            #expect(throws: TokenFileError.noTokens(path: "file")) { try AcceptedTokens(text, path: "file") }
        }
        let file = try TokenFile("two tokens_of_sixteen_characters")
        var settings = Settings(environment: ["VOMMA_TOKENS_FILE": "/no/such", "VOMMA_TOKEN_FILE": file.path])
        _ = CommonSettings(&settings, port: 1, needsDatabase: false)
        #expect(
            settings.faults == [
                "VOMMA_TOKEN_FILE: \(file.path) is not one token of 16 to 512 visible characters: "
                    + "`vomma token new NAME` makes one",
                "VOMMA_TOKENS_FILE: /no/such cannot be read: No such file or directory",
            ])
    }

    @Test(
        "a token that every user of the machine can get at is not used, and the file, its mode and the remedy are named",
        arguments: [
            (0o600, true), (0o400, true), (0o640, true), (0o660, true), (0o644, false), (0o604, false), (0o602, false),
        ])
    func exposedToken(mode: Int, isFine: Bool) throws {
        let file = try TokenFile("")
        try file.write(BearerToken().text, mode: mode)
        var settings = Settings(environment: ["VOMMA_TOKEN_FILE": file.path])
        let peers = PeerSettings(&settings)
        guard !isFine else {
            #expect(settings.faults.isEmpty && peers.token != nil)
            return
        }
        let digits = String(mode, radix: 8)
        #expect(
            settings.faults == [
                "VOMMA_TOKEN_FILE: \(file.path) holds a secret that every user of this machine can get at "
                    + "(mode 0\(digits)): chmod 600 \(file.path)"
            ])
        // Of servers, who know sums of tokens only, nothing is asked.
        let token = BearerToken()
        try file.write(try #require(token.line(name: "a")), mode: mode)
        #expect(try file.accepted().content.name(of: token.text) == "a")
    }

    @Test("a token's file that is opened to everybody is logged once, and its token stays as it was")
    func exposedLater() throws {
        let (first, second) = (BearerToken(), BearerToken())
        let file = try TokenFile(first.text)
        let token = try WatchedFile(file.path, isSecret: true) { text, path throws(TokenFileError) in
            try TokenCredentials.metadata(text, path: path)
        }
        let record = LogRecord()
        try file.write(second.text, mode: 0o644)
        for _ in 0..<3 { token.reread(record.log) }
        #expect(token.content["authorization"] == "Bearer \(first.text)")
        #expect(record.all.count == 1 && record.all[0].contains("chmod 600"), "\(record.all)")
        try file.write(second.text)
        token.reread(record.log)
        #expect(token.content["authorization"] == "Bearer \(second.text)")
    }

    @Test("a changed file holds at once; one that cannot be used is logged once, and what was there stays")
    func reread() throws {
        let (first, second) = (BearerToken(), BearerToken())
        let record = LogRecord()
        let file = try TokenFile(try #require(first.line(name: "a")))
        let tokens = try file.accepted()
        func check(_ name: String?, _ other: String?, logged count: Int) {
            for _ in 0..<2 { tokens.reread(record.log) }
            #expect(tokens.content.name(of: first.text) == name && tokens.content.name(of: second.text) == other)
            #expect(record.all.count == count, "\(record.all)")
        }
        check("a", nil, logged: 0)
        try file.write("a \(first.text)")
        check("a", nil, logged: 1)
        try file.remove()
        check("a", nil, logged: 2)
        try file.write(try #require(second.line(name: "b")))
        check(nil, "b", logged: 3)
        #expect(record.all.map { String($0.prefix { $0 != " " }) } == ["warning", "warning", "info"])
        #expect(record.all.allSatisfy { $0.contains(file.path) && !$0.contains(first.text) }, "\(record.all)")
    }

    @Test(
        "a token goes in plain text to this machine alone",
        arguments: [
            ("127.0.0.1", true), ("127.9.9.9", true), ("localhost", true), ("LocalHost", true), ("::1", true),
            ("gateway", false), ("10.0.0.1", false), ("127.0.0.1.example.org", false), ("127.example.org", false),
            ("127.0.0", false), ("::2", false), ("0.0.0.0", false),
        ])
    func plainText(host: String, isHere: Bool) throws {
        let file = try TokenFile(BearerToken().text)
        var settings = Settings(environment: ["VOMMA_TOKEN_FILE": file.path])
        let peers = PeerSettings(&settings)
        let fault = peers.tokenFault(for: [Address(host: "127.0.0.1", port: 1), Address(host: host, port: 2)])
        #expect((fault == nil) == isHere)
        if let fault { #expect(fault.contains("\(Address(host: host, port: 2))") && fault.contains("VOMMA_TLS_AUTH")) }
        #expect(PeerSettings().tokenFault(for: [Address(host: host, port: 2)]) == nil)
    }
}

/// Says who called.
private struct WhoService: RPCService {
    let serviceName = "test.Who"
    let methods = [
        RPCMethod.unary("/test.Who/Am") { (_: HealthCheckRequest, context) -> HealthCheckRequest in
            HealthCheckRequest(service: context[CallerName.self] ?? "nobody")
        }
    ]
}

@Suite(.timeLimit(.minutes(1))) struct TokenAuthenticationTests {
    private static func who(
        _ channel: RPCChannel, _ authorization: String?, method: String = "/test.Who/Am"
    ) async throws -> String {
        let metadata: Metadata = authorization.map { ["authorization": $0] } ?? [:]
        let answer: HealthCheckRequest = try await channel.unary(
            method, HealthCheckRequest(), options: CallOptions(metadata: metadata))
        return answer.service
    }

    /// The status's code and message of a call that is refused.
    private static func refusal(_ body: () async throws -> Void) async -> RPCStatus? {
        await thrown(body) as? RPCStatus
    }

    @Test("who shows a known token gets through, under its name; all others are told what to send; health is open")
    func calls() async throws {
        let (alice, bob) = (BearerToken(), BearerToken())
        let record = LogRecord()
        let lines = [alice.line(name: "alice"), bob.line(name: "bob")].compactMap(\.self).joined(separator: "\n")
        let file = try TokenFile(lines)
        let tokens = try file.accepted()
        let health = Health(services: [])
        let services: [any RPCService] = [health, WhoService()]
        try await withServer(
            services + Reflection.versions(of: services),
            interceptors: [ServerLogging(record.log), TokenAuthentication(tokens: tokens)]
        ) { (_, channel) async throws in
            #expect(try await Self.who(channel, "Bearer \(alice.text)") == "alice")
            #expect(try await Self.who(channel, "bearer  \(bob.text)") == "bob")
            let stranger = BearerToken()
            for shown in [
                nil, "", "Bearer", alice.text, "Basic \(alice.text)", "Bearer \(stranger.text)",
                "Bearer \(alice.text)x", "Bearer \(alice.text) x", "Bearer\(alice.text)",
            ] {
                let status = await Self.refusal { _ = try await Self.who(channel, shown) }
                #expect(status?.code == .unauthenticated, "\(shown ?? "nothing")")
                #expect(status?.message.contains("Bearer <token>") == true, "\(String(describing: status))")
            }
            // Whether a method is there is told to those who may call.
            let unknown = "/test.Who/Else"
            #expect(
                await Self.refusal { _ = try await Self.who(channel, nil, method: unknown) }?.code == .unauthenticated)
            let known = "Bearer \(alice.text)"
            #expect(
                await Self.refusal { _ = try await Self.who(channel, known, method: unknown) }?.code == .unimplemented)

            #expect(try await HealthClient(channel).check(HealthCheckRequest()).status == .serving)
            var watch = HealthClient(channel).watch(HealthCheckRequest()).makeAsyncIterator()
            #expect(try await watch.next()?.status == .serving)
            let reflection = ReflectionServerReflectionClient(channel).serverReflectionInfo()
            #expect(
                await Self.refusal { for try await _ in reflection.responses {} }?.code == .unauthenticated)
            health.stopServing()
        }
        #expect(record.all.contains { $0.contains(" caller=alice ") && $0.contains("path=/test.Who/Am") })
        #expect(record.all.contains { $0.contains(" caller=bob ") })
        #expect(!record.all.contains { $0.contains(alice.text) || $0.contains(bob.text) })
    }

    @Test("the channels of a process with a token file show it, also a new one; a call's own authorization stays")
    func credentials() async throws {
        let (first, second, third) = (BearerToken(), BearerToken(), BearerToken())
        let lines = [first.line(name: "first"), second.line(name: "second"), third.line(name: "third")]
        let file = try TokenFile(lines.compactMap(\.self).joined(separator: "\n"))
        let own = try TokenFile(first.text + "\n")
        var settings = Settings(environment: ["VOMMA_TOKEN_FILE": own.path])
        let peers = PeerSettings(&settings)
        try settings.validate()
        let renew: @Sendable () throws -> Void = { [path = own.path] in
            try TokenFile.write(second.text, to: path)
            peers.token?.reread(quiet)
        }
        try await withServer([WhoService()], interceptors: [TokenAuthentication(tokens: try file.accepted())]) {
            server, _ in
            let channel = peers.channel(to: [Address(host: "127.0.0.1", port: try await server.boundPort)], log: quiet)
            #expect(try await Self.who(channel, nil) == "first")
            #expect(try await Self.who(channel, "Bearer \(third.text)") == "third")
            try renew()
            #expect(try await Self.who(channel, nil) == "second")
            await channel.close()
        }
    }
}
