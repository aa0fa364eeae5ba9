/// The texts of google.protobuf.Timestamp and Duration: exact to the nanosecond, years 1 to 9999.
enum TimeText {
    private static let secondRange: ClosedRange<Int64> = -62_135_596_800...253_402_300_799
    /// About ±10,000 years.
    private static let durationLimit: Int64 = 315_576_000_000

    // MARK: Texts to numbers

    /// `2026-03-01T00:00:00.5Z`, or with an offset such as `+01:00`; up to nine digits after the point.
    static func timestamp(_ text: String) -> (seconds: Int64, nanos: Int32)? {
        var bytes = Array(text.utf8)[...]
        guard let year = number(&bytes, 4), take(&bytes, "-"), let month = number(&bytes, 2), take(&bytes, "-"),
            let day = number(&bytes, 2), take(&bytes, "T") || take(&bytes, "t"), let hour = number(&bytes, 2),
            take(&bytes, ":"), let minute = number(&bytes, 2), take(&bytes, ":"), let second = number(&bytes, 2),
            (1...9999).contains(year), (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60,
            second < 60
        else { return nil }
        guard let nanos = fraction(&bytes) else { return nil }
        var offset: Int64 = 0
        if !(take(&bytes, "Z") || take(&bytes, "z")) {
            let isWest = take(&bytes, "-")
            guard isWest || take(&bytes, "+"), let hours = number(&bytes, 2), take(&bytes, ":"),
                let minutes = number(&bytes, 2), hours < 24, minutes < 60
            else { return nil }
            offset = (hours * 60 + minutes) * (isWest ? -60 : 60)
        }
        let days = daysSince1970(year, month, day)
        guard bytes.isEmpty, civil(days) == (year, month, day) else { return nil }
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset
        return secondRange.contains(seconds) ? (seconds, nanos) : nil
    }

    /// `-1.5s`: seconds with up to nine digits after the point.
    static func duration(_ text: String) -> (seconds: Int64, nanos: Int32)? {
        var bytes = Array(text.utf8)[...]
        let isNegative = take(&bytes, "-")
        let digits = bytes.prefix { $0 >= 0x30 && $0 <= 0x39 }.count
        guard digits <= 12, let seconds = number(&bytes, digits), seconds <= durationLimit,
            let nanos = fraction(&bytes), take(&bytes, "s"), bytes.isEmpty
        else { return nil }
        return isNegative ? (-seconds, -nanos) : (seconds, nanos)
    }

    private static func take(_ bytes: inout ArraySlice<UInt8>, _ character: Character) -> Bool {
        guard bytes.first == character.asciiValue else { return false }
        bytes = bytes.dropFirst()
        return true
    }

    /// Exactly `count` digits, at least one.
    private static func number(_ bytes: inout ArraySlice<UInt8>, _ count: Int) -> Int64? {
        guard count > 0, bytes.count >= count else { return nil }
        var value: Int64 = 0
        for byte in bytes.prefix(count) {
            guard byte >= 0x30, byte <= 0x39 else { return nil }
            value = value * 10 + Int64(byte - 0x30)
        }
        bytes = bytes.dropFirst(count)
        return value
    }

    /// A point and one to nine digits, in nanoseconds; 0 where there is no point.
    private static func fraction(_ bytes: inout ArraySlice<UInt8>) -> Int32? {
        guard take(&bytes, ".") else { return 0 }
        let digits = bytes.prefix { $0 >= 0x30 && $0 <= 0x39 }.count
        guard digits <= 9, var value = number(&bytes, digits) else { return nil }
        for _ in digits..<9 { value *= 10 }
        return Int32(value)
    }

    // MARK: Numbers to texts

    /// `nil` outside the years 1 to 9999, or where the nanoseconds are not 0 to 999,999,999.
    static func text(timestamp seconds: Int64, nanos: Int32) -> String? {
        guard secondRange.contains(seconds), (0..<1_000_000_000).contains(nanos) else { return nil }
        let days = (seconds - (seconds < 0 ? 86_399 : 0)) / 86_400
        let second = seconds - days * 86_400
        let (year, month, day) = civil(days)
        return "\(pad(year, 4))-\(pad(month, 2))-\(pad(day, 2))"
            + "T\(pad(second / 3600, 2)):\(pad(second / 60 % 60, 2)):\(pad(second % 60, 2))\(fractionText(nanos))Z"
    }

    /// `nil` beyond about ±10,000 years, or where seconds and nanoseconds have different signs.
    static func text(duration seconds: Int64, nanos: Int32) -> String? {
        guard (-durationLimit...durationLimit).contains(seconds), (-999_999_999...999_999_999).contains(nanos),
            seconds == 0 || nanos == 0 || (seconds < 0) == (nanos < 0)
        else { return nil }
        return "\(seconds < 0 || nanos < 0 ? "-" : "")\(seconds.magnitude)\(fractionText(abs(nanos)))s"
    }

    /// Three, six or nine digits, as few as hold the value.
    private static func fractionText(_ nanos: Int32) -> String {
        switch nanos {
        case 0: ""
        case _ where nanos % 1_000_000 == 0: ".\(pad(Int64(nanos) / 1_000_000, 3))"
        case _ where nanos % 1000 == 0: ".\(pad(Int64(nanos) / 1000, 6))"
        default: ".\(pad(Int64(nanos), 9))"
        }
    }

    private static func pad(_ value: Int64, _ width: Int) -> String {
        let digits = String(value)
        return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
    }

    // MARK: The calendar

    // The proleptic Gregorian calendar in whole numbers: years begin in March, so that the leap day is the last, and
    // 400 of them have 146,097 days (Hinnant, "chrono-Compatible Low-Level Date Algorithms").

    private static func daysSince1970(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        let year = month <= 2 ? year - 1 : year
        let era = year / 400
        let yearOfEra = year - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }

    private static func civil(_ daysSince1970: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let days = daysSince1970 + 719_468
        let era = days / 146_097
        let dayOfEra = days - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shifted = (5 * dayOfYear + 2) / 153
        let month = shifted + (shifted < 10 ? 3 : -9)
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * shifted + 2) / 5 + 1)
    }
}
