/// A function of two axes as a surface in space, standalone SVG: seen from above at an angle, higher is lighter.
public struct SurfacePlot: Sendable {
    public var title: String
    public var unit: String
    /// Names of the first and second axis, and their points.
    public var axes: (first: String, second: String)
    public var first: [Double]
    public var second: [Double]
    /// `[first × second]`; NaN where there is none: a hole.
    public var values: [Double]

    /// Traps when there is not one value a point.
    public init(
        title: String, unit: String, axes: (first: String, second: String), first: [Double], second: [Double],
        values: [Double]
    ) {
        precondition(values.count == first.count * second.count, "one value a point")
        self.title = title
        self.unit = unit
        self.axes = axes
        self.first = first
        self.second = second
        self.values = values
    }

    public func svg() -> String {
        let pictureHeight = 420.0
        var out = SVG.start(title, height: pictureHeight)
        let finite = values.filter(\.isFinite)
        guard let low = finite.min(), let high = finite.max(), first.count > 1, second.count > 1 else {
            return out + SVG.empty(height: pictureHeight)
        }
        let span = high > low ? high - low : 1
        // Places on the axes are 0 … 1 by their order: maturities would crowd at one end.
        func point(_ a: Double, _ b: Double, _ height: Double) -> (x: Double, y: Double) {
            (380 + 250 * (a - b), 230 + 95 * (a + b - 1) - 150 * (height - 0.35))
        }
        func corner(_ i: Int, _ j: Int) -> (x: Double, y: Double)? {
            let value = values[i * second.count + j]
            guard value.isFinite else { return nil }
            return point(
                Double(i) / Double(first.count - 1), Double(j) / Double(second.count - 1), (value - low) / span)
        }
        func path(_ points: [(x: Double, y: Double)]) -> String {
            points.map { "\($0.x.shown(1)),\($0.y.shown(1))" }.joined(separator: " ")
        }
        let floor = [point(0, 0, 0), point(1, 0, 0), point(1, 1, 0), point(0, 1, 0)]
        out += "<polygon points=\"\(path(floor))\" fill=\"#f3f3ee\" stroke=\"#bbbbbb\"/>"
        // What is behind is drawn first.
        for i in 0..<(first.count - 1) {
            for j in 0..<(second.count - 1) {
                let places = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)]
                let corners = places.compactMap { corner($0.0, $0.1) }
                guard corners.count == 4 else { continue }
                let middle = places.reduce(0) { $0 + values[$1.0 * second.count + $1.1] } / 4
                out += "<polygon points=\"\(path(corners))\" fill=\"\(Self.colour((middle - low) / span))\" "
                out += "stroke=\"#ffffff\" stroke-width=\"0.6\"/>"
            }
        }
        func label(_ place: (x: Double, y: Double), _ text: String, _ anchor: String) -> String {
            "<text x=\"\(place.x.shown(1))\" y=\"\((place.y + 14).shown(1))\" class=\"tick \(anchor)\">"
                + "\(text.htmlEscaped)</text>"
        }
        for (i, value) in first.enumerated() {
            out += label(point(Double(i) / Double(first.count - 1), 1.04, 0), value.shownShort, "end")
        }
        for (j, value) in second.enumerated() {
            out += label(point(1.04, Double(j) / Double(second.count - 1), 0), value.shownShort, "start")
        }
        out += label(point(0.5, 1.25, 0), axes.first, "end") + label(point(1.25, 0.5, 0), axes.second, "start")
        out += "<text x=\"8\" y=\"36\" class=\"tick start\">\(unit.htmlEscaped): "
        return out + "\(low.shown(1)) to \(high.shown(1))</text></svg>"
    }

    /// From dark blue to yellow, as colour-blind readers can order it.
    private static func colour(_ share: Double) -> String {
        let stops: [(Double, Double, Double)] = [
            (0, 32, 81), (60, 77, 110), (127, 124, 117), (187, 175, 113), (253, 234, 69),
        ]
        let place = min(max(share, 0), 1) * Double(stops.count - 1)
        let index = min(stops.count - 2, Int(place))
        let (a, b, t) = (stops[index], stops[index + 1], place - Double(index))
        func mix(_ x: Double, _ y: Double) -> Int { Int((x + (y - x) * t).rounded()) }
        return "rgb(\(mix(a.0, b.0)),\(mix(a.1, b.1)),\(mix(a.2, b.2)))"
    }
}
