import Testing

/// What a machine can see of the house style.
@Suite struct TextTests {
    @Test("the whole tree is looked at")
    func wholeTree() {
        #expect(SourceTree.shipped.count > 200)
        for path in ["README.md", "Makefile", ".ci/run", "docs/configuration.md", "proto/vomma/v1/heston.proto"] {
            #expect(SourceTree.file(path) != nil, "\(path)")
        }
    }

    @Test("nothing is left for later without an issue: no markers")
    func markers() throws {
        // In two halves, so that this line is none of them.
        let words = ["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"].joined(separator: "|")
        let marker = try Regex("\\b(?:\(words))\\b")
        for file in SourceTree.files {
            for (index, line) in file.lines.enumerated() {
                #expect(line.firstMatch(of: marker) == nil, "\(file.path):\(index + 1): \(line)")
            }
        }
    }

    @Test("what runs does not end itself because of its input")
    func traps() {
        for file in SourceTree.shipped where !file.isGenerated {
            for (number, line) in file.code {
                let found = line.firstMatch(of: #/\btry!|\bfatalError\(|\bas!/#)?.0
                #expect(found == nil, "\(file.path):\(number): \(line)")
            }
        }
    }

    /// Written by hand and read by people. What is not counted: texts in quotes, which nobody reads by the column;
    /// tables, commands and output in Markdown; addresses; golden data; migrations, which are not edited.
    @Test("lines have at most 120 columns, no tabs and no space at their end")
    func lines() {
        let kinds = [".swift", ".md", ".proto", ".py", ".sql", ".sh", ".yml", ".h", ".modulemap", "Dockerfile"]
        let files = SourceTree.files.filter { file in
            !file.isGenerated && kinds.contains(where: file.path.hasSuffix) && !file.path.contains("/Golden/")
                && !file.path.hasPrefix("Sources/Storage/Migrations/")
        }
        for file in files {
            let isMarkdown = file.path.hasSuffix(".md")
            for (index, line) in file.lines.enumerated() {
                let place = "\(file.path):\(index + 1)"
                let isFree =
                    line.contains("https://") || line.hasSuffix("\\")
                    || isMarkdown && (line.hasPrefix("|") || line.hasPrefix("    "))
                    || line.replacing(#/"[^"]*"/#, with: "").count <= 120
                #expect(line.count <= 120 || isFree, "\(place): \(line.count) columns")
                #expect(!line.contains("\t"), "\(place): a tab")
                #expect(!line.hasSuffix(" "), "\(place): a space at the end")
            }
        }
    }

    @Test("no file knows the machine on which it was written")
    func machinePaths() {
        let folders = ["work", "root", "home"].map { "/\($0)/" }
        // Folders inside a container are the same on every machine.
        for file in SourceTree.files where !file.path.hasPrefix("docker/") && file.path != "compose.yml" {
            for (index, line) in file.lines.enumerated() {
                for folder in folders {
                    #expect(!line.contains(folder), "\(file.path):\(index + 1): \(line)")
                }
            }
        }
    }
}
