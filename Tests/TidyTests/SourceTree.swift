import Foundation

/// One text file of the source tree.
struct SourceFile: Sendable {
    /// From the root of the package: `Sources/Heston/Black.swift`.
    let path: String
    let text: String

    var lines: [Substring] { text.split(separator: "\n", omittingEmptySubsequences: false) }

    /// The lines without their `//` comments, and where they stand. Enough for what is looked for here: no string of
    /// ours hides code behind two slashes.
    var code: [(number: Int, text: Substring)] {
        lines.enumerated().map { index, line in
            (index + 1, line.firstRange(of: "//").map { line[..<$0.lowerBound] } ?? line)
        }
    }

    /// The names of the modules that a Swift file imports.
    var imports: [String] {
        code.compactMap { _, line in
            let words = line.split(separator: " ")
            guard let index = words.firstIndex(of: "import"), index + 1 < words.count else { return nil }
            let before = words[..<index].allSatisfy {
                ["public", "package", "internal", "fileprivate", "private"].contains($0) || $0.hasPrefix("@")
            }
            return before ? String(words[index + 1]) : nil
        }
    }

    /// Whether it was made by `make proto`.
    var isGenerated: Bool { path.contains("/Generated/") || path.hasPrefix("Sources/CVommaProto/") }
}

/// The package's own text files, found from where this file stands.
enum SourceTree {
    static let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../..").standardizedFileURL

    /// Every text file that is, or would be, committed: `.gitignore` as a list.
    static let files: [SourceFile] = {
        var found: [SourceFile] = []
        visit(root, "", &found)
        return found
    }()

    static let swift = files.filter { $0.path.hasSuffix(".swift") }

    /// Swift files of what runs: modules and services.
    static let shipped = swift.filter { $0.path.hasPrefix("Sources/") || $0.path.hasPrefix("services/") }

    static func file(_ path: String) -> SourceFile? { files.first { $0.path == path } }

    private static let ignored: Set<String> = ["__pycache__", "data", "Package.resolved"]

    private static func visit(_ folder: URL, _ prefix: String, _ found: inout [SourceFile]) {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        for name in names.sorted() {
            // Of the hidden folders CI's is ours; the rest belongs to tools.
            if name.hasPrefix("."), name != ".ci" { continue }
            if prefix.isEmpty, ignored.contains(name) || name.hasPrefix(".build") { continue }
            if name == "__pycache__" || name.hasSuffix(".pyc") || name.hasSuffix(".log") { continue }
            let url = folder.appending(path: name)
            var isFolder: ObjCBool = false
            guard unsafe FileManager.default.fileExists(atPath: url.path, isDirectory: &isFolder) else { continue }
            if isFolder.boolValue {
                visit(url, prefix + name + "/", &found)
            } else if let text = try? String(contentsOf: url, encoding: .utf8) {
                found.append(SourceFile(path: prefix + name, text: text))
            }
        }
    }

    /// Names between two comments of the manifest: its sections say which module belongs to which layer.
    static func modules(from start: String, to end: String) -> [String] {
        guard let manifest = file("Package.swift")?.text, let from = manifest.firstRange(of: start),
            let to = manifest[from.upperBound...].firstRange(of: end)
        else { return [] }
        return manifest[from.upperBound..<to.lowerBound].matches(of: /module\(\s*"(\w+)"/).map { String($0.1) }
    }
}
