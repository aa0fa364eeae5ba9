/// Reads a recording of Binance's combined streams, spot or USD-M futures: one message a line behind the recorder's
/// time (`<nanoseconds> <JSON>`), of kinds `trade`, `bookTicker` and `depthUpdate`, and order-book snapshots as REST
/// gives them.
///
/// The recorder's clock is not used, for it may be off: a message is known at its own event time, and one without (a
/// spot `bookTicker`, a snapshot) at the newest event time before it. What comes before the first event time is passed
/// over. Times never go back.
public struct TickRecordingReader: Sendable {
    /// Levels of a side that a book's depth is given with.
    public static let levels = 20

    public struct Recording: Sendable {
        /// Trades, best quotes, and the book's depth after each of its changes, in order.
        public var events: [MarketEvent] = []
        public var report: LoadReport
        /// Changes of the book that did not follow the one before.
        public var breaks = 0
    }

    public init() {}

    /// All events, under `symbol`. Lines that are no such messages are refused, each with its line and reason. Holds
    /// the events; blocks on the file.
    public func read(_ source: RowSource, symbol: String) throws(MarketDataError) -> Recording {
        var recording = Recording(report: LoadReport(source: source.name))
        var book = OrderBook()
        var clock: Timestamp?
        var reader = try LineReader(source)
        try reader.forEach { line, text, kind in
            guard kind != .whole || !text.isEmpty else { return true }
            do throws(RowFault) {
                guard kind == .whole else { throw .lineTooLong }
                let message = try Self.message(text)
                if let time = message.time { clock = max(clock ?? time, time) }
                guard let payload = try Self.payload(message.body, &book, &recording.breaks) else { return true }
                guard let clock else { return true }
                recording.report.accept()
                recording.events.append(
                    MarketEvent(
                        exchange: "binance", symbol: symbol, eventTime: clock, knownAt: clock, payload: payload))
            } catch {
                recording.report.refuse(RowIssue(line: line, fault: error))
            }
            return true
        }
        return recording
    }

    /// The message behind the recorder's time, and its own event time.
    private static func message(_ text: Span<UInt8>) throws(RowFault) -> (body: JSONValue, time: Timestamp?) {
        var start = 0
        while start < text.count, text[start] != UInt8(ascii: "{") { start += 1 }
        guard start > 0, start < text.count, text[start - 1] == UInt8(ascii: " ") else { throw .notJSON }
        for index in 0..<(start - 1) where text[index] < 0x30 || text[index] > 0x39 { throw .notATime }
        guard let object = JSONValue(text.extracting(start...)), case .object = object else { throw .notJSON }
        let body = object["data"] ?? object
        guard let stamp = body["E"] else { return (body, nil) }
        guard let milliseconds = stamp.number, milliseconds > 0, milliseconds < 1e14 else { throw .notATime }
        return (body, Timestamp(milliseconds: Int64(milliseconds)))
    }

    /// `nil` for what is nothing to tell: a change that the book has already, a snapshot.
    private static func payload(
        _ body: JSONValue, _ book: inout OrderBook, _ breaks: inout Int
    ) throws(RowFault) -> MarketEvent.Payload? {
        if let last = body["lastUpdateId"]?.number {
            book.reset(lastUpdate: try whole(last), bids: try levels(body["bids"]), asks: try levels(body["asks"]))
            return nil
        }
        switch body["e"]?.string {
        case "trade":
            guard let id = body["t"]?.number, case .bool(let isBuyerMaker)? = body["m"] else { throw .missingValue }
            let (price, quantity) = (try number(body["p"]), try number(body["q"]))
            // Futures tell of some of their own matches with a quantity or a price of 0: nobody traded.
            guard price > 0, quantity > 0 else { throw .notPositive }
            return .trade(PublicTrade(id: try whole(id), price: price, quantity: quantity, isBuy: !isBuyerMaker))
        case "depthUpdate":
            guard let first = body["U"]?.number, let last = body["u"]?.number else { throw .missingValue }
            let change = OrderBook.Change(
                first: try whole(first), last: try whole(last),
                previous: try body["pu"]?.number.map { value throws(RowFault) in try whole(value) },
                bids: try levels(body["b"]), asks: try levels(body["a"]))
            switch book.apply(change) {
            case .applied: return .bookDepth(book.depth(Self.levels))
            case .passedOver, .kept: return nil
            case .broken:
                breaks += 1
                return nil
            }
        case "bookTicker", nil:
            guard body["u"] != nil, body["b"] != nil, body["a"] != nil else { throw .missingValue }
            return .bookTop(
                BookTop(
                    bidPrice: try number(body["b"]), askPrice: try number(body["a"]),
                    bidVolume: try number(body["B"]), askVolume: try number(body["A"])))
        default: throw .outOfRange
        }
    }

    /// A finite number that is not negative, as the exchange writes it: in quotes.
    private static func number(_ value: JSONValue?) throws(RowFault) -> Double {
        guard let text = value?.string else { throw .missingValue }
        let bytes = Array(text.utf8)
        guard !bytes.isEmpty else { throw .missingValue }
        let number = try decimal(bytes.span, 0..<bytes.count)
        guard number >= 0 else { throw .negativeValue }
        return number
    }

    private static func whole(_ number: Double) throws(RowFault) -> Int64 {
        guard number >= 0, number < 0x1p53, number == number.rounded() else { throw .notANumber }
        return Int64(number)
    }

    /// Pairs of price and volume.
    private static func levels(_ value: JSONValue?) throws(RowFault) -> [OrderBook.Level] {
        guard let pairs = value?.array else { throw .missingValue }
        var levels: [OrderBook.Level] = []
        levels.reserveCapacity(pairs.count)
        for pair in pairs {
            guard let numbers = pair.array, numbers.count >= 2 else { throw .missingValue }
            let price = try number(numbers[0])
            guard price > 0 else { throw .notPositive }
            levels.append(.init(price: price, volume: try number(numbers[1])))
        }
        return levels
    }
}

/// Makes bars from trades, on boundaries counted from 1970 in UTC. A period without a trade gets a bar at the close
/// before it with the volume 0, as exchanges do; there is none before the first trade.
public struct TradeBars: Sendable {
    public let interval: Interval
    private var forming: Bar?

    /// Traps unless `interval` is positive.
    public init(interval: Interval) {
        precondition(interval.microseconds > 0, "an interval is positive")
        self.interval = interval
    }

    /// The bars that have ended by `time`, in order. At most 10,000 at once: a longer silence begins anew.
    public mutating func advance(to time: Timestamp) -> [Bar] {
        var finished: [Bar] = []
        while let bar = forming, bar.closeTime <= time {
            finished.append(bar)
            guard finished.count < 10_000 else {
                forming = nil
                break
            }
            forming = Bar(
                openTime: bar.closeTime, interval: interval, open: bar.close, high: bar.close, low: bar.close,
                close: bar.close, volume: 0)
        }
        return finished
    }

    /// Takes a trade; `advance(to:)` its time comes first.
    public mutating func take(_ trade: PublicTrade, at time: Timestamp) {
        let (price, openTime) = (trade.price, time.floored(to: interval))
        guard var bar = forming, bar.openTime == openTime else {
            forming = Bar(
                openTime: openTime, interval: interval, open: price, high: price, low: price, close: price,
                volume: trade.quantity)
            return
        }
        if bar.volume == 0 { (bar.open, bar.high, bar.low) = (price, price, price) }
        bar.high = max(bar.high, price)
        bar.low = min(bar.low, price)
        bar.close = price
        bar.volume += trade.quantity
        forming = bar
    }
}
