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

    /// The tail of a stream, which begins where the stage's saved state ends.
    public func tail(of stream: String) async throws -> StreamTail<Row> {
        if let known = tails.withLock({ $0[stream] }) { return known }
        let saved = try await pool.withConnection { connection in
            try ConsumerRepository.progress(of: consumer, stream: stream, on: connection)
        }
        let start = UInt64(saved?.sequence ?? 0)
        return tails.withLock { tails in
            if let known = tails[stream] { return known }
            let tail = StreamTail<Row>(start: start)
            tails[stream] = tail
            return tail
        }
    }
}
