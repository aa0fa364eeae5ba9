internal import Crypto

/// A secret that a caller shows as `authorization: Bearer <token>`; servers know only its SHA-256.
public struct BearerToken: Sendable {
    /// Secret.
    public let text: String

    /// A new one: 192 random bits, so that its plain SHA-256 cannot be guessed backwards.
    public init() {
        var generator = SystemRandomNumberGenerator()
        let random = (0..<24).map { _ in UInt8.random(in: 0...255, using: &generator) }
        text = "vomma_" + Self.hex(random)
    }

    /// One that was made before; `nil` unless it is 16 to 512 visible ASCII characters.
    public init?(_ text: String) {
        guard (16...512).contains(text.utf8.count), Self.isVisible(text) else { return nil }
        self.text = text
    }

    /// The line of a server's file that lets its owner in under this name; `nil` for a name that has no place there.
    public func line(name: String) -> String? {
        guard Self.isName(name) else { return nil }
        return "\(name) \(Self.hex(Self.digest(text)))"
    }

    static func digest(_ text: some StringProtocol) -> [UInt8] {
        var hash = SHA256()
        unsafe Array(text.utf8).withUnsafeBytes { unsafe hash.update(bufferPointer: $0) }
        return Array(hash.finalize())
    }

    /// Visible ASCII that does not make a comment of its line.
    static func isName(_ name: String) -> Bool { !name.isEmpty && !name.hasPrefix("#") && isVisible(name) }

    private static func isVisible(_ text: String) -> Bool { text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F } }

    private static func hex(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}

/// The tokens that a server lets in, from lines `name sha256-in-hex`; empty ones and those that begin with `#` do not
/// count. A name may stand on several lines, so that a token can be replaced without a gap.
struct AcceptedTokens: Sendable {
    private let tokens: [(name: String, digest: [UInt8])]

    init(_ text: String, path: String) throws(TokenFileError) {
        var tokens: [(String, [UInt8])] = []
        let lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
        for (index, line) in lines.enumerated() {
            let words = line.split(whereSeparator: \.isWhitespace)
            guard let name = words.first, !name.hasPrefix("#") else { continue }
            guard words.count == 2, BearerToken.isName(String(name)), let digest = Self.digest(hex: words[1]) else {
                throw .badLine(path: path, line: index + 1)
            }
            tokens.append((String(name), digest))
        }
        guard !tokens.isEmpty else { throw .noTokens(path: path) }
        self.tokens = tokens
    }

    /// The name of who shows this token. All are looked at, and all of each: the time tells nothing of them.
    func name(of token: some StringProtocol) -> String? {
        let shown = BearerToken.digest(token)
        var found: String?
        for (name, digest) in tokens {
            var difference: UInt8 = 0
            for index in digest.indices { difference |= digest[index] ^ shown[index] }
            if difference == 0 { found = name }
        }
        return found
    }

    private static func digest(hex: Substring) -> [UInt8]? {
        let digits = hex.utf8.compactMap { Character(UnicodeScalar($0)).hexDigitValue }
        guard digits.count == 64, hex.utf8.count == 64 else { return nil }
        return stride(from: 0, to: 64, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }
}
