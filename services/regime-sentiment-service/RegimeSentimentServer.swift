internal import Foundation
internal import MarketData
internal import Regimes
internal import RPC
internal import Sentiment
internal import ServiceKit
internal import Storage
internal import VommaProto

/// The RPC face of regime-sentiment-service.
struct RegimeSentimentServer: RegimeSentimentService {
    let pool: ConnectionPool
    let models: LiveModel<LoadedRegime>
    private let lexicon = LexiconModel()

    init(pool: ConnectionPool, models: LiveModel<LoadedRegime>) {
        self.pool = pool
        self.models = models
    }

    private func requireModel(_ version: Int64 = 0) async throws -> LoadedRegime {
        if models.current == nil {
            // A caller takes “none is promoted” for an answer, so that must not be said when the database is away.
            do { try await models.reload() } catch {
                throw RPCStatus(.unavailable, "the live regime model cannot be loaded: \(error)")
            }
        }
        guard let model = models.current else {
            throw RPCStatus(
                .failedPrecondition, "no regime model has been promoted: train one (kind hmm) and promote it")
        }
        guard version == 0 || version == model.version else {
            throw RPCStatus(.failedPrecondition, "regime model \(version) is not live, \(model.version) is")
        }
        return model
    }

    func filterRegime(_ request: FilterRegimeRequest, context: CallContext) async throws -> FilterRegimeResponse {
        let model = try await requireModel(request.modelVersion)
        let hmm = model.filter.model
        let dimension = hmm.dimension
        guard request.observations.count % dimension == 0 else {
            throw RPCStatus(
                .invalidArgument,
                "observations has \(request.observations.count) values, rows of \(dimension) are needed")
        }
        do throws(RegimeError) {
            var state: FilterState
            if request.posterior.isEmpty {
                state = FilterState(model.filter)
            } else {
                state = try FilterState(model.filter, posterior: request.posterior)
            }
            var posteriors: [Double] = []
            posteriors.reserveCapacity(request.observations.count / dimension * hmm.stateCount)
            for start in stride(from: 0, to: request.observations.count, by: dimension) {
                let row = Array(request.observations[start..<start + dimension])
                _ = try state.update(row)
                posteriors += state.posterior
            }
            return FilterRegimeResponse(
                posteriors: posteriors, states: Int32(hmm.stateCount), modelVersion: model.version)
        } catch {
            throw RPCStatus(.invalidArgument, "\(error)")
        }
    }

    func describeRegime(_ request: DescribeRegimeRequest, context: CallContext) async throws -> DescribeRegimeResponse {
        let model = try await requireModel()
        let hmm = model.filter.model
        return DescribeRegimeResponse(
            modelVersion: model.version, states: Int32(hmm.stateCount),
            observations: ["log_return", "log_volatility", "log_volume_ratio"], means: hmm.means,
            transitions: hmm.transition, logLikelihood: model.logLikelihood)
    }

    func scoreText(_ request: ScoreTextRequest, context: CallContext) async throws -> ScoreTextResponse {
        let results = request.messages.map { lexicon.analyse($0.text) }
        let stored = zip(request.messages, results).filter { !$0.0.source.isEmpty && !$0.0.messageID.isEmpty }.map {
            FeatureRepository.Sentiment(
                source: $0.source, messageID: $0.messageID, score: $1.score, bearish: $1.bearish, neutral: $1.neutral,
                bullish: $1.bullish)
        }
        if !stored.isEmpty {
            try await pool.withConnection { connection in
                _ = try FeatureRepository.insert(sentiment: stored, model: LexiconModel.name, on: connection)
            }
        }
        return ScoreTextResponse(
            scores: results.map {
                TextScore(score: $0.score, bearish: $0.bearish, neutral: $0.neutral, bullish: $0.bullish)
            }, model: LexiconModel.name)
    }

    func getSentiment(_ request: GetSentimentRequest, context: CallContext) async throws -> GetSentimentResponse {
        let asOf = Timestamp(microseconds: request.asOfMicroseconds)
        var aggregator = SentimentAggregator()
        let (messages, fearGreed) = try await pool.withConnection { connection in
            (
                try MarketHistoryRepository.messages(
                    from: asOf - aggregatorWindow, to: asOf + Interval(microseconds: 1), on: connection),
                try MarketHistoryRepository.fearGreed(
                    from: asOf - fearGreedTolerance, to: asOf + Interval(microseconds: 1), on: connection)
            )
        }
        for message in messages where message.knownAt <= asOf {
            let score = lexicon.analyse(message.value.text).score
            _ = aggregator.add(
                id: "\(message.value.source)/\(message.value.id)", score: score, knownAt: message.knownAt)
        }
        let aggregate = aggregator.aggregate(asOf: asOf)
        let known = fearGreed.filter { $0.knownAt <= asOf }.max { $0.knownAt < $1.knownAt }
        return GetSentimentResponse(
            score: aggregate?.score, messageRate: aggregate?.messageRate, fearGreed: known?.value)
    }
}

/// How far back messages count, and how old an index may be.
private let aggregatorWindow = Interval.hours(24)
private let fearGreedTolerance = Interval.hours(72)

/// What a model's stored metrics say, where they say it.
struct Metrics {
    let logLikelihoodPerObservation: Double?

    init(_ json: JSON) {
        struct Stored: Decodable { var log_likelihood_per_observation: Double? }
        let stored = try? JSONDecoder().decode(Stored.self, from: Data(json.text.utf8))
        logLikelihoodPerObservation = stored?.log_likelihood_per_observation
    }
}
