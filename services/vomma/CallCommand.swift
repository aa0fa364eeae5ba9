internal import ArgumentParser
internal import DynamicMessages
internal import Foundation
internal import Logging
internal import RPC
internal import ServiceKit

/// `vomma call`: any method of any gRPC server that has reflection, with JSON.
struct CallCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "call",
        abstract: "Call a method of a gRPC server with JSON.",
        usage: """
            vomma call <host:port> <service/method> ['{json}'] [--timeout 10s]
            vomma call <host:port> --list
            vomma call <host:port> --describe <name>
            """,
        discussion: """
            The server tells its types by reflection: no protos are needed. A stream of responses is printed as one \
            line each; a stream of requests is several JSON documents, one after another. With “-” the JSON is read \
            from standard input. Of a service the last part of its name suffices where that is unique.

            Is a service well?
              vomma call 127.0.0.1:50053 grpc.health.v1.Health/Check

            Price two calls under Heston:
              vomma call 127.0.0.1:50053 vomma.v1.HestonInverter/Price '{
                "parameters": {"kappa": 2, "theta": 0.25, "sigma": 0.8,
                               "rho": -0.5, "v0": 0.3},
                "spot": 100, "strikes": [90, 110], "tau": [0.25]}'

            The exit code is 0 if the call ended with OK, and otherwise 1, with the status on standard error, and \
            its details, one line of JSON each.
            """)

    @Argument(help: "Where the server listens.")
    var address: Address
    @Argument(help: "Full name of the service, and the method.")
    var method: String?
    @Argument(help: "The request as proto3 JSON, several for a stream; “-” reads standard input. Default: {}.")
    var json: String?
    @Flag(help: "Print the names of the services.")
    var list = false
    @Option(help: "Print a service, message or enum of this full name, with the types that it uses.")
    var describe: String?
    @Option(help: "Time for the whole call, such as 10s, 500ms or 2m. Default: 10s, and none for streams of responses.")
    var timeout: Timeout?
    @Option(help: "Send this metadata too, as key=value. May be given several times.")
    var metadata: [String] = []

    func validate() throws {
        let count = (list ? 1 : 0) + (describe != nil ? 1 : 0) + (method != nil ? 1 : 0)
        guard count == 1 else { throw ValidationError("give one of <service/method>, --list and --describe") }
        guard method.map({ Self.split($0) != nil }) != false else {
            throw ValidationError("the method is written service/method, such as grpc.health.v1.Health/Check")
        }
        _ = try callMetadata()
    }

    func run() async throws {
        let addresses = [RPC.Address(host: address.host, port: address.port)]
        let channel = try PeerSettings.process(calling: addresses).channel(
            to: addresses, log: Logger(label: "vomma.call") { _ in SwiftLogNoOpLogHandler() })
        do {
            try await run(channel)
            await channel.close()
        } catch let status as RPCStatus {
            let lines = await ServerReflection(channel, options: CallOptions(timeout: .seconds(10)))
                .details(of: status).map { $0.text() }
            await channel.close()
            throw Self.failure((["\(status.code.wireName): \(status.message)"] + lines).joined(separator: "\n"))
        } catch let error as DynamicMessageError {
            throw Self.failure("\(error)")
        }
    }

    private func run(_ channel: RPCChannel) async throws {
        let metadata = try callMetadata()
        let brief = CallOptions(timeout: timeout?.duration ?? .seconds(10), metadata: metadata)
        let reflection = ServerReflection(channel, options: brief)
        if list {
            for service in try await reflection.services() { try Self.print(service) }
        } else if let describe {
            let pool = try await reflection.pool(containing: describe)
            guard let text = pool.text(describing: describe) else {
                throw Self.failure("\(describe) is no service, message or enum")
            }
            try Self.print(text)
        } else if let method, let (service, name) = Self.split(method) {
            let requests = try JSONDocument.sequence(parsing: requestBytes())
            let (schema, pool) = try await reflection.service(named: service)
            let call = DynamicCall(try schema.method(named: name), of: pool, on: channel)
            let isStream = call.method.responseIsStream
            let options = isStream ? CallOptions(timeout: timeout?.duration, metadata: metadata) : brief
            try await call.run(requests, options: options) { try Self.print($0.text(pretty: !isStream)) }
        }
    }

    private func requestBytes() throws -> [UInt8] {
        json == "-" ? Array(try FileHandle.standardInput.readToEnd() ?? Data()) : Array((json ?? "").utf8)
    }

    private func callMetadata() throws -> Metadata {
        var result = Metadata()
        for entry in metadata {
            guard let separator = entry.firstIndex(of: "=") else {
                throw ValidationError("--metadata is key=value, not “\(entry)”")
            }
            do throws(RPCError) {
                try result.append(String(entry[..<separator]), String(entry[entry.index(after: separator)...]))
            } catch {
                throw ValidationError("“\(entry)” cannot be sent as metadata")
            }
        }
        return result
    }

    /// `a.b.Service/Method`, a leading slash allowed.
    private static func split(_ method: String) -> (service: String, method: String)? {
        let parts = method.split(separator: "/", omittingEmptySubsequences: true)
        return parts.count == 2 ? (String(parts[0]), String(parts[1])) : nil
    }

    /// At once, so that a stream is seen as it comes.
    private static func print(_ line: String) throws {
        try FileHandle.standardOutput.write(contentsOf: Data((line + "\n").utf8))
    }

    private static func failure(_ message: String) -> ExitCode {
        try? FileHandle.standardError.write(contentsOf: Data((message + "\n").utf8))
        return .failure
    }
}

extension CallCommand {
    /// `host:port`; an IPv6 address is in brackets.
    struct Address: ExpressibleByArgument {
        let host: String
        let port: Int

        init?(argument: String) {
            guard let colon = argument.lastIndex(of: ":"), let port = Int(argument[argument.index(after: colon)...]),
                (1...65_535).contains(port)
            else { return nil }
            var host = argument[..<colon]
            if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
            guard !host.isEmpty else { return nil }
            self.host = String(host)
            self.port = port
        }
    }

    /// A positive time with its unit: `10s`, `500ms`, `2m`, `1h`; a bare number is seconds.
    struct Timeout: ExpressibleByArgument {
        let duration: Duration

        init?(argument: String) {
            let digits = argument.prefix { $0.isASCII && $0.isNumber || $0 == "." }
            guard let value = Double(digits), value > 0, value < 1e9 else { return nil }
            switch argument.dropFirst(digits.count) {
            case "ms": duration = .milliseconds(value)
            case "", "s": duration = .seconds(value)
            case "m": duration = .seconds(value * 60)
            case "h": duration = .seconds(value * 3600)
            default: return nil
            }
        }
    }
}

extension StatusCode {
    /// As gRPC writes it: `INVALID_ARGUMENT`.
    fileprivate var wireName: String {
        "\(self)".map { $0.isUppercase ? "_\($0)" : $0.uppercased() }.joined()
    }
}
