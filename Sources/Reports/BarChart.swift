/// Counts by class as bars, standalone SVG: a histogram.
public struct BarChart: Sendable {
    public var title: String
    public var unit: String
    /// In order, each with what stands under its bar; empty: nothing does.
    public var bars: [(label: String, value: Double)]

    public init(title: String, unit: String, bars: [(label: String, value: Double)]) {
        self.title = title
        self.unit = unit
        self.bars = bars
    }

    public func svg() -> String {
        let (left, top, bottom, height) = (64.0, 34.0, 228.0, 256.0)
        let width = (SVG.width - left - 16) / Double(max(1, bars.count))
        let largest = bars.map(\.value).filter(\.isFinite).max() ?? 0
        var out = SVG.start(title, height: height)
        out += "<text x=\"\(left)\" y=\"\(top - 6)\" class=\"tick start\">\(unit.htmlEscaped)</text>"
        guard largest > 0 else { return out + SVG.empty(height: height) }
        for tick in LineChart.ticks(0, largest, count: 5) {
            let y = bottom - (bottom - top) * tick / largest
            out += "<line x1=\"\(left)\" x2=\"744\" y1=\"\(y.shown(1))\" y2=\"\(y.shown(1))\" class=\"grid\"/>"
            out += "<text x=\"\(left - 6)\" y=\"\((y + 4).shown(1))\" class=\"tick end\">\(tick.shownShort)</text>"
        }
        for (index, bar) in bars.enumerated() where bar.value.isFinite {
            let x = left + width * Double(index)
            let tall = (bottom - top) * bar.value / largest
            out += "<rect x=\"\((x + 1).shown(1))\" y=\"\((bottom - tall).shown(1))\" "
            out += "width=\"\(max(1, width - 2).shown(1))\" height=\"\(tall.shown(1))\" fill=\"#0072B2\"/>"
            guard !bar.label.isEmpty else { continue }
            out += "<text x=\"\((x + width / 2).shown(1))\" y=\"\(bottom + 16)\" "
            out += "class=\"tick middle\">\(bar.label.htmlEscaped)</text>"
        }
        return out + "</svg>"
    }
}
