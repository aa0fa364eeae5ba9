internal import Synchronization
public import Storage

/// The tails of all streams that a stage follows, made when the first asks.
public final class StreamTails<Row: Sendable>: Sendable {
    private let consumer: String
    private let pool: ConnectionPool
    private let tails = Mutex<[String: StreamTail<Row>]>([:])

    /// `consumer` is the name under which the stage saves how far it has come.
    public init(consumer: String, pool: ConnectionPool) {
        self.consumer = consumer
        self.pool = pool
    }

    /// The tails that were asked for so far, by stream.
    var open: [(name: String, tail: StreamTail<Row>)] { tails.withLock { $0.map { ($0.key, $0.value) } } }

    /// The tail of a stream, which begins where the stage's saved state ends.
    public func tail(of stream: String) async throws -> StreamTail<Row> {
        if let known = tails.withLock({ $0[stream] }) { return known }
        let saved = try await pool.withConnection { connection in
            try ConsumerRepository.progress(of: consumer, stream: stream, on: connection)
        }
        return keep(StreamTail(start: UInt64(saved?.sequence ?? 0)), of: stream)
    }

    /// The tail that the stream has, or from now on: this one.
    @discardableResult
    func keep(_ made: StreamTail<Row>, of stream: String) -> StreamTail<Row> {
        tails.withLock { tails in
            if let known = tails[stream] { return known }
            tails[stream] = made
            return made
        }
    }
}
