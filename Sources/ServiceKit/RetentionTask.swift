public import Logging
public import ServiceLifecycle
public import Storage

/// Drops what retention no longer keeps, once an hour. Where it is refused (another role, a busy table) the log says
/// so, and the next hour it tries again: nothing depends on its success.
public struct RetentionTask: Service {
    private let pool: ConnectionPool
    private let log: Logger
    private let interval: Duration

    public init(_ pool: ConnectionPool, log: Logger, interval: Duration = .seconds(3600)) {
        self.pool = pool
        self.log = log
        self.interval = interval
    }

    public func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do {
                    for dropped in try await pool.applyRetention() {
                        log.info("dropped by retention", metadata: ["what": "\(dropped)"])
                    }
                } catch {
                    log.warning("retention is to be tried again", metadata: ["error": "\(error)"])
                }
                do { try await Task.sleep(for: interval) } catch { return }
            }
        }
    }
}
