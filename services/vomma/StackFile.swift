internal import Foundation
internal import LocalStack
internal import RPC
internal import ServiceKit

/// Where a running stack is, for the commands that talk to it: written by `vomma run` into its data folder.
struct StackFile: Codable {
    var databaseURL: String
    /// By service name, `host:port`.
    var addresses: [String: String]
    /// By service name, one port a process.
    var metricsPorts: [String: [Int]]

    private static func path(_ folder: String) -> String { folder + "/stack.json" }

    /// Readable by its owner alone: it holds the database's password.
    func write(folder: String) throws {
        let data = try JSONEncoder().encode(self)
        let path = Self.path(folder)
        try? FileManager.default.removeItem(atPath: path)
        guard FileManager.default.createFile(atPath: path, contents: data, attributes: [.posixPermissions: 0o600])
        else {
            throw LocalStackError.badDataFolder(path: folder, reason: "stack.json cannot be written")
        }
    }

    static func remove(folder: String) { try? FileManager.default.removeItem(atPath: path(folder)) }

    /// The stack of a data folder; `nil` when none runs there.
    static func read(folder: String) -> StackFile? {
        FileManager.default.contents(atPath: path(folder)).flatMap { try? JSONDecoder().decode(Self.self, from: $0) }
    }

    /// The addresses of a service: that of the stack running in the folder, else its variable's (`VOMMA_TRAINER`), else
    /// the default port on loopback.
    static func addresses(_ name: ServiceName, folder: String) -> [Address] {
        let known = read(folder: folder)?.addresses[name.rawValue]
            ?? ProcessInfo.processInfo.environment[name.addressVariable]
        let addresses = (known ?? "").split(separator: ",").compactMap { Address(String($0)) }
        return addresses.isEmpty ? [Address(host: "127.0.0.1", port: name.defaultPort)] : addresses
    }
}
