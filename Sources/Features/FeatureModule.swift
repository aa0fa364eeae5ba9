internal import Indicators
internal import MarketData

/// What a module can be told. Each reads what concerns it and ignores the rest.
enum FeatureInput {
    /// Of the symbol the module is bound to.
    case bar(Bar)
    /// Its bars are interrupted for long: what was computed from them starts anew.
    case restart
    case referenceBar(Bar)
    case referenceRestart
    case perpetualBar(Bar)
    case book(BookTop)
    case depth(BookDepth)
    case trade(PublicTrade)
    /// Per 8 hours.
    case funding(Double)
    /// In base units.
    case openInterest(Double)
    case surface(SurfaceSummary)
    case fit(HestonFit)
    case fearGreed(Double)
    case message
    case sentiment(Double)
    /// At completion of the bar's vector; `nil`: there is none for this bar, for the reason beside it.
    case posterior([Double]?, otherwise: Absence)
}

/// A family of columns of one symbol (or of the reference market), fed with events and read at a bar's close.
protocol FeatureModule: Restorable {
    /// In the order in which `write` puts them; names with the module's prefix.
    var definitions: [FeatureDefinition] { get }
    mutating func observe(_ input: FeatureInput, eventTime: Timestamp, knownAt: Timestamp)
    /// Puts every column as of `now`, the instant the bar became known. Mutating for speed alone: a module is large,
    /// and the compiler calls what does not mutate on a copy of it.
    mutating func write(at now: Timestamp, to sink: inout FeatureSink)
}

/// Where modules put their columns: each lands at its place in the sorted schema, in a row that somebody else owns.
@safe
struct FeatureSink: ~Copyable {
    private let values: UnsafeMutablePointer<Double>
    private let absences: UnsafeMutablePointer<Absence?>
    /// Place in the schema of each column in the modules' order.
    private let places: UnsafeBufferPointer<Int>
    /// The schema's; looked at in debug builds only.
    private let names: [String]
    private var cursor = 0

    /// Lends a sink whose row begins at `row` of both lists, which must reach so far. The pointers do not outlive it.
    static func withRow<R>(
        at row: Int, of values: inout [Double], _ absences: inout [Absence?], places: [Int], names: [String],
        _ body: (inout FeatureSink) throws -> R
    ) rethrows -> R {
        precondition(row >= 0 && row + names.count <= values.count && values.count == absences.count, "a whole row")
        return try unsafe values.withUnsafeMutableBufferPointer { values in
            try unsafe absences.withUnsafeMutableBufferPointer { absences in
                try unsafe places.withUnsafeBufferPointer { places in
                    guard let value = values.baseAddress, let absence = absences.baseAddress else {
                        preconditionFailure("a schema has columns")
                    }
                    var sink = unsafe FeatureSink(
                        values: value + row, absences: absence + row, places: places, names: names)
                    return try body(&sink)
                }
            }
        }
    }

    private init(
        values: UnsafeMutablePointer<Double>, absences: UnsafeMutablePointer<Absence?>,
        places: UnsafeBufferPointer<Int>, names: [String]
    ) {
        unsafe self.values = values
        unsafe self.absences = absences
        unsafe self.places = places
        self.names = names
    }

    /// Goes to a module's first column.
    mutating func begin(at column: Int) { cursor = column }

    /// The next column. `name` is what the reader sees and what debug builds compare with the definition.
    mutating func put(_ name: StaticString, _ known: Known<Double>) {
        switch known {
        case .value(let value): put(name, value, reason: .undefined)
        case .absent(let reason): put(name, .nan, reason: reason)
        }
    }

    /// The next column: `nil` is warm-up, or an undefined value once the indicator `isWarm`.
    @inline(__always)
    mutating func put(_ name: StaticString, _ value: Double?, isWarm: Bool = false) {
        put(name, value ?? .nan, reason: value != nil || isWarm ? .undefined : .warmUp)
    }

    /// A number that is not finite is none, for `reason`.
    @inline(__always)
    private mutating func put(_ name: StaticString, _ value: Double, reason: Absence) {
        let place = unsafe places[cursor]
        assert(names[place].hasSuffix("." + name.description), "\(name) is written in the place of \(names[place])")
        cursor += 1
        let isFinite = value.isFinite
        unsafe values[place] = isFinite ? value : .nan
        unsafe absences[place] = isFinite ? nil : reason
    }
}

extension FeatureModuleKind {
    /// Whether one instance, bound to the reference, serves all symbols.
    var isShared: Bool { self == .btcHeston }
    /// Whether its columns are written only when the vector is completed.
    var isDeferred: Bool { self == .regime }

    func make(_ configuration: FeatureConfiguration) -> any FeatureModule {
        switch self {
        case .generic: GenericMarketFeatureModule(configuration)
        case .shitcoin: ShitcoinFeatureModule(configuration)
        case .btcHeston: BtcHestonFeatureModule(configuration)
        case .sentiment: SentimentFeatureModule(configuration)
        case .regime: RegimeFeatures(configuration)
        case .market: MarketFeatureModule(configuration)
        case .v2: V2FeatureModule()
        case .flow: OrderFlowFeatureModule(configuration)
        case .session: SessionFeatureModule()
        }
    }
}
