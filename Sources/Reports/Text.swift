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
        case ..<0.001, 1e7...: shownScientific
        case ..<0.1: shown(4)
        case ..<10: shown(3)
        case ..<1000: shown(1)
        default: shown(0)
        }
    }

    /// Three significant digits and the power of ten: `9.34e-4`.
    private var shownScientific: String {
        guard isFinite, self != 0 else { return shown(0) }
        // The decimal digits that the standard library gives, rounded to three.
        let parts = "\(magnitude)".split(separator: "e")
        let digits = parts[0].split(separator: ".")
        var exponent = parts.count > 1 ? Int(parts[1]) ?? 0 : 0
        let whole = digits[0] == "0" ? "" : String(digits[0])
        var all = whole + (digits.count > 1 ? String(digits[1]) : "")
        exponent += whole.count - 1
        while all.hasPrefix("0") {
            all.removeFirst()
            exponent -= 1
        }
        let leading = Int((all + "000").prefix(4)).map { ($0 + 5) / 10 } ?? 0
        let (mantissa, carried) = leading > 999 ? (leading / 10, exponent + 1) : (leading, exponent)
        return (self < 0 ? "-" : "") + "\(mantissa / 100).\(mantissa / 10 % 10)\(mantissa % 10)e\(carried)"
    }

    /// 0.0123 as `1.23 %`.
    public var shownPercent: String { isFinite ? (self * 100).shown(2) + " %" : "–" }
}
