import Foundation
import Heston
import HestonInverse
import Kernels
import MarketData
import RPC
import Storage
import Testing
import VommaProto

@testable import trainer

/// The trainings of the inverse network, as jobs against a real PostgreSQL.
@Suite(.serialized) struct InverseJobTests {
    init() { BLAS.setThreadCount(1) }

    private static func specification(_ fields: String = "") -> String {
        #"{"surfaces": 1000, "held_out": 100, "batch": 128, "seed": 3\#(fields)}"#
    }

    private struct Metrics: Decodable {
        struct Quality: Decodable { var count: Int }
        struct Gate: Decodable { var passed: Bool }
        struct Epoch: Decodable { var number: Int }
        var curve: [Epoch]
        var synthetic: Quality
        var market: Quality?
        var gate: Gate
    }

    private func metrics(_ model: ModelRepository.Model) throws -> Metrics {
        try JSONDecoder().decode(Metrics.self, from: Data(model.metrics.text.utf8))
    }

    @Test("A network is trained, judged and registered; one that fails its gate is not promoted")
    func synthetic() async throws {
        let market = try await TestMarket(bars: 1)
        let id = try await market.submit(
            "one", "heston_inverse_synth", Self.specification(#", "epochs": 2, "preset": "equity""#))
        let job = try await market.withWorkers([market.worker("a")]) { try await market.end(of: id) }
        #expect(job.state == .succeeded, "\(job.error)")
        #expect(job.latestMetrics.contains { $0.name == "validation_loss" && $0.step == 2 })
        let models = try await market.pool.withConnection { try ModelRepository.models("heston_inverse", on: $0) }
        let record = try #require(models.first)
        let found = try metrics(record)
        #expect(found.curve.map(\.number) == [1, 2] && found.synthetic.count == 100 && found.market == nil)
        #expect(!found.gate.passed, "seven steps make no solid network")
        let bytes = try await market.pool.withConnection {
            try ModelRepository.checkpoint("heston_inverse", version: 1, on: $0)
        }
        let model = try InverseModel(safetensors: try #require(bytes))
        #expect(model.metadata["preset"] == "equity" && model.metadata["gate"] == "failed")

        let context = CallContext(path: "test")
        let request = PromoteModelRequest(name: "heston_inverse", version: 1)
        await #expect { try await market.server.promoteModel(request, context: context) } throws: { error in
            let status = error as? RPCStatus
            return status?.code == .failedPrecondition && status?.message.contains("synthetic.network.median") == true
        }
        for (gate, serves) in [(#"{"gate": {"passed": true, "checks": []}}"#, true), ("{}", false)] {
            let version = try await market.pool.withConnection { connection in
                try ModelRepository.register(
                    name: "heston_inverse", kind: "heston_inverse_synth", checkpoint: [UInt8](gate.utf8),
                    metrics: JSON(gate), on: connection
                ).version
            }
            let request = PromoteModelRequest(name: "heston_inverse", version: version)
            let promoted = try? await market.server.promoteModel(request, context: context)
            #expect((promoted?.stage == "live") == serves)
        }
        await market.pool.close()
    }

    @Test("A training whose worker goes away is finished by another, to the same bits")
    func takeover() async throws {
        let market = try await TestMarket(bars: 1)
        let fields = #", "epochs": 6, "repricing_weight": 0"#
        let undisturbed = try await market.submit("a", "heston_inverse_synth", Self.specification(fields))
        _ = try await market.withWorkers([market.worker("a")]) { try await market.end(of: undisturbed) }
        let id = try await market.submit("b", "heston_inverse_synth", Self.specification(fields))
        let worker = market.worker("a", lease: .milliseconds(300))
        let running = Task { try await worker.run() }
        try await market.wait(until: "checkpoint IS NOT NULL", id)
        running.cancel()
        _ = await running.result
        let finished = try await market.withWorkers([market.worker("b")]) { try await market.end(of: id) }
        #expect(finished.state == .succeeded && finished.attempt == 2, "\(finished.error)")
        let models = try await market.pool.withConnection { try ModelRepository.models("heston_inverse", on: $0) }
        #expect(models.map(\.jobID) == [id, undisturbed] && models[0].sha256 == models[1].sha256)
        await market.pool.close()
    }

    @Test("Market surfaces are learnt from in order of time, and judged by days that nobody learnt from")
    func market() async throws {
        let market = try await TestMarket(bars: 1)
        try await store(90, market)
        let first = try await market.submit("base", "heston_inverse_synth", Self.specification(#", "epochs": 2"#))
        let span = """
            , "epochs": 2, "base_version": 1, "market": {"exchange": "deribit", "currencies": ["BTC"], \
            "from": "2026-01-01", "train_to": "2026-02-20", "validate_to": "2026-03-01", "to": "2026-04-01"}
            """
        let mixed = try await market.submit("mixed", "heston_inverse_mixed", Self.specification(span))
        let real = try await market.submit("real", "heston_inverse_real", Self.specification(span))
        let none = try await market.submit(
            "none", "heston_inverse_real", Self.specification(span.replacing("BTC", with: "ETH")))
        let jobs = try await market.withWorkers([market.worker("a")]) {
            var jobs: [Job] = []
            for id in [first, mixed, real, none] { jobs.append(try await market.end(of: id)) }
            return jobs
        }
        #expect(jobs.prefix(3).allSatisfy { $0.state == .succeeded }, "\(jobs.map(\.error))")
        #expect(jobs[3].state == .failed && jobs[3].error.contains("no surfaces of ETH"))
        let models = try await market.pool.withConnection { try ModelRepository.models("heston_inverse", on: $0) }
        #expect(models.map(\.kind) == ["heston_inverse_real", "heston_inverse_mixed", "heston_inverse_synth"])
        // Days 60 … 89 are March's.
        for model in models.prefix(2) { #expect(try metrics(model).market?.count == 31) }
        await market.pool.close()
    }

    /// One surface a day from 2026-01-01 on: Heston's, of slowly moving parameters.
    private func store(_ days: Int, _ market: TestMarket) async throws {
        for day in 0..<days {
            let x = Double(day) / Double(days)
            let parameters = Heston.HestonParameters(
                kappa: 3 + 2 * x, theta: 0.3, sigma: 1.5 + x, rho: -0.3 + 0.2 * x, v0: 0.2 + 0.2 * x)
            let surface = try HestonPricer(parameters, Market(spot: 60_000)).surface()
            let time = TestMarket.start + .days(Int64(day))
            try await market.pool.withConnection { connection in
                _ = try OptionRepository.insert(
                    Dated(eventTime: time, knownAt: time, value: surface), exchange: "deribit", currency: "BTC",
                    on: connection)
            }
        }
    }

    @Test("A regime embedding is trained on simulated paths, and says what it knows")
    func moments() async throws {
        struct Metrics: Decodable {
            struct Quality: Decodable {
                struct Parameter: Decodable {
                    var name: String
                    var skill: Double
                }
                var parameters: [Parameter]
            }
            var quality: Quality
        }
        let market = try await TestMarket(bars: 1)
        let id = try await market.submit(
            "moments", "heston_moments", #"{"paths": 1000, "held_out": 200, "epochs": 3, "seed": 2}"#)
        let job = try await market.withWorkers([market.worker("a")]) { try await market.end(of: id) }
        #expect(job.state == .succeeded, "\(job.error)")
        let record = try #require(
            try await market.pool.withConnection { try ModelRepository.models("regime_embedding", on: $0) }.first)
        let quality = try JSONDecoder().decode(Metrics.self, from: Data(record.metrics.text.utf8)).quality
        #expect(quality.parameters.map(\.name) == ["kappa", "theta", "sigma", "rho", "v0"])
        // No gate: it prices nothing.
        let promoted = try await market.server.promoteModel(
            PromoteModelRequest(name: "regime_embedding", version: 1), context: CallContext(path: "test"))
        #expect(promoted.stage == "live")
        await market.pool.close()
    }

    @Test("Faults of a specification are named")
    func faults() {
        func read(_ text: String) -> String {
            do {
                _ = try SpecificationReader.read(InverseSpecification.self, from: JSON(text))
                return ""
            } catch { return "\(error)" }
        }
        #expect(read("{}") == "")
        for (text, words) in [
            (#"{"preset": "bonds"}"#, "“preset” is “bonds”, not one of “equity”, “crypto”"),
            (#"{"generator": 3}"#, "“generator” is not a text"),
            (#"{"generator": "paths"}"#, "“generator” is “paths”, not one of “heston”, “proxy”"), (#"{"surfaces": 10}"#, "“surfaces” is 10, outside"),
            (#"{"epoch": 3}"#, "“epoch” is unknown"), (#"{"learning_rate": 2}"#, "“learning_rate” is 2.0, outside"),
            (#"{"market": {"exchange": "x"}}"#, "“market.currencies” is missing"),
            (
                #"{"market": {"exchange": "x", "currencies": ["BTC"], "from": "2026-01-01", "train_to": "2026-01-01","#
                    + #""validate_to": "2026-01-02", "to": "2026-01-03"}}"#, "“market.train_to” is not after “from”"
            ),
        ] { #expect(read(text).contains(words), "\(text): \(read(text))") }
    }
}
