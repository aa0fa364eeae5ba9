import Reports
import Testing

/// Pictures are well-formed SVG with what they should show.
@Suite struct PictureTests {
    /// Every tag that is opened is closed.
    private func isBalanced(_ svg: String) -> Bool {
        var open: [Substring] = []
        for match in svg.matches(of: /<(\/?)([a-z]+)[^>]*?(\/?)>/) {
            if match.output.1 == "/" {
                guard open.popLast() == match.output.2 else { return false }
            } else if match.output.3.isEmpty {
                open.append(match.output.2)
            }
        }
        return open.isEmpty
    }

    @Test func aHeatMapHasACellEachAndGreyHoles() {
        let svg = HeatMap(
            title: "a < b", unit: "points", rows: ["r1", "r2"], columns: ["c1", "c2"], values: [1, -2, .nan, 0]
        ).svg()
        #expect(isBalanced(svg) && svg.contains("a &lt; b"))
        #expect(svg.matches(of: /<rect/).count == 4)
        #expect(svg.contains("#dddddd") && svg.contains(">-2.00<") && svg.contains("rgb(255,255,255)"))
        #expect(isBalanced(HeatMap(title: "t", unit: "", rows: [], columns: [], values: []).svg()))
    }

    @Test func barsAreInProportion() {
        let svg = BarChart(title: "t", unit: "n", bars: [("a", 10), ("", 5), ("c", .nan)]).svg()
        #expect(isBalanced(svg))
        let heights = svg.matches(of: /height="([0-9.]+)" fill/).compactMap { Double($0.output.1) }
        #expect(heights.count == 2 && abs(heights[0] - 2 * heights[1]) < 0.2)
        #expect(BarChart(title: "t", unit: "n", bars: [("a", 0)]).svg().contains("no data"))
    }

    @Test func aSurfaceHasAPatchForFourNeighboursThatAreThere() {
        let plot = SurfacePlot(
            title: "t", unit: "%", axes: ("k", "T"), first: [0, 1, 2], second: [0, 1],
            values: [1, 2, 3, 4, 5, .nan])
        // The floor, and one of two patches.
        #expect(isBalanced(plot.svg()) && plot.svg().matches(of: /<polygon/).count == 2)
        let none = SurfacePlot(title: "t", unit: "", axes: ("a", "b"), first: [0], second: [0], values: [.nan])
        #expect(none.svg().contains("no data"))
    }
}
