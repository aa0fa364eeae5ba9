public import Logging
internal import RPC
public import ServiceLifecycle
public import Storage

/// Keeps one task running for each stream that a service has to follow, for as long as the stream needs it.
///
/// New streams are found by looking at the table ten times a second. A task that fails because a peer or
/// the database is away is started again with growing pauses: it resumes from what it has stored. Any other failure is
/// logged and tried again at the longest pause, so that one bad stream stops neither the others nor the service.
public struct StreamSupervisor: Service {
    private let streams: @Sendable () async throws -> [EventRepository.Stream]
    private let log: Logger
    private let stage: StageMetrics?
    private let work: @Sendable (EventRepository.Stream) async throws -> Void

    /// `streams` lists the streams to follow now; `work` follows one until its end. How it goes is counted in
    /// `stage`.
    public init(
        log: Logger, stage: StageMetrics? = nil,
        streams: @escaping @Sendable () async throws -> [EventRepository.Stream],
        work: @escaping @Sendable (EventRepository.Stream) async throws -> Void
    ) {
        self.log = log
        self.stage = stage
        stage?.reportWork()
        self.streams = streams
        self.work = work
    }

    private static let lookInterval: Duration = .milliseconds(100)
    private static let pauses: [Duration] = [
        .milliseconds(50), .milliseconds(200), .milliseconds(500), .seconds(1), .seconds(2),
    ]

    public func run() async throws {
        try await cancelWhenGracefulShutdown {
            try await withThrowingDiscardingTaskGroup { group in
                var known: Set<String> = []
                while !Task.isCancelled {
                    do {
                        for stream in try await streams() where known.insert(stream.name).inserted {
                            group.addTask { await follow(stream) }
                        }
                    } catch let error as StorageError {
                        log.warning("streams cannot be listed", metadata: ["error": "\(error)"])
                        try await Task.sleep(for: .milliseconds(500))
                    }
                    try await Task.sleep(for: Self.lookInterval)
                }
            }
        }
    }

    private func follow(_ stream: EventRepository.Stream) async {
        var failures = 0
        while !Task.isCancelled {
            do {
                stage?.followed(1)
                defer { stage?.followed(-1) }
                try await work(stream)
                log.info("stream finished", metadata: ["stream": "\(stream.name)"])
                return
            } catch {
                if Task.isCancelled { return }
                let isTransient = Self.isTransient(error)
                let pause = Self.pauses[isTransient ? min(failures, Self.pauses.count - 1) : Self.pauses.count - 1]
                failures += 1
                stage?.interrupted()
                log.log(
                    level: isTransient ? .info : .error, "stream interrupted, trying again",
                    metadata: ["stream": "\(stream.name)", "error": "\(error)", "pause": "\(pause)"])
                try? await Task.sleep(for: pause)
            }
        }
    }

    /// Whether the same work may succeed after a pause, because a peer or the database was away.
    static func isTransient(_ error: any Error) -> Bool {
        switch error {
        case let status as RPCStatus:
            [.unavailable, .cancelled, .deadlineExceeded, .aborted, .notFound].contains(status.code)
        case let error as StorageError: error.isRetryable
        default: false
        }
    }
}
