internal import ChildProcesses
internal import Foundation
internal import RPC
import Testing
internal import VommaProto

@Suite("Generated code")
struct GeneratedCodeTests {
    /// Regenerates all of it beside the committed files, with the generator of this build.
    @Test("is what the protos say", .enabled(if: hasProtoc, "protoc or protoc-c is not installed"))
    func upToDate() async throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "../..").standardized
        let output = FileManager.default.temporaryDirectory.appending(path: "vomma-generated-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: output) }
        let plugin = try #require(Self.plugin, "protoc-gen-vomma is not beside the tests")
        let (status, words) = try await ChildProcess.run(
            root.appending(path: "proto/generate.sh").path, [plugin.path, output.path])
        try #require(status == 0, "\(words)")
        for folder in ["VommaProto/Generated", "CVommaProto"] {
            let made = try Self.files(in: output.appending(path: folder))
            let committed = try Self.files(in: root.appending(path: "Sources").appending(path: folder))
            #expect(made.keys.sorted() == committed.keys.sorted(), "files of \(folder): run proto/generate.sh")
            for (name, text) in made {
                let isSame = committed[name] == text
                #expect(isSame, "\(folder)/\(name) is not what the protos say: run proto/generate.sh")
            }
        }
    }

    private static var hasProtoc: Bool {
        ["protoc", "protoc-c"].allSatisfy { tool in
            (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").contains {
                FileManager.default.isExecutableFile(atPath: "\($0)/\(tool)")
            }
        }
    }

    /// The generator in the folder of this test's own binary, which the runner names or is.
    private static var plugin: URL? {
        let arguments = CommandLine.arguments
        let bundle = arguments.firstIndex(of: "--test-bundle-path").flatMap { index in
            index + 1 < arguments.count ? arguments[index + 1] : nil
        }
        var folder = URL(fileURLWithPath: bundle ?? arguments.first ?? "").deletingLastPathComponent()
        for _ in 0..<4 {
            let candidate = folder.appending(path: "protoc-gen-vomma")
            if FileManager.default.isExecutableFile(atPath: candidate.path) { return candidate }
            folder.deleteLastPathComponent()
        }
        return nil
    }

    private static func files(in folder: URL) throws -> [String: String] {
        var result: [String: String] = [:]
        for path in try FileManager.default.subpathsOfDirectory(atPath: folder.path) {
            guard ["swift", "c", "h", "modulemap"].contains(URL(fileURLWithPath: path).pathExtension) else { continue }
            result[path] = try String(contentsOf: folder.appending(path: path), encoding: .utf8)
        }
        return result
    }

    private struct Partial: TestingTestService {
        func echo(_ request: TestingEverything, context: CallContext) async throws -> TestingEverything { request }
    }

    @Test("names services and methods as on the wire; what is not implemented says so")
    func services() async throws {
        let service = Partial()
        #expect(service.serviceName == "vomma.testing.v1.Test")
        let names = ["Echo", "Count", "Sum", "Accumulate"]
        #expect(service.methods.map(\.path) == names.map { "/vomma.testing.v1.Test/\($0)" })
        let context = CallContext(path: "/vomma.testing.v1.Test/Echo")
        let message = TestingEverything(aString: "x")
        #expect(try await service.echo(message, context: context) == message)
        let status = await #expect(throws: RPCStatus.self) {
            try await service.sum(RequestStream { nil }, context: context)
        }
        #expect(status?.code == .unimplemented)
    }

    @Test("describes itself for reflection")
    func descriptors() throws {
        let market = FileDescriptors.vommaV1Market
        #expect(market.name == "vomma/v1/market.proto" && market.services == ["vomma.v1.MarketGateway"])
        #expect(market.symbols.contains("vomma.v1.Bar") && market.symbols.contains("vomma.v1.MarketGateway.Subscribe"))
        // A FileDescriptorProto starts with its name (field 1) and package (field 2).
        let head = [0x0A, UInt8(market.name.utf8.count)] + Array(market.name.utf8) + [0x12, 8] + Array("vomma.v1".utf8)
        #expect(market.serializedBytes.starts(with: head))
        let inner = FileDescriptors.file(containing: "vomma.testing.v1.Everything.Inner")
        #expect(inner?.name == "vomma/testing/v1/testing.proto")
        #expect(FileDescriptors.file(containing: "vomma.v1") == nil)
        let heston = try #require(FileDescriptors.file(named: "vomma/v1/heston.proto"))
        #expect(FileDescriptors.withDependencies(heston).map(\.name) == ["vomma/v1/market.proto", heston.name])
        for file in FileDescriptors.all {
            for name in file.dependencies { #expect(FileDescriptors.file(named: name) != nil) }
        }
    }
}
