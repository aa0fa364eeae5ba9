/// An instant: microseconds since 1970-01-01T00:00:00Z, PostgreSQL's own resolution.
public struct Timestamp: Sendable, Hashable, Comparable, Codable {
    public var microseconds: Int64

    public init(microseconds: Int64) { self.microseconds = microseconds }
    public init(milliseconds: Int64) { self.microseconds = milliseconds * 1000 }
    public init(seconds: Int64) { self.microseconds = seconds * 1_000_000 }

    /// Rounded down to the millisecond.
    public var milliseconds: Int64 { microseconds / 1000 - (microseconds % 1000 < 0 ? 1 : 0) }
    public var seconds: Double { Double(microseconds) / 1e6 }

    public static func < (a: Timestamp, b: Timestamp) -> Bool { a.microseconds < b.microseconds }
    public static func + (a: Timestamp, b: Interval) -> Timestamp {
        .init(microseconds: a.microseconds + b.microseconds)
    }
    public static func - (a: Timestamp, b: Interval) -> Timestamp {
        .init(microseconds: a.microseconds - b.microseconds)
    }
    public static func - (a: Timestamp, b: Timestamp) -> Interval {
        .init(microseconds: a.microseconds - b.microseconds)
    }

    /// The start of the interval that contains this instant, counted from 1970 in UTC.
    public func floored(to interval: Interval) -> Timestamp {
        let remainder = microseconds % interval.microseconds
        return .init(microseconds: microseconds - (remainder < 0 ? remainder + interval.microseconds : remainder))
    }
}

/// A length of time in microseconds: a bar's interval, a tolerance, a half-life.
public struct Interval: Sendable, Hashable, Comparable, Codable {
    public var microseconds: Int64

    public init(microseconds: Int64) { self.microseconds = microseconds }
    public static func milliseconds(_ n: Int64) -> Interval { .init(microseconds: n * 1000) }
    public static func seconds(_ n: Int64) -> Interval { .init(microseconds: n * 1_000_000) }
    public static func minutes(_ n: Int64) -> Interval { .seconds(n * 60) }
    public static func hours(_ n: Int64) -> Interval { .seconds(n * 3600) }
    public static func days(_ n: Int64) -> Interval { .seconds(n * 86_400) }

    public var seconds: Double { Double(microseconds) / 1e6 }
    /// Years of 365 days (ACT/365).
    public var years: Double { seconds / (365 * 86_400) }

    /// `1m`, `15m`, `4h`, `1d`, also `5s`; `nil` for anything else, and for more than 1,440 units.
    public init?(name: some StringProtocol) {
        guard let unit = name.last, let count = Int64(name.dropLast()), (1...1440).contains(count) else { return nil }
        switch unit {
        case "s": self = .seconds(count)
        case "m": self = .minutes(count)
        case "h": self = .hours(count)
        case "d": self = .days(count)
        default: return nil
        }
    }

    public static func < (a: Interval, b: Interval) -> Bool { a.microseconds < b.microseconds }
    public static func * (a: Interval, n: Int64) -> Interval { .init(microseconds: a.microseconds * n) }
}

extension Timestamp: CustomStringConvertible, LosslessStringConvertible {
    /// ISO 8601 in UTC: `2026-03-01T00:00:00Z`, with a fraction only where there is one.
    public var description: String {
        let day = floored(to: .days(1))
        let (year, month, date) = Self.civil(daysSince1970: day.microseconds / 86_400_000_000)
        let rest = microseconds - day.microseconds
        let second = rest / 1_000_000
        func pad(_ n: Int64, _ width: Int = 2) -> String {
            let s = String(n)
            return String(repeating: "0", count: max(0, width - s.count)) + s
        }
        let clock = "\(pad(second / 3600)):\(pad(second / 60 % 60)):\(pad(second % 60))"
        let fraction = rest % 1_000_000
        return "\(pad(year, 4))-\(pad(month))-\(pad(date))T\(clock)" + (fraction == 0 ? "Z" : ".\(pad(fraction, 6))Z")
    }

    /// Reads `2026-03-01`, `2026-03-01T00:00Z`, `2026-03-01T00:00:00Z` or with a fraction of up to six digits; UTC
    /// only. `nil` for anything else, dates that do not exist included.
    public init?(_ text: String) {
        let bytes = Array(text.utf8)
        func number(_ range: Range<Int>) -> Int64? {
            guard range.upperBound <= bytes.count else { return nil }
            var value: Int64 = 0
            for byte in bytes[range] {
                guard byte >= 0x30, byte <= 0x39 else { return nil }
                value = value * 10 + Int64(byte - 0x30)
            }
            return value
        }
        func at(_ index: Int, _ character: Character) -> Bool {
            index < bytes.count && bytes[index] == character.asciiValue
        }
        guard let year = number(0..<4), at(4, "-"), let month = number(5..<7), at(7, "-"), let day = number(8..<10),
            (1...12).contains(month), (1...31).contains(day)
        else { return nil }
        let days = Self.days(year, month, day)
        guard Self.civil(daysSince1970: days) == (year, month, day) else { return nil }
        var micros: Int64 = 0
        if bytes.count > 10 {
            guard at(10, "T") || at(10, " "), let hour = number(11..<13), at(13, ":"), let minute = number(14..<16),
                hour < 24, minute < 60
            else { return nil }
            micros = (hour * 3600 + minute * 60) * 1_000_000
            var end = 16
            if at(16, ":") {
                guard let second = number(17..<19), second < 60 else { return nil }
                micros += second * 1_000_000
                end = 19
                if at(19, ".") {
                    var scale: Int64 = 100_000
                    end = 20
                    while end < bytes.count, let digit = number(end..<(end + 1)) {
                        guard scale > 0 else { return nil }
                        micros += digit * scale
                        scale /= 10
                        end += 1
                    }
                    guard end > 20 else { return nil }
                }
            }
            if at(end, "Z") { end += 1 }
            guard end == bytes.count else { return nil }
        }
        self.init(microseconds: days * 86_400_000_000 + micros)
    }

    // Howard Hinnant's civil-calendar algorithms, http://howardhinnant.github.io/date_algorithms.html.
    static func days(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        let y = month <= 2 ? year - 1 : year
        let era = (y >= 0 ? y : y - 399) / 400
        let yearOfEra = y - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }

    static func civil(daysSince1970 days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let z = days + 719_468
        let era = (z >= 0 ? z : z - 146_096) / 146_097
        let dayOfEra = z - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let m = (5 * dayOfYear + 2) / 153
        let month = m < 10 ? m + 3 : m - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * m + 2) / 5 + 1)
    }
}
