public import MarketData
internal import Synchronization
public import Telemetry

/// How far a stream has come that is being handed on.
public struct StreamPosition: Sendable, Equatable {
    public var stream: String
    /// Market time of the newest row that was handed on.
    public var rowTime: Timestamp
    /// When that was, by the wall clock.
    public var handedOnAt: Timestamp

    public init(stream: String, rowTime: Timestamp, handedOnAt: Timestamp) {
        self.stream = stream
        self.rowTime = rowTime
        self.handedOnAt = handedOnAt
    }
}

/// What a stage of the pipeline tells its operator: which streams it follows, what waits in it, how far each stream is.
///
/// Counting is an atomic addition, whether or not there is a registry.
public final class StageMetrics: Sendable {
    private let followed = Atomic(0)
    private let interruptions = Atomic(0)
    private let queued = Atomic(0)
    private let registry: MetricRegistry?

    /// `registry` is `nil` where nobody asks.
    public init(_ registry: MetricRegistry?) {
        self.registry = registry
    }

    /// Streams are read and queued here: shows how many.
    func reportWork() {
        registry?.observe(Self.followedStreams) { Double(self.followed.load(ordering: .relaxed)) }
        registry?.observe(Self.interruptedStreams) { Double(self.interruptions.load(ordering: .relaxed)) }
        registry?.observe(Self.queuedRows) { Double(self.queued.load(ordering: .relaxed)) }
    }

    /// Shows how far the streams are that `positions` lists at each scrape.
    public func report(positions: @escaping @Sendable () -> [StreamPosition]) {
        registry?.observeEach(Self.rowTime) { positions().map { ([$0.stream], Self.seconds($0.rowTime)) } }
        registry?.observeEach(Self.handedOnTime) { positions().map { ([$0.stream], Self.seconds($0.handedOnAt)) } }
    }

    private static func seconds(_ time: Timestamp) -> Double { Double(time.microseconds) / 1e6 }

    func followed(_ change: Int) { followed.wrappingAdd(change, ordering: .relaxed) }
    func interrupted() { interruptions.wrappingAdd(1, ordering: .relaxed) }
    func queued(_ change: Int) { queued.wrappingAdd(change, ordering: .relaxed) }

    private static let followedStreams = MetricDefinition(
        "vomma_stage_streams", .gauge, "Streams that this stage is following: not ended, and not between two tries.")
    private static let interruptedStreams = MetricDefinition(
        "vomma_stage_interruptions_total", .counter,
        "Times that following a stream failed, to be tried again after a pause.")
    private static let queuedRows = MetricDefinition(
        "vomma_stage_queued_rows", .gauge, "Rows that have come from the stage before and wait to be worked on.")
    private static let rowTime = MetricDefinition(
        "vomma_stream_row_time_seconds", .gauge, labels: ["stream"],
        "Market time of the newest row handed on, in seconds since 1970, of streams that have not ended.")
    private static let handedOnTime = MetricDefinition(
        "vomma_stream_handed_on_time_seconds", .gauge, labels: ["stream"],
        "When the newest row was handed on, in seconds since 1970, of streams that have not ended.")
}

extension StreamTails {
    /// Shows how far the streams are. `time` is a row's market time.
    public func report(to stage: StageMetrics, time: @escaping @Sendable (Row) -> Timestamp) {
        stage.report { [weak self] in
            self?.open.compactMap { name, tail in
                guard let (row, publishedAt) = tail.newest else { return nil }
                return StreamPosition(stream: name, rowTime: time(row), handedOnAt: publishedAt)
            } ?? []
        }
    }
}
