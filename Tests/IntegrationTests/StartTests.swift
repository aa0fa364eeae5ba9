import ChildProcesses
import Foundation
import LocalStack
import RPC
import Storage
import Testing
import VommaProto

extension Integration {
    /// What a service says, and the code it ends with, when it can't start.
    @Suite(.serialized) struct StartTests {
        private struct Outcome: Sendable {
            var status: Int32
            var output: String
        }

        /// Runs a service's executable to its end.
        private static func run(
            _ service: ServiceName, _ arguments: [String] = [], _ variables: [String: String] = [:]
        ) async throws -> Outcome {
            let (status, output) = try await ChildProcess.run(
                Fleet.binaries + "/" + service.rawValue, arguments, environment: variables)
            return Outcome(status: status, output: output)
        }

        @Test("--help describes every variable and ends well", arguments: ServiceName.allCases)
        func help(_ service: ServiceName) async throws {
            let help = try await Self.run(service, ["--help"])
            #expect(
                help.status == 0 && help.output.contains("VOMMA_PORT") && help.output.contains("\(service.defaultPort)")
            )
        }

        @Test("compose.yml gives a service the variables that it knows, and every address", arguments: ServiceName.allCases)
        func containers(_ service: ServiceName) async throws {
            let help = try await Self.run(service, ["--help"]).output
            let known = Set(help.matches(of: /VOMMA_[A-Z_]*[A-Z]/).map { String($0.0) })
            let given = try ComposeFile().variables(of: service.rawValue)
            #expect(given.subtracting(known) == [], "given, but not known")
            // Their defaults are on 127.0.0.1, where in a container nobody else is.
            // Limits and tokens are handed on from compose's own environment.
            let needed = Set(ServiceName.allCases.map(\.addressVariable) + ["VOMMA_DATABASE_URL"]).union(
                known.filter { $0.contains(/^VOMMA_(TLS_|RPC_|TOKENS?_FILE)/) })
            #expect(known.intersection(needed).subtracting(given) == [], "needed, but not given")
            #expect(given.contains("VOMMA_TLS_KEY") && given.count >= 4)
        }

        @Test("limits and tokens of a process are handed on to the services that it starts, and nothing else of it is")
        func handedOn() async throws {
            let folder = FileManager.default.temporaryDirectory.appending(path: "vomma-\(UUID().uuidString)").path
            defer { try? FileManager.default.removeItem(atPath: folder) }
            var configuration = LocalStack.Configuration(
                binaries: Fleet.binaries, dataFolder: folder, databaseURL: "")
            // Each of the others would keep the service from its start.
            configuration.environment = LocalStack.Configuration.handedOn([
                "VOMMA_RPC_MAX_HEADER_BYTES": "2000", "VOMMA_TOKENS_FILE": "", "VOMMA_TOKEN_FILE": "",
                "VOMMA_PORT": "none", "VOMMA_LOG_LEVEL": "none", "PATH": "none",
            ])
            #expect(configuration.environment.count == 3)
            let stack = try LocalStack(configuration, log: Fleet.silent)
            let child = stack.child(.hestonInverter)
            try await stack.restart(child)
            defer { child.kill() }
            let health = HealthClient(stack.channel(.hestonInverter))
            let long = CallOptions(metadata: ["x": String(repeating: "0", count: 2000)])
            let status = await failure { _ = try await health.check(HealthCheckRequest(), options: long) }
            #expect(status == RPCStatus(.resourceExhausted, "headers of more than 2000 bytes"))
        }

        /// Who `vomma run` is, and by which command it is made that.
        struct Runner: Sendable, CustomTestStringConvertible {
            let testDescription: String
            let prefix: [String]
            /// Who PostgreSQL runs as, and owns its data.
            let server: String

            static let itself = Runner(
                testDescription: "this user", prefix: [], server: geteuid() == 0 ? "postgres" : NSUserName())
            static let ordinary = Runner(
                testDescription: "an ordinary user",
                prefix: ["/usr/bin/setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--inh-caps=-all"],
                server: "nobody")

            /// Root can be another user as well, if that one may enter the build's folder.
            static let possible: [Runner] = {
                guard geteuid() == 0 else { return [itself] }
                let vomma = Fleet.binaries + "/vomma"
                let mayRun = try? ChildProcess(
                    ordinary.prefix[0], ordinary.prefix.dropFirst() + ["/usr/bin/test", "-x", vomma],
                    output: .unnamedFile
                ).waitUntilEnd()
                if mayRun == 0 { return [itself, ordinary] }
                print("not tested: vomma run as an ordinary user, who may not run \(vomma) here")
                return [itself]
            }()
        }

        @Test("vomma run starts a PostgreSQL of its own, as root and as an ordinary user", arguments: Runner.possible)
        func ownCluster(_ runner: Runner) async throws {
            let folder = "/tmp/vomma-run-\(UUID().uuidString)"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(atPath: folder) }
            if runner.server == "nobody" {
                try FileManager.default.setAttributes([.ownerAccountName: "nobody"], ofItemAtPath: folder)
            }
            let command = runner.prefix + [Fleet.binaries + "/vomma", "run", "--data-folder", folder]
            let child = try ChildProcess(
                command[0], Array(command.dropFirst()), environment: ["PATH": "/usr/bin:/bin"], output: .collected)
            let started = await child.line { $0.contains("private cluster in") }
            #expect(started != nil, "\(child.text)")
            let data = folder + "/postgresql/server/data"
            let owner = try FileManager.default.attributesOfItem(atPath: data)[.ownerAccountName] as? String
            #expect(owner == runner.server)
            let process = try #require(
                try String(contentsOfFile: data + "/postmaster.pid", encoding: .utf8).split(separator: "\n").first)
            let running = try FileManager.default.attributesOfItem(atPath: "/proc/\(process)")
            #expect(running[.ownerAccountName] as? String == runner.server)
            child.signal(SIGTERM)
            #expect(await child.end() == 130, "\(child.text)")
            // It takes its server along.
            #expect(!FileManager.default.fileExists(atPath: data + "/postmaster.pid"))
        }

        @Test("An unknown argument is refused")
        func unknownArgument() async throws {
            let outcome = try await Self.run(.trainer, ["--fast"])
            #expect(outcome.status == 64 && outcome.output.contains("--fast") && outcome.output.contains("--help"))
        }

        @Test("All faults of a configuration are said at once")
        func badConfiguration() async throws {
            let outcome = try await Self.run(
                .executionService, [],
                ["VOMMA_PORT": "99999", "VOMMA_LOG_LEVEL": "loud", "VOMMA_MARKET_GATEWAY": "nowhere"])
            #expect(outcome.status == 78)
            for word in [
                "VOMMA_PORT", "99999", "VOMMA_LOG_LEVEL", "loud", "VOMMA_MARKET_GATEWAY", "VOMMA_DATABASE_URL",
            ] {
                #expect(outcome.output.contains(word), "\(word) is not in: \(outcome.output)")
            }
        }

        @Test("A database that can't be used ends the service with the reason, without the password")
        func badDatabase() async throws {
            let fleet = try await Fleet.shared()
            let url = fleet.databaseURL
            let colon = try #require(url.range(of: "vomma:"))
            let at = try #require(url.range(of: "@"))
            let cases: [(url: String, words: String)] = [
                ("nonsense", "database URL looks like"),
                ("postgresql://vomma:s3cret@[::1/vomma", "malformed"),
                (url.replacingCharacters(in: colon.upperBound..<at.lowerBound, with: "s3cret"), "password"),
                (url.replacingOccurrences(of: "@/vomma", with: "@/elsewhere"), "no such database"),
                ("postgresql://vomma:s3cret@127.0.0.1:1/vomma", "unavailable"),
            ]
            for (url, words) in cases {
                let started = ContinuousClock.now
                let outcome = try await Self.run(
                    .marketGateway, [], ["VOMMA_DATABASE_URL": url, "VOMMA_DATABASE_PATIENCE": "1", "VOMMA_PORT": "0"])
                #expect(outcome.status == 1 && outcome.output.contains(words), "\(outcome)")
                #expect(outcome.output.contains("market-gateway: ") && outcome.output.contains("VOMMA_DATABASE_URL"))
                #expect(!outcome.output.contains("s3cret"))
                // Nobody waits for what waiting can't mend.
                #expect(ContinuousClock.now - started < .seconds(20))
            }
        }

        @Test("A port in use is named")
        func portInUse() async throws {
            let fleet = try await Fleet.shared()
            let port = fleet.stack.child(.hestonInverter).port
            let outcome = try await Self.run(.hestonInverter, [], ["VOMMA_PORT": "\(port)"])
            #expect(outcome.status == 1 && outcome.output.contains("127.0.0.1:\(port) is in use"), "\(outcome)")
        }
    }
}
