internal import Logging

/// What PostgreSQL's NOTIFY says, without silent losses: an asynchronous sequence with a connection of its own.
///
/// It begins with `.resync`, and repeats it after each reconnection: whoever reads the state of the tables then, and
/// after each `.notification`, misses nothing. It ends when its task is cancelled. While nobody asks for the next
/// element, nothing is read: the server keeps what waits.
public struct Notifications: AsyncSequence, Sendable {
    public enum Element: Sendable, Equatable {
        /// Listening (again) from now on; what was said before may have been lost. Read the state from the tables.
        case resync
        case notification(channel: String, payload: String)
    }

    let configuration: StorageConfiguration
    let channels: [Identifier]
    let log: Logger

    public func makeAsyncIterator() -> Iterator { Iterator(self) }

    public struct Iterator: AsyncIteratorProtocol {
        private let source: Notifications
        private var connection: Connection?
        private var pause: ReconnectPause

        init(_ source: Notifications) {
            self.source = source
            pause = ReconnectPause(source.configuration.reconnectPause)
        }

        /// The next element; `nil` once the task is cancelled. Throws only what waiting can't mend: `rejected`,
        /// `outOfMemory`, errors of LISTEN itself.
        public mutating func next() async throws -> Element? {
            while !Task.isCancelled {
                do {
                    return try await step()
                } catch StorageError.cancelled {
                    break
                } catch let error as StorageError where error.isRetryable {
                    source.log.debug("listening connection lost", metadata: ["error": "\(error)"])
                    pause.failed(at: .now)
                    guard let next = pause.notBefore else { continue }
                    do { try await Task.sleep(until: next, clock: .continuous) } catch { break }
                }
            }
            await connection?.disconnect()
            return nil
        }

        private mutating func step() async throws -> Element? {
            let connection = try self.connection ?? Connection(source.configuration)
            self.connection = connection
            let lease = connection.interrupt.beginLease()
            let channels = source.channels
            let element = try await withTaskCancellationHandler {
                try await connection.nextNotification(channels)
            } onCancel: {
                connection.interrupt.request(lease: lease)
            }
            pause.succeeded()
            return element
        }
    }
}

extension Connection {
    fileprivate func nextNotification(_ channels: [Identifier]) throws -> Notifications.Element {
        guard let link, !link.isBroken else {
            try open()
            for channel in channels { try script("LISTEN \(channel)") }
            return .resync
        }
        while true {
            if let (channel, payload) = link.takeNotification() {
                return .notification(channel: channel, payload: payload)
            }
            // TCP keep-alive finds a dead peer; the deadline only bounds one sleep.
            try link.waitForInput(until: .now + .seconds(600))
        }
    }

    /// Tells all listeners of `channel`, once the transaction (if one is open) has committed. At most 7,999 bytes.
    public func notify(_ channel: String, _ payload: String = "") throws(StorageError) {
        try execute("SELECT pg_notify($1, $2)", [channel, payload])
    }
}

extension ConnectionPool {
    /// What is said on these channels, from the first element's delivery on. Throws `encoding` for a bad channel name.
    public func notifications(_ channels: String...) throws(StorageError) -> Notifications {
        var identifiers: [Identifier] = []
        for channel in channels { identifiers.append(try Identifier(channel)) }
        return Notifications(configuration: configuration, channels: identifiers, log: log)
    }
}
