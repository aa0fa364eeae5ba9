internal import ArgumentParser
internal import Evaluation
internal import Foundation
internal import LocalStack
internal import MarketData
internal import Policies
internal import Reports
internal import VommaProto

/// `vomma model`: the registry of models.
struct ModelCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "model", abstract: "List, judge, promote, roll back and export models.",
        subcommands: [
            ListModels.self, AcceptModel.self, PromoteModel.self, RollBackModel.self, ModelLedger.self,
            ExportModel.self,
        ])
}

struct ListModels: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List the registry's models.")

    @OptionGroup var stack: StackOptions
    @Argument(help: "Only this name.")
    var name: String?

    func run() async throws {
        try await explaining {
            let models = try await TrainerClient(stack.channel(.trainer)).listModels(
                ListModelsRequest(name: name ?? "")
            ).models
            guard !models.isEmpty else {
                print("no models yet: `vomma run` and `vomma train` make them")
                return
            }
            let rows = models.map { [$0.name, "\($0.version)", $0.kind, $0.stage, String($0.sha256.prefix(12))] }
            print(
                Report(
                    title: "Models", verdict: "\(models.count) versions.",
                    sections: [.init("Registry", [.table(header: ["name", "version", "kind", "stage", "sha-256"], rows: rows)])]
                ).text())
        }
    }
}

struct AcceptModel: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "accept", abstract: "Judge a policy on bars that nobody has looked at.",
        discussion: """
            A candidate is judged once, on a block of time behind all that it was trained and chosen on: profitable from \
            19.99 USD under the exchange's real rules and fees, not by luck, with every head at work. A verdict that it is \
            not is a normal answer, and a useful one. What was accepted may be promoted.

            Example: vomma model accept policy:3 --stream test --symbol BTCUSDT --from 2026-02-01 --to 2026-04-01
            """)

    @OptionGroup var stack: StackOptions
    @Argument(help: "NAME:VERSION.")
    var model: String
    @Option(help: "The stream whose features are used, as `vomma status` lists it.")
    var stream: String
    @Option(help: "The symbol to trade.")
    var symbol: String
    @Option(help: "The final block's begin, such as 2026-02-01.")
    var from: String
    @Option(help: "The final block's end.")
    var to: String
    @Option(help: "Write the verdict with all that it rests on as JSON into this file.")
    var json: String?
    @Option(help: "Write the report with its pictures into this file, as one HTML page.")
    var html: String?

    private struct Judged: Decodable {
        var acceptance: AcceptanceReport
    }

    func run() async throws {
        try await explaining {
            let reference = try ModelName(model)
            guard reference.version > 0 else { throw ValidationError("say which version: NAME:VERSION") }
            let specification: [String: Any] = [
                "model": reference.name, "version": reference.version, "stream": stream, "symbol": symbol, "from": from,
                "to": to,
            ]
            let text = String(
                decoding: try JSONSerialization.data(withJSONObject: specification, options: [.sortedKeys]),
                as: UTF8.self)
            let follower = JobFollower(TrainerClient(try stack.channel(.trainer)))
            let result = try await follower.ask(kind: "accept", prefix: "accept", specification: text).resultJSON
            let judged: Judged = try decode(result)
            let report = AcceptancePage(
                title: "Acceptance of \(model) on \(symbol), \(from) to \(to)", acceptance: judged.acceptance
            ).report()
            print(report.text())
            if let json { try result.write(toFile: json, atomically: true, encoding: .utf8) }
            if let html {
                try report.html().write(toFile: html, atomically: true, encoding: .utf8)
                print("\nThe same with pictures: \(html)")
            }
            if !judged.acceptance.passed { throw ExitCode(2) }
        }
    }
}

struct PromoteModel: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "promote", abstract: "Make a version the live one.",
        discussion: "A policy has to be accepted, an inverse network to have passed its gate.")

    @OptionGroup var stack: StackOptions
    @Argument(help: "NAME:VERSION.")
    var model: String
    @Option(help: "Why; written into the ledger.")
    var reason = ""
    @Flag(help: "A policy that no acceptance has passed, to trade on paper. The ledger says so.")
    var unaccepted = false

    func run() async throws {
        try await explaining {
            let reference = try ModelName(model)
            let promoted = try await TrainerClient(stack.channel(.trainer)).promoteModel(
                PromoteModelRequest(
                    name: reference.name, version: reference.version, reason: reason, unaccepted: unaccepted))
            print("\(promoted.name) version \(promoted.version) is live")
        }
    }
}

struct RollBackModel: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rollback", abstract: "Make live again what was live before.")

    @OptionGroup var stack: StackOptions
    @Argument(help: "The model's name.")
    var name: String
    @Option(help: "Why; written into the ledger.")
    var reason = ""

    func run() async throws {
        try await explaining {
            let model = try await TrainerClient(stack.channel(.trainer)).rollBackModel(
                RollBackModelRequest(name: name, reason: reason))
            print("\(model.name) version \(model.version) is live again")
        }
    }
}

struct ModelLedger: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ledger", abstract: "Tell which version was live when, and why.")

    @OptionGroup var stack: StackOptions
    @Argument(help: "The model's name.")
    var name: String

    func run() async throws {
        try await explaining {
            let lines = try await TrainerClient(stack.channel(.trainer)).listPromotions(
                ListPromotionsRequest(name: name)
            ).promotions
            let rows = lines.map {
                [
                    "\(Timestamp(microseconds: $0.timeMicroseconds))", $0.action, "\($0.version)",
                    $0.previousVersion == 0 ? "–" : "\($0.previousVersion)", $0.accepted ? "yes" : "no", $0.reason,
                ]
            }
            print(
                Report(
                    title: "Ledger of \(name)", verdict: lines.isEmpty ? "It was never live." : "\(lines.count) lines.",
                    sections: rows.isEmpty
                        ? []
                        : [
                            .init(
                                "Promotions",
                                [.table(header: ["time", "", "version", "before", "accepted", "reason"], rows: rows)])
                        ]
                ).text())
        }
    }
}

struct ExportModel: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Write a model's file: safetensors, or ONNX for other runtimes.",
        discussion: """
            A policy's safetensors hold its normaliser too, so that `vomma backtest --bars` needs no stack. As ONNX it \
            takes normalised observations: docs/learning.md.
            """)

    @OptionGroup var stack: StackOptions
    @Argument(help: "NAME or NAME:VERSION; without a version the live one.")
    var model: String
    @Option(name: .shortAndLong, help: "The file to write.")
    var output: String
    @Flag(help: "Write a policy as an ONNX model.")
    var onnx = false

    func run() async throws {
        try await explaining {
            let reference = try ModelName(model)
            let found = try await TrainerClient(stack.channel(.trainer)).getModel(
                GetModelRequest(name: reference.name, version: reference.version))
            if onnx, !found.kind.hasPrefix("policy.") {
                throw ValidationError("\(found.name) is of kind \(found.kind): policies alone are written as ONNX")
            }
            let bytes = onnx ? try Policy(safetensors: found.checkpoint).onnx() : found.checkpoint
            try Data(bytes).write(to: URL(fileURLWithPath: output), options: .atomic)
            print("\(found.name) version \(found.version), \(bytes.count) bytes: \(output)")
        }
    }
}
