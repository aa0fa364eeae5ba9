import ChildProcesses
import Foundation
import Testing

/// A service's process as its operator meets it. What is said here of one service holds for all: they share the code.
@Suite(.timeLimit(.minutes(1)))
struct ServiceProcessTests {
    private static let service = "heston-inverter-service"

    @Test("--help lists every variable with its default, and starts nothing")
    func help() async throws {
        let end = try await ServiceUnderTest(Self.service, arguments: ["--help"]).end()
        #expect(end.exitCode == 0)
        for text in ["VOMMA_HOST", "127.0.0.1", "VOMMA_PORT", "50053", "VOMMA_LOG_LEVEL", "VOMMA_EXIT_WITH_STDIN"] {
            #expect(end.output.contains(text), "\(text) is not in \(end.output)")
        }
        #expect(!end.output.contains("listening"))
    }

    @Test("a bad configuration ends the process with 78 and one line that names every fault")
    func badConfiguration() async throws {
        let end = try await ServiceUnderTest(
            Self.service,
            environment: [
                "VOMMA_PORT": "99999999", "VOMMA_LOG_LEVEL": "loud", "VOMMA_EXIT_WITH_STDIN": "perhaps",
                "VOMMA_RPC_MAX_AGE_SECONDS": "-1", "VOMMA_RPC_CLIENT_PING_WITHOUT_CALLS": "maybe",
            ]
        ).end()
        #expect(end.exitCode == 78)
        #expect(end.output.split(separator: "\n").count == 1, "\(end.output)")
        for text in [
            "VOMMA_PORT is “99999999”", "VOMMA_LOG_LEVEL is “loud”", "VOMMA_EXIT_WITH_STDIN is “perhaps”",
            "VOMMA_RPC_MAX_AGE_SECONDS is “-1”, expected a whole number from 0 to 31536000",
            "VOMMA_RPC_CLIENT_PING_WITHOUT_CALLS is “maybe”, expected one of no, yes", "--help",
        ] {
            #expect(end.output.contains(text), "\(text) is not in \(end.output)")
        }
    }

    @Test("an argument that is not known ends the process with 64")
    func unknownArgument() async throws {
        let end = try await ServiceUnderTest(Self.service, arguments: ["--port=1"]).end()
        #expect(end.exitCode == 64)
        #expect(end.output.contains("--port=1") && end.output.contains("--help"), "\(end.output)")
    }

    @Test("a port in use ends the second process with 1 and says so; the first serves on")
    func portInUse() async throws {
        let first = try ServiceUnderTest(Self.service)
        let port = try await first.port()
        let end = try await ServiceUnderTest(Self.service, environment: ["VOMMA_PORT": "\(port)"]).end()
        #expect(end.exitCode == 1)
        #expect(
            end.output.contains("127.0.0.1:\(port) is in use") && end.output.contains("VOMMA_PORT"), "\(end.output)")
        first.terminate()
        #expect(await first.end().exitCode == 0)
    }

    @Test("an address that is none of this machine's ends the process with 1 and is named")
    func badHost() async throws {
        let end = try await ServiceUnderTest(Self.service, environment: ["VOMMA_HOST": "192.0.2.1"]).end()
        #expect(end.exitCode == 1)
        #expect(end.output.contains("192.0.2.1"), "\(end.output)")
    }

    @Test("vomma call tells a refused request's fields, as JSON below the status")
    func statusDetails() async throws {
        let service = try ServiceUnderTest(Self.service)
        let call = try await ChildProcess.run(
            Bundle.main.bundleURL.appending(path: "vomma").path,
            ["call", "127.0.0.1:\(try await service.port())", "HestonInverter/Price", #"{"parameters":{}}"#],
            environment: [:])
        let detail = #""fieldViolations":[{"field":"strikes","description":"is empty"}]}"#
        #expect(
            call.status == 1
                && call.output == "INVALID_ARGUMENT: strikes is empty\n"
                    + #"{"@type":"type.googleapis.com/google.rpc.BadRequest","# + detail + "\n", "\(call.output)")
        service.closeInput()
        #expect(await service.end().exitCode == 0)
    }

    @Test("a limit that is set by its variable is what a client meets", arguments: [nil, "1024"])
    func limit(maxMessageByteCount: String?) async throws {
        let service = try ServiceUnderTest(
            Self.service, environment: maxMessageByteCount.map { ["VOMMA_RPC_MAX_MESSAGE_BYTES": $0] } ?? [:])
        let strikes = [String](repeating: "100", count: 500).joined(separator: ",")
        let call = try await ChildProcess.run(
            Bundle.main.bundleURL.appending(path: "vomma").path,
            ["call", "127.0.0.1:\(try await service.port())", "HestonInverter/Price", #"{"strikes":[\#(strikes)]}"#],
            environment: [:])
        #expect(call.status == 1)
        if maxMessageByteCount == nil {
            #expect(call.output.hasPrefix("INVALID_ARGUMENT: parameters"), "\(call.output)")
        } else {
            #expect(call.output.hasPrefix("RESOURCE_EXHAUSTED") && call.output.contains("1024"), "\(call.output)")
        }
        service.closeInput()
        #expect(await service.end().exitCode == 0)
    }

    @Test("SIGTERM, or the end of standard input, ends it with 0", arguments: [false, true])
    func gracefulEnd(bySignal: Bool) async throws {
        let service = try ServiceUnderTest(Self.service)
        _ = try await service.port()
        if bySignal { service.terminate() } else { service.closeInput() }
        let end = await service.end()
        #expect(end.exitCode == 0, "\(end.output)")
        #expect(end.output.contains("stopped"))
    }
}
