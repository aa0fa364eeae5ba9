/// A name of a table, column, channel or database, quoted so that no text can break out of it.
public struct Identifier: Sendable, Hashable, CustomStringConvertible {
    /// The name as PostgreSQL stores it: case is kept.
    public let name: String

    /// Throws `encoding` for an empty name, one with a NUL, or one above PostgreSQL's 63 bytes, which the server would
    /// silently cut.
    public init(_ name: String) throws(StorageError) {
        guard !name.isEmpty, name.utf8.count <= 63, !name.utf8.contains(0) else {
            throw .encoding(column: "identifier", reason: "1 to 63 bytes without NUL needed")
        }
        self.name = name
    }

    /// As it stands in SQL: in double quotes, each double quote inside doubled.
    public var description: String { Self.quote(name, with: "\"") }

    /// A text as an SQL string literal, for the few statements (DDL, NOTIFY's kin) that take no parameters. Relies on
    /// `standard_conforming_strings`, which every session of ours sets.
    static func literal(_ text: String) -> String { quote(text, with: "'") }

    private static func quote(_ text: String, with mark: Character) -> String {
        var quoted = String(mark)
        for character in text.unicodeScalars {
            if Character(character) == mark { quoted.append(mark) }
            quoted.unicodeScalars.append(character)
        }
        quoted.append(mark)
        return quoted
    }
}
