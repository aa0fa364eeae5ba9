internal import Foundation
internal import Storage
internal import Synchronization
internal import Trading

/// The accounts' kill switches: kept in the database, so that they hold over restarts, and applied at the next bar.
final class KillSwitches: Sendable {
    private let pool: ConnectionPool
    /// Set, but not yet applied by the account's session.
    private let requested = Mutex<[String: Trading.KillSwitch]>([:])

    init(pool: ConnectionPool) { self.pool = pool }

    private static func key(_ account: String) -> String { "kill_switch/\(account)" }

    private struct Stored: Codable {
        var mode: String
        var reason: String
    }

    /// Stores the switch, then hands it to the running session.
    func set(_ mode: Trading.KillSwitch, account: String, reason: String) async throws {
        let text = String(decoding: try JSONEncoder().encode(Stored(mode: "\(mode)", reason: reason)), as: UTF8.self)
        try await pool.withConnection { try SettingsRepository.set(Self.key(account), JSON(text), on: $0) }
        requested.withLock { $0[account] = mode }
    }

    /// What is stored for an account; `nil` when nobody has ever set it.
    func stored(account: String) async throws -> Trading.KillSwitch? {
        let value = try await pool.withConnection { try SettingsRepository.value(Self.key(account), on: $0) }
        guard let value else { return nil }
        let mode = try JSONDecoder().decode(Stored.self, from: Data(value.text.utf8)).mode
        return Trading.KillSwitch.allCases.first { "\($0)" == mode } ?? .freeze
    }

    /// Loads the stored switch, so that a session that starts again begins with it: set or released.
    func prepare(account: String) async throws {
        guard let mode = try await stored(account: account) else { return }
        requested.withLock { $0[account] = mode }
    }

    /// The switch that the account's session has not applied yet, once.
    func pending(for account: String) -> Trading.KillSwitch? {
        requested.withLock { $0.removeValue(forKey: account) }
    }
}
