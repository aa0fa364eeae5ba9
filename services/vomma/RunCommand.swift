internal import ArgumentParser
internal import Foundation
internal import LocalStack
internal import Logging
internal import MarketData
internal import Reports
internal import ServiceKit
internal import Storage
internal import UnixSignals

/// `vomma run`: the whole job on this machine.
struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Run the whole job: history, training, paper trading, report.",
        discussion: """
            Without --data the market is simulated: Bitcoin under Heston with an option chain every hour, and one alt coin. \
            With --data DIR it is recorded: 1-minute bars, funding, open interest, fear & greed, news and Deribit option \
            chains in the layout of docs/data.md.

            Everything is kept in the data folder. A run that is interrupted goes on where it stopped when the same command \
            is given again; a finished one reports at once.
            """)

    @Option(help: "Folder of recorded history. Without it the market is simulated.")
    var data: String?
    @Option(help: "The simulated market: heston, or gbm, whose returns cannot be predicted.")
    var simulator = "heston"
    @Option(help: "Where the database, logs and reports are kept.")
    var dataFolder = ".vomma"
    @Option(help: "The symbol to trade, with --data.")
    var symbol = "ETHUSDT"
    @Option(help: "Seed of the simulated market and of the training.")
    var seed: UInt64 = 123
    @Option(help: "Environment steps of the policy's training.")
    var steps = 150_000
    @Option(help: "Synthetic surfaces that the inverse network learns from; 0: surfaces are calibrated without one.")
    var surfaces = RunPlan.usualSurfaces
    @Option(help: "Starting capital, in USDT.")
    var capital = "19.99"
    @Option(help: "Days of the test span that are traded, with --data (1 to 31, from 2026-03-01).")
    var testDays = 31
    @Option(help: "Spans in place of the usual ones, with --data: train from here,")
    var trainFrom: String?
    @Option(help: "to here;")
    var trainTo: String?
    @Option(help: "stop each training by what follows, to here;")
    var validateTo: String?
    @Option(help: "select one of several seeds by what follows, to here;")
    var selectTo: String?
    @Option(help: "a day later, trade and judge what follows, to here. All but --select-to, or none.")
    var testTo: String?
    @Option(help: "Trainings to select among, with --select-to.")
    var seeds = 3
    @Option(help: "Trainer processes.")
    var trainers = 1
    @Option(help: "Use this PostgreSQL instead of a private one.")
    var databaseUrl: String?
    @Flag(help: "Leave the stack running after the report, until Ctrl-C.")
    var keep = false
    @Flag(help: "Do not measure the latency of a paced replay at the end.")
    var skipLatency = false

    func validate() throws {
        guard steps >= 2048 else { throw ValidationError("--steps is at least 2048, one rollout") }
        guard surfaces == 0 || (1000...2_000_000).contains(surfaces) else {
            throw ValidationError("--surfaces is 0, or 1000 to 2000000")
        }
        guard ["heston", "gbm"].contains(simulator) else { throw ValidationError("--simulator is heston or gbm") }
        guard (1...31).contains(testDays) else { throw ValidationError("--test-days is 1 to 31") }
        guard (1...16).contains(trainers) else { throw ValidationError("--trainers is 1 to 16") }
        guard (1...32).contains(seeds) else { throw ValidationError("--seeds is 1 to 32") }
        _ = try spans()
    }

    private func spans() throws -> RunPlan.Spans? {
        let given = [trainFrom, trainTo, validateTo, testTo]
        guard given.contains(where: { $0 != nil }) || selectTo != nil else { return nil }
        guard data != nil else { throw ValidationError("spans are of recorded history: give --data") }
        func time(_ text: String?, _ option: String) throws -> Timestamp {
            guard let time = text.flatMap({ Timestamp($0) }) else {
                throw ValidationError("\(option) is such as 2026-01-31, and has to be given with the other spans")
            }
            return time
        }
        let spans = RunPlan.Spans(
            trainFrom: try time(trainFrom, "--train-from"), trainTo: try time(trainTo, "--train-to"),
            validateTo: try time(validateTo, "--validate-to"),
            selectTo: try selectTo.map { try time($0, "--select-to") }, testTo: try time(testTo, "--test-to"))
        let order = [spans.trainFrom, spans.trainTo, spans.validateTo, spans.chosenTo + .days(1), spans.testTo]
        guard zip(order, order.dropFirst()).allSatisfy({ $0 < $1 }), spans.chosenTo >= spans.validateTo else {
            throw ValidationError("the spans do not follow each other in time")
        }
        return spans
    }

    func run() async throws {
        let terminal = Terminal()
        let folder = URL(fileURLWithPath: dataFolder).path
        var plan: RunPlan
        if let data {
            plan = .recorded(
                folder: URL(fileURLWithPath: data).path, symbol: symbol, seed: seed, trainingSteps: steps,
                surfaces: surfaces, capital: capital, testDays: testDays)
        } else {
            plan = .simulated(simulator, seed: seed, trainingSteps: steps, surfaces: surfaces, capital: capital)
        }
        if let spans = try spans() { plan.use(spans, seeds: selectTo == nil ? 1 : seeds) }
        let chosen = plan
        let outcome = await withTaskGroup(of: Result<Void, any Error>.self) { group in
            group.addTask { await Self.result { try await work(chosen, folder: folder, terminal: Terminal()) } }
            group.addTask {
                await Self.result {
                    for await _ in await UnixSignalsSequence(trapping: .sigint, .sigterm) { throw Interrupted() }
                }
            }
            let first = await group.next() ?? .success(())
            group.cancelAll()
            await group.waitForAll()
            return first
        }
        switch outcome {
        case .success: return
        case .failure(is Interrupted):
            terminal.note("interrupted; the same command goes on from here")
            throw ExitCode(130)
        case .failure(let error):
            terminal.note("vomma run: \(explain(error))")
            throw ExitCode(1)
        }
    }

    private static func result(_ body: () async throws -> Void) async -> Result<Void, any Error> {
        do { return .success(try await body()) } catch { return .failure(error) }
    }

    private func work(_ plan: RunPlan, folder: String, terminal: Terminal) async throws {
        var log = Logger(label: "vomma") { StreamLogHandler.standardError(label: $0) }
        log.logLevel = .error
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        terminal.begin("starting PostgreSQL")
        let cluster = try databaseUrl == nil ? EmbeddedCluster(.init(folder: folder + "/postgresql")) : nil
        let url: String
        if let cluster { url = try await cluster.start() } else { url = databaseUrl ?? "" }
        terminal.finish(cluster == nil ? "using the given one" : "private cluster in \(dataFolder)/postgresql")
        do {
            // In a cluster of ours each service has a role of its own. A given database's URL is used as it is: its
            // role need not have the right to make others.
            let urls = try cluster == nil
                ? [:] : await LocalStack.roleURLs(url: url, credentials: folder + "/credentials", log: log)
            try await serve(plan, folder: folder, url: url, urls: urls, terminal: terminal, log: log)
            try await cluster?.stop()
        } catch {
            try? await cluster?.stop()
            throw error
        }
    }

    private func serve(
        _ plan: RunPlan, folder: String, url: String, urls: [ServiceName: String], terminal: Terminal, log: Logger
    ) async throws {
        terminal.begin("starting the services")
        var configuration = LocalStack.Configuration(
            binaries: URL(fileURLWithPath: Self.executablePath).deletingLastPathComponent().path, dataFolder: folder,
            databaseURL: url)
        configuration.databaseURLs = urls
        configuration.trainers = trainers
        configuration.peers = try PeerSettings.process()
        configuration.environment = LocalStack.Configuration.handedOn(ProcessInfo.processInfo.environment)
        let stack = try LocalStack(configuration, log: log)
        let pool = try ConnectionPool(StorageConfiguration(url: url), log: log)
        let outcome: Result<Void, any Error>
        do {
            try await stack.start()
            terminal.finish("\(stack.children.count) processes on loopback, logs in \(dataFolder)/logs")
            var addresses: [String: String] = [:]
            for child in stack.children { addresses[child.name.rawValue] = "127.0.0.1:\(child.port)" }
            let children = Dictionary(grouping: stack.children, by: \.name.rawValue)
            let metricsPorts = children.mapValues { $0.map(\.metricsPort) }
            try StackFile(databaseURL: url, addresses: addresses, metricsPorts: metricsPorts).write(folder: folder)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await stack.supervise() }
                group.addTask {
                    let driver = RunDriver(plan: plan, stack: stack, pool: pool, terminal: Terminal(), log: log)
                    try await driver.drive(measuringLatency: !skipLatency)
                    let report = try await RunReport(plan: plan, pool: pool).make()
                    let path = try Self.write(report, folder: folder, name: plan.name)
                    print(report.text())
                    print("\nThe same with plots: \(path)")
                    if keep {
                        Terminal().note("the stack keeps running; Ctrl-C stops it")
                        while true { try await Task.sleep(for: .seconds(3600)) }
                    }
                }
                try await group.next()
                group.cancelAll()
            }
            outcome = .success(())
        } catch {
            outcome = .failure(error)
        }
        StackFile.remove(folder: folder)
        // In a task of its own, so that an interrupted run stops its services as gently as a finished one.
        await Task { await stack.stop() }.value
        await pool.close()
        try outcome.get()
    }

    static func write(_ report: Report, folder: String, name: String) throws -> String {
        let reports = folder + "/reports"
        try FileManager.default.createDirectory(atPath: reports, withIntermediateDirectories: true)
        let path = "\(reports)/\(name).html"
        try report.html().write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }

    /// This program's own file: the services are beside it.
    static var executablePath: String {
        (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
    }
}

/// Somebody pressed Ctrl-C, or asked the process to end.
struct Interrupted: Error {}
