internal import MarketData

// The session's state as bytes: fixed-width little-endian fields in a written order, after a header that names format,
// account and symbols. About 200 bytes a market. What is configuration (rules, limits, costs) is not in it: a restarted
// service may have changed it.
extension TradingSession {
    private static let magic: UInt64 = 0x0232_5353_454d_4d56  // "VMMESS2", version 2
    /// Version 1 knew no fee in the base asset: without those fields.
    private static let firstMagic: UInt64 = 0x0131_5353_454d_4d56

    /// Everything that the session knows, exactly.
    public func saveState() -> [UInt8] {
        var out = StateWriter()
        out.write(Self.magic)
        out.write(configuration.account)
        out.write(markets.count)
        for market in markets { out.write(market.rules.symbol) }
        out.write(ledger)
        out.write(equity)
        out.write(UInt64(risk.killSwitch.rawValue))
        out.write(risk.peakEquity)
        out.write(risk.dayStartEquity)
        out.write(risk.dayEnd)
        out.write(risk.next)
        out.write(risk.orderTimes.count)
        for time in risk.orderTimes { out.write(time) }
        for market in markets {
            out.write(market.openTime.microseconds)
            out.write(market.closeTime.microseconds)
            out.write(market.close)
            out.write(market.lastDecision.microseconds)
            out.write(market.lastFunding.microseconds)
            out.write(market.targetExposure)
            out.write(market.working.count)
            for order in market.working { out.write(order) }
        }
        out.seal()
        return out.bytes
    }

    /// Continues from what `saveState()` wrote, in a session of the same account and symbols. Throws `corruptState`,
    /// and changes nothing, for other bytes; damage is found by a checksum. A changed `maxOrdersPerMinute` forgets the
    /// orders of the last minute.
    public mutating func restoreState(_ bytes: [UInt8]) throws(TradingError) {
        var input = try StateReader(sealed: bytes)
        let magic = try input.word()
        guard magic == Self.magic || magic == Self.firstMagic else {
            throw .corruptState(reason: "not a session, or another version")
        }
        guard try input.string() == configuration.account else { throw .corruptState(reason: "another account") }
        guard try input.integer() == markets.count else { throw .corruptState(reason: "other symbols") }
        for market in markets {
            guard try input.string() == market.rules.symbol else { throw .corruptState(reason: "other symbols") }
        }
        var copy = self
        copy.ledger = try input.ledger(instrumentCount: markets.count, hasFeesInBase: magic == Self.magic)
        copy.equity = try input.double()
        guard let killSwitch = KillSwitch(rawValue: UInt8(truncatingIfNeeded: try input.word())) else {
            throw .corruptState(reason: "kill switch")
        }
        copy.risk.killSwitch = killSwitch
        copy.risk.peakEquity = try input.double()
        copy.risk.dayStartEquity = try input.double()
        copy.risk.dayEnd = try input.signed()
        let next = try input.integer()
        let count = try input.integer()
        guard count >= 0, count <= 600, next >= 0, next < max(1, count) else {
            throw .corruptState(reason: "order times")
        }
        var times: [Int64] = []
        for _ in 0..<count { times.append(try input.signed()) }
        if count == copy.risk.orderTimes.count { (copy.risk.orderTimes, copy.risk.next) = (times, next) }
        for index in markets.indices {
            copy.markets[index].openTime = Timestamp(microseconds: try input.signed())
            copy.markets[index].closeTime = Timestamp(microseconds: try input.signed())
            copy.markets[index].close = try input.double()
            copy.markets[index].lastDecision = Timestamp(microseconds: try input.signed())
            copy.markets[index].lastFunding = Timestamp(microseconds: try input.signed())
            copy.markets[index].targetExposure = try input.double()
            copy.markets[index].working = try input.word() == 0 ? [] : [try input.order()]
        }
        guard input.isAtEnd else { throw .corruptState(reason: "bytes are left over") }
        try copy.checkInvariants()
        self = copy
    }
}

/// Appends fixed-width little-endian fields.
struct StateWriter {
    private(set) var bytes: [UInt8] = []

    mutating func write(_ value: UInt64) {
        for shift in stride(from: UInt64(0), to: 64, by: 8) { bytes.append(UInt8(truncatingIfNeeded: value >> shift)) }
    }
    mutating func write(_ value: Int64) { write(UInt64(bitPattern: value)) }
    mutating func write(_ value: Int) { write(Int64(value)) }
    mutating func write(_ value: Double) { write(value.bitPattern) }
    mutating func write(_ sum: WideSum) {
        write(sum.high)
        write(sum.low)
    }
    mutating func write(_ value: String) {
        write(value.utf8.count)
        bytes.append(contentsOf: value.utf8)
    }

    mutating func write(_ ledger: Ledger) {
        let amounts = [ledger.deposited, ledger.cash, ledger.fees, ledger.funding, ledger.feesInBase]
        for amount in amounts { write(amount.units) }
        write(ledger.fillCount)
        for position in ledger.positions {
            write(position.quantity.units)
            write(position.cost.units)
            write(position.realised.units)
            let sums = [position.bought, position.sold, position.paid, position.received, position.takenAsFee]
            for sum in sums { write(sum) }
        }
    }

    mutating func write(_ order: Order) {
        for text in [order.key.account, order.key.symbol, order.key.modelVersion] { write(text) }
        write(order.key.barTime.microseconds)
        write(order.side.rawValue)
        write(order.quantity.units)
        write(order.referencePrice)
        write(order.createdAt.microseconds)
        write(order.state.rawValue)
        write(order.updatedAt.microseconds)
        write(order.reason?.rawValue ?? "")
        write(order.filledQuantity.units)
        write(order.filledNotional.units)
        write(order.fee.units)
        write(order.fillCount)
    }

    /// Ends the bytes with their checksum.
    mutating func seal() { write(checksum(bytes[...])) }
}

/// FNV-1a, 64 bits: finds damage, not forgery.
private func checksum(_ bytes: ArraySlice<UInt8>) -> UInt64 {
    bytes.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
}

/// Reads what `StateWriter` wrote; any disagreement is `corruptState`.
struct StateReader {
    private let bytes: ArraySlice<UInt8>
    private var offset = 0

    init(sealed bytes: [UInt8]) throws(TradingError) {
        guard bytes.count >= 8 else { throw .corruptState(reason: "too short") }
        self.bytes = bytes.dropLast(8)
        offset = bytes.count - 8
        var tail = StateReader(bytes: bytes[...], offset: offset)
        guard try tail.word() == checksum(self.bytes) else { throw .corruptState(reason: "checksum") }
        offset = 0
    }

    private init(bytes: ArraySlice<UInt8>, offset: Int) {
        self.bytes = bytes
        self.offset = offset
    }

    var isAtEnd: Bool { offset == bytes.count }

    mutating func word() throws(TradingError) -> UInt64 {
        guard bytes.count - offset >= 8 else { throw .corruptState(reason: "too short") }
        var value: UInt64 = 0
        for index in 0..<8 { value |= UInt64(bytes[offset + index]) << UInt64(8 * index) }
        offset += 8
        return value
    }
    mutating func signed() throws(TradingError) -> Int64 { Int64(bitPattern: try word()) }
    mutating func integer() throws(TradingError) -> Int { Int(try signed()) }
    mutating func double() throws(TradingError) -> Double { Double(bitPattern: try word()) }
    mutating func wide() throws(TradingError) -> WideSum { WideSum(high: try word(), low: try word()) }
    mutating func string() throws(TradingError) -> String {
        let count = try integer()
        guard count >= 0, count <= bytes.count - offset else { throw .corruptState(reason: "text length") }
        defer { offset += count }
        return String(decoding: bytes[offset..<offset + count], as: UTF8.self)
    }

    mutating func ledger(instrumentCount: Int, hasFeesInBase: Bool) throws(TradingError) -> Ledger {
        let deposited = try signed()
        guard deposited >= 0 else { throw .corruptState(reason: "deposit") }
        var ledger = Ledger(deposited: Amount(units: deposited), instrumentCount: instrumentCount)
        ledger.cash = Amount(units: try signed())
        ledger.fees = Amount(units: try signed())
        ledger.funding = Amount(units: try signed())
        if hasFeesInBase { ledger.feesInBase = Amount(units: try signed()) }
        ledger.fillCount = try integer()
        for index in 0..<instrumentCount {
            ledger.positions[index].quantity = Quantity(units: try signed())
            ledger.positions[index].cost = Amount(units: try signed())
            ledger.positions[index].realised = Amount(units: try signed())
            ledger.positions[index].bought = try wide()
            ledger.positions[index].sold = try wide()
            ledger.positions[index].paid = try wide()
            ledger.positions[index].received = try wide()
            if hasFeesInBase { ledger.positions[index].takenAsFee = try wide() }
        }
        return ledger
    }

    mutating func order() throws(TradingError) -> Order {
        let account = try string()
        let symbol = try string()
        let modelVersion = try string()
        let barTime = Timestamp(microseconds: try signed())
        let key = DecisionKey(account: account, symbol: symbol, barTime: barTime, modelVersion: modelVersion)
        let side = Side(rawValue: try string())
        let quantity = Quantity(units: try signed())
        let referencePrice = try double()
        let createdAt = Timestamp(microseconds: try signed())
        let state = OrderState(rawValue: try string())
        let updatedAt = Timestamp(microseconds: try signed())
        let reasonText = try string()
        let reason = OrderReason(rawValue: reasonText)
        let filledQuantity = Quantity(units: try signed())
        let filledNotional = Amount(units: try signed())
        let fee = Amount(units: try signed())
        let fillCount = try integer()
        guard let side, let state, reason != nil || reasonText.isEmpty,
            let order = Order(
                key: key, side: side, quantity: quantity, referencePrice: referencePrice, createdAt: createdAt,
                state: state, updatedAt: updatedAt, reason: reason, filledQuantity: filledQuantity,
                filledNotional: filledNotional, fee: fee, fillCount: fillCount)
        else { throw .corruptState(reason: "order") }
        return order
    }
}
