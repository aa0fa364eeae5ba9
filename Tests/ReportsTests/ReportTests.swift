import MarketData
import Reports
import Testing

@Suite struct ReportTests {
    @Test("numbers are written with the digits asked for", arguments: [
        (1.25, 1, "1.3"), (-0.001, 2, "0.00"), (-1.5, 1, "-1.5"), (1234567.891, 0, "1234568"), (.nan, 2, "–"),
        (0.05, 3, "0.050"),
    ])
    func digits(value: Double, digits: Int, text: String) {
        #expect(value.shown(digits) == text)
    }

    @Test(
        "numbers for axes: a few digits, and a power of ten where they are small or large",
        arguments: [
            (0, "0"), (0.5, "0.500"), (12.345, "12.3"), (0.0009344839, "9.34e-4"), (-0.00099999, "-1.00e-3"),
            (1.62011e-06, "1.62e-6"), (.leastNonzeroMagnitude, "5.00e-324"), (12_345_678, "1.23e7"), (1e300, "1.00e300"),
            (1639119454272.649, "1.64e12"), (99_960_000, "1.00e8"), (.nan, "–"), (-.infinity, "−∞"),
        ] as [(Double, String)])
    func short(value: Double, text: String) { #expect(value.shownShort == text) }

    @Test("text from outside cannot become markup")
    func escaping() {
        let report = Report(
            title: "<script>", verdict: "a & b",
            sections: [.init("s", [.table(header: ["<b>"], rows: [["\"'"]]), .warning("<i>")])])
        let html = report.html()
        #expect(!html.contains("<script>") && !html.contains("<b>") && !html.contains("<i>"))
        #expect(html.contains("&lt;script&gt;") && html.contains("&quot;&#39;"))
    }

    @Test("a chart keeps a single spike among many points, and breaks at NaN")
    func chart() {
        var points = (0..<50_000).map { (x: Double($0), y: 0.0) }
        points[25_001].y = 1000
        let spike = LineChart(title: "t", unit: "u", axis: .number, series: [.init(name: "a", points: points)]).svg()
        // The spike reaches the top margin (y = 34).
        #expect(spike.contains(" 34.0"))
        #expect(spike.count < 40_000)
        let broken = LineChart(
            title: "t", unit: "u", axis: .number,
            series: [.init(name: "a", points: [(0, 1), (1, .nan), (2, 2), (3, 4)])]
        ).svg()
        #expect(broken.filter { $0 == "M" }.count == 2)
        let empty = LineChart(title: "t", unit: "u", axis: .time, series: []).svg()
        #expect(empty.contains("no data"))
    }

    @Test("the terminal's table is aligned")
    func table() {
        let report = Report(
            title: "t", verdict: "v",
            sections: [.init("s", [.table(header: ["name", "n"], rows: [["a", "1"], ["bcd", "22"]])])])
        #expect(report.text().contains("  a      1\n  bcd   22\n"))
    }
}
