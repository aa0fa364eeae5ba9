internal import Features
internal import MarketData
internal import Storage

/// What every stream's features have in common, and what a stream adds.
struct FeatureTerms: Sendable {
    let modules: [FeatureModuleKind]

    /// The configuration for a stream: each of its symbols gets vectors; a coin's options are those of its currency,
    /// where the stream has them.
    func configuration(_ stream: EventRepository.Stream) -> FeatureConfiguration {
        let instruments = stream.symbols.map { symbol in
            Instrument(symbol, options: stream.currencies.first { symbol.hasPrefix($0) })
        }
        let reference = instruments.first { $0.symbol.hasPrefix("BTC") } ?? Instrument("BTCUSDT", options: "BTC")
        var configuration = FeatureConfiguration(traded: instruments, reference: reference)
        configuration.modules = modules
        return configuration
    }

    /// The schema, which is the same for every stream.
    func schema() throws(FeatureError) -> FeatureSchema {
        var configuration = FeatureConfiguration(traded: [Instrument("BTCUSDT", options: "BTC")])
        configuration.modules = modules
        return try FeatureEngine(configuration).schema
    }
}
