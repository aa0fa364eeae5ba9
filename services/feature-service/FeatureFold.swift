internal import Contract
internal import Features
internal import Logging
internal import MarketData
internal import RPC
internal import Storage
internal import VommaProto

/// A fit with the market it belongs to.
struct StoredFit: Sendable {
    var exchange: String
    var currency: String
    var fit: OptionRepository.HestonFit
}

/// One stream's features as a fold over its events, with everything that has to survive a restart.
///
/// The other services' answers are functions of the requests made here: the inversion's start and the regime's
/// posterior travel in the request and are part of this state. So the same events give the same rows, however often.
struct FeatureFold {
    private(set) var engine: FeatureEngine
    /// The newest event taken in.
    var sequence: UInt64
    /// Fits that have not been stored yet.
    private var fits: [StoredFit] = []
    private var kept: FeatureCheckpoint
    private let inverter: HestonInverterClient
    private let regimes: RegimeSentimentClient
    private let log: Logger

    /// From a saved state, or from the beginning when there is none or when it was made for another schema.
    init(
        _ stream: EventRepository.Stream, _ saved: ConsumerRepository.Progress?, _ terms: FeatureTerms,
        schema: FeatureSchema, inverter: HestonInverterClient, regimes: RegimeSentimentClient, log: Logger
    ) throws {
        self.inverter = inverter
        self.regimes = regimes
        self.log = log
        let configuration = terms.configuration(stream)
        if let saved {
            let checkpoint = try FeatureCheckpoint(serializedBytes: saved.state)
            if checkpoint.schemaVersion == schema.version,
                let restored = Self.restored(configuration, checkpoint.engine, log)
            {
                engine = restored
                kept = checkpoint
                kept.engine = []
                sequence = UInt64(saved.sequence)
                return
            }
            log.notice("the features have changed: the stream's are computed from its beginning")
        }
        engine = try FeatureEngine(configuration)
        kept = FeatureCheckpoint(schemaVersion: schema.version)
        sequence = 0
    }

    /// `nil` for a state of another format: that of an earlier version, or a damaged one.
    private static func restored(
        _ configuration: FeatureConfiguration, _ state: [UInt8], _ log: Logger
    ) -> FeatureEngine? {
        do throws(FeatureError) { return try FeatureEngine(configuration, state: state) } catch {
            log.notice("the saved state is not used", metadata: ["reason": "\(error)"])
            return nil
        }
    }

    /// The fits since the last call.
    mutating func takeFits() -> [StoredFit] {
        defer { fits = [] }
        return fits
    }

    func checkpoint() throws -> ConsumerRepository.Progress {
        var checkpoint = kept
        checkpoint.engine = try engine.save()
        return ConsumerRepository.Progress(sequence: Int64(sequence), state: try checkpoint.serializedBytes())
    }

    /// Takes in events in their order and returns the vectors that they complete.
    mutating func take(_ events: [VommaProto.MarketEvent]) async throws -> [FeatureRepository.Vector] {
        var pending: [(vector: PendingVector, publishedAt: Timestamp)] = []
        for message in events {
            guard message.sequence == sequence + 1 else {
                throw RPCStatus(.aborted, "event \(message.sequence) came after \(sequence): the stream has a gap")
            }
            sequence = message.sequence
            let event = try message.domain()
            do throws(FeatureError) {
                if let vector = try engine.ingest(event) {
                    pending.append((vector, Timestamp(microseconds: message.publishedAtMicroseconds)))
                }
            } catch {
                log.warning("event left out", metadata: ["sequence": "\(sequence)", "error": "\(error)"])
                continue
            }
            switch event.payload {
            case .surface(let surface): try await invert(surface, event)
            case .message(let text): try await score(text, event)
            default: break
            }
        }
        let rows = try await complete(pending)
        kept.vectors += UInt64(rows.count)
        return rows
    }

    // MARK: The other services

    /// Asks for the surface's parameters, starting from the last ones. A surface that can't be inverted counts as
    /// refused; a service that is away stops the batch, which is then taken again.
    private mutating func invert(_ surface: ImpliedVolatilitySurface, _ event: MarketData.MarketEvent) async throws {
        let request = InvertRequest(surface: Surface(surface), start: kept.fits[event.symbol])
        let answer: InvertResponse
        do {
            answer = try await inverter.invert(
                request, options: CallOptions(timeout: .seconds(30), waitForReady: true, retry: .idempotent))
        } catch let status as RPCStatus where status.code == .invalidArgument || status.code == .failedPrecondition {
            kept.surfacesRefused += 1
            log.info("surface not inverted", metadata: ["sequence": "\(sequence)", "reason": "\(status.message)"])
            return
        }
        guard let parameters = answer.parameters else { throw RPCStatus(.internal, "an inversion without parameters") }
        kept.surfacesInverted += 1
        kept.fits[event.symbol] = parameters
        let fit = OptionRepository.HestonFit(
            eventTime: event.eventTime, method: "\(answer.method)", modelVersion: answer.modelVersion,
            kappa: parameters.kappa, theta: parameters.theta, sigma: parameters.sigma, rho: parameters.rho,
            v0: parameters.v0, rmseVolatility: answer.rmseVolatility, iterations: answer.iterations,
            termination: answer.termination)
        fits.append(StoredFit(exchange: event.exchange, currency: event.symbol, fit: fit))
        do throws(FeatureError) {
            try engine.apply(
                HestonFit(
                    symbol: event.symbol, eventTime: event.eventTime, knownAt: event.knownAt, kappa: parameters.kappa,
                    theta: parameters.theta, sigma: parameters.sigma, rho: parameters.rho, v0: parameters.v0,
                    rmse: answer.rmseVolatility))
        } catch {
            log.warning("fit left out", metadata: ["sequence": "\(sequence)", "error": "\(error)"])
        }
    }

    private mutating func score(_ text: Message, _ event: MarketData.MarketEvent) async throws {
        let request = ScoreTextRequest(messages: [TextMessage(source: text.source, messageID: text.id, text: text.text)]
        )
        let answer = try await regimes.scoreText(
            request, options: CallOptions(timeout: .seconds(30), waitForReady: true, retry: .idempotent))
        guard let score = answer.scores.first else { throw RPCStatus(.internal, "a text without a score") }
        do throws(FeatureError) {
            try engine.apply(
                SentimentScore(
                    messageID: text.id, source: text.source, symbol: event.symbol, eventTime: event.eventTime,
                    knownAt: event.knownAt, score: score.score))
        } catch {
            log.warning("score left out", metadata: ["sequence": "\(sequence)", "error": "\(error)"])
        }
    }

    /// Filters the regime over the batch, one call a symbol, and completes the vectors in their order.
    private mutating func complete(
        _ pending: [(vector: PendingVector, publishedAt: Timestamp)]
    ) async throws -> [FeatureRepository.Vector] {
        var posteriors: [[Double]?] = Array(repeating: nil, count: pending.count)
        var symbols: [String] = []
        for item in pending where !symbols.contains(item.vector.symbol) { symbols.append(item.vector.symbol) }
        for symbol in symbols {
            let places = pending.indices.filter {
                pending[$0].vector.symbol == symbol && pending[$0].vector.regimeObservation != nil
            }
            guard !places.isEmpty else { continue }
            let request = FilterRegimeRequest(
                posterior: kept.posteriors[symbol]?.probabilities ?? [],
                observations: places.flatMap { pending[$0].vector.regimeObservation?.values ?? [] })
            let answer: FilterRegimeResponse
            do {
                answer = try await regimes.filterRegime(
                    request, options: CallOptions(timeout: .seconds(30), waitForReady: true, retry: .idempotent))
            } catch let status as RPCStatus where status.code == .failedPrecondition {
                continue  // No regime model has been promoted: the columns are absent.
            }
            let states = Int(answer.states)
            guard states > 0, answer.posteriors.count == states * places.count else {
                throw RPCStatus(.internal, "regime posteriors of a wrong shape")
            }
            for (row, place) in places.enumerated() {
                posteriors[place] = Array(answer.posteriors[row * states..<(row + 1) * states])
            }
            kept.posteriors[symbol] = VommaProto.RegimePosterior(
                probabilities: Array(answer.posteriors.suffix(states)))
        }
        var rows: [FeatureRepository.Vector] = []
        rows.reserveCapacity(pending.count)
        for (index, item) in pending.enumerated() {
            let posterior = posteriors[index].map {
                Features.RegimePosterior(symbol: item.vector.symbol, barTime: item.vector.barTime, probabilities: $0)
            }
            let vector = try engine.complete(item.vector, regime: posterior)
            rows.append(
                FeatureRepository.Vector(
                    symbol: vector.symbol, barTime: vector.barTime, sequence: Int64(vector.sequence),
                    close: vector.close,
                    values: vector.values, valid: vector.validity, publishedAt: item.publishedAt))
        }
        return rows
    }

    /// For progress: vectors so far, surfaces inverted and refused.
    static func counts(
        _ saved: ConsumerRepository.Progress?
    ) throws -> (vectors: UInt64, inverted: UInt64, refused: UInt64) {
        guard let saved else { return (0, 0, 0) }
        let checkpoint = try FeatureCheckpoint(serializedBytes: saved.state)
        return (checkpoint.vectors, checkpoint.surfacesInverted, checkpoint.surfacesRefused)
    }
}
