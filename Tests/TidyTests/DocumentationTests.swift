import Foundation
import Testing

/// What is documented is there, and what is there is documented.
@Suite struct DocumentationTests {
    private static func variables(in text: String) -> Set<String> {
        Set(text.matches(of: /VOMMA_[A-Z][A-Z_]*[A-Z]/).map { String($0.0) })
    }

    /// Read by services through `Settings`, by their key, and by anything through its whole name.
    private static let read: Set<String> = {
        var names: Set<String> = []
        for file in SourceTree.shipped {
            let code = file.code.map(\.text).joined(separator: "\n")
            for match in code.matches(of: /(?:settings\.(?:string|int|choice|path|address(?:es)?)|RPCLimit)\(\s*"([a-z.]+)"/)
            {
                names.insert("VOMMA_" + match.1.uppercased().replacing(".", with: "_"))
            }
            names.formUnion(variables(in: code))
        }
        // The addresses of the services are named after them, one variable each.
        for file in SourceTree.files where file.path.hasPrefix("services/") && file.path.hasSuffix("/main.swift") {
            let name = file.path.split(separator: "/")[1]
            if name != "vomma" { names.insert("VOMMA_" + name.uppercased().replacing("-", with: "_")) }
        }
        return names
    }()

    @Test("every environment variable that is read stands in docs/configuration.md, and no other")
    func environmentVariables() throws {
        let documented = Self.variables(in: try #require(SourceTree.file("docs/configuration.md")).text)
        #expect(Self.read.count >= 15)
        #expect(Self.read.subtracting(documented) == [], "read but not documented")
        var containers: Set<String> = []
        for file in SourceTree.files where file.path == "compose.yml" || file.path.hasPrefix("docker/") {
            containers.formUnion(Self.variables(in: file.text))
        }
        #expect(containers.subtracting(documented) == [], "used by the containers but not documented")
        #expect(documented.subtracting(Self.read).subtracting(containers) == [], "documented but read nowhere")
    }

    @Test("every environment variable that a test reads stands in docs/testing.md")
    func variablesOfTests() throws {
        let documented = Self.variables(in: try #require(SourceTree.file("docs/testing.md")).text)
        for file in SourceTree.swift where file.path.hasPrefix("Tests/") {
            for match in file.text.matches(of: /environment\["(VOMMA_\w+)"\]/) {
                let name = String(match.1)
                #expect(documented.contains(name) || Self.read.contains(name), "\(file.path) reads \(name)")
            }
        }
    }

    @Test("every target of the Makefile exists, says what it does, and stands in the README or in docs/")
    func makeTargets() throws {
        let makefile = try #require(SourceTree.file("Makefile"))
        let phony = try #require(makefile.lines.first { $0.hasPrefix(".PHONY:") }).split(separator: " ").dropFirst()
        let defined = makefile.lines.compactMap { $0.firstMatch(of: /^([a-z-]+):(?!=)/)?.1 }
        #expect(Set(phony) == Set(defined))
        let documents = SourceTree.files.filter { $0.path == "README.md" || $0.path.hasPrefix("docs/") }
        for target in defined where target != "help" {
            #expect(
                makefile.lines.contains { $0.hasPrefix("## make \(target) ") }, "`make help` does not show \(target)")
            let name = try Regex("\\bmake(?: [a-z]+)* \(target)\\b")
            #expect(documents.contains { $0.text.firstMatch(of: name) != nil }, "make \(target) stands in no document")
        }
    }

    @Test("links from one document to another lead somewhere")
    func links() {
        for file in SourceTree.files where file.path.hasSuffix(".md") {
            let folder = SourceTree.root.appending(path: file.path).deletingLastPathComponent()
            for match in file.text.matches(of: /\]\(([^)#\s]+)(?:#[^)]*)?\)/) where !match.1.contains(":") {
                let target = folder.appending(path: String(match.1)).standardizedFileURL
                #expect(FileManager.default.fileExists(atPath: target.path), "\(file.path): \(match.1)")
            }
        }
    }

    @Test("the migrations compiled in are those of the folder, numbered from 1 without a gap")
    func migrations() throws {
        let names = SourceTree.files.map(\.path).filter { $0.hasPrefix("Sources/Storage/Migrations/") }
            .compactMap { $0.split(separator: "/").last.map(String.init) }
        let migrator = try #require(SourceTree.file("Sources/Storage/Migrator.swift")).text
        let listed = migrator.matches(
            of: /Migration\(number: (\d+), name: "(\w+)", bytes: PackageResources\.(\w+)\)/)
        #expect(!names.isEmpty && listed.count == names.count)
        for (index, pair) in zip(listed, names.sorted()).enumerated() {
            let (entry, name) = pair
            #expect(Int(entry.1) == index + 1)
            let number = String(entry.1)
            let wanted = String(repeating: "0", count: max(0, 4 - number.count)) + number + "_\(entry.2).sql"
            #expect(name == wanted)
            // SwiftPM's identifier for the file's bytes: what cannot begin or stand in one becomes `_`.
            #expect(entry.3 == "_" + wanted.dropFirst().replacing(".", with: "_"))
        }
    }
}

/// The list of metrics.
@Suite struct MetricListTests {
    @Test("docs/metrics.md lists the metrics that the code defines, and no other")
    func metrics() throws {
        var defined: Set<String> = []
        for file in SourceTree.shipped {
            let code = file.code.map(\.text).joined(separator: "\n")
            for match in code.matches(of: /MetricDefinition\(\s*"([a-z_]+)"/) { defined.insert(String(match.1)) }
        }
        let text = try #require(SourceTree.file("docs/metrics.md")).text
        let listed = Set(text.matches(of: /`((?:vomma|process)_[a-z_]+)`/).map { String($0.1) })
        #expect(defined.count >= 20)
        #expect(defined == listed, "\(defined.symmetricDifference(listed))")
    }
}
