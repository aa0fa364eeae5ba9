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
    /// Puts every column as of `now`, the instant the bar became known.
    func write(at now: Timestamp, to sink: inout FeatureSink)
}

/// Where modules put their columns: each lands at its place in the sorted schema.
struct FeatureSink {
    private(set) var values: [Double]
    private(set) var absences: [Absence?]
    /// Place in the schema of each column in the modules' order.
    private let places: [Int]
    private let names: [String]
    private var cursor = 0

    init(values: [Double], absences: [Absence?], places: [Int], names: [String]) {
        self.values = values
        self.absences = absences
        self.places = places
        self.names = names
    }

    /// Goes to a module's first column.
    mutating func begin(at column: Int) { cursor = column }

    var position: Int { cursor }

    /// The next column. `name` is what the reader sees and what debug builds compare with the definition.
    mutating func put(_ name: StaticString, _ known: Known<Double>) {
        let place = places[cursor]
        assert(names[place].hasSuffix("." + name.description), "\(name) is written in the place of \(names[place])")
        cursor += 1
        switch known {
        case .value(let value) where value.isFinite:
            values[place] = value
            absences[place] = nil
        case .value:
            absences[place] = .undefined
        case .absent(let reason):
            absences[place] = reason
        }
    }

    /// The next column: `nil` is warm-up, or an undefined value once the indicator `isWarm`.
    mutating func put(_ name: StaticString, _ value: Double?, isWarm: Bool = false) {
        put(name, Known(value, or: isWarm ? .undefined : .warmUp))
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
        }
    }
}
