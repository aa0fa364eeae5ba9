import Testing

/// Who may use what.
@Suite struct ModuleTests {
    /// The one module that knows each C library.
    private static let owners = [
        "CLibPQ": "Storage", "CMalloc": "RPC", "CNGHTTP2": "RPC", "COpenBLAS": "Kernels", "CProtobufC": "VommaProto",
        "CSIMD": "Kernels", "CSpawn": "ChildProcesses", "CVommaProto": "VommaProto", "CZlib": "Compression",
    ]

    @Test("each C library is imported by its one module, and has one")
    func cLibraries() {
        let known = Set(
            SourceTree.files.compactMap { file -> String? in
                let parts = file.path.split(separator: "/")
                return parts.count == 3 && parts[0] == "Sources" && parts[2] == "module.modulemap"
                    ? String(parts[1]) : nil
            })
        #expect(known.union(["CVommaProto"]) == Set(Self.owners.keys))
        for file in SourceTree.swift {
            for name in file.imports {
                guard let owner = Self.owners[name] else { continue }
                #expect(file.path.hasPrefix("Sources/\(owner)/"), "\(file.path) imports \(name), which is \(owner)'s")
            }
        }
        for (name, owner) in Self.owners {
            let isUsed = SourceTree.swift.contains {
                $0.path.hasPrefix("Sources/\(owner)/") && $0.imports.contains(name)
            }
            #expect(isUsed, "\(owner) does not import \(name)")
        }
    }

    private static let domain = SourceTree.modules(from: "// Domain.", to: "// Platform.")

    /// What the domain has besides itself: mathematics and files from the C library, two C libraries, threads.
    private static let foreign: [String: Set<String>] = [
        "Kernels": ["Glibc", "COpenBLAS", "CSIMD", "Dispatch"], "Compression": ["CZlib", "Glibc"],
        "HestonInverse": ["Synchronization"],
    ]

    @Test("the domain imports the domain: no Foundation, network, database or protocol")
    func domainImports() {
        #expect(Self.domain.count >= 14 && Self.domain.first == "Kernels", "\(Self.domain)")
        for file in SourceTree.shipped {
            guard let module = Self.domain.first(where: { file.path.hasPrefix("Sources/\($0)/") }) else { continue }
            let allowed = Set(Self.domain).union(Self.foreign[module] ?? [])
            for name in file.imports { #expect(allowed.contains(name), "\(file.path) imports \(name)") }
        }
    }

    @Test("the domain looks at no clock and draws from no generator but the one it is given")
    func domainIsPure() {
        let forbidden = [
            /\b(?:Continuous|Suspending|System|UTC)Clock\b/, /\bDate\(/, /\bTask\.sleep\b/,
            /\b(?:clock_gettime|gettimeofday|time\(nil|localtime|clock\(\))/, /\bSystemRandomNumberGenerator\b/,
            /\.random\((?:in:[^,]*)?\)/, /\.(?:shuffled|shuffle|randomElement)\(\)/,
            /\b(?:arc4random\w*|getrandom|drand48|rand)\(/, /\bgetenv\(/, /\bprint\(/,
        ]
        for file in SourceTree.shipped where Self.domain.contains(where: { file.path.hasPrefix("Sources/\($0)/") }) {
            for (number, line) in file.code {
                let found = forbidden.compactMap { line.firstMatch(of: $0)?.0 }
                #expect(found.isEmpty, "\(file.path):\(number): \(found)")
            }
        }
    }
}
