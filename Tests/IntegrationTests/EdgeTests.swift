import Foundation
import LocalStack
import MarketData
import NeuralNetworks
import RPC
import Storage
import Testing
import VommaProto

extension Integration {
    /// Bad input at every edge of the running services: a clear typed error, and the service goes on.
    @Suite(.serialized) struct EdgeTests {
        // MARK: Malformed messages

        static let unaryMethods: [(service: ServiceName, path: String, methods: [String])] = [
            (
                .marketGateway, "MarketGateway",
                ["CreateStream", "CloseStream", "ListStreams", "GetSurface", "ListInstruments"]
            ),
            (
                .hestonInverter, "HestonInverter",
                ["Invert", "InvertBatch", "Price", "ImpliedVolatility", "Calibrate", "BuildSurface", "DescribeModel"]
            ),
            (.regimeSentiment, "RegimeSentiment", ["FilterRegime", "DescribeRegime", "ScoreText", "GetSentiment"]),
            (.featureService, "FeatureService", ["DescribeSchema"]),
            (.policyService, "PolicyService", ["Decide", "DescribePolicy"]),
            (
                .executionService, "ExecutionService",
                ["GetAccount", "ListOrders", "ListFills", "SetKillSwitch", "Audit"]
            ),
            (
                .trainer, "Trainer",
                ["SubmitJob", "GetJob", "ListJobs", "CancelJob", "ListModels", "PromoteModel", "GetModel"]
            ),
        ]

        @Test("Bytes that are no message are refused by every method, and the service goes on")
        func malformed() async throws {
            let fleet = try await Fleet.shared()
            let bad: [[UInt8]] = [
                [0x0A], [0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0x00], [0x08], [0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
                Array("this is not protobuf".utf8),
            ]
            for (service, name, methods) in Self.unaryMethods {
                let child = fleet.stack.child(service)
                let process = child.processID
                let channel = RPCChannel(host: "127.0.0.1", port: child.port, log: Fleet.silent)
                for method in methods {
                    for bytes in bad {
                        let status = await failure {
                            let _: Raw = try await channel.unary(
                                "/vomma.v1.\(name)/\(method)", Raw(bytes: bytes), options: Fleet.patient)
                        }
                        #expect(
                            status?.code == .internal || status?.code == .invalidArgument,
                            "\(name)/\(method) answers \(bytes) with \(String(describing: status))")
                    }
                }
                let health = try await HealthClient(channel).check(HealthCheckRequest(), options: Fleet.patient)
                #expect(health.status == .serving && child.processID == process && process != nil)
                await channel.close()
            }
        }

        // MARK: heston-inverter-service

        private static func surface() -> Surface {
            let (k, tau) = (ImpliedVolatilitySurface.standardLogMoneyness, ImpliedVolatilitySurface.standardTau)
            return Surface(
                logMoneyness: k, tau: tau, impliedVolatility: Array(repeating: 0.5, count: k.count * tau.count),
                cells: Array(repeating: .observed, count: k.count * tau.count), spot: 100,
                forwards: Array(repeating: 100, count: tau.count), method: "test")
        }

        @Test("Surfaces that can't be inverted are refused with the reason")
        func surfaces() async throws {
            let inverter = try await Fleet.shared().inverter
            func answer(_ change: (inout Surface) -> Void) async -> RPCStatus? {
                var surface = Self.surface()
                change(&surface)
                let request = InvertRequest(surface: surface)
                return await failure { _ = try await inverter.invert(request, options: Fleet.patient) }
            }
            let nan = await answer { $0.impliedVolatility[3] = .nan }
            #expect(nan?.code == .invalidArgument && nan?.message.contains("[3]") == true, "\(String(describing: nan))")
            let short = await answer { $0.impliedVolatility.removeLast() }
            #expect(short?.code == .invalidArgument, "\(String(describing: short))")
            let unordered = await answer { $0.tau.swapAt(0, 1) }
            #expect(
                unordered?.code == .invalidArgument && unordered?.message.contains("tau") == true,
                "\(String(describing: unordered))")
            let sparse = await answer { surface in
                for index in surface.cells.indices.dropFirst(2) {
                    surface.cells[index] = .missing
                    surface.impliedVolatility[index] = .nan
                }
            }
            #expect(sparse?.code == .failedPrecondition, "\(String(describing: sparse))")
            let absent = await failure { _ = try await inverter.invert(InvertRequest(), options: Fleet.patient) }
            #expect(absent?.code == .invalidArgument && absent?.message.contains("surface") == true)
            let good = try await inverter.invert(InvertRequest(surface: Self.surface()), options: Fleet.patient)
            #expect(good.rmseVolatility < 0.01)
        }

        // MARK: Names that nobody knows

        @Test("Unknown streams, accounts, jobs, models and symbols are not found")
        func unknown() async throws {
            let fleet = try await Fleet.shared()
            let patient = Fleet.patient
            func expectNotFound(
                _ what: String, sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
            ) async {
                let status = await failure(body)
                #expect(
                    status?.code == .notFound && status?.message.contains(what) == true,
                    "\(String(describing: status))", sourceLocation: sourceLocation)
            }
            await expectNotFound("nowhere") {
                _ = try await fleet.gateway.closeStream(CloseStreamRequest(stream: "nowhere"), options: patient)
            }
            await expectNotFound("nowhere") {
                for try await _ in fleet.gateway.subscribe(SubscribeRequest(stream: "nowhere"), options: patient) {}
            }
            await expectNotFound("XYZ") {
                let request = GetSurfaceRequest(exchange: "x", currency: "XYZ", asOfMicroseconds: 1)
                _ = try await fleet.gateway.getSurface(request, options: patient)
            }
            await expectNotFound("nowhere") {
                for try await _ in fleet.features.compute(ComputeRequest(stream: "nowhere"), options: patient) {}
            }
            await expectNotFound("nowhere") {
                let request = StreamDecisionsRequest(stream: "nowhere")
                for try await _ in fleet.policy.streamDecisions(request, options: patient) {}
            }
            await expectNotFound("nobody") {
                _ = try await fleet.execution.getAccount(GetAccountRequest(account: "nobody"), options: patient)
            }
            await expectNotFound("nobody") {
                _ = try await fleet.execution.audit(AuditRequest(account: "nobody"), options: patient)
            }
            await expectNotFound("999999") {
                _ = try await fleet.trainer.getJob(GetJobRequest(jobID: 999_999), options: patient)
            }
            await expectNotFound("nothing") {
                _ = try await fleet.trainer.promoteModel(
                    PromoteModelRequest(name: "nothing", version: 1), options: patient)
            }
        }

        @Test("A stream that makes no sense is refused, and leaves nothing behind")
        func badStreams() async throws {
            let fleet = try await Fleet.shared()
            _ = try await Market.shared()
            func answer(_ change: (inout CreateStreamRequest) -> Void) async -> RPCStatus? {
                var request = Market.testStream("refused", pace: .zero)
                change(&request)
                let final = request
                return await failure { _ = try await fleet.gateway.createStream(final, options: Fleet.patient) }
            }
            let cases: [(StatusCode, String, (inout CreateStreamRequest) -> Void)] = [
                (.invalidArgument, "span", { $0.toMicroseconds = $0.fromMicroseconds }),
                (.invalidArgument, "name", { $0.stream = "" }),
                (.invalidArgument, "XYZ", { $0.tradedSymbols = ["XYZ"] }),
                (.invalidArgument, "pace", { $0.paceMicroseconds = -1 }),
                (.invalidArgument, "account_settings_json", { $0.accountSettingsJSON = #"{"capital": }"# }),
                (.invalidArgument, "luck", { $0.accountSettingsJSON = #"{"luck": 7}"# }),
                (.invalidArgument, "capital", { $0.accountSettingsJSON = #"{"capital": "plenty"}"# }),
                (.invalidArgument, "reserve", { $0.accountSettingsJSON = #"{"reserve": 2}"# }),
                (.failedPrecondition, "XYZUSDT", { ($0.symbols, $0.tradedSymbols) = (["XYZUSDT"], []) }),
                (.failedPrecondition, "mars", { $0.exchange = "mars" }),
                (
                    .failedPrecondition, "bars",
                    { request in
                        request.fromMicroseconds += 864_000_000_000
                        request.toMicroseconds += 864_000_000_000
                        request.tradeFromMicroseconds += 864_000_000_000
                    }
                ),
            ]
            for (code, word, change) in cases {
                let status = await answer(change)
                #expect(
                    status?.code == code && status?.message.contains(word) == true,
                    "“\(word)” expected: \(String(describing: status))")
            }
            // The name is free: a refused request is no stream.
            let left = try await fleet.value("SELECT count(*) FROM streams WHERE stream = 'refused'", as: Int64.self)
            #expect(left == 0)
        }

        // MARK: Models

        @Test("Without a promoted policy there are no decisions, and the reason is said")
        func noPolicy() async throws {
            let fleet = try await Fleet.shared()
            var configuration = LocalStack.Configuration(
                binaries: Fleet.binaries, dataFolder: Fleet.folder + "/lonely", databaseURL: fleet.databaseURL)
            configuration.environment = ["VOMMA_POLICY_MODEL": "nobody", "VOMMA_REGIME_MODEL": "nobody"]
            let lonely = try LocalStack(configuration, log: Fleet.silent)
            for name in [ServiceName.policyService, .regimeSentiment] { try await lonely.restart(lonely.child(name)) }
            defer { for child in lonely.children { child.kill() } }
            func channel(_ name: ServiceName) -> RPCChannel {
                RPCChannel(host: "127.0.0.1", port: lonely.child(name).port, log: Fleet.silent)
            }
            let policy = PolicyClient(channel(.policyService))
            let status = await failure {
                _ = try await policy.decide(DecideRequest(state: State()), options: Fleet.patient)
            }
            #expect(status?.code == .failedPrecondition && status?.message.contains("promoted") == true)
            let regimes = RegimeSentimentClient(channel(.regimeSentiment))
            let filtered = await failure {
                _ = try await regimes.filterRegime(
                    FilterRegimeRequest(observations: [0, 0, 0]), options: Fleet.patient)
            }
            #expect(filtered?.code == .failedPrecondition && filtered?.message.contains("promoted") == true)
        }

        @Test("A promoted model that can't be loaded is logged, and the one before goes on")
        func garbageModel() async throws {
            let fleet = try await Fleet.shared()
            let market = try await Market.shared()
            let patient = Fleet.patient
            try await fleet.until("the policy serves") {
                try await fleet.policy.describePolicy(DescribePolicyRequest(), options: patient).modelVersion > 0
            }
            let before = try await fleet.policy.describePolicy(DescribePolicyRequest(), options: patient)
            #expect(before.modelVersion == market.policyVersion)
            let garbage = try await fleet.pool.withConnection { connection in
                try ModelRepository.register(
                    name: "policy", kind: "policy.ppo", checkpoint: [1, 2, 3], schemaVersion: before.schemaVersion,
                    normaliserID: before.normaliserID, metrics: "{}", lineage: "{}", jobID: nil, on: connection
                ).version
            }
            _ = try await fleet.trainer.promoteModel(
                PromoteModelRequest(name: "policy", version: garbage, unaccepted: true), options: patient)
            try await fleet.until("the failure is logged") {
                let log = try String(contentsOfFile: fleet.stack.child(.policyService).logPath, encoding: .utf8)
                return log.contains("cannot be loaded")
            }
            #expect(try await fleet.policy.describePolicy(DescribePolicyRequest(), options: patient) == before)

            // A policy one of whose heads is dead is refused by the head's name.
            let live = try await fleet.trainer.getModel(GetModelRequest(name: "policy"), options: patient)
            let known = try await fleet.trainer.getModel(
                GetModelRequest(name: "policy", version: market.policyVersion), options: patient)
            #expect(live.version == garbage)
            var file = try Safetensors(bytes: known.checkpoint)
            file.tensors = file.tensors.map { tensor in
                guard tensor.name == "critic.1.weight", case .float32(let weights) = tensor.elements else { return tensor }
                return Tensor(tensor.name, shape: tensor.shape, .float32(weights.map { _ in 0 }))
            }
            let bytes = file.bytes()
            let dead = try await fleet.pool.withConnection { connection in
                try ModelRepository.register(
                    name: "policy", kind: "policy.ppo", checkpoint: bytes, schemaVersion: before.schemaVersion,
                    normaliserID: before.normaliserID, metrics: "{}", lineage: "{}", jobID: nil, on: connection
                ).version
            }
            _ = try await fleet.trainer.promoteModel(
                PromoteModelRequest(name: "policy", version: dead, unaccepted: true), options: patient)
            try await fleet.until("the dead head is logged") {
                let log = try String(contentsOfFile: fleet.stack.child(.policyService).logPath, encoding: .utf8)
                return log.contains("head value answers golden input")
            }
            #expect(try await fleet.policy.describePolicy(DescribePolicyRequest(), options: patient) == before)

            // States that do not fit the model are refused.
            let cells = Int(before.window * before.features)
            let state = State(
                stream: "s", symbol: Market.symbol, sequence: 1, schemaVersion: before.schemaVersion,
                normaliserID: before.normaliserID, window: before.window, values: Array(repeating: 0, count: cells),
                mask: Array(repeating: 1, count: cells), filled: before.window, close: 1)
            let decision = try await fleet.policy.decide(DecideRequest(state: state), options: patient)
            #expect(decision.modelVersion == before.modelVersion && decision.targetExposure != nil)
            func refusal(_ change: (inout State) -> Void) async -> StatusCode? {
                var other = state
                change(&other)
                let request = DecideRequest(state: other)
                return await failure { _ = try await fleet.policy.decide(request, options: patient) }?.code
            }
            #expect(await refusal { $0.values.removeLast() } == .invalidArgument)
            #expect(await refusal { $0.mask = [] } == .invalidArgument)
            #expect(await refusal { $0.values[2] = .nan } == .invalidArgument)
            #expect(await refusal { $0.schemaVersion = "other" } == .failedPrecondition)
            #expect(await refusal { $0.normaliserID = "other" } == .failedPrecondition)
            let wild = await failure {
                _ = try await fleet.policy.decide(DecideRequest(state: state, previousExposure: .nan), options: patient)
            }
            #expect(wild?.code == .invalidArgument)

            _ = try await fleet.trainer.promoteModel(
                PromoteModelRequest(name: "policy", version: market.policyVersion, unaccepted: true), options: patient)
        }

        // MARK: Files

        @Test("Bad rows of a file are counted with their lines, good ones loaded")
        func badRows() async throws {
            let fleet = try await Fleet.shared()
            let folder = Fleet.folder + "/history"
            try FileManager.default.createDirectory(atPath: folder + "/binance_spot", withIntermediateDirectories: true)
            var lines = ["open_time_ms,open,high,low,close,volume"]
            for minute in 0..<10 {
                lines.append("\(Market.start.microseconds / 1000 + Int64(minute) * 60_000),1,1.2,0.9,1.1,100")
            }
            lines[3] = lines[3].replacingOccurrences(of: ",1.2,", with: ",high,")
            lines[5] = lines[5].replacingOccurrences(of: ",100", with: ",-100")
            lines[7] = lines[7].replacingOccurrences(of: ",0.9,", with: ",1.3,")
            lines[9] = "1767225600000,1"
            try lines.joined(separator: "\n").write(
                toFile: folder + "/binance_spot/XYZUSDT_1m.csv", atomically: true, encoding: .utf8)
            func request(_ directory: String) -> LoadHistoryRequest {
                LoadHistoryRequest(
                    directory: directory, symbols: ["XYZUSDT"], fromMicroseconds: Market.start.microseconds,
                    toMicroseconds: (Market.start + .days(1)).microseconds)
            }
            var bars: LoadProgress?
            for try await progress in fleet.gateway.loadHistory(request(folder), options: Fleet.patient)
            where progress.item == "bars XYZUSDT" && progress.finished { bars = progress }
            let report = try #require(bars)
            #expect(report.rowsStored == 6 && report.rowsRefused == 4, "\(report.refusals)")
            for line in [4, 6, 8, 10] {
                #expect(report.refusals.contains { $0.contains("line \(line):") }, "\(report.refusals)")
            }
            let stored = try await fleet.value(
                "SELECT count(*) FROM bars WHERE symbol = 'XYZUSDT' AND exchange = 'binance'", as: Int64.self)
            #expect(stored == 6)

            let missing = await failure {
                for try await _ in fleet.gateway.loadHistory(request(folder + "/nowhere"), options: Fleet.patient) {}
            }
            #expect(missing?.code == .failedPrecondition && missing?.message.contains("nowhere") == true)
        }
    }
}

/// A message that is its bytes.
private struct Raw: RPCMessage {
    var bytes: [UInt8]

    init(bytes: [UInt8]) { self.bytes = bytes }
    init(serializedBytes bytes: RawSpan) { self.bytes = unsafe bytes.withUnsafeBytes { unsafe Array($0) } }
    func serializedBytes() -> [UInt8] { bytes }
}

/// The status that a call ends with; `nil` when it succeeds.
func failure(_ body: () async throws -> Void) async -> RPCStatus? {
    do {
        try await body()
        return nil
    } catch let status as RPCStatus {
        return status
    } catch {
        return RPCStatus(.unknown, "no status: \(error)")
    }
}
