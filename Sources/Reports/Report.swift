/// A report as a list of sections, written once and rendered twice: as text for the terminal and as one HTML page
/// without scripts or outside resources.
public struct Report: Sendable {
    public enum Block: Sendable {
        case text(String)
        /// A remark that the reader must not miss.
        case warning(String)
        /// A table with a header; columns that look like numbers are aligned right.
        case table(header: [String], rows: [[String]])
        // Only in the HTML.
        case chart(LineChart)
        case bars(BarChart)
        case heatMap(HeatMap)
        case surface(SurfacePlot)
    }

    public struct Section: Sendable {
        public var title: String
        public var blocks: [Block]

        public init(_ title: String, _ blocks: [Block]) {
            self.title = title
            self.blocks = blocks
        }
    }

    public var title: String
    /// One sentence: the result.
    public var verdict: String
    public var sections: [Section]

    public init(title: String, verdict: String, sections: [Section]) {
        self.title = title
        self.verdict = verdict
        self.sections = sections
    }

    /// For a terminal of 100 columns or more.
    public func text() -> String {
        var out = "\n\(title)\n\(String(repeating: "═", count: title.count))\n\(verdict)\n"
        for section in sections {
            out += "\n\(section.title)\n\(String(repeating: "─", count: section.title.count))\n"
            for block in section.blocks {
                switch block {
                case .text(let text): out += text + "\n"
                case .warning(let text): out += "! " + text + "\n"
                case .table(let header, let rows): out += Self.table(header, rows)
                case .chart, .bars, .heatMap, .surface: break
                }
            }
        }
        return out
    }

    private static func table(_ header: [String], _ rows: [[String]]) -> String {
        let all = header.isEmpty ? rows : [header] + rows
        let columns = all.map(\.count).max() ?? 0
        let widths = (0..<columns).map { column in all.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0 }
        return all.map { row in
            let cells = row.enumerated().map { $1.padded(widths[$0], right: Self.isNumber($1)) }
            return "  " + cells.joined(separator: "  ").trimmingEnd() + "\n"
        }.joined()
    }

    /// Digits with a sign, a point and perhaps a percent sign; or the mark of what is not a number.
    private static func isNumber(_ text: String) -> Bool {
        text == "–" || (text.contains { $0.isNumber } && text.allSatisfy { $0.isNumber || "+-−. %".contains($0) })
    }

    /// One self-contained page.
    public func html() -> String {
        var out = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>\(title.htmlEscaped)</title>"
        out += "<meta name=\"viewport\" content=\"width=device-width\"><style>\(Self.style)</style></head><body>"
        out += "<h1>\(title.htmlEscaped)</h1><p class=\"verdict\">\(verdict.htmlEscaped)</p>"
        for section in sections {
            out += "<section><h2>\(section.title.htmlEscaped)</h2>"
            for block in section.blocks {
                switch block {
                case .text(let text): out += "<p>\(text.htmlEscaped)</p>"
                case .warning(let text): out += "<p class=\"warning\">\(text.htmlEscaped)</p>"
                case .table(let header, let rows):
                    out += "<table>"
                    if !header.isEmpty {
                        out += "<thead><tr>" + header.map { "<th>\($0.htmlEscaped)</th>" }.joined() + "</tr></thead>"
                    }
                    out += "<tbody>"
                    for row in rows {
                        let cells = row.map {
                            "<td\(Self.isNumber($0) ? " class=\"number\"" : "")>\($0.htmlEscaped)</td>"
                        }
                        out += "<tr>" + cells.joined() + "</tr>"
                    }
                    out += "</tbody></table>"
                case .chart(let chart): out += chart.svg()
                case .bars(let chart): out += chart.svg()
                case .heatMap(let map): out += map.svg()
                case .surface(let plot): out += plot.svg()
                }
            }
            out += "</section>"
        }
        return out + "</body></html>\n"
    }

    /// Its pictures as files of their own, in order: `1-title.svg`.
    public func pictures() -> [(name: String, svg: String)] {
        var found: [(name: String, svg: String)] = []
        for block in sections.flatMap(\.blocks) {
            let (title, svg): (String, String)
            switch block {
            case .text, .warning, .table: continue
            case .chart(let chart): (title, svg) = (chart.title, chart.svg())
            case .bars(let chart): (title, svg) = (chart.title, chart.svg())
            case .heatMap(let map): (title, svg) = (map.title, map.svg())
            case .surface(let plot): (title, svg) = (plot.title, plot.svg())
            }
            let words = title.lowercased().map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "-" }
            let name = String(words).split(separator: "-").joined(separator: "-")
            // The page's style, inside: a background too, for readers whose page is dark.
            let background = "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>"
            let start = svg.firstIndex(of: ">").map { svg.index(after: $0) } ?? svg.startIndex
            let inside = "<style>svg{font-family:system-ui,sans-serif}\(Self.style)</style>\(background)"
            found.append(
                ("\(found.count + 1)-\(name).svg", svg[..<start] + inside + svg[start...]))
        }
        return found
    }

    private static let style = """
        body{font:15px/1.5 system-ui,sans-serif;max-width:820px;margin:2em auto;padding:0 1em;color:#1b1b1b}
        h1{font-size:1.5em}h2{font-size:1.15em;border-bottom:1px solid #ccc;margin-top:2em}
        .verdict{font-size:1.1em;background:#f3f3ee;padding:.7em 1em;border-left:4px solid #0072B2}
        .warning{background:#fff3e6;padding:.5em 1em;border-left:4px solid #D55E00}
        table{border-collapse:collapse;margin:.7em 0;font-size:.92em}td,th{padding:.2em .8em .2em 0;text-align:left}
        thead th{border-bottom:1px solid #999}td.number{text-align:right;font-variant-numeric:tabular-nums}
        .chart{width:100%;height:auto;margin:.6em 0}.chart text{font:11px system-ui,sans-serif;fill:#444}
        .chart .title{font-size:13px;font-weight:600;fill:#1b1b1b}.chart .grid{stroke:#e4e4e4}
        .chart .end{text-anchor:end}.chart .middle,.chart .empty{text-anchor:middle}
        """
}

extension String {
    fileprivate func trimmingEnd() -> String {
        var text = self
        while text.last == " " { text.removeLast() }
        return text
    }
}
