public import Logging
public import ServiceLifecycle
public import Storage
internal import Synchronization

/// The live version of one model name: loaded at the start, and swapped when another version is promoted.
///
/// Calls in flight keep the version they began with. A promoted version that can't be loaded is logged and not swapped
/// in: the one before goes on serving.
public final class LiveModel<Loaded: Sendable>: Service {
    private let pool: ConnectionPool
    private let name: String
    private let log: Logger
    private let load: @Sendable (ModelRepository.Model, _ checkpoint: [UInt8], ConnectionPool) async throws -> Loaded
    private let live = Mutex<(version: Int64, model: Loaded)?>(nil)

    /// `load` makes the model from its record and its checkpoint's bytes.
    public init(
        _ name: String, pool: ConnectionPool, log: Logger,
        load: @escaping @Sendable (ModelRepository.Model, [UInt8], ConnectionPool) async throws -> Loaded
    ) {
        self.name = name
        self.pool = pool
        self.log = log
        self.load = load
    }

    /// What serves now; `nil` before the first promotion.
    public var current: Loaded? { live.withLock { $0?.model } }

    public func run() async throws {
        try await cancelWhenGracefulShutdown { [self] in
            while !Task.isCancelled {
                do {
                    await refresh()
                    for try await _ in try await promotions() { await refresh() }
                } catch {
                    if Task.isCancelled { return }
                    log.info("not told of promotions, looking again", metadata: ["error": "\(error)"])
                }
                try await Task.sleep(for: .milliseconds(500))
            }
        }
    }

    private func promotions() async throws -> Notifications { try pool.notifications(ModelRepository.channel) }

    /// Loads the live version, if it is another one than the loaded. What goes wrong is logged.
    public func refresh() async {
        do { try await reload() } catch {
            log.error("the live model cannot be loaded", metadata: ["model": "\(name)", "error": "\(error)"])
        }
    }

    /// As `refresh`, but throws what goes wrong: `StorageError`, or what `load` throws.
    public func reload() async throws {
        let name = name
        let found = try await pool.withConnection { try ModelRepository.live(name, on: $0) }
        guard let found, found.version != live.withLock({ $0?.version }) else { return }
        let bytes = try await pool.withConnection {
            try ModelRepository.checkpoint(name, version: found.version, on: $0)
        }
        guard let bytes else { throw StorageError.unexpectedRowCount(0) }
        let model = try await load(found, bytes, pool)
        live.withLock { $0 = (found.version, model) }
        log.info("model swapped in", metadata: ["model": "\(name)", "version": "\(found.version)"])
    }
}
