import Foundation

/// compose.yml as far as tests look into it: the variables of ours that a service is given, by itself and by the
/// anchors that it names. Not a YAML parser: it relies on our own two-space indentation.
struct ComposeFile {
    /// By the name of the service or of the anchor.
    private var blocks: [String: [Substring]] = [:]

    init() throws {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../compose.yml")
        var isServices = false
        var name: String?
        for line in try String(contentsOf: path, encoding: .utf8).split(separator: "\n") {
            if let anchor = line.firstMatch(of: /^x-[a-z]+: &([a-z]+)/) {
                name = String(anchor.1)
            } else if let service = line.firstMatch(of: /^  ([a-z-]+):$/), isServices {
                name = String(service.1)
            } else if line.first?.isLetter == true {
                isServices = line == "services:"
                name = nil
            } else if let name, line.firstMatch(of: /^\s*#/) == nil {
                blocks[name, default: []].append(line)
            }
        }
    }

    /// The names of the `VOMMA_…` variables in the environment of a service's container.
    func variables(of name: String) -> Set<String> {
        var found: Set<String> = []
        for line in blocks[name] ?? [] {
            if let variable = line.firstMatch(of: /^\s+(VOMMA_[A-Z_]+):/) { found.insert(String(variable.1)) }
            for anchor in line.matches(of: /\*([a-z]+)/) { found.formUnion(variables(of: String(anchor.1))) }
        }
        return found
    }
}
