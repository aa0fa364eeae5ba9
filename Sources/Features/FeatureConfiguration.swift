public import MarketData

/// A symbol and the names under which its sister markets come.
public struct Instrument: Sendable, Equatable {
    /// Of its bars and book: `BTCUSDT`.
    public var symbol: String
    /// Of its perpetual's bars, for the basis; `nil`: there are none. Funding and open interest are taken under both.
    public var perpetual: String?
    /// Of its option market, for surfaces and fits: `BTC`. They are taken under `symbol` too.
    public var options: String?

    public init(_ symbol: String, perpetual: String? = nil, options: String? = nil) {
        self.symbol = symbol
        self.perpetual = perpetual
        self.options = options
    }
}

/// What the engine computes, of which market. All of it but the symbols is part of the schema.
public struct FeatureConfiguration: Sendable, Equatable {
    /// Length of the bars. Default 1 minute.
    public var interval: Interval = .minutes(1)
    /// The symbols that get vectors. At least one, each once.
    public var traded: [Instrument]
    /// The market whose options and moves are everybody's context; traded or not. Default BTCUSDT with options BTC.
    public var reference: Instrument
    /// The modules whose columns there are. Default: `FeatureModuleKind.standard`.
    public var modules: [FeatureModuleKind] = FeatureModuleKind.standard
    /// Whether `shitcoin` has columns for the pseudo-surface's parameters. Default false: nothing makes them yet.
    public var includesPseudoHeston = false
    /// Hidden states of the regime model. Default 3; 2 … 8.
    public var regimeStateCount = 3

    /// Ages, from `knownAt`, beyond which an input is stale.
    public var surfaceTolerance: Interval = .hours(24)
    public var fundingTolerance: Interval = .hours(12)
    public var openInterestTolerance: Interval = .hours(12)
    public var sentimentTolerance: Interval = .hours(24)
    public var fearGreedTolerance: Interval = .hours(48)
    public var bookTolerance: Interval = .minutes(2)
    /// What the flow's slippage is reckoned for, in the quote currency. Default 1,000.
    public var referenceNotional = 1000.0
    /// Of another symbol's bars (the reference, the perpetual), in bars. Default 3.
    public var barTolerance = 3
    /// Half-life of a message's weight in the score. Default 1 hour.
    public var sentimentHalfLife: Interval = .hours(1)
    /// Half-life of a message's weight in the rate. Default 30 minutes.
    public var messageRateHalfLife: Interval = .minutes(30)
    /// Missing bars after which a symbol's indicators start anew. Default 30. A shorter hole is stepped over: the next
    /// bar follows the last one.
    public var maximumGapBars = 30
    /// How much earlier than an event already taken one may have been known. Default 1 minute. Not in the schema.
    public var maximumLateness: Interval = .minutes(1)

    public init(traded: [Instrument], reference: Instrument = Instrument("BTCUSDT", options: "BTC")) {
        self.traded = traded
        self.reference = reference
    }

    /// Throws `invalidConfiguration` with the first fault.
    func validate() throws(FeatureError) {
        func fail(_ reason: String) -> FeatureError { .invalidConfiguration(reason: reason) }
        guard !traded.isEmpty else { throw fail("traded: no symbol") }
        guard Set(traded.map(\.symbol)).count == traded.count else { throw fail("traded: a symbol twice") }
        guard (traded + [reference]).allSatisfy({ !$0.symbol.isEmpty }) else { throw fail("traded: an empty symbol") }
        if let own = traded.first(where: { $0.symbol == reference.symbol }), own != reference {
            throw fail("reference: described otherwise among the traded")
        }
        guard interval.microseconds > 0 else { throw fail("interval: not positive") }
        guard !modules.isEmpty, Set(modules).count == modules.count else { throw fail("modules: none, or one twice") }
        guard (2...8).contains(regimeStateCount) else { throw fail("regimeStateCount: not 2 to 8") }
        guard barTolerance >= 1, maximumGapBars >= 1 else { throw fail("barTolerance, maximumGapBars: not positive") }
        guard referenceNotional > 0, referenceNotional.isFinite else { throw fail("referenceNotional: not positive") }
        let spans = [
            surfaceTolerance, fundingTolerance, openInterestTolerance, sentimentTolerance, fearGreedTolerance,
            bookTolerance, sentimentHalfLife, messageRateHalfLife,
        ]
        guard spans.allSatisfy({ $0.microseconds > 0 }), maximumLateness.microseconds >= 0 else {
            throw fail("tolerances and half-lives: not positive")
        }
    }

    /// The lines of the schema that are not columns.
    var settings: [String] {
        [
            "interval_us=\(interval.microseconds)", "surface_us=\(surfaceTolerance.microseconds)",
            "funding_us=\(fundingTolerance.microseconds)", "open_interest_us=\(openInterestTolerance.microseconds)",
            "sentiment_us=\(sentimentTolerance.microseconds)", "fear_greed_us=\(fearGreedTolerance.microseconds)",
            "book_us=\(bookTolerance.microseconds)", "bar_tolerance=\(barTolerance)",
            "sentiment_half_life_us=\(sentimentHalfLife.microseconds)",
            "message_rate_half_life_us=\(messageRateHalfLife.microseconds)", "maximum_gap_bars=\(maximumGapBars)",
        ] + (modules.contains(.flow) ? ["reference_notional=\(referenceNotional)"] : [])
    }
}

/// The modules there are. Registering one more changes the schema's version and nothing else.
public enum FeatureModuleKind: String, Sendable, CaseIterable {
    case generic
    case shitcoin
    case btcHeston = "btc_heston"
    case sentiment
    case regime
    /// The named columns in their own units: prices, book, TA-Lib's indicators, events. Levels are for reports and for
    /// other programs; a network does not see them.
    case market
    /// The 53 features of the set `v2`.
    case v2
    /// Trades and the book's changes between two bars.
    case flow
    /// The time of day as sessions.
    case session

    /// What policies are trained on unless told otherwise.
    public static let standard: [FeatureModuleKind] = [.generic, .shitcoin, .btcHeston, .sentiment, .regime]

    /// `standard` as `list` reads it.
    public static var standardList: String { standard.map(\.rawValue).joined(separator: ",") }

    /// Names with commas between them, in that order. Throws `invalidConfiguration` for a name that no module has, for
    /// one twice and for none.
    public static func list(_ text: String) throws(FeatureError) -> [FeatureModuleKind] {
        var kinds: [FeatureModuleKind] = []
        for part in text.split(separator: ",") {
            let name = part.filter { $0 != " " }
            guard let kind = FeatureModuleKind(rawValue: String(name)) else {
                let known = allCases.map(\.rawValue).joined(separator: ", ")
                throw .invalidConfiguration(reason: "no module “\(name)”; there are \(known)")
            }
            guard !kinds.contains(kind) else { throw .invalidConfiguration(reason: "the module \(name) twice") }
            kinds.append(kind)
        }
        guard !kinds.isEmpty else { throw .invalidConfiguration(reason: "no module") }
        return kinds
    }
}
