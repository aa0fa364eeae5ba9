internal import Indicators
internal import Kernels
internal import MarketData

/// The hidden-Markov model's filtered probabilities, and how long the most probable state has been the same.
///
/// Told the posterior when the bar's vector is completed. A bar without one makes the columns absent and the time in
/// state unknown, so it is counted anew.
struct RegimeFeatures: FeatureModule {
    private let stateCount: Int
    private var probabilities: [Double] = []
    private var reason = Absence.missingInput
    private var state = -1
    private var barsInState = 0

    init(_ configuration: FeatureConfiguration) { stateCount = configuration.regimeStateCount }

    var definitions: [FeatureDefinition] {
        (0..<stateCount).map { state in
            FeatureDefinition(
                "regime.probability_\(state)", "filtered probability of hidden state \(state), by volatility",
                warmUp: 30, bounds: 0...1)
        } + [
            FeatureDefinition(
                "regime.time_in_state", "ln(1 + bars since the most probable state changed)", unit: "log_bars",
                warmUp: 30)
        ]
    }

    mutating func observe(_ input: FeatureInput, eventTime: Timestamp, knownAt: Timestamp) {
        guard case .posterior(let posterior, let absence) = input else { return }
        guard let posterior, posterior.count == stateCount else {
            probabilities = []
            reason = absence
            state = -1
            barsInState = 0
            return
        }
        probabilities = posterior
        var best = 0
        for index in posterior.indices where posterior[index] > posterior[best] { best = index }
        barsInState = best == state ? barsInState + 1 : 0
        state = best
    }

    private static let names: [StaticString] = [
        "probability_0", "probability_1", "probability_2", "probability_3",
        "probability_4", "probability_5", "probability_6", "probability_7",
    ]

    mutating func write(at now: Timestamp, to sink: inout FeatureSink) {
        let isKnown = !probabilities.isEmpty
        for index in 0..<stateCount {
            sink.put(Self.names[index], isKnown ? .value(probabilities[index]) : .absent(reason))
        }
        sink.put("time_in_state", isKnown ? .value(log1p(Double(barsInState))) : .absent(reason))
    }

    /// The probabilities themselves live only until the vector is written.
    func save(to writer: inout StateWriter) {
        writer.write(stateCount)
        writer.write(state)
        writer.write(barsInState)
    }

    mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        guard try reader.readInt() == stateCount else { throw .stateMismatch(field: "regime states") }
        let saved = try reader.readInt()
        guard (-1..<stateCount).contains(saved) else { throw .stateMismatch(field: "regime state") }
        state = saved
        barsInState = try reader.readCount(upTo: 1 << 53, "bars in state")
        probabilities = []
    }
}
