/// What RFC 9113 (sections 8.1 to 8.5) demands of a request's header blocks: which fields, how often, in which order,
/// of which bytes. A pure value, one a session, for header blocks never interleave.
///
/// libnghttp2 has these rules too, but looks at every byte of every field each time: a third of what it takes for a
/// call. Here a field is read once, and its effect kept where it comes again (`KnownFields`). The rules are the same:
/// what libnghttp2 refuses is refused, and what it ignores (a field with bytes that no field may have, but for
/// pseudo-fields and upper-case names) is ignored.
struct RequestRules {
    struct Seen: OptionSet {
        let rawValue: UInt16
        static let method = Seen(rawValue: 1)
        static let scheme = Seen(rawValue: 2)
        static let path = Seen(rawValue: 4)
        static let authority = Seen(rawValue: 8)
        static let host = Seen(rawValue: 16)
        /// A field that is no pseudo-field: none may follow. In trailers from the beginning.
        static let regular = Seen(rawValue: 32)
        static let isConnect = Seen(rawValue: 64)
        static let isOptions = Seen(rawValue: 128)
        /// The scheme is http or https, whose paths begin with a slash, or are `*`.
        static let isHTTP = Seen(rawValue: 256)
        static let isRegularPath = Seen(rawValue: 512)
        static let isAsteriskPath = Seen(rawValue: 1024)
    }

    /// What a field does to its block.
    struct Effect {
        /// What must not have been seen before it.
        var excluded: Seen = []
        var added: Seen = .regular
    }

    /// A field by itself, whatever its block.
    enum Reading {
        case field(Effect)
        case ignored
        case malformed
    }

    private var seen = Seen()
    private var isTrailers = false
    /// The stream's declared `content-length`; `nil`: none.
    private(set) var contentLength: Int?

    static func read(_ kind: HeaderName, _ name: Span<UInt8>, _ value: Span<UInt8>) -> Reading {
        if !name.isEmpty, name[0] == UInt8(ascii: ":") {
            return readPseudo(kind, value).map { .field($0) } ?? .malformed
        }
        // A name that is known is well-formed.
        guard kind == .custom ? FieldBytes.isName(name) : !name.isEmpty else {
            return FieldBytes.hasUpperCase(name) ? .malformed : .ignored
        }
        guard kind == .host ? FieldBytes.isAuthority(value) : FieldBytes.isValue(value) else { return .ignored }
        switch kind {
        case .connection: return .malformed
        case .te where !FieldBytes.equal(value, ignoringCaseOf: "trailers"): return .malformed
        case .host: return value.isEmpty ? .malformed : .field(Effect(excluded: .host, added: [.host, .regular]))
        default: return .field(Effect())
        }
    }

    private static func readPseudo(_ kind: HeaderName, _ value: Span<UInt8>) -> Effect? {
        guard !value.isEmpty else { return nil }
        let field: Seen
        var found: Seen = []
        switch kind {
        case .method:
            field = .method
            guard FieldBytes.isMethod(value) else { return nil }
            if FieldBytes.equal(value, "CONNECT") { found = .isConnect }
            if FieldBytes.equal(value, "OPTIONS") { found = .isOptions }
        case .scheme:
            field = .scheme
            guard FieldBytes.isScheme(value) else { return nil }
            let isHTTP =
                FieldBytes.equal(value, ignoringCaseOf: "http") || FieldBytes.equal(value, ignoringCaseOf: "https")
            if isHTTP { found = .isHTTP }
        case .path:
            field = .path
            guard FieldBytes.isPath(value) else { return nil }
            if value[0] == UInt8(ascii: "/") { found = .isRegularPath }
            if FieldBytes.equal(value, "*") { found = .isAsteriskPath }
        case .authority:
            field = .authority
            guard FieldBytes.isAuthority(value) else { return nil }
        default: return nil
        }
        return Effect(excluded: [field, .regular], added: [field, found])
    }

    /// Before each block; the length is what an earlier block of the stream declared.
    mutating func begin(isTrailers: Bool, contentLength: Int?) {
        seen = isTrailers ? .regular : []
        self.isTrailers = isTrailers
        self.contentLength = contentLength
    }

    /// Whether the field may stand here.
    mutating func apply(_ effect: Effect) -> Bool {
        guard seen.isDisjoint(with: effect.excluded) else { return false }
        seen.formUnion(effect.added)
        return true
    }

    mutating func applyIgnored() { seen.insert(.regular) }

    /// Takes a `content-length`. Whether it is a number, and the only one.
    mutating func declareLength(_ value: Span<UInt8>) -> Bool {
        guard contentLength == nil, let length = FieldBytes.number(value) else { return false }
        contentLength = length
        return true
    }

    /// Whether the block may end here, and the stream with it if `endStream`.
    mutating func end(endStream: Bool, receivedByteCount: Int) -> Bool {
        if isTrailers {
            guard endStream else { return false }
        } else if seen.contains(.isConnect) {
            guard seen.contains(.authority), !seen.contains(.scheme), !seen.contains(.path) else { return false }
            contentLength = nil
        } else {
            guard seen.isSuperset(of: [.method, .scheme, .path]), !seen.isDisjoint(with: [.authority, .host]),
                !seen.contains(.isHTTP) || seen.contains(.isRegularPath)
                    || seen.isSuperset(of: [.isOptions, .isAsteriskPath])
            else { return false }
        }
        return !endStream || contentLength == nil || contentLength == receivedByteCount
    }
}

/// Which bytes the parts of a header may have.
enum FieldBytes {
    /// A set of printable ASCII characters, by their bits.
    private struct Characters {
        private var low: UInt64 = ~0 << 33
        private var high: UInt64 = ~0 >> 1

        init(allBut excluded: String) {
            for byte in excluded.utf8 {
                if byte < 64 { low &= ~(1 << UInt64(byte)) } else { high &= ~(1 << UInt64(byte - 64)) }
            }
        }

        @inline(__always)
        func containsAll(_ bytes: Span<UInt8>) -> Bool {
            unsafe bytes.withUnsafeBufferPointer { bytes in
                unsafe bytes.allSatisfy { $0 < 128 && ($0 < 64 ? low : high) >> UInt64($0 & 63) & 1 == 1 }
            }
        }
    }

    private static let names = Characters(allBut: "\"(),/:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]{}")
    private static let methods = Characters(allBut: "\"(),/:;<=>?@[\\]{}")
    private static let authorities = Characters(allBut: "\"#/<>?\\^`{|}")

    /// A regular field's name.
    static func isName(_ bytes: Span<UInt8>) -> Bool { !bytes.isEmpty && names.containsAll(bytes) }

    static func isMethod(_ bytes: Span<UInt8>) -> Bool { methods.containsAll(bytes) }

    static func isAuthority(_ bytes: Span<UInt8>) -> Bool { authorities.containsAll(bytes) }

    /// Without spaces and control characters; beyond ASCII anything goes.
    static func isPath(_ bytes: Span<UInt8>) -> Bool { !hasByte(below: 0x21, bytes) }

    static func isScheme(_ bytes: Span<UInt8>) -> Bool {
        if equal(bytes, "http") || equal(bytes, "https") { return true }
        for index in bytes.indices {
            switch bytes[index] {
            case 0x41...0x5A, 0x61...0x7A: break
            case 0x30...0x39, 0x2B, 0x2D, 0x2E: if index == 0 { return false }
            default: return false
            }
        }
        return !bytes.isEmpty
    }

    /// Without control characters other than tabs, and neither space nor tab at its ends.
    static func isValue(_ bytes: Span<UInt8>) -> Bool {
        guard !bytes.isEmpty else { return true }
        let (first, last) = (bytes[0], bytes[bytes.count - 1])
        guard first != 0x20, first != 0x09, last != 0x20, last != 0x09 else { return false }
        guard hasByte(below: 0x20, bytes) else { return true }
        for index in bytes.indices {
            let byte = bytes[index]
            guard byte >= 0x20 && byte != 0x7F || byte == 0x09 else { return false }
        }
        return true
    }

    static func hasUpperCase(_ bytes: Span<UInt8>) -> Bool {
        for index in bytes.indices where bytes[index] >= 0x41 && bytes[index] <= 0x5A { return true }
        return false
    }

    /// Whether a byte is below the bound, which is at most 128, or DEL. Eight at a time.
    @inline(__always)
    private static func hasByte(below bound: UInt8, _ bytes: Span<UInt8>) -> Bool {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let tops = ones << 7
        let raw = unsafe bytes.bytes
        guard raw.byteCount >= 8 else {
            for index in bytes.indices where bytes[index] < bound || bytes[index] == 0x7F { return true }
            return false
        }
        // The last word overlaps the one before it.
        let last = raw.byteCount - 8
        var offset = 0
        while true {
            let word = unsafe raw.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self)
            // The top bit of a byte is set by these subtractions if it is such a byte, or if one before it is.
            let below = (word &- UInt64(bound) * ones) & ~word
            let deletes = word ^ (0x7F * ones)
            let delete = (deletes &- ones) & ~deletes
            if (below | delete) & tops != 0 { return true }
            guard offset < last else { return false }
            offset = min(offset + 8, last)
        }
    }

    @inline(__always)
    static func equal(_ bytes: Span<UInt8>, _ text: StaticString) -> Bool {
        HeaderFields.equal(bytes, 0, bytes.count, text)
    }

    /// `text` has letters only, in lower case.
    static func equal(_ bytes: Span<UInt8>, ignoringCaseOf text: StaticString) -> Bool {
        if equal(bytes, text) { return true }
        guard bytes.count == text.utf8CodeUnitCount else { return false }
        for index in bytes.indices {
            guard unsafe bytes[index] | 0x20 == text.utf8Start[index] else { return false }
        }
        return true
    }

    /// A decimal number; `nil` if it is none or too large.
    static func number(_ bytes: Span<UInt8>) -> Int? {
        var value = 0
        for index in bytes.indices {
            guard bytes[index] >= 0x30, bytes[index] <= 0x39 else { return nil }
            let (shifted, isTooLarge) = value.multipliedReportingOverflow(by: 10)
            let (sum, isTooLargeToo) = shifted.addingReportingOverflow(Int(bytes[index] - 0x30))
            guard !isTooLarge, !isTooLargeToo else { return nil }
            value = sum
        }
        return bytes.isEmpty ? nil : value
    }
}
