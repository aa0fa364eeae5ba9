public import MarketData
internal import Indicators

/// Market events and inference results in, one feature vector per traded symbol and bar out: live, replayed or batch.
///
/// Pure: no clock, no call. Whoever drives it calls the other services and hands in what they answered, each with the
/// instant from which it is known:
///
///     apply(fit)             after a surface
///     apply(sentiment)       after a message
///     ingest(event)          every event, in the order of `EventMerger`; a bar of a traded symbol answers a
///                            `PendingVector`, finished but for the regime, with the observation the model needs
///     complete(pending, …)   the regime's posterior in, the vector out; in the order of `ingest` for each symbol
///
/// A vector at `knownAt` rests on what was known by then: what is handed in for later waits. The batch form is a fold
/// of the same calls, so a stored vector and a streamed one are the same bits; `save` and `init(state:)` continue
/// bit for bit.
///
/// Cost: about two microseconds a vector, all modules; memory does not grow with the number of bars.
public struct FeatureEngine: Sendable {
    /// How many results known later than now may wait.
    public static let maximumPendingInputs = 1024

    public let configuration: FeatureConfiguration
    public let schema: FeatureSchema

    /// Place in the schema of each column in the modules' order.
    let places: [Int]
    /// First column of each configured module, in the modules' order.
    let offsets: [Int]
    let routes: [String: Route]

    /// Everything that changes.
    var tracks: [Track]
    var referenceLastOpenTime: Timestamp?
    /// The modules of `configuration.modules` that serve all symbols.
    var shared: [any FeatureModule]
    var clock = Timestamp(microseconds: .min / 4)
    var waiting: [WaitingInput] = []
    var seenMessages = RecentKeys()
    var seenScores = RecentKeys()

    /// Where the events of one name go.
    struct Route: Sendable {
        /// Tracks whose own market this is.
        var own: [Int] = []
        /// Tracks whose perpetual this is.
        var perpetualOf: [Int] = []
        /// Tracks whose options these are.
        var optionsOf: [Int] = []
        var isReference = false
        var isReferencePerpetual = false
        var isReferenceOptions = false
    }

    /// One symbol: its modules in the configured order (shared kinds left out), and where it stands.
    struct Track: Sendable {
        let symbol: String
        var modules: [any FeatureModule]
        var observer = RegimeObserver()
        var lastOpenTime: Timestamp?
        /// Tickets handed out by `ingest` and taken back by `complete`.
        var issued: UInt64 = 0
        var completed: UInt64 = 0
    }

    /// A result whose time has not come.
    enum WaitingInput: Sendable {
        case fit(HestonFit)
        case sentiment(SentimentScore)

        var knownAt: Timestamp {
            switch self {
            case .fit(let fit): fit.knownAt
            case .sentiment(let score): score.knownAt
            }
        }
    }

    /// Throws `invalidConfiguration`.
    public init(_ configuration: FeatureConfiguration) throws(FeatureError) {
        try configuration.validate()
        self.configuration = configuration
        var columns: [FeatureDefinition] = []
        var offsets: [Int] = []
        for kind in configuration.modules {
            offsets.append(columns.count)
            columns += kind.make(configuration).definitions
        }
        let schema = try FeatureSchema(columns, settings: configuration.settings)
        places = columns.map { schema.index(of: $0.name) ?? 0 }
        self.schema = schema
        self.offsets = offsets
        let own = configuration.modules.filter { !$0.isShared }
        tracks = configuration.traded.map { instrument in
            Track(symbol: instrument.symbol, modules: own.map { $0.make(configuration) })
        }
        shared = configuration.modules.filter(\.isShared).map { $0.make(configuration) }
        routes = Self.routes(configuration)
    }

    private static func routes(_ configuration: FeatureConfiguration) -> [String: Route] {
        var routes: [String: Route] = [:]
        for (index, instrument) in configuration.traded.enumerated() {
            routes[instrument.symbol, default: Route()].own.append(index)
            routes[instrument.symbol, default: Route()].optionsOf.append(index)
            if let name = instrument.perpetual { routes[name, default: Route()].perpetualOf.append(index) }
            if let name = instrument.options, name != instrument.symbol {
                routes[name, default: Route()].optionsOf.append(index)
            }
        }
        let reference = configuration.reference
        routes[reference.symbol, default: Route()].isReference = true
        routes[reference.symbol, default: Route()].isReferenceOptions = true
        if let name = reference.perpetual { routes[name, default: Route()].isReferencePerpetual = true }
        if let name = reference.options { routes[name, default: Route()].isReferenceOptions = true }
        return routes
    }

    /// Takes the next event. A bar of a traded symbol returns the vector to complete, everything else `nil`; events of
    /// symbols that the configuration does not name are passed over.
    ///
    /// Events come in the order of `knownAt`; one that is late by no more than `maximumLateness` counts as known now.
    /// Throws `outOfOrder` for one later still, `barOutOfOrder`, `wrongInterval`, and `invalidInput` for what no market
    /// can have; the engine is as before then, and the event can be dropped.
    public mutating func ingest(_ event: MarketEvent) throws(FeatureError) -> PendingVector? {
        guard let closed = try accept(event) else { return nil }
        let vector = vector(track: closed.track, bar: closed.bar, sequence: event.sequence, now: closed.now)
        return PendingVector(
            track: closed.track, ticket: closed.ticket, vector: vector, regimeObservation: closed.observation,
            regimeAbsence: closed.absence)
    }

    /// A bar of a traded symbol that every module has been told, and whose columns can be written.
    struct ClosedBar {
        let track: Int
        let ticket: UInt64
        let bar: Bar
        let now: Timestamp
        let observation: RegimeObservation?
        /// Why the regime's columns are absent if no posterior comes.
        let absence: Absence
    }

    /// `ingest` up to the columns.
    mutating func accept(_ event: MarketEvent) throws(FeatureError) -> ClosedBar? {
        let isForAll = event.symbol.isEmpty
        let route = routes[event.symbol]
        guard route != nil || isForAll else { return nil }
        guard event.eventTime.isPlausible, event.knownAt.isPlausible else { throw invalid(event, "an impossible time") }
        guard event.knownAt >= event.eventTime else { throw invalid(event, "known before it happened") }
        guard clock.microseconds - event.knownAt.microseconds <= configuration.maximumLateness.microseconds else {
            throw .outOfOrder(symbol: event.symbol, knownAt: event.knownAt, clock: clock)
        }
        let now = max(event.knownAt, clock)
        if case .bar(let bar) = event.payload {
            guard let route else { throw invalid(event, "a bar without a symbol") }
            try check(bar, event, route)
            advance(to: now)
            return take(bar, event, route, now)
        }
        // Inputs other than bars keep their own `knownAt`: their age is counted from it.
        switch event.payload {
        case .bar: return nil
        case .bookTop(let top):
            advance(to: now)
            deliver(.book(top), event, to: route?.own ?? [], shared: false)
        case .bookDepth(let depth):
            guard depth.isSound else { throw invalid(event, "a book with impossible prices or sizes") }
            advance(to: now)
            deliver(.depth(depth), event, to: route?.own ?? [], shared: false)
        case .trade(let trade):
            guard trade.price > 0, trade.price.isFinite, trade.quantity > 0, trade.quantity.isFinite else {
                throw invalid(event, "a trade of \(trade.quantity) at \(trade.price)")
            }
            advance(to: now)
            deliver(.trade(trade), event, to: route?.own ?? [], shared: false)
        case .fundingRate(let funding):
            guard funding.rate.isFinite, abs(funding.rate) < 1, funding.interval.microseconds > 0 else {
                throw invalid(event, "a funding rate of \(funding.rate) per \(funding.interval.seconds) s")
            }
            advance(to: now)
            deliver(.funding(funding.rate * (28_800 / funding.interval.seconds)), event, of: route)
        case .openInterest(let interest):
            guard interest.quantity.isFinite, interest.quantity > 0 else {
                throw invalid(event, "an open interest of \(interest.quantity)")
            }
            advance(to: now)
            deliver(.openInterest(interest.quantity), event, of: route)
        case .surface(let surface):
            advance(to: now)
            let summary = SurfaceSummary(surface)
            deliver(.surface(summary), event, to: route?.optionsOf ?? [], shared: route?.isReferenceOptions ?? false)
        case .fearGreed(let index):
            guard (0...100).contains(index) else { throw invalid(event, "a fear & greed index of \(index)") }
            advance(to: now)
            deliver(.fearGreed(index), event, to: Array(tracks.indices), shared: true)
        case .message(let message):
            advance(to: now)
            guard seenMessages.insert(message.source, message.id) else { return nil }
            deliver(.message, event, to: isForAll ? Array(tracks.indices) : route?.own ?? [], shared: false)
        }
        return nil
    }

    /// Hands in the parameters fitted to a surface. They count from `fit.knownAt` on; a fit of a market that is not
    /// configured is passed over. Throws `invalidInput` and `tooManyPendingInputs`.
    public mutating func apply(_ fit: HestonFit) throws(FeatureError) {
        if let fault = fit.fault {
            throw .invalidInput(symbol: fit.symbol, eventTime: fit.eventTime, reason: fault)
        }
        guard routes[fit.symbol] != nil else { return }
        try applyOrWait(.fit(fit))
    }

    /// Hands in a message's score. It counts from `score.knownAt` on; a repeated message counts once (the last 128 are
    /// remembered). Throws `invalidInput` and `tooManyPendingInputs`.
    public mutating func apply(_ score: SentimentScore) throws(FeatureError) {
        guard (-1...1).contains(score.score), score.knownAt >= score.eventTime, score.eventTime.isPlausible,
            score.knownAt.isPlausible
        else {
            throw .invalidInput(
                symbol: score.symbol, eventTime: score.eventTime,
                reason: "a score of \(score.score), or its times cannot be")
        }
        guard score.symbol.isEmpty || routes[score.symbol] != nil else { return }
        try applyOrWait(.sentiment(score))
    }

    /// Adds the regime's columns and answers the vector. `posterior`: `nil` where the model had no answer; then the
    /// columns are absent (in warm-up without an observation, else for lack of input).
    ///
    /// Throws `completionOutOfOrder` unless `pending` is the symbol's oldest that is not complete, and `invalidInput`
    /// for probabilities of another symbol, bar or count, or that are no distribution (to 1e-6).
    public mutating func complete(
        _ pending: PendingVector, regime posterior: RegimePosterior? = nil
    ) throws(FeatureError) -> FeatureVector {
        let vector = pending.vector
        func invalid(_ reason: String) -> FeatureError {
            .invalidInput(symbol: vector.symbol, eventTime: vector.barTime, reason: reason)
        }
        guard tracks.indices.contains(pending.track), tracks[pending.track].symbol == vector.symbol,
            pending.ticket == tracks[pending.track].completed + 1
        else { throw .completionOutOfOrder(symbol: vector.symbol, barTime: vector.barTime) }
        if let posterior {
            guard posterior.symbol == vector.symbol, posterior.barTime == vector.barTime else {
                throw invalid("a posterior of another bar, or of \(posterior.symbol)")
            }
            guard posterior.probabilities.count == configuration.regimeStateCount else {
                throw invalid("\(posterior.probabilities.count) regimes, \(configuration.regimeStateCount) expected")
            }
            let sum = posterior.probabilities.reduce(0, +)
            guard posterior.probabilities.allSatisfy({ (0...1.000_001).contains($0) }), abs(sum - 1) <= 1e-6 else {
                throw invalid("the regime's probabilities are no distribution")
            }
        }
        tracks[pending.track].completed = pending.ticket
        var complete = vector
        finish(
            track: pending.track, barTime: vector.barTime, knownAt: vector.knownAt, posterior?.probabilities,
            otherwise: pending.regimeAbsence, row: 0, &complete.values, &complete.absences)
        return complete
    }

    /// Tells the deferred modules what has come, and writes their columns to a row.
    mutating func finish(
        track: Int, barTime: Timestamp, knownAt: Timestamp, _ probabilities: [Double]?, otherwise absence: Absence,
        row: Int, _ values: inout [Double], _ absences: inout [Absence?]
    ) {
        let input = FeatureInput.posterior(probabilities, otherwise: absence)
        FeatureSink.withRow(at: row, of: &values, &absences, places: places, names: schema.names) { sink in
            var own = 0
            for (index, kind) in configuration.modules.enumerated() where !kind.isShared {
                if kind.isDeferred {
                    tracks[track].modules[own].observe(input, eventTime: barTime, knownAt: knownAt)
                    sink.begin(at: offsets[index])
                    tracks[track].modules[own].write(at: knownAt, to: &sink)
                }
                own += 1
            }
        }
    }

    /// Both steps at once, for who needs no batches: `regime` answers the posterior of an observation.
    public mutating func update(
        _ event: MarketEvent, regime: (RegimeObservation) -> RegimePosterior? = { _ in nil }
    ) throws(FeatureError) -> FeatureVector? {
        guard let pending = try ingest(event) else { return nil }
        return try complete(pending, regime: pending.regimeObservation.flatMap(regime))
    }

    /// Vectors handed out by `ingest` and not completed yet.
    public var outstandingCount: Int { tracks.reduce(0) { $0 + Int($1.issued - $1.completed) } }
}

/// A bar's vector, finished but for the regime's columns.
public struct PendingVector: Sendable {
    let track: Int
    let ticket: UInt64
    let vector: FeatureVector
    /// What the regime model is to be asked; `nil` in warm-up, and where the observation is not defined.
    public let regimeObservation: RegimeObservation?
    /// Why the regime's columns are absent if no posterior comes.
    let regimeAbsence: Absence

    public var symbol: String { vector.symbol }
    /// The bar's close.
    public var barTime: Timestamp { vector.barTime }
    public var knownAt: Timestamp { vector.knownAt }
    public var sequence: UInt64 { vector.sequence }
}

extension Timestamp {
    /// Within about 36,000 years of 1970: sums and differences of two such cannot overflow.
    var isPlausible: Bool { (-(1 << 60)...(1 << 60)).contains(microseconds) }
}
