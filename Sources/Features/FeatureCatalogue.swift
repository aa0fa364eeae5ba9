internal import Indicators
internal import MarketData

/// Every column there is, module by module, as it stands in the code: what `vomma features list` shows and
/// docs/features.md holds.
public enum FeatureCatalogue {
    /// The columns of a module, sorted by name.
    public static func definitions(of kind: FeatureModuleKind) -> [FeatureDefinition] {
        var configuration = FeatureConfiguration(traded: [Instrument("BTCUSDT")])
        configuration.includesPseudoHeston = true
        return kind.make(configuration).definitions.sorted { $0.name < $1.name }
    }

    /// The whole catalogue, as Markdown.
    public static func markdown() -> String {
        var text = """
            # Features

            Every column of every module, as the code defines it. This file is made by `vomma features list --markdown`;
            a test compares the two.

            Warm-up is the number of bars before the first value, given that every input is there. A value that is not
            known is absent with a reason (warm-up, missing input, stale input, broken book, undefined), never 0.
            Levels, marked *level*, are in their market's own units: no normaliser learns them, so that a network sees
            0 with mask 0. O, H, L, C, V are the bar's; X[n] is X of n bars ago; TP = (H + L + C)/3. The standard
            modules, on which policies are trained unless told otherwise, are
            \(FeatureModuleKind.standard.map { "`\($0.rawValue)`" }.joined(separator: ", ")).

            """
        for kind in FeatureModuleKind.allCases {
            let columns = definitions(of: kind)
            text += "\n## \(kind.rawValue): \(columns.count) columns\n\nInputs: \(kind.inputs).\n"
            text += "Source: \(kind.source).\n\n"
            text += "| column | formula | unit | warm-up | bounds |\n|---|---|---|---|---|\n"
            for column in columns {
                let name = "`\(column.name)`" + (column.isLevel ? " *level*" : "")
                let formula = column.formula.replacing("|", with: "\\|")
                text += "| \(name) | \(formula) | \(column.unit) | \(column.warmUp) | \(bounds(column)) |\n"
            }
            guard kind == .market else { continue }
            text += "\nPatterns, by their numbers:\n\n"
            for pattern in CandlePattern.allCases { text += "- \(pattern.rawValue) \(pattern)\n" }
        }
        text += """

            ## Targets

            The only columns that look ahead, in a type of their own (`Targets`) that nothing that feeds a policy can
            contain. X[+n] is X of n bars later; a target is absent where one of the bars it looks at is missing.
            Of one-minute bars:

            | column | formula |
            |---|---|

            """
        for column in Targets([exampleBar]).columns { text += "| `\(column.name)` | \(column.formula) |\n" }
        text += """

            ## System columns

            A trading account at a bar's close, in a type of their own (`SystemColumns`), from fills and prices.

            | column | meaning | unit |
            |---|---|---|

            """
        for column in SystemColumns.definitions {
            text += "| `\(column.name)` | \(column.meaning) | \(column.unit) |\n"
        }
        return text
    }

    private static let exampleBar = Bar(
        openTime: Timestamp(seconds: 0), interval: .minutes(1), open: 1, high: 1, low: 1, close: 1, volume: 1)

    /// `0 … 1`, or a dash.
    public static func bounds(_ column: FeatureDefinition) -> String {
        guard let bounds = column.bounds else { return "–" }
        func short(_ value: Double) -> String {
            value == value.rounded() ? String(Int(value)) : String((value * 1000).rounded() / 1000)
        }
        return "\(short(bounds.lowerBound)) … \(short(bounds.upperBound))"
    }
}

extension FeatureModuleKind {
    /// What the module reads.
    public var inputs: String {
        switch self {
        case .generic: "the symbol's bars and best quotes"
        case .shitcoin: "the symbol's bars, funding and open interest, its perpetual's bars, the reference's bars"
        case .btcHeston: "the reference's bars, funding, open interest, surfaces and the parameters fitted to them"
        case .sentiment: "messages and their scores, the fear & greed index"
        case .regime: "the hidden Markov model's posterior"
        case .market: "the symbol's bars and best quotes"
        case .v2, .session: "the symbol's bars"
        case .flow: "the symbol's trades, best quotes, book depths and bars"
        }
    }

    /// Where its formulas are from.
    public var source: String {
        switch self {
        case .generic: "TA-Lib 0.6 where the formula says so; Parkinson 1980"
        case .shitcoin: "moments and regression by definition"
        case .btcHeston: "Heston 1993; Carr, Wu 2009 for the variance risk premium"
        case .sentiment: "exponential decay by definition"
        case .regime: "Hamilton 1989, filtered probabilities"
        case .market: "TA-Lib 0.6; Hosoda 1969 for Ichimoku's lines; Nison 2001 for the patterns"
        case .v2: "TA-Lib 0.6 where the formula says so; Parkinson 1980; Chaikin's money flow"
        case .flow:
            "Cont, Kukanov, Stoikov 2014 (OFI); Lee, Ready 1991 (tick rule); "
                + "Easley, López de Prado, O'Hara 2012 (VPIN)"
        case .session: "sessions and realised volatility by definition"
        }
    }
}
