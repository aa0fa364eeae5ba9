internal import Foundation
internal import MarketData
internal import Policies
internal import RPC
internal import ServiceKit
internal import Storage
internal import Trading
internal import VommaProto

/// The RPC face of policy-service.
struct PolicyServer: VommaProto.PolicyService {
    let pool: ConnectionPool
    let models: LiveModel<LoadedPolicy>
    let tails: StreamTails<DecisionRepository.Decision>

    private static let page = 1000

    func decide(_ request: DecideRequest, context: CallContext) async throws -> VommaProto.Decision {
        guard let state = request.state else { throw RPCStatus(.invalidArgument, "state is missing") }
        guard (-1...1).contains(request.previousExposure) else {
            throw RPCStatus(.invalidArgument, "previous_exposure is not in [−1, 1]")
        }
        guard let model = models.current else {
            throw RPCStatus(.failedPrecondition, "no policy has been promoted: train one (vomma train) and promote it")
        }
        var decider = Decider(model)
        var memory = request.memory
        var decision = try decider.decide(state, previousExposure: request.previousExposure, memory: &memory)
        decision.memory = memory
        return decision
    }

    func streamDecisions(
        _ request: StreamDecisionsRequest, responses: ResponseWriter<VommaProto.Decision>, context: CallContext
    ) async throws {
        let found = try await EventRepository.stream(request.stream, in: pool)
        guard let stream = found else { throw RPCStatus(.notFound, "no stream “\(request.stream)”") }
        guard !stream.tradedSymbols.isEmpty else {
            throw RPCStatus(.failedPrecondition, "the stream “\(stream.name)” is not decided on: it trades no symbol")
        }
        let tail = try await tails.tail(of: stream.name)
        var next = max(request.fromSequence, 1)
        while true {
            let rows: [DecisionRepository.Decision]
            switch try await tail.next(from: next, limit: Self.page) {
            case .finished: return
            case .rows(let newest):
                rows = newest
                next = UInt64(rows.last?.sequence ?? Int64(next)) + 1
            case .behind(let through):
                rows = try await pool.withConnection { [next] connection in
                    try DecisionRepository.decisions(
                        stream: stream.name, from: Int64(next), limit: Self.page, on: connection)
                }
                next = rows.count == Self.page ? UInt64(rows.last?.sequence ?? 0) + 1 : through + 1
            }
            for row in rows { try await responses.write(try VommaProto.Decision(row, stream: stream.name)) }
        }
    }

    func describePolicy(
        _ request: DescribePolicyRequest, context: CallContext
    ) async throws -> DescribePolicyResponse {
        guard let model = models.current else { return DescribePolicyResponse() }
        return DescribePolicyResponse(
            modelName: model.name, modelVersion: model.version, architecture: model.policy.kind,
            schemaVersion: model.schemaVersion,
            normaliserID: model.normaliserID, window: Int32(model.layout.window),
            features: Int32(model.layout.featureCount), sha256: model.sha256)
    }
}

// MARK: - Rows and messages

/// A reason as it is stored.
private struct StoredReason: Codable {
    var feature: String
    var contribution: Double
}

extension DecisionRepository.Decision {
    /// Throws where a contribution is not finite: it has no JSON form.
    init(_ decision: VommaProto.Decision) throws {
        let stored = decision.reasons.map { StoredReason(feature: $0.feature, contribution: $0.contribution) }
        let json = String(decoding: try JSONEncoder().encode(stored), as: UTF8.self)
        self.init(
            symbol: decision.symbol, barTime: Timestamp(microseconds: decision.barTimeMicroseconds),
            sequence: Int64(decision.sequence), modelName: decision.modelName, modelVersion: decision.modelVersion,
            targetExposure: decision.targetExposure, value: decision.value, confidence: decision.confidence,
            reasons: JSON(json), abstained: decision.abstained.isEmpty ? nil : decision.abstained,
            publishedAt: Timestamp(microseconds: decision.publishedAtMicroseconds),
            stateAt: Timestamp(microseconds: decision.stateSentAtMicroseconds))
    }
}

extension VommaProto.Decision {
    /// Throws for stored reasons that are none.
    init(_ row: DecisionRepository.Decision, stream: String) throws {
        let stored = try JSONDecoder().decode([StoredReason].self, from: Data(row.reasons.text.utf8))
        self.init(
            stream: stream, symbol: row.symbol, barTimeMicroseconds: row.barTime.microseconds,
            sequence: UInt64(row.sequence), modelName: row.modelName, modelVersion: row.modelVersion,
            targetExposure: row.targetExposure, value: row.value, confidence: row.confidence,
            reasons: stored.map { Reason(feature: $0.feature, contribution: $0.contribution) },
            abstained: row.abstained ?? "", publishedAtMicroseconds: row.publishedAt?.microseconds ?? 0,
            stateSentAtMicroseconds: row.stateAt?.microseconds ?? 0, sentAtMicroseconds: Timestamp.now.microseconds)
    }
}
