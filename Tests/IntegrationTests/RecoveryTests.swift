import Foundation
import Kernels
import LocalStack
import RPC
import Storage
import Testing
import VommaProto

extension Integration {
    /// Whatever is killed in the middle of a replay and started again: what is stored in the end is what an undisturbed
    /// replay stores.
    @Suite(.serialized) struct RecoveryTests {
        /// What is crashed.
        enum Victim: Sendable, CustomStringConvertible {
            case service(ServiceName)
            case database

            var description: String {
                switch self {
                case .service(let name): name.rawValue
                case .database: "PostgreSQL"
                }
            }
        }

        struct Disturbance: Sendable, CustomTestStringConvertible {
            var name: String
            /// Killed one group after the other; those of one group together.
            var crashes: [[Victim]]

            var testDescription: String { name }
        }

        static let disturbances = [
            Disturbance(
                name: "ends",
                crashes: [[.service(.marketGateway)], [.service(.executionService)], [.service(.policyService)]]),
            Disturbance(
                name: "middle",
                crashes: [[.service(.featureService)], [.service(.hestonInverter)], [.service(.regimeSentiment)]]),
            Disturbance(name: "database", crashes: [[.database], [.service(.trainer)], [.database]]),
            Disturbance(
                name: "several",
                crashes: [
                    [.service(.policyService), .service(.executionService)],
                    [.service(.featureService), .service(.regimeSentiment), .service(.marketGateway)],
                ]),
        ]

        /// The undisturbed replay, made once.
        static let reference = Task { () -> (results: Results, watched: Watched) in
            let fleet = try await Fleet.shared()
            _ = try await Market.shared()
            let stream = Market.testStream("undisturbed", pace: .milliseconds(2))
            _ = try await fleet.gateway.createStream(stream, options: Fleet.patient)
            // Somebody watches from the beginning.
            async let watched = fleet.watch("undisturbed")
            try await finish("undisturbed", fleet)
            return (try await Results(of: "undisturbed", fleet.pool), try await watched)
        }

        @Test("The undisturbed replay has rows of every kind")
        func undisturbed() async throws {
            let (results, watched) = try await Self.reference.value
            let fleet = try await Fleet.shared()
            #expect(results.count("features") == 720)
            #expect(results.count("decisions") == 660 && results.count("equity") == 720)
            #expect(results.count("orders") > 100 && results.count("fills") > 100, "\(results.rows.mapValues(\.count))")
            #expect(results.count("order_events") >= 4 * results.count("orders") && results.count("positions") == 1)
            let fits = try await fleet.value("SELECT count(*) FROM heston_fits", as: Int64.self)
            #expect(fits >= 11)
            #expect(watched == Watched(features: 720, decisions: 660, equity: 720))
            print("undisturbed: \(results.rows.mapValues(\.count).sorted { $0.key < $1.key })")
        }

        @Test("Killed and started again, row for row the same", .timeLimit(.minutes(3)), arguments: disturbances)
        func killed(_ disturbance: Disturbance) async throws {
            let reference = try await Self.reference.value.results
            let fleet = try await Fleet.shared()
            let seed =
                ProcessInfo.processInfo.environment["VOMMA_TEST_SEED"].flatMap(UInt64.init) ?? .random(in: 0...999_999)
            var random = RandomGenerator(seed: seed)
            let stream = "killed-\(disturbance.name)"
            let info = try await fleet.gateway.createStream(
                Market.testStream(stream, pace: .milliseconds(4)), options: Fleet.patient)
            // Each crash in its own part of the replay's middle, at a random moment of it.
            let parts = disturbance.crashes.count
            for (part, victims) in disturbance.crashes.enumerated() {
                let share = 0.1 + 0.7 * (Double(part) + random.uniform()) / Double(parts)
                let moment = Int64(share * Double(info.lastSequence))
                try await fleet.until("\(stream) has come to event \(moment)", every: .milliseconds(3)) {
                    try await Self.progress(of: stream, fleet) >= moment
                }
                for victim in victims {
                    if case .service(let name) = victim { fleet.stack.child(name).kill() }
                }
                let reached = try await Self.progress(of: stream, fleet)
                print("\(stream), seed \(seed): killing \(victims) at event \(reached) of \(info.lastSequence)")
                #expect(reached > 0 && reached < Int64(info.lastSequence) - 60, "not in the middle of the replay")
                for victim in victims.shuffled(using: &random) {
                    switch victim {
                    case .service(let name): try await fleet.stack.restart(fleet.stack.child(name))
                    case .database: try await fleet.crashDatabase()
                    }
                }
            }
            try await Self.finish(stream, fleet)
            try await Results(of: stream, fleet.pool).expectEqual(to: reference)
            let audit = try await fleet.execution.audit(AuditRequest(account: stream), options: Fleet.patient)
            #expect(Int(audit.orders) == reference.count("orders") && audit.checked.count >= 5)
        }

        /// The newest event of which features are stored: all other stages are behind.
        private static func progress(of stream: String, _ fleet: Fleet) async throws -> Int64 {
            try await fleet.value(
                "SELECT coalesce(max(sequence), 0) FROM features WHERE stream = $1", [stream], as: Int64.self)
        }

        /// Waits until the account has seen its whole stream.
        private static func finish(_ stream: String, _ fleet: Fleet) async throws {
            try await fleet.until("account \(stream) is finished") {
                do {
                    let request = GetAccountRequest(account: stream)
                    return try await fleet.execution.getAccount(request, options: Fleet.patient).finished
                } catch let status as RPCStatus where status.code == .unavailable {
                    return false  // The database is just coming back.
                }
            }
        }
    }
}

/// How many different events subscribers were told of.
struct Watched: Equatable {
    var features = 0
    var decisions = 0
    var equity = 0
}

extension Fleet {
    /// Follows what a stream's stages publish, from the first event to the last.
    fileprivate func watch(_ stream: String) async throws -> Watched {
        async let features = count(
            self.features.streamFeatures(StreamFeaturesRequest(stream: stream, fromSequence: 1), options: Self.patient)
        ) { $0.sequence }
        async let decisions = count(
            policy.streamDecisions(StreamDecisionsRequest(stream: stream, fromSequence: 1), options: Self.patient)
        ) { $0.sequence }
        async let equity = count(
            execution.streamEquity(StreamEquityRequest(account: stream, fromSequence: 1), options: Self.patient)
        ) { $0.sequence }
        return try await Watched(features: features, decisions: decisions, equity: equity)
    }

    private func count<Message>(
        _ messages: ResponseStream<Message>, _ sequence: @Sendable (Message) -> UInt64
    ) async throws -> Int {
        var last: UInt64 = 0
        var count = 0
        for try await message in messages {
            guard sequence(message) > last else { throw TooLate(what: "events follow in order", complaints: "") }
            last = sequence(message)
            count += 1
        }
        return count
    }
}
