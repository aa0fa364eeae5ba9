// swift-tools-version: 6.2
import PackageDescription

// Bottom layer first: C libraries, domain, platform, services, tests. A dependency only ever points up this list.

let strict: [SwiftSetting] = [
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

/// A module under Sources/, with the house's compiler settings.
func module(_ name: String, _ dependencies: [Target.Dependency] = [], resources: [Resource]? = nil) -> Target {
    .target(name: name, dependencies: dependencies, resources: resources, swiftSettings: strict)
}

/// The tests of one module, under Tests/<module>Tests, with its golden data beside them.
func tests(_ module: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .testTarget(
        name: "\(module)Tests", dependencies: [.byName(name: module)] + dependencies,
        exclude: [], swiftSettings: strict)
}

/// A service's executable under services/: `main.swift` and adapters only.
func service(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .executableTarget(name: name, dependencies: dependencies, path: "services/\(name)", swiftSettings: strict)
}

let package = Package(
    name: "vomma",
    dependencies: [],
    targets: [
        .systemLibrary(name: "COpenBLAS"),
        .systemLibrary(name: "CZlib"),
        module("Kernels", ["COpenBLAS"]),
        module("MarketData", ["Kernels", "CZlib"]),
    ],
    swiftLanguageModes: [.v6]
)
