internal import Configuration
public import RPC

/// One configuration key, as `--help` and docs/configuration.md show it.
public struct SettingDescription: Sendable, Equatable {
    /// The environment variable, `VOMMA_PORT`.
    public var variable: String
    public var meaning: String
    /// As text; `nil` when the key has to be given.
    public var defaultValue: String?
    public var isSecret: Bool
}

/// What is wrong with a process's configuration: all faults at once.
public struct ConfigurationError: Error, Sendable, Equatable, CustomStringConvertible {
    public var faults: [String]
    public var description: String { "bad configuration: " + faults.joined(separator: "; ") }
}

/// Reads a process's configuration from environment variables named `VOMMA_<KEY>`, collecting every fault, so that a
/// process with three bad values says so once. Each key read is also described, so that `--help` can't drift.
public struct Settings {
    private let reader: ConfigReader
    public private(set) var descriptions: [SettingDescription] = []
    public private(set) var faults: [String] = []
    /// All addresses read so far, of every key.
    public private(set) var peerAddresses: [Address] = []

    /// The process's own environment.
    public init() { reader = ConfigReader(provider: EnvironmentVariablesProvider()).scoped(to: "vomma") }

    /// The given variables instead of the process's, for tests.
    public init(environment: [String: String]) {
        reader = ConfigReader(provider: EnvironmentVariablesProvider(environmentVariables: environment))
            .scoped(to: "vomma")
    }

    private static func variable(_ key: String) -> String {
        "VOMMA_" + String(key.map { $0 == "." ? "_" : $0 }).uppercased()
    }

    private mutating func read<T>(
        _ key: String, _ defaultValue: T?, _ meaning: String, secret: Bool, expecting: String, fallback: T,
        parse: (String) -> T?
    ) -> T {
        let variable = Self.variable(key)
        // A key with two readers is described once, and so is what is wrong with it.
        let isFirst = !descriptions.contains { $0.variable == variable }
        if isFirst {
            descriptions.append(
                SettingDescription(
                    variable: variable, meaning: meaning, defaultValue: defaultValue.map { "\($0)" },
                    isSecret: secret))
        }
        guard let text = reader.string(forKey: ConfigKey(key), isSecret: secret), !text.isEmpty else {
            if let defaultValue { return defaultValue }
            if isFirst { faults.append("\(variable) is not set (\(meaning))") }
            return fallback
        }
        if let value = parse(text) { return value }
        if isFirst {
            faults.append("\(variable) is \(secret ? "not usable" : "“\(text)”"), expected \(expecting)")
        }
        return fallback
    }

    /// Text. Without a default the key has to be given.
    public mutating func string(
        _ key: String, default value: String?, _ meaning: String, secret: Bool = false
    ) -> String {
        read(key, value, meaning, secret: secret, expecting: "text", fallback: "") { $0 }
    }

    /// A whole number inside `range`.
    public mutating func int(_ key: String, default value: Int?, in range: ClosedRange<Int>, _ meaning: String) -> Int {
        read(
            key, value, meaning, secret: false,
            expecting: "a whole number from \(range.lowerBound) to \(range.upperBound)", fallback: range.lowerBound
        ) { text in Int(text).flatMap { range.contains($0) ? $0 : nil } }
    }

    /// One of `choices`.
    public mutating func choice(_ key: String, default value: String, of choices: [String], _ meaning: String) -> String
    {
        read(
            key, value, meaning, secret: false, expecting: "one of " + choices.joined(separator: ", "), fallback: value
        ) {
            choices.contains($0) ? $0 : nil
        }
    }

    /// A peer's addresses, `host:port`, or several of them with commas in between.
    public mutating func addresses(_ key: String, default value: Address?, _ meaning: String) -> [Address] {
        let found = read(
            key, value.map { AddressList(addresses: [$0]) }, meaning, secret: false,
            expecting: "host:port, or several separated by commas", fallback: AddressList(addresses: []),
            parse: AddressList.init
        ).addresses
        peerAddresses += found
        return found
    }

    /// A file's path; `nil` when the key is not set.
    public mutating func path(_ key: String, _ meaning: String) -> String? {
        let text = string(key, default: "", meaning)
        return text.isEmpty ? nil : text
    }

    /// Adds what is wrong with values that are each right by itself.
    public mutating func fault(_ text: String) { faults.append(text) }

    /// Throws one error with all faults found so far.
    public func validate() throws(ConfigurationError) {
        if !faults.isEmpty { throw ConfigurationError(faults: faults) }
    }
}

/// As it is written in a variable: `host:port,host:port`.
private struct AddressList: CustomStringConvertible {
    let addresses: [Address]

    init(addresses: [Address]) { self.addresses = addresses }

    init?(_ text: String) {
        let parts = text.split(separator: ",", omittingEmptySubsequences: false)
        addresses = parts.compactMap { Address(String($0)) }
        guard addresses.count == parts.count else { return nil }
    }

    var description: String { addresses.map(\.description).joined(separator: ",") }
}

/// The services' default ports on loopback, in one place.
public enum DefaultPort {
    public static let marketGateway = 50_051
    public static let featureService = 50_052
    public static let hestonInverter = 50_053
    public static let regimeSentiment = 50_054
    public static let policyService = 50_055
    public static let executionService = 50_056
    public static let trainer = 50_057
}
