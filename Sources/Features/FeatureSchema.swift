/// One column: what its number means. The formula is part of the schema: a changed computation needs a changed text.
public struct FeatureDefinition: Sendable, Equatable {
    /// `module.name`, lower-case ASCII letters, digits and underscores.
    public let name: String
    /// How it is computed, in words or symbols.
    public let formula: String
    /// `1` for a plain ratio; `per_bar`, `per_year`, `messages_per_minute`, …
    public let unit: String
    /// Bars of its own symbol before the first value, given that every input is there; 0 for what needs no history.
    public let warmUp: Int
    /// What the formula guarantees, where it guarantees something.
    public let bounds: ClosedRange<Double>?
    /// Whether the number is a level in its market's own units (a price, a volume, a time): no normaliser learns it, so
    /// that a network sees 0 with mask 0, whatever it is.
    public let isLevel: Bool

    public init(
        _ name: String, _ formula: String, unit: String = "1", warmUp: Int = 0, bounds: ClosedRange<Double>? = nil,
        isLevel: Bool = false
    ) {
        self.name = name
        self.formula = formula
        self.unit = unit
        self.warmUp = warmUp
        self.bounds = bounds
        self.isLevel = isLevel
    }
}

/// The frozen columns of a feature vector: sorted by name, and named together by a hash.
///
/// `version` covers names, formulas and units of all columns and the settings that change values (bar interval,
/// tolerances): two vectors of one version can be compared number by number, any others are refused.
public struct FeatureSchema: Sendable, Equatable {
    /// The layout of what is hashed; a new number changes every version.
    public static let format = 1

    /// Sorted by name.
    public let definitions: [FeatureDefinition]
    /// `module.name`, sorted: the order of every vector.
    public let names: [String]
    /// 32 hexadecimal digits.
    public let version: String

    /// Columns in any order; `settings` are lines that change what the columns mean.
    ///
    /// Throws `invalidConfiguration` for no columns, two of one name, and names not of the form `module.name`.
    public init(_ columns: [FeatureDefinition], settings: [String] = []) throws(FeatureError) {
        guard !columns.isEmpty else { throw .invalidConfiguration(reason: "a schema without columns") }
        definitions = columns.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
        names = definitions.map(\.name)
        for (name, following) in zip(names, names.dropFirst()) where name == following {
            throw .invalidConfiguration(reason: "two features named \(name)")
        }
        for name in names {
            let parts = name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
            let isPlain = parts.allSatisfy { part in
                !part.isEmpty
                    && part.allSatisfy { (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || $0 == 0x5F }
            }
            guard parts.count == 2, isPlain else {
                throw .invalidConfiguration(reason: "feature name '\(name)' is not of the form module.name")
            }
        }
        var text = "vomma features \(Self.format)\n"
        for line in settings { text += line + "\n" }
        for column in definitions { text += "\(column.name)\t\(column.unit)\t\(column.formula)\n" }
        version = StableHash.name(of: Array(text.utf8))
    }

    /// Number of columns, D.
    public var count: Int { names.count }

    /// The position of a column; `nil` where there is none. O(log D).
    public func index(of name: String) -> Int? {
        var low = 0
        var high = names.count
        while low < high {
            let middle = (low + high) / 2
            if names[middle].utf8.lexicographicallyPrecedes(name.utf8) { low = middle + 1 } else { high = middle }
        }
        return low < names.count && names[low] == name ? low : nil
    }

    /// Throws `schemaMismatch` for another version.
    public func require(_ found: String) throws(FeatureError) {
        guard found == version else { throw .schemaMismatch(expected: version, found: found) }
    }
}
