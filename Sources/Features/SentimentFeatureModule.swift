internal import Indicators
internal import MarketData

/// The mood: messages about this symbol and about the whole market, their scores, and the fear & greed index.
///
/// A score's weight halves every `sentimentHalfLife`; the message rate is the decayed count Σ 2^(−age/h)·ln 2/h, which
/// for a steady flow is its rate. Without any message in the tolerance both are absent: silence may be a dead source.
struct SentimentFeatureModule: FeatureModule {
    private var weighted: DecayedSum
    private var weights: DecayedSum
    private var messages: DecayedSum
    private var lastScore: AsOfSlot<Double>
    private var lastMessage: AsOfSlot<Double>
    private var fearGreed: AsOfSlot<Double>

    init(_ configuration: FeatureConfiguration) {
        weighted = DecayedSum(halfLife: configuration.sentimentHalfLife)
        weights = DecayedSum(halfLife: configuration.sentimentHalfLife)
        messages = DecayedSum(halfLife: configuration.messageRateHalfLife)
        lastScore = AsOfSlot(tolerance: configuration.sentimentTolerance)
        lastMessage = AsOfSlot(tolerance: configuration.sentimentTolerance)
        fearGreed = AsOfSlot(tolerance: configuration.fearGreedTolerance)
    }

    var definitions: [FeatureDefinition] {
        [
            .init(
                "sentiment.score", "mean score of its and the market's messages, weights halving with age",
                bounds: -1...1),
            .init(
                "sentiment.message_rate", "decayed count of messages x ln 2/half-life",
                unit: "messages_per_minute"),
            .init("sentiment.fear_greed", "newest index/50 - 1", bounds: -1...1),
            .init("sentiment.fear_greed_change", "(newest index - the one before)/100", bounds: -1...1),
        ]
    }

    mutating func observe(_ input: FeatureInput, eventTime: Timestamp, knownAt: Timestamp) {
        switch input {
        case .message:
            messages.add(1, at: knownAt)
            lastMessage.offer(1, eventTime: knownAt, knownAt: knownAt)
        case .sentiment(let score):
            weighted.add(score, at: knownAt)
            weights.add(1, at: knownAt)
            lastScore.offer(score, eventTime: knownAt, knownAt: knownAt)
        case .fearGreed(let index): fearGreed.offer(index, eventTime: eventTime, knownAt: knownAt)
        default: break
        }
    }

    mutating func write(at now: Timestamp, to sink: inout FeatureSink) {
        let score = lastScore.reading(at: now).flatMap { _ in
            let weight = weights.value(at: now)
            return weight > 0 ? Known.value(min(1, max(-1, weighted.value(at: now) / weight))) : .absent(.staleInput)
        }
        sink.put("score", score)
        let perMinute = 60 * 0.693_147_180_559_945_3 / messages.halfLife.seconds
        sink.put("message_rate", lastMessage.reading(at: now).map { _ in messages.value(at: now) * perMinute })
        sink.put("fear_greed", fearGreed.reading(at: now).map { $0 / 50 - 1 })
        sink.put("fear_greed_change", fearGreed.change(at: now).map { ($0.new - $0.old) / 100 })
    }

    func save(to writer: inout StateWriter) {
        weighted.save(to: &writer)
        weights.save(to: &writer)
        messages.save(to: &writer)
        lastScore.save(to: &writer)
        lastMessage.save(to: &writer)
        fearGreed.save(to: &writer)
    }

    mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try weighted.restore(from: &reader)
        try weights.restore(from: &reader)
        try messages.restore(from: &reader)
        try lastScore.restore(from: &reader)
        try lastMessage.restore(from: &reader)
        try fearGreed.restore(from: &reader)
    }
}
