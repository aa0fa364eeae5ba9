import Testing

/// What the containers' files say of the services, in step with the services that there are.
@Suite struct ContainerTests {
    /// The folders under services/, the command line among them.
    private static let services = Set(
        SourceTree.files.map(\.path).filter { $0.hasPrefix("services/") }.map { String($0.split(separator: "/")[1]) })

    private static func text(_ path: String) throws -> String { try #require(SourceTree.file(path)).text }

    @Test("each service has an image, a container, a volume of certificates, and its crash in the test")
    func services() throws {
        let dockerfile = try Self.text("docker/Dockerfile")
        let compose = try Self.text("compose.yml")
        let certificates = try Self.text("docker/certificates.sh").replacing("\\\n", with: " ")
        let test = try Self.text("docker/compose-test.sh")
        #expect(Self.services.count == 8)
        for name in Self.services {
            #expect(dockerfile.contains("FROM runtime AS \(name)\n") && dockerfile.contains("/out/\(name) "))
            #expect(compose.contains("\n  \(name):\n") && compose.contains("target: \(name)}"))
            #expect(compose.contains("- tls-\(name):/tls/\(name)\n") && compose.contains("tls-\(name):/run/tls:ro"))
            #expect(compose.contains("\n  tls-\(name):\n"))
            let issued = try Regex("for name in [^;]*\\b\(name)\\b[^;]*; do")
            #expect(certificates.firstMatch(of: issued) != nil, "no certificate for \(name)")
            if name != "vomma" { #expect(test.matches(of: try Regex("\\b\(name)\\b")).count >= 2, "\(name)") }
        }
    }

    @Test("each role of the database is opened by its service's certificate, and connects as nobody else")
    func roles() throws {
        let compose = try Self.text("compose.yml")
        let lines = try Self.text("docker/postgres/pg_ident.conf").split(separator: "\n").filter { !$0.hasPrefix("#") }
        let maps = lines.map { $0.split(separator: " ") }
        let roles = try Self.text("Sources/Storage/DatabaseRole.swift")
            .matches(of: /DatabaseRole\(\s*"([a-z-]+)"/).map { String($0.1) }
        #expect(roles.count >= 7)
        for role in roles {
            let name = "vomma_" + role.replacing("-", with: "_")
            let certificate = role == "operator" ? "vomma" : role
            #expect(maps.contains { $0 == ["vomma", Substring(certificate), Substring(name)] }, "\(role)")
            #expect(compose.contains("VOMMA_DATABASE_URL: postgresql://\(name)@postgres:5432/vomma"), "\(role)")
        }
        // Beside them the schema's owner.
        #expect(maps.count == roles.count + 1 && maps.contains { $0 == ["vomma", "migrate", "vomma"] })
    }

    @Test("base images are pinned, and nothing needs a registry's frontend")
    func bases() throws {
        let dockerfile = try Self.text("docker/Dockerfile")
        let bases = dockerfile.matches(of: /(?m)^FROM (\S+:\S+) AS/).map { String($0.1) }
        #expect(Set(bases) == ["swift:6.3.1-bookworm", "debian:bookworm-slim"])
        #expect(!dockerfile.contains("syntax=") && !dockerfile.contains("latest"))
        #expect(try Self.text("compose.yml").contains("image: postgres:15-bookworm\n"))
    }
}
