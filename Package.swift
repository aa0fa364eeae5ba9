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

#if arch(x86_64)
/// Four numbers an instruction: AVX2 and fused multiply-add, which every x86-64 server since 2013 has. Programs that
/// compute look for them at start (`Processor.fault`).
let vectorFlags = ["-Xcc", "-mavx2", "-Xcc", "-mfma"]
#else
let vectorFlags: [String] = []
#endif
/// For modules of numerical kernels: vector instructions, and optimised in debug builds too, where an unoptimised
/// vector operation costs a hundred times as much and tests would crawl. Preconditions and overflow checks stay on.
let numeric: [SwiftSetting] =
    strict + [.unsafeFlags(vectorFlags), .unsafeFlags(["-O"], .when(configuration: .debug))]

let nio: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioEmbedded: Target.Dependency = .product(name: "NIOEmbedded", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let nioLocks: Target.Dependency = .product(name: "NIOConcurrencyHelpers", package: "swift-nio")
let nioTLS: Target.Dependency = .product(name: "NIOTLS", package: "swift-nio")
let nioSSL: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")
let nioHTTP1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let metrics: Target.Dependency = .product(name: "CoreMetrics", package: "swift-metrics")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let lifecycle: Target.Dependency = .product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let signals: Target.Dependency = .product(name: "UnixSignals", package: "swift-service-lifecycle")
let configuration: Target.Dependency = .product(name: "Configuration", package: "swift-configuration")
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let deque: Target.Dependency = .product(name: "DequeModule", package: "swift-collections")
let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let protobufPlugin: Target.Dependency = .product(name: "SwiftProtobufPluginLibrary", package: "swift-protobuf")
let protobuf: Target.Dependency = .product(name: "SwiftProtobuf", package: "swift-protobuf")

/// A module under Sources/, with the house's compiler settings.
func module(
    _ name: String, _ dependencies: [Target.Dependency] = [], resources: [Resource]? = nil,
    settings: [SwiftSetting] = strict
) -> Target {
    .target(name: name, dependencies: dependencies, resources: resources, swiftSettings: settings)
}

/// The tests of one module, under Tests/<module>Tests, with its golden data (not built) beside them.
func tests(_ module: String, _ dependencies: [Target.Dependency] = [], golden: [String] = []) -> Target {
    .testTarget(
        name: "\(module)Tests", dependencies: [.byName(name: module)] + dependencies, exclude: golden,
        swiftSettings: strict)
}

/// A service's executable under services/: `main.swift` and adapters only.
func service(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .executableTarget(
        name: name,
        dependencies: ["Contract", "Kernels", "MarketData", "RPC", "ServiceKit", "Storage", "VommaProto", logging, lifecycle]
            + dependencies,
        path: "services/\(name)", swiftSettings: strict)
}

/// `VOMMA_FUZZ=1 swift build --product vomma-fuzz` builds the fuzzer that `make fuzz` runs. Without it the same targets
/// are a module of tests: libFuzzer brings what only its own build can link.
let isFuzzing = Context.environment["VOMMA_FUZZ"] != nil
let fuzzed: [Target.Dependency] = [
    "Compression", "DynamicMessages", "MarketData", "NeuralNetworks", "RPC", "Storage", "VommaProto", logging, nio, nioEmbedded,
]
let fuzzer: Target =
    isFuzzing
    ? .executableTarget(
        name: "vomma-fuzz", dependencies: fuzzed, path: "Tests/FuzzTests", exclude: ["FuzzTests.swift", "run.sh"],
        swiftSettings: strict)
    : .testTarget(name: "FuzzTests", dependencies: fuzzed, exclude: ["main.swift", "run.sh"], swiftSettings: strict)

let package = Package(
    name: "vomma",
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        // C libraries: a module map and a shim each.
        .systemLibrary(name: "CLibPQ"),
        .systemLibrary(name: "CMalloc"),
        .systemLibrary(name: "CNGHTTP2"),
        .systemLibrary(name: "COpenBLAS"),
        .systemLibrary(name: "CProtobufC"),
        .systemLibrary(name: "CSIMD"),
        .systemLibrary(name: "CSpawn"),
        .systemLibrary(name: "CZlib"),
        .target(name: "CVommaProto", dependencies: ["CProtobufC"]),

        // Domain.
        module("Kernels", ["COpenBLAS", "CSIMD"], settings: numeric),
        module("Compression", ["CZlib"]),
        module("MarketData", ["Kernels", "Compression"]),
        module("Heston", ["Kernels", "MarketData"], settings: numeric),
        module("Simulation", ["Kernels", "MarketData", "Heston"]),
        module("Regimes", ["Kernels"]),
        module("Sentiment", ["Kernels", "MarketData"]),
        module("Indicators", ["Kernels", "MarketData"], settings: numeric),
        module("Features", ["Kernels", "MarketData", "Indicators"], settings: numeric),
        module("NeuralNetworks", ["Kernels"], settings: numeric),
        module("HestonInverse", ["Heston", "Kernels", "MarketData", "NeuralNetworks"], settings: numeric),
        module("Policies", ["Kernels", "NeuralNetworks"]),
        module("Trading", ["Kernels", "MarketData"]),
        module("Learning", ["Kernels", "NeuralNetworks", "Policies", "Trading"]),
        module("Evaluation", ["Kernels", "MarketData", "Trading"]),
        module("Reports", ["Kernels", "MarketData"]),

        // Platform.
        module("ChildProcesses", ["CSpawn", nioLocks]),
        module("Telemetry", [metrics, nio, nioPosix, nioLocks, nioHTTP1, logging]),
        module(
            "RPC",
            [
                "CMalloc", "CNGHTTP2", "Compression", "Telemetry", metrics, nio, nioPosix, nioLocks, nioSSL, nioTLS,
                logging,
            ]),
        module("VommaProto", ["CProtobufC", "CVommaProto", "RPC"]),
        .executableTarget(
            name: "protoc-gen-vomma", dependencies: [protobuf, protobufPlugin], swiftSettings: strict),
        module(
            "Storage", ["ChildProcesses", "CLibPQ", "Kernels", "MarketData", logging, nioLocks],
            resources: [.embedInCode("Migrations")]),
        module("DynamicMessages", ["RPC", "VommaProto"]),
        module("Inference", ["RPC", "VommaProto"]),
        module("Contract", ["MarketData", "Storage", "Trading", "VommaProto"]),
        module(
            "ServiceKit",
            [
                "Kernels", "MarketData", "RPC", "Storage", "Telemetry", "VommaProto", configuration, crypto, deque,
                lifecycle, logging, metrics, signals,
            ]),
        module("LocalStack", ["ChildProcesses", "RPC", "ServiceKit", "Storage", "VommaProto", logging]),
        module("TestKit", ["ChildProcesses", "Storage", logging]),

        // Services: adapters of the above to the wire.
        service("market-gateway", ["Heston", "Simulation", "Trading"]),
        service("heston-inverter-service", ["Heston", "HestonInverse", "Inference"]),
        service("regime-sentiment-service", ["Inference", "Regimes", "Sentiment"]),
        service("feature-service", ["Features"]),
        service("policy-service", ["Inference", "Policies", "Trading"]),
        service("execution-service", ["Trading"]),
        service(
            "trainer",
            [
                "Evaluation", "Features", "Heston", "HestonInverse", "Learning", "NeuralNetworks", "Policies", "Regimes", "Telemetry", "Trading", metrics,
            ]),
        service(
            "vomma",
            [
                "DynamicMessages", "Evaluation", "Features", "Heston", "HestonInverse", "LocalStack", "Policies", "Reports",
                "Telemetry", "Trading", argumentParser, signals,
            ]),

        // What tests use: a service for foreign clients, and an executable to let them loose on.
        .target(
            name: "InteropService", dependencies: ["RPC", "VommaProto"], path: "Tests/InteropService",
            swiftSettings: strict),
        .executableTarget(
            name: "rpc-testbed",
            dependencies: [
                "ChildProcesses", "Compression", "InteropService", "RPC", "VommaProto", argumentParser, logging, nio, nioPosix,
                nioLocks, signals,
            ],
            path: "Tests/Testbed", swiftSettings: strict),

        // Benchmarks that need a program of their own.
        .executableTarget(
            name: "rpc-bench-server", dependencies: ["RPC", "Telemetry", "VommaProto", logging, nio],
            path: "benchmarks/rpc/server", swiftSettings: strict),
        .executableTarget(
            name: "storage-bench", dependencies: ["ChildProcesses", "MarketData", "Storage"],
            path: "benchmarks/storage", exclude: ["point_reads.py"], swiftSettings: strict),
        .executableTarget(
            name: "feature-bench", dependencies: ["Features", "Indicators", "Kernels", "MarketData"],
            path: "benchmarks/features", exclude: ["compare.py", "store.py"], swiftSettings: strict),
        .executableTarget(
            name: "feature-store-bench",
            dependencies: ["LocalStack", "MarketData", "RPC", "Storage", "VommaProto", logging],
            path: "benchmarks/features-store", swiftSettings: strict),
        .executableTarget(
            name: "learning-bench",
            dependencies: [
                "Evaluation", "Kernels", "Learning", "MarketData", "NeuralNetworks", "Policies", "Simulation", "Trading",
            ],
            path: "benchmarks/learning", exclude: ["compare.py", "controls.py"], swiftSettings: strict),
        .executableTarget(
            name: "backtest-bench", dependencies: ["Evaluation", "Kernels", "MarketData", "Policies", "Trading"],
            path: "benchmarks/backtest", exclude: ["compare.py", "nautilus.py"], swiftSettings: strict),
        .executableTarget(
            name: "heston-bench", dependencies: ["Heston", "HestonInverse", "Kernels", "MarketData"], path: "benchmarks/heston",
            exclude: ["compare.py", "network.py", "real.py"], swiftSettings: strict),

        // Tests.
        tests("ChildProcesses"),
        tests("Compression"),
        tests("Contract", ["Kernels", "MarketData", "Storage", "Trading", "VommaProto"]),
        tests("DynamicMessages", ["Kernels", "RPC", "ServiceKit", "VommaProto", logging], golden: ["Golden"]),
        tests("Features", ["Indicators", "Kernels", "MarketData"], golden: ["Golden"]),
        tests("Heston", ["Kernels", "MarketData"], golden: ["Golden"]),
        tests("HestonInverse", ["Heston", "Kernels", "MarketData", "NeuralNetworks"]),
        .testTarget(name: "KernelsTests", dependencies: ["Kernels"], swiftSettings: numeric),
        tests("Indicators", ["ChildProcesses", "Kernels", "MarketData"], golden: ["Golden"]),
        tests("Inference", ["RPC", "VommaProto", logging]),
        tests("Learning", ["Kernels", "NeuralNetworks", "Policies", "Trading", "MarketData"]),
        tests("MarketData", ["Kernels"]),
        tests("NeuralNetworks", ["Kernels"], golden: ["Golden"]),
        tests("Policies", ["Kernels", "NeuralNetworks"]),
        tests(
            "RPC",
            [
                "ChildProcesses", "Compression", "InteropService", "LocalStack", "Telemetry", "TestKit", metrics, nio,
                nioEmbedded, nioPosix, nioLocks, nioSSL, logging,
            ]),
        tests("Regimes", ["Kernels", "MarketData"]),
        tests("Reports", ["MarketData"]),
        tests("Sentiment", ["Kernels", "MarketData"]),
        tests("ServiceKit", ["Kernels", "MarketData", "RPC", "Storage", "Telemetry", "VommaProto", lifecycle, logging]),
        tests("Simulation", ["Kernels", "MarketData", "Heston"]),
        tests("Storage", ["Kernels", "MarketData", "TestKit"]),
        tests("Telemetry", [metrics, nio, nioPosix, logging]),
        tests("Trading", ["Compression", "Kernels", "MarketData"], golden: ["Golden"]),
        tests("Evaluation", ["Kernels", "MarketData", "Trading"]),
        fuzzer,
        .testTarget(
            name: "IntegrationTests",
            dependencies: [
                "ChildProcesses", "Kernels", "LocalStack", "MarketData", "NeuralNetworks", "RPC", "ServiceKit",
                "Storage", "Telemetry", "TestKit", "VommaProto", logging, "market-gateway", "heston-inverter-service", "regime-sentiment-service",
                "feature-service", "policy-service", "execution-service", "trainer", "vomma",
            ], swiftSettings: strict),
        .testTarget(
            name: "PeerTests",
            dependencies: [
                "ChildProcesses", "Heston", "HestonInverse", "InteropService", "Kernels", "MarketData", "Policies", "RPC", "Regimes", "ServiceKit", "Storage",
                "TestKit", "VommaProto", "heston-inverter-service", "policy-service", "regime-sentiment-service", "vomma", logging,
            ],
            swiftSettings: strict),
        .testTarget(name: "TidyTests", swiftSettings: strict),
        .testTarget(
            name: "TrainerTests",
            dependencies: [
                "trainer", "Evaluation", "Features", "Heston", "HestonInverse", "Kernels", "Learning", "MarketData", "NeuralNetworks",
                "Policies", "RPC", "Storage", "Telemetry",
                "TestKit", "Trading", "VommaProto", lifecycle, logging,
            ], swiftSettings: strict),
        tests("VommaProto", ["ChildProcesses", "Kernels", "RPC", "protoc-gen-vomma"], golden: ["Golden"]),
    ],
    swiftLanguageModes: [.v6]
)
