internal import Kernels

extension String {
    /// Fit for HTML and SVG, in text and in attributes.
    public var htmlEscaped: String {
        var out = ""
        for character in self {
            switch character {
            case "&": out += "&amp;"
            case "<": out += "&lt;"
            case ">": out += "&gt;"
            case "\"": out += "&quot;"
            case "'": out += "&#39;"
            default: out.append(character)
            }
        }
        return out
    }

    /// Filled up with spaces to `width`.
    public func padded(_ width: Int, right: Bool = false) -> String {
        let spaces = String(repeating: " ", count: max(0, width - count))
        return right ? spaces + self : self + spaces
    }
}

extension Double {
    /// With exactly `digits` digits after the point; `–` where it is not a number.
    public func shown(_ digits: Int) -> String {
        guard isFinite else { return isNaN ? "–" : self > 0 ? "∞" : "−∞" }
        let scale = (0..<digits).reduce(1.0) { power, _ in power * 10 }
        let scaled = (magnitude * scale).rounded()
        guard scaled < 9e15 else { return "\(self)" }
        let whole = Int64(scaled)
        let unit = Int64(scale)
        var text = String(whole / unit)
        if digits > 0 {
            let fraction = String(whole % unit)
            text += "." + String(repeating: "0", count: digits - fraction.count) + fraction
        }
        return self < 0 && whole != 0 ? "-" + text : text
    }

    /// A few significant digits, for axes.
    public var shownShort: String {
        switch magnitude {
        case 0: "0"
        case ..<0.001, 1e7...: "\(self)"
        case ..<0.1: shown(4)
        case ..<10: shown(3)
        case ..<1000: shown(1)
        default: shown(0)
        }
    }

    /// 0.0123 as `1.23 %`.
    public var shownPercent: String { isFinite ? (self * 100).shown(2) + " %" : "–" }
}
