/// A table of numbers as colours, standalone SVG: blue below zero, red above, white at zero, grey where there is none.
public struct HeatMap: Sendable {
    public var title: String
    /// Of the values, under the title.
    public var unit: String
    public var rows: [String]
    public var columns: [String]
    /// `[rows × columns]`; NaN where there is none.
    public var values: [Double]

    /// Traps when there is not one value a cell.
    public init(title: String, unit: String, rows: [String], columns: [String], values: [Double]) {
        precondition(values.count == rows.count * columns.count, "one value a cell")
        self.title = title
        self.unit = unit
        self.rows = rows
        self.columns = columns
        self.values = values
    }

    public func svg() -> String {
        let (left, top, line) = (96.0, 58.0, 26.0)
        let width = (SVG.width - left - 16) / Double(max(1, columns.count))
        let height = top + line * Double(rows.count) + 8
        var out = SVG.start(title, height: height)
        out += "<text x=\"8\" y=\"34\" class=\"tick start\">\(unit.htmlEscaped)</text>"
        let largest = values.filter(\.isFinite).map { abs($0) }.max() ?? 0
        for (j, name) in columns.enumerated() {
            let x = left + width * (Double(j) + 0.5)
            out += "<text x=\"\(x.shown(1))\" y=\"\(top - 6)\" class=\"tick middle\">\(name.htmlEscaped)</text>"
        }
        for (i, name) in rows.enumerated() {
            let y = top + line * Double(i)
            out += "<text x=\"\(left - 8)\" y=\"\((y + 17).shown(1))\" class=\"tick end\">\(name.htmlEscaped)</text>"
            for j in columns.indices {
                let value = values[i * columns.count + j]
                let x = left + width * Double(j)
                out += "<rect x=\"\(x.shown(1))\" y=\"\(y.shown(1))\" width=\"\((width - 1).shown(1))\" "
                out += "height=\"\(line - 1)\" fill=\"\(Self.colour(value, largest))\"/>"
                guard value.isFinite, width >= 34 else { continue }
                out += "<text x=\"\((x + width / 2).shown(1))\" y=\"\((y + 17).shown(1))\" "
                out += "class=\"tick middle\">\(value.shown(2))</text>"
            }
        }
        return out + "</svg>"
    }

    /// Between Okabe and Ito's blue and vermilion.
    private static func colour(_ value: Double, _ largest: Double) -> String {
        guard value.isFinite else { return "#dddddd" }
        let share = largest > 0 ? min(1, abs(value) / largest) : 0
        let (r, g, b) = value < 0 ? (0.0, 114.0, 178.0) : (213.0, 94.0, 0.0)
        func mix(_ c: Double) -> Int { Int((255 + (c - 255) * 0.8 * share).rounded()) }
        return "rgb(\(mix(r)),\(mix(g)),\(mix(b)))"
    }
}
