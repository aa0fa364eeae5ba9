internal import Kernels

// The grammar of a row: fields between commas, quoted where they hold commas, numbers in plain decimal notation.

/// The fields of one line of CSV, as ranges into its bytes. Reused from row to row, so that no row allocates.
struct Row {
    private(set) var fields: [Range<Int>] = []

    var count: Int { fields.count }

    /// Finds the fields of `text`. A field that starts with a quote ends at its closing quote (RFC 4180).
    mutating func split(_ text: Span<UInt8>) throws(RowFault) {
        fields.removeAll(keepingCapacity: true)
        let quote = UInt8(ascii: "\"")
        let comma = UInt8(ascii: ",")
        var i = 0
        let count = text.count
        while true {
            let from = i
            if i < count, text[i] == quote {
                i += 1
                while true {
                    while i < count, text[i] != quote { i += 1 }
                    guard i < count else { throw .brokenQuotes }
                    i += 1
                    guard i < count, text[i] == quote else { break }
                    i += 1  // a doubled quote stands for one
                }
                guard i == count || text[i] == comma else { throw .brokenQuotes }
            } else {
                while i < count, text[i] != comma { i += 1 }
            }
            fields.append(from..<i)
            guard i < count else { return }
            i += 1
        }
    }

    func isEmpty(_ column: Int) -> Bool { fields[column].isEmpty }

    /// A finite number in decimal notation.
    func double(_ column: Int, _ text: Span<UInt8>) throws(RowFault) -> Double {
        let field = fields[column]
        guard !field.isEmpty else { throw .missingValue }
        return try decimal(text, field)
    }

    /// As `double`, with `nil` for an empty field.
    func optionalDouble(_ column: Int, _ text: Span<UInt8>) throws(RowFault) -> Double? {
        fields[column].isEmpty ? nil : try decimal(text, fields[column])
    }

    func integer(_ column: Int, _ text: Span<UInt8>) throws(RowFault) -> Int64 {
        let field = fields[column]
        guard !field.isEmpty else { throw .missingValue }
        return try wholeNumber(text, field)
    }

    /// The field's text without its quotes.
    func string(_ column: Int, _ text: Span<UInt8>) throws(RowFault) -> String {
        let field = fields[column]
        let quote = UInt8(ascii: "\"")
        var bytes: [UInt8] = []
        bytes.reserveCapacity(field.count)
        if !field.isEmpty, text[field.lowerBound] == quote {
            var i = field.lowerBound + 1
            while i < field.upperBound - 1 {
                bytes.append(text[i])
                i += text[i] == quote ? 2 : 1
            }
        } else {
            for i in field { bytes.append(text[i]) }
        }
        guard let string = String(validating: bytes, as: UTF8.self) else { throw .notUTF8 }
        return string
    }
}

/// A whole number with an optional minus sign; nothing else, no overflow.
func wholeNumber(_ text: Span<UInt8>, _ range: Range<Int>) throws(RowFault) -> Int64 {
    var i = range.lowerBound
    let isNegative = text[i] == UInt8(ascii: "-")
    if isNegative { i += 1 }
    guard i < range.upperBound, range.upperBound - i <= 18 else { throw .notANumber }
    var value: Int64 = 0
    while i < range.upperBound {
        let digit = text[i] &- UInt8(ascii: "0")
        guard digit <= 9 else { throw .notANumber }
        value = value &* 10 &+ Int64(digit)
        i += 1
    }
    return isNegative ? -value : value
}

/// A decimal number: `-12.5`, `.5`, `1e-7`. Neither hexadecimal nor spaces; `NaN` and `inf` are told apart as
/// non-finite.
///
/// Exact: up to 15 digits and a power of ten up to 22 both are doubles, so that one multiplication or division rounds
/// once (Clinger 1990); anything longer goes to the standard library.
func decimal(_ text: Span<UInt8>, _ range: Range<Int>) throws(RowFault) -> Double {
    var i = range.lowerBound
    let end = range.upperBound
    var isNegative = false
    if i < end, text[i] == UInt8(ascii: "-") || text[i] == UInt8(ascii: "+") {
        isNegative = text[i] == UInt8(ascii: "-")
        i += 1
    }
    var mantissa: UInt64 = 0
    var digits = 0  // significant ones
    var scale = 0
    var seen = false
    var behindPoint = false
    while i < end {
        let byte = text[i]
        let digit = byte &- UInt8(ascii: "0")
        if digit <= 9 {
            seen = true
            if digits > 0 || digit > 0 { digits += 1 }
            if digits <= 18 { mantissa = mantissa &* 10 &+ UInt64(digit) }
            if behindPoint { scale -= 1 }
        } else if byte == UInt8(ascii: "."), !behindPoint {
            behindPoint = true
        } else {
            break
        }
        i += 1
    }
    guard seen else {
        throw isNonFiniteWord(text, i..<end) ? .nonFinite : .notANumber
    }
    if i < end {
        guard text[i] | 0x20 == UInt8(ascii: "e"), i + 1 < end else { throw .notANumber }
        i += 1
        let isMinus = text[i] == UInt8(ascii: "-")
        if isMinus || text[i] == UInt8(ascii: "+") { i += 1 }
        guard i < end, end - i <= 5 else { throw .notANumber }
        var exponent = 0
        while i < end {
            let digit = text[i] &- UInt8(ascii: "0")
            guard digit <= 9 else { throw .notANumber }
            exponent = exponent * 10 + Int(digit)
            i += 1
        }
        scale += isMinus ? -exponent : exponent
    }
    if mantissa < 1 << 53, digits <= 18, abs(scale) <= 22 {
        let value = scale < 0 ? Double(mantissa) / powersOfTen[-scale] : Double(mantissa) * powersOfTen[scale]
        return isNegative ? -value : value
    }
    var bytes: [UInt8] = []
    for j in range { bytes.append(text[j]) }
    guard let value = Double(String(decoding: bytes, as: UTF8.self)) else { throw .notANumber }
    guard value.isFinite else { throw .nonFinite }
    return value
}

/// `nan`, `inf`, `infinity` in any case.
private func isNonFiniteWord(_ text: Span<UInt8>, _ range: Range<Int>) -> Bool {
    guard range.count == 3 || range.count == 8 else { return false }
    var word = ""
    for i in range { word.unicodeScalars.append(Unicode.Scalar(text[i] | 0x20)) }
    return word == "nan" || word == "inf" || word == "infinity"
}

private let powersOfTen: [Double] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
]

/// One file format: where its columns are and what a row means.
protocol TableFormat {
    /// Finds the columns by name. `headerless`: the names are the first row itself, of a file without a header.
    /// Returns the names of the columns that are missing: empty when the layout is understood.
    mutating func layOut(_ names: [String], headerless: Bool) -> [String]
    /// Takes one row. False stops reading: nothing behind this row can be wanted.
    mutating func take(_ row: borrowing Row, _ text: Span<UInt8>) throws(RowFault) -> Bool
    /// The column of the last fault, for the report.
    var columnAtFault: String? { get }
}

/// Reads `source` row by row into `format` and returns the account. Blank lines are skipped.
func readTable(
    _ source: RowSource, into format: inout some TableFormat, quoted: Bool = false, report: inout LoadReport
) throws(MarketDataError) {
    var reader = try LineReader(source)
    var row = Row()
    var columnCount: Int?
    var missing: [String] = []
    try reader.forEach(quoted: quoted) { line, text, kind in
        guard kind != .whole || !text.isEmpty else { return true }
        var isTaking = false
        do throws(RowFault) {
            switch kind {
            case .tooLong: throw .lineTooLong
            case .unbalancedQuote: throw .brokenQuotes
            case .whole: break
            }
            try row.split(text)
            if let expected = columnCount {
                guard row.count == expected else { throw .wrongFieldCount }
            } else {
                var names: [String] = []
                for column in 0..<row.count { names.append(try row.string(column, text)) }
                if names[0].hasPrefix("\u{FEFF}") { names[0].unicodeScalars.removeFirst() }
                let headerless = names[0].utf8.first.map { $0 >= 0x30 && $0 <= 0x39 || $0 == 0x2D } ?? false
                missing = format.layOut(names, headerless: headerless)
                columnCount = row.count
                guard missing.isEmpty else { return false }
                guard headerless else { return true }
            }
            isTaking = true
            return try format.take(row, text)
        } catch {
            // Without a header no row means anything.
            guard columnCount != nil else {
                missing = ["a header"]
                return false
            }
            report.refuse(.init(line: line, fault: error, column: isTaking ? format.columnAtFault : nil))
            return true
        }
    }
    guard missing.isEmpty, columnCount != nil else {
        throw .unknownLayout(path: source.name, missing: missing.isEmpty ? ["a header"] : missing)
    }
}
