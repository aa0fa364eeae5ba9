internal import CLibPQ

/// Where the database is and how much of it we may use.
public struct StorageConfiguration: Sendable, Equatable {
    /// `postgresql://role:password@host:port/database?…` or libpq's `host=… dbname=…` form. Secret: may hold a
    /// password.
    public private(set) var url: String
    /// Connections kept at most, each with a thread of its own; 1 …. Default 4: a service writes little but often.
    public var maximumConnections = 4
    /// Callers that may wait for a connection; one more gets `tooManyWaiters`. Default 1024.
    public var maximumWaiters = 1024
    /// How long a caller waits for a connection before `timeout(.acquire)`. Default 5 s.
    public var acquireTimeout: Duration = .seconds(5)
    /// How long one connection attempt may take. Default 5 s.
    public var connectTimeout: Duration = .seconds(5)
    /// How long one statement may run before `timeout(.statement)`; enforced by the server and, a grace later, by us.
    /// Default 30 s.
    public var statementTimeout: Duration = .seconds(30)
    /// Pause after a failed connection attempt, during which callers get `unavailable` at once; doubles from the first
    /// to the last. Defaults 20 ms and 1 s.
    public var reconnectPause: ClosedRange<Duration> = .milliseconds(20) ... .seconds(1)
    /// Tries of a transaction that collides with others (40001, 40P01). Default 10.
    public var maximumTransactionTries = 10
    /// Prepared statements kept a connection, the least recently used is dropped. Default 256.
    public var maximumPreparedStatements = 256
    /// After this long without a lease a connection is closed; the next lease opens another. Default 10 min.
    public var idleTimeout: Duration = .seconds(600)
    /// A connection this old is replaced at its next lease, so that servers behind a balancer and changed settings are
    /// found; up to a tenth is taken off at random, so that not all go at once. Default 1 h.
    public var maximumLifetime: Duration = .seconds(3600)
    /// Shown in `pg_stat_activity`. Default `vomma`.
    public var applicationName = "vomma"

    /// Throws `invalidConfiguration` for a text that libpq can't read or would refuse whatever the server: a port that
    /// is no number, an unknown TLS mode. Whether a server is there shows at first use.
    public init(url: String) throws(StorageError) {
        for (keyword, value) in try Self.options(of: url) {
            guard let rule = Self.rules[keyword] else { continue }
            guard rule.holds(value) else {
                throw .invalidConfiguration("\(keyword) in the database URL must be \(rule.expected)")
            }
        }
        self.url = url
    }

    /// The same database for another role, whose password is in a file of libpq's form (`RoleCredentials`).
    public func url(for role: DatabaseRole, passwordFile: String) throws(StorageError) -> String {
        var kept = try Self.options(of: url).filter { !["user", "password", "passfile"].contains($0.0) }
        kept += [("user", role.name), ("passfile", passwordFile)]
        // libpq's `keyword = value` form: a value in quotes, with quotes and backslashes escaped.
        return kept.map { keyword, value in
            "\(keyword)='" + value.map { $0 == "'" || $0 == "\\" ? "\\\($0)" : String($0) }.joined() + "'"
        }.joined(separator: " ")
    }

    /// What a URL says, as libpq reads it.
    private static func options(of url: String) throws(StorageError) -> [(String, String)] {
        guard !url.utf8.contains(0), url.contains("=") || url.hasPrefix("postgres://") || url.hasPrefix("postgresql://")
        else {
            throw .invalidConfiguration("a database URL looks like postgresql://role@host:5432/database")
        }
        guard let list = unsafe PQconninfoParse(url, nil) else {
            // libpq's own message repeats parts of the URL, which may hold a password.
            throw .invalidConfiguration("the database URL is malformed")
        }
        defer { unsafe PQconninfoFree(list) }
        var options: [(String, String)] = []
        var entry = unsafe list
        while let keyword = unsafe entry.pointee.keyword {
            if let value = unsafe entry.pointee.val {
                options.append(unsafe (String(cString: keyword), String(cString: value)))
            }
            unsafe entry += 1
        }
        return options
    }

    private struct Rule {
        let expected: String
        let holds: @Sendable (String) -> Bool

        static func oneOf(_ choices: String...) -> Rule {
            Rule(expected: "one of " + choices.joined(separator: ", ")) { choices.contains($0) }
        }
        static let number = Rule(expected: "a whole number") { Int32($0) != nil }
    }

    /// What libpq itself finds out only while connecting, where it looks like a server that can't be reached.
    private static let rules: [String: Rule] = [
        // One for each host, separated by commas; empty is the default.
        "port": Rule(expected: "a number from 1 to 65535") { text in
            text.split(separator: ",", omittingEmptySubsequences: false).allSatisfy { part in
                part.isEmpty || part.utf8.allSatisfy { (48...57).contains($0) } && (1...65_535).contains(Int(part) ?? 0)
            }
        },
        "sslmode": .oneOf("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
        "channel_binding": .oneOf("disable", "prefer", "require"),
        "gssencmode": .oneOf("disable", "prefer", "require"),
        "target_session_attrs": .oneOf("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
        "ssl_min_protocol_version": .oneOf("", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
        "ssl_max_protocol_version": .oneOf("", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
        "connect_timeout": .number, "keepalives": .number, "keepalives_idle": .number, "keepalives_interval": .number,
        "keepalives_count": .number, "tcp_user_timeout": .number,
    ]

    /// The libpq keywords of a connection: the URL, then ours, which win where both speak.
    var keywords: [(String, String)] {
        let milliseconds = statementTimeout.milliseconds
        let settings = [
            "TimeZone=UTC", "DateStyle=ISO", "client_min_messages=warning", "standard_conforming_strings=on",
            "statement_timeout=\(milliseconds)", "idle_in_transaction_session_timeout=\(max(60_000, 2 * milliseconds))",
        ]
        return [
            ("dbname", url), ("application_name", applicationName), ("client_encoding", "UTF8"),
            ("options", settings.map { "-c \($0)" }.joined(separator: " ")),
            // A peer that vanished without a word is noticed within half a minute.
            ("keepalives_idle", "10"), ("keepalives_interval", "5"), ("keepalives_count", "4"),
            ("tcp_user_timeout", "30000"),
        ]
    }
}

extension Duration {
    /// Rounded up to the millisecond, so that no positive wait becomes none.
    var milliseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
    }
}
