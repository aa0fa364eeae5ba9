internal import ArgumentParser
internal import Features
internal import MarketData
internal import RPC
internal import VommaProto

/// Vectors that a running stack has stored, as a table, with what its schema says of each column.
struct StoredFeatures {
    let table: FeatureTable
    /// The stack's own.
    let schemaVersion: String

    /// `span`: the bars' closes; `nil`: all. `progress` is told the newest bar's. Throws `ValidationError` where there
    /// is no vector.
    init(
        _ client: FeatureClient, stream: String, symbol: String, _ span: Range<Timestamp>?,
        progress: (Timestamp) -> Void = { _ in }
    ) async throws {
        let described = try await client.describeSchema(DescribeSchemaRequest())
        schemaVersion = described.schemaVersion
        let schema = try FeatureSchema(
            described.columns.map { column in
                var bounds: ClosedRange<Double>?
                if let low = column.lowerBound, let high = column.upperBound, low <= high { bounds = low...high }
                return FeatureDefinition(
                    column.name, column.formula, unit: column.unit, warmUp: Int(column.warmUp), bounds: bounds,
                    isLevel: column.isLevel)
            })
        var (times, closes, values, valid): ([Timestamp], [Double], [Double], [UInt8]) = ([], [], [], [])
        let request = GetFeaturesRequest(
            stream: stream, symbol: symbol, fromMicroseconds: span?.lowerBound.microseconds ?? .min,
            toMicroseconds: span?.upperBound.microseconds ?? .max)
        for try await block in client.getFeatures(request) {
            times += block.barTimesMicroseconds.map { Timestamp(microseconds: $0) }
            closes += block.closes
            values += block.values
            valid += block.valid
            if let newest = times.last { progress(newest) }
        }
        guard !times.isEmpty else { throw ValidationError("no vector of \(symbol) is stored in \(stream) for that span") }
        table = try FeatureTable(
            schema, symbol: symbol, barTimes: times, closes: closes, values: values, validity: valid)
    }
}
