internal import MarketData

/// A line chart as standalone SVG: series over time (or over any number), with axes, grid and legend.
public struct LineChart: Sendable {
    public struct Series: Sendable {
        public var name: String
        /// Increasing x; y may be NaN, which breaks the line there.
        public var points: [(x: Double, y: Double)]
        /// Single dots in place of a line: trades on a price.
        public var isDotted: Bool

        public init(name: String, points: [(x: Double, y: Double)], isDotted: Bool = false) {
            self.name = name
            self.points = points
            self.isDotted = isDotted
        }
    }

    /// How the numbers under the chart are written.
    public enum Axis: Sendable { case time, number }

    public var title: String
    /// The unit of y, drawn beside the axis.
    public var unit: String
    public var axis: Axis
    public var series: [Series]

    public init(title: String, unit: String, axis: Axis, series: [Series]) {
        self.title = title
        self.unit = unit
        self.axis = axis
        self.series = series
    }

    private static let width = SVG.width
    private static let height = 260.0
    private static let margin = (left: 64.0, right: 16.0, top: 34.0, bottom: 28.0)
    /// Okabe and Ito's palette, which colour-blind readers can tell apart.
    private static let colours = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
    /// Points drawn a series: more than the pixels across are thinned, keeping each column's extremes.
    private static let columns = 700

    /// The SVG element. A chart without a finite point says so instead of drawing axes.
    public func svg() -> String {
        let finite = series.flatMap { $0.points }.filter { $0.x.isFinite && $0.y.isFinite }
        var out = SVG.start(title, height: Self.height)
        guard let first = finite.first else {
            return out + SVG.empty(height: Self.height)
        }
        var (minX, maxX, minY, maxY) = (first.x, first.x, first.y, first.y)
        for point in finite {
            minX = min(minX, point.x)
            maxX = max(maxX, point.x)
            minY = min(minY, point.y)
            maxY = max(maxY, point.y)
        }
        if minX == maxX { maxX = minX + 1 }
        if minY == maxY { (minY, maxY) = (minY - 0.5, maxY + 0.5) }
        let (left, right, top, bottom) = Self.margin
        let scaleX = (Self.width - left - right) / (maxX - minX)
        let scaleY = (Self.height - top - bottom) / (maxY - minY)
        func x(_ value: Double) -> Double { left + (value - minX) * scaleX }
        func y(_ value: Double) -> Double { Self.height - bottom - (value - minY) * scaleY }

        for tick in Self.ticks(minY, maxY, count: 5) {
            let position = y(tick).shown(1)
            out +=
                "<line x1=\"\(left)\" x2=\"\(Self.width - right)\" y1=\"\(position)\" y2=\"\(position)\" class=\"grid\"/>"
            out +=
                "<text x=\"\(left - 6)\" y=\"\((y(tick) + 4).shown(1))\" class=\"tick end\">\(tick.shownShort)</text>"
        }
        for step in 0...4 {
            let value = minX + (maxX - minX) * Double(step) / 4
            let text =
                axis == .time
                ? String(Timestamp(microseconds: Int64(value * 1e6)).description.prefix(10)) : value.shownShort
            let anchor = step == 0 ? "start" : step == 4 ? "end" : "middle"
            out += "<text x=\"\(x(value).shown(1))\" y=\"\(Self.height - 8)\" class=\"tick \(anchor)\">\(text)</text>"
        }
        out += "<text x=\"\(left)\" y=\"\(top - 6)\" class=\"tick start\">\(unit.htmlEscaped)</text>"
        var legendX = left + 90
        for (index, one) in series.enumerated() {
            let colour = Self.colours[index % Self.colours.count]
            let points = Self.thinned(one.points, from: minX, to: maxX)
            if one.isDotted {
                for point in points where point.y.isFinite {
                    out += "<circle cx=\"\(x(point.x).shown(1))\" cy=\"\(y(point.y).shown(1))\" r=\"2.2\" "
                    out += "fill=\"\(colour)\"/>"
                }
            } else {
                out += "<path fill=\"none\" stroke=\"\(colour)\" stroke-width=\"1.4\" d=\""
                out += Self.path(points, x: x, y: y) + "\"/>"
            }
            out += "<rect x=\"\(legendX.shown(0))\" y=\"\(top - 14)\" width=\"10\" height=\"10\" fill=\"\(colour)\"/>"
            out +=
                "<text x=\"\((legendX + 14).shown(0))\" y=\"\(top - 5)\" class=\"tick start\">\(one.name.htmlEscaped)</text>"
            legendX += 30 + Double(one.name.count) * 7
        }
        return out + "</svg>"
    }

    private static func path(
        _ points: [(x: Double, y: Double)], x: (Double) -> Double, y: (Double) -> Double
    ) -> String {
        var out = ""
        var isDown = false
        for point in points {
            guard point.y.isFinite else {
                isDown = false
                continue
            }
            out += "\(isDown ? "L" : "M")\(x(point.x).shown(1)) \(y(point.y).shown(1))"
            isDown = true
        }
        return out
    }

    /// At most two points (smallest and largest) a pixel column, so that no spike disappears.
    private static func thinned(
        _ points: [(x: Double, y: Double)], from minX: Double, to maxX: Double
    ) -> [(x: Double, y: Double)] {
        guard points.count > 2 * columns else { return points }
        var out: [(x: Double, y: Double)] = []
        var column = -1
        var (low, high) = (points[0], points[0])
        func flush() {
            guard column >= 0 else { return }
            if low.x <= high.x { out += low.x == high.x ? [low] : [low, high] } else { out += [high, low] }
        }
        for point in points {
            let own = Int((point.x - minX) / (maxX - minX) * Double(columns))
            if own != column || !point.y.isFinite {
                flush()
                column = own
                (low, high) = (point, point)
            } else {
                if point.y < low.y { low = point }
                if point.y > high.y { high = point }
            }
        }
        flush()
        return out
    }

    /// Round numbers (1, 2 or 5 times a power of ten) inside the range.
    static func ticks(_ low: Double, _ high: Double, count: Int) -> [Double] {
        let raw = (high - low) / Double(count)
        var power = 1.0
        while power * 10 <= raw { power *= 10 }
        while power > raw { power /= 10 }
        let step = [1.0, 2, 5, 10].map { $0 * power }.first { $0 >= raw } ?? power * 10
        var out: [Double] = []
        var value = (low / step).rounded(.up) * step
        while value <= high + step * 1e-9 {
            out.append(abs(value) < step * 1e-9 ? 0 : value)
            value += step
        }
        return out
    }
}
