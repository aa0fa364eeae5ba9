internal import Features
internal import MarketData
internal import Reports

/// What `vomma features check` found, for the terminal and as a page with a histogram a column.
struct FeatureQualityReport {
    let quality: FeatureQuality
    let symbol: String
    /// Columns whose past changes with the future; `nil` where that was not looked at.
    let lookingAhead: [String]?

    init(_ quality: FeatureQuality, symbol: String, lookingAhead: [String]?) {
        self.quality = quality
        self.symbol = symbol
        self.lookingAhead = lookingAhead
    }

    func report() -> Report {
        let outside = quality.columns.filter { $0.outOfBounds > 0 }
        let silent = quality.columns.filter { $0.count == 0 }
        var verdict = "\(quality.columns.count) columns of \(quality.rows) bars; "
        let ahead = lookingAhead ?? []
        if lookingAhead == nil {
            verdict += "as stored"
        } else {
            verdict += ahead.isEmpty ? "none looks ahead" : "\(ahead.count) look ahead"
        }
        verdict += outside.isEmpty ? ", all within their bounds." : ", \(outside.count) leave their bounds."
        var warnings: [Report.Block] = []
        if !ahead.isEmpty { warnings.append(.warning("look ahead: " + ahead.joined(separator: ", "))) }
        for column in outside {
            warnings.append(
                .warning("\(column.definition.name): \(column.outOfBounds) values outside its bounds"))
        }
        if !silent.isEmpty {
            let names = silent.map(\.definition.name).joined(separator: ", ")
            warnings.append(.warning("never a value, for lack of input or of movement: \(names)"))
        }
        var sections = [Report.Section("Columns", warnings + [table]), twins]
        sections.append(.init("Distributions", histograms))
        return Report(title: "Feature quality, \(symbol)", verdict: verdict, sections: sections)
    }

    private var table: Report.Block {
        let header = [
            "column", "there", "absent for", "first", "mean", "std", "1 %", "median", "99 %", "drift", "longest run",
        ]
        let rows = quality.columns.map { column in
            let share = quality.rows > 0 ? Double(column.count) / Double(quality.rows) : 0
            let reasons = column.absences.sorted { $0.value > $1.value }.map { "\($0.key) \($0.value)" }
            func at(_ place: Int) -> String { column.quantiles.isEmpty ? "–" : column.quantiles[place].shownShort }
            return [
                column.definition.name, (100 * share).shown(2) + " %",
                reasons.isEmpty ? "–" : reasons.joined(separator: ", "),
                column.firstKnown.map { "\($0)" } ?? "–", column.mean.shownShort, column.deviation.shownShort, at(1),
                at(3), at(5), column.drift.map { $0.shown(2) } ?? "–", "\(column.longestConstantRun)",
            ]
        }
        return .table(header: header, rows: rows)
    }

    private var twins: Report.Section {
        let threshold = FeatureQuality.clusterThreshold
        guard !quality.clusters.isEmpty else {
            return .init("Twins", [.text("No two columns correlate beyond \(threshold).")])
        }
        let rows = quality.clusters.map { [$0.joined(separator: ", ")] }
        return .init(
            "Twins", [.text("These go together, |correlation| ≥ \(threshold):"), .table(header: [], rows: rows)])
    }

    private var histograms: [Report.Block] {
        quality.columns.compactMap { column in
            guard !column.histogram.isEmpty else { return nil }
            let bars = column.histogram.map { (label: $0.from.shownShort, value: Double($0.count)) }
            return .bars(BarChart(title: column.definition.name, unit: "bars", bars: bars))
        }
    }

    /// A column against time; of more than 2,000 bars every n-th.
    static func chart(_ table: FeatureTable, _ index: Int) -> LineChart {
        let definition = table.schema.definitions[index]
        let step = max(1, table.count / 2000)
        let column = table.column(index)
        let points = stride(from: 0, to: table.count, by: step).compactMap { row in
            column[row].map { (x: table.barTimes[row].seconds, y: $0) }
        }
        return LineChart(
            title: definition.name, unit: definition.unit, axis: .time,
            series: [.init(name: definition.name, points: points)])
    }
}
