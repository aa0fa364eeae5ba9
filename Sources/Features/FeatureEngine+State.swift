internal import Indicators
internal import MarketData

// A saved engine: magic, format, schema version, symbols, then clock, tracks, modules, waiting results and remembered
// messages, and at the end a checksum of all before it. About 13 kB for one symbol and 10 kB for each more.
extension FeatureEngine {
    private static let magic: [UInt8] = Array("VOMMAFE2".utf8)

    /// The whole state as bytes, from which `init(_:state:)` continues bit for bit.
    ///
    /// Throws `outstandingVectors` while a pending vector is not complete: it would be lost.
    public func save() throws(FeatureError) -> [UInt8] {
        guard outstandingCount == 0 else { throw .outstandingVectors(count: outstandingCount) }
        var writer = StateWriter(reserving: 16_384 * (tracks.count + 1))
        for byte in Self.magic { writer.write(byte) }
        writer.write(schema.version)
        writer.write(tracks.count)
        for track in tracks { writer.write(track.symbol) }
        writer.write(configuration.reference.symbol)

        writer.write(clock.microseconds)
        Self.save(referenceLastOpenTime, to: &writer)
        for track in tracks {
            Self.save(track.lastOpenTime, to: &writer)
            writer.write(track.completed)
            track.observer.save(to: &writer)
            for module in track.modules { module.save(to: &writer) }
        }
        for module in shared { module.save(to: &writer) }
        writer.write(waiting.count)
        for input in waiting {
            switch input {
            case .fit(let fit):
                writer.write(UInt8(0))
                fit.save(to: &writer)
            case .sentiment(let score):
                writer.write(UInt8(1))
                score.save(to: &writer)
            }
        }
        seenMessages.save(to: &writer)
        seenScores.save(to: &writer)
        writer.write(StableHash.checksum(writer.bytes[...]))
        return writer.bytes
    }

    /// The engine as it was saved. `configuration` must give the same schema and symbols.
    ///
    /// Throws `schemaMismatch` for a state of another schema, `invalidState` for one of other symbols, and for bytes
    /// that are no state or are damaged. Never traps on them.
    public init(_ configuration: FeatureConfiguration, state: [UInt8]) throws(FeatureError) {
        try self.init(configuration)
        let end = state.count - 8
        guard end > Self.magic.count, state.starts(with: Self.magic) else {
            throw .invalidState(reason: "not a saved feature engine of this format")
        }
        do throws(IndicatorError) {
            var tail = StateReader(state, range: end..<state.count)
            guard try tail.readUInt64() == StableHash.checksum(state[..<end]) else {
                throw IndicatorError.stateMismatch(field: "checksum")
            }
        } catch { throw .invalidState(reason: "the checksum does not fit: damaged or cut") }
        var reader = StateReader(state, range: Self.magic.count..<end)
        let version: String
        do throws(IndicatorError) {
            version = try reader.readString()
        } catch { throw .invalidState(reason: "\(error)") }
        try schema.require(version)
        do throws(IndicatorError) {
            try restore(from: &reader)
        } catch { throw .invalidState(reason: "\(error)") }
        guard reader.isAtEnd else { throw .invalidState(reason: "bytes after the end") }
    }

    private mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        guard try reader.readInt() == tracks.count else { throw .stateMismatch(field: "number of symbols") }
        for track in tracks {
            guard try reader.readString() == track.symbol else { throw .stateMismatch(field: "symbols") }
        }
        guard try reader.readString() == configuration.reference.symbol else {
            throw .stateMismatch(field: "reference")
        }
        clock = Timestamp(microseconds: try reader.readClock())
        referenceLastOpenTime = try reader.readOptionalTime()
        for index in tracks.indices { try Self.restore(&tracks[index], from: &reader) }
        for index in shared.indices { try shared[index].restore(from: &reader) }
        let count = try reader.readCount(upTo: Self.maximumPendingInputs, "waiting inputs")
        waiting = []
        for _ in 0..<count {
            switch try reader.readUInt8() {
            case 0: waiting.append(.fit(try HestonFit(from: &reader)))
            case 1: waiting.append(.sentiment(try SentimentScore(from: &reader)))
            default: throw .stateMismatch(field: "waiting input")
            }
        }
        try seenMessages.restore(from: &reader)
        try seenScores.restore(from: &reader)
    }

    private static func save(_ time: Timestamp?, to writer: inout StateWriter) {
        writer.write(time != nil)
        if let time { writer.write(time.microseconds) }
    }

    private static func restore(_ track: inout Track, from reader: inout StateReader) throws(IndicatorError) {
        track.lastOpenTime = try reader.readOptionalTime()
        track.completed = try reader.readUInt64()
        track.issued = track.completed
        try track.observer.restore(from: &reader)
        for index in track.modules.indices { try track.modules[index].restore(from: &reader) }
    }
}

extension StateReader {
    fileprivate mutating func readOptionalTime() throws(IndicatorError) -> Timestamp? {
        try readBool() ? Timestamp(microseconds: try readTime()) : nil
    }

    /// A time, or the clock's value before the first event.
    fileprivate mutating func readClock() throws(IndicatorError) -> Int64 {
        let time = try readInt64()
        guard abs(Double(time)) <= 0x1p61 else { throw .stateMismatch(field: "clock") }
        return time
    }
}

/// The identities of the last 128 messages, so that one that is delivered again does not count again.
struct RecentKeys: Restorable {
    static let capacity = 128
    private var keys: [UInt64] = []
    private var next = 0

    /// False for a message that is remembered.
    mutating func insert(_ source: String, _ id: String) -> Bool {
        let key = StableHash.checksum(Array((source + "\u{1F}" + id).utf8)[...])
        guard !keys.contains(key) else { return false }
        if keys.count < Self.capacity { keys.append(key) } else { keys[next] = key }
        next = (next + 1) % Self.capacity
        return true
    }

    func save(to writer: inout StateWriter) {
        writer.write(next)
        writer.write(keys.count)
        for key in keys { writer.write(key) }
    }

    mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        next = try reader.readCount(upTo: Self.capacity - 1, "message position")
        let count = try reader.readCount(upTo: Self.capacity, "messages")
        guard count == Self.capacity || next == count else { throw .stateMismatch(field: "message position") }
        keys = []
        for _ in 0..<count { keys.append(try reader.readUInt64()) }
    }
}
