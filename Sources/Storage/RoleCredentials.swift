/// The passwords of the services' roles: a folder with `<service>/pgpass` for each, a password file of libpq that only
/// its owner can read. Made once, random, and kept; a service's URL names its file
/// (`postgresql://vomma_trainer@host/vomma?passfile=…`), so that no password is in an environment or a command line.
public struct RoleCredentials: Sendable {
    public let folder: String

    public init(folder: String) { self.folder = folder }

    public func passwordFile(of role: DatabaseRole) -> String { "\(folder)/\(role.service)/pgpass" }

    /// Each role's password, made and stored where there is none. Throws `cluster` where a file can't be read or
    /// written, or holds something else.
    public func prepare(_ roles: [DatabaseRole] = DatabaseRole.all) throws(StorageError) -> [(
        role: DatabaseRole, password: String
    )] {
        var passwords: [(role: DatabaseRole, password: String)] = []
        for role in roles { passwords.append((role, try password(of: role))) }
        return passwords
    }

    private func password(of role: DatabaseRole) throws(StorageError) -> String {
        let path = passwordFile(of: role)
        // Any host, port and database: the file is for one role.
        let start = "*:*:*:\(role.name):"
        if FileSystem.exists(path) {
            guard let line = FileSystem.read(path)?.split(separator: "\n").first(where: { $0.hasPrefix(start) }),
                line.utf8.count > start.utf8.count
            else { throw .cluster("\(path) holds no password of \(role.name)") }
            return String(line.dropFirst(start.count))
        }
        try FileSystem.makeFolder("\(folder)/\(role.service)", mode: 0o700)
        let password = RandomPassword.make()
        try FileSystem.write(start + password + "\n", to: path)
        return password
    }
}

/// Letters and digits, so that it needs no quoting anywhere; more than 128 random bits.
enum RandomPassword {
    static func make() -> String {
        var generator = SystemRandomNumberGenerator()
        return (0..<4).map { _ in String(generator.next(), radix: 36) }.joined()
    }
}

extension ConnectionPool {
    /// Makes the services' roles with passwords kept in `credentials`, or brings them up to date: for the schema's
    /// owner, after `migrate`.
    public func applyRoles(_ credentials: RoleCredentials) async throws {
        try await applyRoles(try credentials.prepare())
    }
}
