/// What all pictures have in common.
enum SVG {
    /// In the picture's own units; the page makes it as wide as it can.
    static let width = 760.0

    /// The element's start, up to its title's text. The caller ends it with `</svg>`.
    static func start(_ title: String, height: Double) -> String {
        let title = title.htmlEscaped
        return "<svg viewBox=\"0 0 \(width.shown(0)) \(height.shown(0))\" role=\"img\" "
            + "xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\"><title>\(title)</title>"
            + "<text x=\"8\" y=\"16\" class=\"title\">\(title)</text>"
    }

    /// A picture without anything to draw says so.
    static func empty(height: Double) -> String {
        "<text x=\"\((width / 2).shown(0))\" y=\"\((height / 2).shown(0))\" class=\"empty\">no data</text></svg>"
    }
}
