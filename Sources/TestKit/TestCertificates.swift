internal import ChildProcesses
internal import Foundation

/// An authority and certificates for tests, made by the openssl program in a folder of its own, gone with the object.
public final class TestCertificates: Sendable {
    public let folder: String

    /// `ca`, and signed by it: `server` (localhost, 127.0.0.1), `client`, `elsewhere` (another name), `expired`. Signed
    /// by another authority, `foreign-ca`: `foreign`.
    public init() async throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "vomma-tls-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try await authority("ca")
        try await authority("foreign-ca")
        try await issue("server", names: "DNS:localhost,IP:127.0.0.1")
        try await issue("client", names: "DNS:policy-service,URI:spiffe://vomma/policy,IP:::1")
        try await issue("elsewhere", names: "DNS:elsewhere.example")
        try await issue("foreign", names: "DNS:localhost,IP:127.0.0.1", by: "foreign-ca")
        try await expire("server", to: "expired")
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    /// `ca.pem`, `server.pem`, `server.key`, …
    public func path(_ name: String) -> String { "\(folder)/\(name)" }

    private static let newKey = [
        "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-batch", "-days", "2",
    ]

    private func authority(_ name: String) async throws {
        try await openssl(
            ["req", "-x509", "-keyout", path("\(name).key"), "-out", path("\(name).pem"), "-subj", "/CN=\(name)"]
                + Self.newKey + ["-addext", "basicConstraints=critical,CA:TRUE"])
    }

    /// Makes `<name>.pem` and `<name>.key`, in place of those there.
    public func issue(_ name: String, names: String, by authority: String = "ca") async throws {
        try await openssl(
            [
                "req", "-x509", "-CA", path("\(authority).pem"), "-CAkey", path("\(authority).key"),
                "-keyout", path("\(name).key"), "-out", path("\(name).pem"), "-subj", "/O=Vomma/CN=\(name)",
            ] + Self.newKey + ["-addext", "subjectAltName=\(names)", "-addext", "basicConstraints=CA:FALSE"])
    }

    /// A certificate of yesterday for the key of `name`.
    private func expire(_ name: String, to other: String) async throws {
        try FileManager.default.copyItem(atPath: path("\(name).key"), toPath: path("\(other).key"))
        try await openssl(["req", "-new", "-key", path("\(name).key"), "-subj", "/CN=\(other)", "-out", path("csr")])
        try await openssl([
            "x509", "-req", "-in", path("csr"), "-CA", path("ca.pem"), "-CAkey", path("ca.key"), "-days", "-1",
            "-out", path("\(other).pem"),
        ])
    }

    private func openssl(_ arguments: [String]) async throws {
        let (exitCode, output) = try await ChildProcess.run("/usr/bin/openssl", arguments)
        if exitCode != 0 { throw OpenSSLFailure(arguments: arguments, output: output) }
    }
}

/// What the openssl program has to say; `make deps` installs it.
struct OpenSSLFailure: Error {
    let arguments: [String]
    let output: String
}
