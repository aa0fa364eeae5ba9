internal import Contract
internal import MarketData
internal import RPC
internal import Storage
internal import Trading
internal import VommaProto

/// One account's session with the rows that it makes: pure, so that what is stored is a function of what came in.
struct AccountBook {
    /// The newest market event taken in.
    var sequence: UInt64
    private var session: TradingSession
    private var kept: ExecutionCheckpoint
    private var rows = BookRows()
    private var events: [SessionEvent] = []
    /// Of the bar and decision being handled, for latencies.
    private var publishedAt: Timestamp?
    private var decidedAt: Timestamp?
    private var eventTime = Timestamp(microseconds: 0)
    /// Orders that are about to be stored before they are sent.
    private var newOrders: [String] = []

    /// A fresh account, or the saved one.
    init(
        account: String, settings: AccountSettings, rules: [InstrumentRules], saved: ConsumerRepository.Progress?
    ) throws {
        session = try TradingSession(settings.session(account: account, instruments: rules))
        kept = ExecutionCheckpoint()
        sequence = 0
        if let saved {
            kept = try ExecutionCheckpoint(serializedBytes: saved.state)
            try session.restoreState(kept.session)
            kept.session = []
            sequence = UInt64(saved.sequence)
        }
    }

    /// What has not been committed yet.
    var unstored: BookRows { rows }
    var hasUnstored: Bool { !rows.isEmpty }

    func checkpoint() throws -> [UInt8] {
        var checkpoint = kept
        checkpoint.session = session.saveState()
        return try checkpoint.serializedBytes()
    }

    func checkInvariants() throws { try session.checkInvariants() }

    /// Says that `unstored` has been committed.
    mutating func stored() { rows = BookRows() }

    /// Says that a new order has been committed; its latency is written with the next batch.
    mutating func orderStored(at time: Timestamp) {
        rows = BookRows()
        for id in newOrders { rows.orderStamps.append((id, time)) }
        newOrders = []
    }

    /// Books one bar and returns its close.
    mutating func take(_ message: VommaProto.MarketEvent) throws -> Timestamp {
        guard message.sequence > sequence else { throw RPCStatus(.aborted, "bar \(message.sequence) came again") }
        let event = try message.domain()
        guard case .bar(let bar) = event.payload else {
            throw RPCStatus(.internal, "event \(message.sequence) is no bar")
        }
        let realisedBefore = session.ledger.realised
        try session.onBar(event.symbol, bar, into: &events)
        sequence = message.sequence
        publishedAt = Timestamp(microseconds: message.publishedAtMicroseconds)
        eventTime = bar.closeTime
        record(realisedBefore: realisedBefore)
        return bar.closeTime
    }

    /// Turns the bar's decision into an order to be stored and then sent, or into nothing.
    mutating func plan(_ message: VommaProto.Decision) throws -> Trading.Order? {
        guard let exposure = message.targetExposure else { return nil }
        guard let index = session.index(of: message.symbol), let price = session.price(at: index) else {
            throw RPCStatus(.failedPrecondition, "a decision for \(message.symbol), which is not traded here")
        }
        decidedAt = Timestamp(microseconds: message.sentAtMicroseconds)
        publishedAt = Timestamp(microseconds: message.publishedAtMicroseconds)
        let closeTime = Timestamp(microseconds: message.barTimeMicroseconds)
        let decision = Trading.Decision(
            symbol: message.symbol, barTime: session.barOpenTime(at: index),
            modelVersion: "\(message.modelName).\(message.modelVersion)", targetExposure: exposure, time: closeTime,
            referencePrice: price)
        let plan = try session.plan(decision, into: &events)
        record(realisedBefore: session.ledger.realised)
        if case .order(let order) = plan {
            newOrders.append(order.id.description)
            return order
        }
        return nil
    }

    mutating func send(_ order: Trading.Order) throws {
        try session.send(order, at: eventTime, into: &events)
        record(realisedBefore: session.ledger.realised)
    }

    mutating func set(_ mode: Trading.KillSwitch) throws {
        try session.setKillSwitch(mode, at: eventTime, into: &events)
        record(realisedBefore: session.ledger.realised)
    }

    // MARK: Events to rows

    private mutating func record(realisedBefore: Amount) {
        for event in events {
            switch event {
            case .order(let order): record(order)
            case .fill(let fill): record(fill, realised: session.ledger.realised - realisedBefore)
            case .refusal(let key, let time, let refusal):
                rows.risk.append(
                    .init(
                        symbol: key.symbol, eventTime: time, rule: refusal.rule.name,
                        detail: "limit \(refusal.limit), actual \(refusal.actual)"))
            case .hold(let key, let time, let reason):
                // Being where one wants to be is no event.
                if reason == .atTarget { break }
                rows.risk.append(
                    .init(symbol: key.symbol, eventTime: time, rule: reason.name, detail: reason.detail))
            case .equity(let point):
                let exposure = session.index(of: point.symbol).map { session.exposure(at: $0) } ?? 0
                rows.equity.append(
                    .init(
                        symbol: point.symbol, eventTime: point.time, sequence: Int64(sequence),
                        cash: point.cash.double, equity: point.equity, exposure: exposure, price: point.price))
            case .funding: break
            case .killSwitch(let mode, let time, let cause):
                rows.risk.append(
                    .init(
                        symbol: "", eventTime: time, rule: "kill_switch_set",
                        detail: "\(mode), \(cause.map { "by \($0.rule.name)" } ?? "by hand")"))
            }
        }
        events.removeAll(keepingCapacity: true)
    }

    private mutating func record(_ order: Trading.Order) {
        let id = order.id.description
        rows.orders[id] = TradingRepository.Order(
            clientOrderID: id, symbol: order.key.symbol, side: order.side.rawValue, kind: "market",
            quantity: DecimalNumber(order.quantity), state: order.state.rawValue, decisionTime: order.createdAt,
            sequence: Int64(sequence), reason: order.reason?.rawValue,
            filledQuantity: DecimalNumber(order.filledQuantity),
            publishedAt: publishedAt, decidedAt: decidedAt)
        let number = kept.orderEvents[id] ?? 0
        rows.orderEvents.append(
            .init(
                clientOrderID: id, number: Int32(number), eventTime: order.updatedAt, state: order.state.rawValue,
                detail: order.reason?.rawValue ?? ""))
        kept.orderEvents[id] = order.state.isFinal ? nil : number + 1
    }

    private mutating func record(_ fill: Trading.Fill, realised: Amount) {
        rows.fills.append(
            .init(
                clientOrderID: fill.orderID.description, number: Int32(fill.sequence), symbol: fill.symbol,
                side: fill.side.rawValue, eventTime: fill.time, price: DecimalNumber(fill.price),
                quantity: DecimalNumber(fill.quantity), fee: DecimalNumber(fill.fee),
                realisedPnL: DecimalNumber(realised)))
        guard let index = session.index(of: fill.symbol) else { return }
        let position = session.ledger.positions[index]
        let held = position.quantity.double
        let average = held == 0 ? nil : Price(abs(position.cost.double / held))
        rows.positions[fill.symbol] = .init(
            symbol: fill.symbol, quantity: DecimalNumber(position.quantity),
            averagePrice: average.map(DecimalNumber.init) ?? DecimalNumber(0),
            realisedPnL: DecimalNumber(position.realised), fees: DecimalNumber(session.ledger.fees),
            eventTime: fill.time)
    }
}

/// Rows that belong into one transaction.
struct BookRows: Sendable {
    var orders: [String: TradingRepository.Order] = [:]
    var orderEvents: [TradingRepository.OrderEvent] = []
    var fills: [TradingRepository.Fill] = []
    var positions: [String: TradingRepository.Position] = [:]
    var equity: [TradingRepository.Equity] = []
    var risk: [TradingRepository.RiskEvent] = []
    var orderStamps: [(id: String, at: Timestamp)] = []

    var isEmpty: Bool {
        orders.isEmpty && orderEvents.isEmpty && fills.isEmpty && equity.isEmpty && risk.isEmpty && orderStamps.isEmpty
    }

    func write(account: String, on connection: isolated Connection) throws(StorageError) {
        if !orders.isEmpty {
            let sorted = orders.values.sorted { ($0.sequence, $0.clientOrderID) < ($1.sequence, $1.clientOrderID) }
            try TradingRepository.upsert(sorted, account: account, on: connection)
        }
        if !orderEvents.isEmpty { try TradingRepository.insert(orderEvents, account: account, on: connection) }
        if !fills.isEmpty { try TradingRepository.insert(fills, account: account, on: connection) }
        if !positions.isEmpty {
            let sorted = positions.values.sorted { $0.symbol < $1.symbol }
            try TradingRepository.upsert(sorted, account: account, on: connection)
        }
        if !equity.isEmpty { try TradingRepository.insert(equity, account: account, on: connection) }
        if !risk.isEmpty { try TradingRepository.insert(risk, account: account, on: connection) }
        for stamp in orderStamps {
            try connection.execute(
                "UPDATE orders SET stored_at = $3 WHERE account = $1 AND client_order_id = $2",
                [account, stamp.id, stamp.at])
        }
    }
}

extension HoldReason {
    /// The numbers behind it.
    var detail: String {
        switch self {
        case .tooSmall(_, let wanted, let minimum): "wanted \(wanted), minimum \(minimum)"
        default: ""
        }
    }
}
