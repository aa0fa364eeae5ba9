internal import ArgumentParser
internal import Foundation
internal import LocalStack
internal import Logging
internal import MarketData
internal import RPC
internal import Reports
internal import ServiceKit
internal import Storage
internal import VommaProto

/// Options of the commands that talk to a running stack.
struct StackOptions: ParsableArguments {
    @Option(help: "The data folder of the `vomma run --keep` that is running.")
    var dataFolder = ".vomma"
    @Option(help: "The database, instead of the running stack's.")
    var databaseUrl: String?

    func addresses(_ name: ServiceName) -> [Address] { StackFile.addresses(name, folder: dataFolder) }

    /// Where the metrics are of a stack that runs in the data folder.
    func metricsPorts(_ name: ServiceName) -> [Int] {
        StackFile.read(folder: dataFolder)?.metricsPorts[name.rawValue] ?? []
    }

    func channel(_ name: ServiceName) throws -> RPCChannel {
        var log = Logger(label: "vomma") { StreamLogHandler.standardError(label: $0) }
        log.logLevel = .error
        let addresses = addresses(name)
        return try PeerSettings.process(calling: addresses).channel(to: addresses, log: log)
    }

    func pool() throws -> ConnectionPool {
        let url = databaseUrl ?? StackFile.read(folder: dataFolder)?.databaseURL
            ?? ProcessInfo.processInfo.environment["VOMMA_DATABASE_URL"]
        guard let url else {
            throw ValidationError(
                "no database: give --database-url, set VOMMA_DATABASE_URL, or start a stack with `vomma run --keep`")
        }
        var log = Logger(label: "vomma") { StreamLogHandler.standardError(label: $0) }
        log.logLevel = .error
        return try ConnectionPool(StorageConfiguration(url: url), log: log)
    }
}

extension PeerSettings {
    /// This process's own, from its environment, for calls to these addresses.
    static func process(calling addresses: [RPC.Address] = []) throws -> PeerSettings {
        var settings = Settings()
        let peers = PeerSettings(&settings)
        if let fault = peers.tokenFault(for: addresses) { settings.fault(fault) }
        do { try settings.validate() } catch { throw ValidationError("\(error)") }
        return peers
    }
}

/// Runs a command's body and explains what goes wrong.
func explaining(_ body: () async throws -> Void) async throws {
    do { try await body() } catch let error where !(error is ExitCode) && !(error is ValidationError) {
        Terminal().note("vomma: \(explain(error))")
        throw ExitCode(1)
    }
}

/// `vomma migrate`: brings a database's schema up to date.
struct MigrateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate", abstract: "Bring a database's schema up to date.",
        discussion: """
            Services whose role owns the schema do it by themselves at their start; this command does it alone, and says \
            what it did.

            With --credentials it also makes a PostgreSQL role for each service, with the least rights it needs, or \
            brings the roles up to date. The passwords are random, made once, and kept in the folder: \
            <service>/pgpass, to be named in the service's URL:
              VOMMA_DATABASE_URL=postgresql://vomma_trainer@host/vomma?passfile=/path/trainer/pgpass
            """)

    @OptionGroup var stack: StackOptions
    @Option(help: "Make the services' roles too; their passwords are in this folder.")
    var credentials: String?

    func run() async throws {
        try await explaining {
            let pool = try stack.pool()
            let applied = try await pool.migrate()
            print(
                applied.isEmpty ? "the schema is up to date" : "applied: " + applied.map(\.name).joined(separator: ", ")
            )
            if let credentials {
                try await pool.applyRoles(RoleCredentials(folder: credentials))
                for role in DatabaseRole.all { print("role \(role.name): \(credentials)/\(role.service)/pgpass") }
            }
            await pool.close()
        }
    }
}

/// `vomma train`: submits a training job and follows it.
struct TrainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train", abstract: "Submit a training job and follow it to its end.",
        discussion: """
            The specification is JSON, from a file or from standard input (-): docs/jobs.md has the fields of each kind. \
            Submitting the same key twice is one job.

            Example: vomma train policy.ppo my-policy-1 ppo.json --tensorboard runs

            --promote makes the model live. A policy has to be accepted first (vomma model accept), unless --unaccepted \
            says that it is to trade on paper only.
            """)

    @OptionGroup var stack: StackOptions
    @Argument(help: "policy.ppo, evaluate.walk-forward, hmm, heston_inverse_synth …")
    var kind: String
    @Argument(help: "A name for the job.")
    var key: String
    @Argument(help: "A file with the specification, or - for standard input.")
    var specification: String
    @Flag(help: "Make the model that comes out the live one.")
    var promote = false
    @Flag(help: "With --promote: a policy that no acceptance has passed, to trade on paper.")
    var unaccepted = false
    @Option(help: "Write the job's curves as a TensorBoard event file into this folder.")
    var tensorboard: String?
    @Option(help: "Of a walk-forward: write the report with its pictures into this file, as one HTML page.")
    var html: String?

    func run() async throws {
        try await explaining {
            let follower = JobFollower(TrainerClient(try stack.channel(.trainer)))
            let job = try await follower.run(
                kind: kind, key: key, specification: try readSpecification(specification))
            let result = job.resultJSON
            if kind == "evaluate.walk-forward" {
                let report = WalkForwardPage(result: try decode(result)).report()
                print(report.text())
                if let html { try report.html().write(toFile: html, atomically: true, encoding: .utf8) }
            } else {
                print(result)
            }
            if let tensorboard {
                let path = try await follower.writeCurves(of: job, folder: tensorboard)
                Terminal().note("curves: \(path)")
            }
            guard promote else { return }
            let model = try JSONDecoder().decode(PromotableResult.self, from: Data(result.utf8)).model
            _ = try await TrainerClient(stack.channel(.trainer)).promoteModel(
                PromoteModelRequest(
                    name: model.name, version: model.version, reason: "vomma train \(key)", unaccepted: unaccepted))
            Terminal().note("\(model.name) version \(model.version) is live")
        }
    }
}

private struct PromotableResult: Decodable {
    struct Model: Decodable {
        var name: String
        var version: Int64
    }
    var model: Model
}

func readSpecification(_ path: String) throws -> String {
    if path == "-" { return String(decoding: FileHandle.standardInput.readDataToEndOfFile(), as: UTF8.self) }
    guard let data = FileManager.default.contents(atPath: path) else {
        throw ValidationError("\(path) cannot be read")
    }
    return String(decoding: data, as: UTF8.self)
}

/// `vomma report`: makes a run's report again.
struct ReportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "report", abstract: "Make a run's report again, as text and as HTML.")

    @OptionGroup var stack: StackOptions
    @Option(help: "The run's name; without it the runs are listed.")
    var name: String?

    func run() async throws {
        try await explaining {
            let pool = try stack.pool()
            let runs = try await pool.withConnection { connection in
                try SettingsRepository.all(on: connection).filter {
                    $0.key.hasPrefix("run/") && $0.key.hasSuffix("/plan")
                }
                    .map(\.value)
            }
            let plans = try runs.map { try JSONDecoder().decode(RunPlan.self, from: Data($0.text.utf8)) }
            guard let name else {
                print(plans.isEmpty ? "no runs yet: `vomma run` makes one" : plans.map(\.name).joined(separator: "\n"))
                return
            }
            guard let plan = plans.first(where: { $0.name == name }) else {
                throw ValidationError("no run “\(name)”; there are: \(plans.map(\.name).joined(separator: ", "))")
            }
            let report = try await RunReport(plan: plan, pool: pool).make()
            print(report.text())
            print("\nThe same with plots: \(try RunCommand.write(report, folder: stack.dataFolder, name: plan.name))")
            await pool.close()
        }
    }
}
