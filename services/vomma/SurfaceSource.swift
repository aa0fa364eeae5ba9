internal import ArgumentParser
internal import Foundation
internal import Heston
internal import Kernels
internal import MarketData

/// Where a surface comes from: one snapshot of a file of quotes, or a file of NumPy's.
struct SurfaceSource: ParsableArguments {
    @Argument(help: "A CSV file of option quotes, plain or gzip, or a surface in NumPy's .npz.")
    var file: String
    @Option(help: "Take the last snapshot until this time, such as 2026-01-31T12:00:00Z.")
    var until: String?
    @Flag(help: "Keep quotes that nobody bids for.")
    var withoutBids = false
    @Option(help: "svi: a smile fitted to each expiry; nearest: the nearest expiry's nearest strike, as quoted.")
    var method = "svi"

    func validate() throws {
        guard SurfaceBuilder.Configuration.Method(rawValue: method) != nil else {
            throw ValidationError("--method is svi or nearest")
        }
    }

    /// A surface on a grid and where it is from.
    struct Found {
        var title: String
        var currency: String
        var time: Timestamp
        var surface: ImpliedVolatilitySurface
    }

    private var isArray: Bool { file.hasSuffix(".npz") }

    /// The surface on the grid, from either kind of file.
    func surface() throws -> Found {
        try Self.requireProcessor()
        if isArray {
            let bytes: Data
            do { bytes = try Data(contentsOf: URL(fileURLWithPath: file)) } catch {
                throw ValidationError("cannot read \(file): \(error.localizedDescription)")
            }
            let found = try SurfaceFile(name: file, bytes: [UInt8](bytes))
            return Found(
                title: "\(found.currency) surface, \(found.time)", currency: found.currency, time: found.time,
                surface: found.surface)
        }
        let (chain, _) = try chain()
        return Found(
            title: "\(chain.currency) options, \(chain.snapshotTime)", currency: chain.currency,
            time: chain.snapshotTime, surface: try build(chain).surface)
    }

    /// The chain, and how many snapshots the file has until then.
    func chain() throws -> (chain: OptionChain, snapshots: Int) {
        try Self.requireProcessor()
        if isArray { throw ValidationError("\(file) is a surface on a grid: this command needs a file of quotes") }
        var last: OptionChain?
        var count = 0
        let report = try ChainReader().forEach(.file(path: file), span: try Self.span(until: until)) { chain in
            (last, count) = (chain, count + 1)
            return true
        }
        guard let last else {
            throw ValidationError(
                "no snapshot in \(file)\(until.map { " until \($0)" } ?? ""): \(report.accepted) quotes read, "
                    + "\(report.rejected) refused")
        }
        return (last, count)
    }

    func build(_ chain: OptionChain) throws(HestonError) -> SurfaceBuilder.Result {
        try Self.build(chain, bids: !withoutBids, .init(rawValue: method) ?? .svi)
    }

    static func build(
        _ chain: OptionChain, bids: Bool, _ method: SurfaceBuilder.Configuration.Method = .svi
    ) throws(HestonError) -> SurfaceBuilder.Result {
        var configuration = SurfaceBuilder.Configuration()
        configuration.requiresBid = bids
        configuration.method = method
        return try SurfaceBuilder(configuration).build(chain)
    }

    static func requireProcessor() throws {
        if let fault = Processor.fault { throw ValidationError(fault) }
        BLAS.adaptToProcessor()
        BLAS.setThreadCount(1)
    }

    /// Everything until a time that is given in ISO 8601; `nil` for none.
    static func span(until: String?) throws -> Range<Timestamp>? {
        guard let until else { return nil }
        // The end of a span is not in it.
        return try Timestamp(microseconds: .min)..<(time(until, "--until") + .seconds(1))
    }

    static func time(_ text: String, _ option: String) throws -> Timestamp {
        guard let time = try? Date(text, strategy: .iso8601) else {
            throw ValidationError("\(option) is a time such as 2026-01-31T12:00:00Z")
        }
        return Timestamp(seconds: Int64(time.timeIntervalSince1970))
    }
}
