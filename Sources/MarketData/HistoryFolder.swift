internal import Kernels

/// A folder of recorded history in the layout that the project uses, found out by looking:
///
///     binance_spot/<SYMBOL>_<interval>.csv[.gz]       bars; binance_futures/ likewise, as exchange `binance_futures`
///     binance_futures/funding/<SYMBOL>_funding.csv[.gz]
///     binance_futures/open_interest/<SYMBOL>_oi_….csv[.gz]
///     deribit/options_<CURRENCY>_snapshots.csv[.gz]   or options_<CURRENCY>_daily_snapshots
///     sentiment/fear_greed_index.csv[.gz]
///     sentiment/*.jsonl[.gz], sentiment/*headlines*.csv[.gz], sentiment/*news*.csv[.gz]
///
/// Other files are left alone. Reading blocks.
public struct HistoryFolder: Sendable {
    public enum Kind: Sendable, Hashable {
        case bars(interval: Interval)
        case funding
        case openInterest
        case optionChains
        case fearGreed
        case news
    }

    public struct File: Sendable, Equatable {
        public var kind: Kind
        /// `binance`, `binance_futures`, `deribit`; empty where it does not apply.
        public var exchange: String
        /// `BTCUSDT`; the currency of option chains; empty where it does not apply.
        public var symbol: String
        public var path: String
    }

    public let directory: String
    /// By path, so that every machine sees one order.
    public let files: [File]

    /// Throws `cannotOpen` when `directory` is not a folder that can be read. A missing part is not an error.
    public init(directory: String) throws(MarketDataError) {
        self.directory = directory
        guard Self.list(directory) != nil else {
            throw .cannotOpen(path: directory, reason: "not a folder that can be read")
        }
        var files: [File] = []
        let folders = [
            "binance_spot", "binance_futures", "binance_futures/funding", "binance_futures/open_interest", "deribit",
            "sentiment",
        ]
        for folder in folders {
            for name in (Self.list("\(directory)/\(folder)") ?? []).sorted() {
                guard let (kind, symbol) = Self.classify(folder, name) else { continue }
                let exchange =
                    switch folder {
                    case "binance_spot": "binance"
                    case "deribit": "deribit"
                    case "sentiment": ""
                    default: "binance_futures"
                    }
                files.append(
                    File(kind: kind, exchange: exchange, symbol: symbol, path: "\(directory)/\(folder)/\(name)"))
            }
        }
        self.files = files
    }

    /// The symbols that have spot bars of this interval, sorted.
    public func symbols(interval: Interval = .minutes(1)) -> [String] {
        files.filter { $0.kind == .bars(interval: interval) && $0.exchange == "binance" }.map(\.symbol).sorted()
    }

    /// The bars of one symbol with `openTime` in `span`.
    public func bars(
        _ symbol: String, interval: Interval = .minutes(1), exchange: String = "binance",
        span: Range<Timestamp>? = nil, maximumJump: Double? = nil
    ) throws(MarketDataError) -> Loaded<Bar> {
        let file = try require(.bars(interval: interval), symbol, "bars", exchange)
        return try KlineReader(interval: interval, maximumJump: maximumJump).read(.file(path: file.path), span: span)
    }

    /// The settlements of one perpetual's funding in `span`.
    public func funding(
        _ symbol: String, span: Range<Timestamp>? = nil
    ) throws(MarketDataError) -> Loaded<Stamped<FundingRate>> {
        try FundingReader().read(.file(path: require(.funding, symbol, "funding").path), span: span)
    }

    /// The open interest of one perpetual in `span`: all its files together, in time order.
    public func openInterest(
        _ symbol: String, span: Range<Timestamp>? = nil
    ) throws(MarketDataError) -> [Loaded<Stamped<OpenInterest>>] {
        _ = try require(.openInterest, symbol, "open interest")
        var all: [Loaded<Stamped<OpenInterest>>] = []
        for file in files where file.kind == .openInterest && file.symbol == symbol {
            all.append(try OpenInterestReader().read(.file(path: file.path), span: span))
        }
        return all
    }

    /// The option chains of a currency with their snapshot time in `span`.
    public func chains(
        _ currency: String, span: Range<Timestamp>? = nil
    ) throws(MarketDataError) -> Loaded<OptionChain> {
        try ChainReader().read(.file(path: require(.optionChains, currency, "option chains").path), span: span)
    }

    /// The Fear & Greed index of the days in `span`.
    public func fearGreed(span: Range<Timestamp>? = nil) throws(MarketDataError) -> Loaded<Stamped<Double>> {
        try FearGreedReader().read(.file(path: require(.fearGreed, "", "fear & greed").path), span: span)
    }

    private func require(
        _ kind: Kind, _ symbol: String, _ name: String, _ exchange: String? = nil
    ) throws(MarketDataError) -> File {
        let found = files.first {
            $0.kind == kind && $0.symbol == symbol && (exchange == nil || $0.exchange == exchange)
        }
        guard let found else { throw .notInFolder(kind: name, symbol: symbol) }
        return found
    }

    /// The names in a folder; `nil` when it cannot be read.
    private static func list(_ path: String) -> [String]? {
        guard let handle = unsafe opendir(path) else { return nil }
        defer { unsafe closedir(handle) }
        var names: [String] = []
        while let entry = unsafe readdir(handle) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { field in
                unsafe UnsafeRawPointer(field).withMemoryRebound(to: CChar.self, capacity: 256) {
                    unsafe String(cString: $0)
                }
            }
            names.append(name)
        }
        return names
    }

    /// What a file is by its folder and name; `nil` for what is none of ours.
    static func classify(_ folder: String, _ name: String) -> (Kind, symbol: String)? {
        var stem = Substring(name)
        if stem.hasSuffix(".gz") { stem.removeLast(3) }
        let isLines = stem.hasSuffix(".jsonl")
        guard isLines || stem.hasSuffix(".csv") else { return nil }
        stem.removeLast(isLines ? 6 : 4)
        let parts = stem.split(separator: "_")
        guard let first = parts.first.map(String.init) else { return nil }
        switch folder {
        case "binance_spot", "binance_futures":
            guard parts.count == 2, !isLines, let interval = Interval(name: parts[1]) else { return nil }
            return (.bars(interval: interval), first)
        case "binance_futures/funding":
            return parts.count == 2 && parts[1] == "funding" && !isLines ? (.funding, first) : nil
        case "binance_futures/open_interest":
            // `_oi_all_exchanges_` files are an aggregator's candles of dollars: another quantity.
            return parts.count >= 3 && parts[1] == "oi" && parts[2] != "all" && !isLines ? (.openInterest, first) : nil
        case "deribit":
            let isChain = first == "options" && parts.count >= 3 && parts.last == "snapshots" && !isLines
            return isChain ? (.optionChains, String(parts[1])) : nil
        case "sentiment":
            if stem == "fear_greed_index" { return (.fearGreed, "") }
            return isLines || stem.contains("news") || stem.contains("headlines") ? (.news, "") : nil
        default: return nil
        }
    }
}
