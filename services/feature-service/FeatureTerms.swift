internal import Features
internal import MarketData
internal import Storage

/// What every stream's features have in common, and what a stream adds.
enum FeatureTerms {
    /// The configuration for a stream: each of its symbols gets vectors; a coin's options are those of its currency,
    /// where the stream has them.
    static func configuration(_ stream: EventRepository.Stream) -> FeatureConfiguration {
        let instruments = stream.symbols.map { symbol in
            Instrument(symbol, options: stream.currencies.first { symbol.hasPrefix($0) })
        }
        let reference = instruments.first { $0.symbol.hasPrefix("BTC") } ?? Instrument("BTCUSDT", options: "BTC")
        return FeatureConfiguration(traded: instruments, reference: reference)
    }

    /// The schema, which is the same for every stream.
    static func schema() throws(FeatureError) -> FeatureSchema {
        try FeatureEngine(FeatureConfiguration(traded: [Instrument("BTCUSDT", options: "BTC")])).schema
    }
}
