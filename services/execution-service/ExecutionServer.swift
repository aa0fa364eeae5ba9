internal import MarketData
internal import RPC
internal import ServiceKit
internal import Storage
internal import Trading
internal import VommaProto

/// The RPC face of execution-service.
struct ExecutionServer: ExecutionService {
    let pool: ConnectionPool
    let tails: StreamTails<TradingRepository.Equity>
    let switches: KillSwitches
    let consumer: String

    private static let page = 1000

    func getAccount(_ request: GetAccountRequest, context: CallContext) async throws -> Account {
        let stream = try await requireStream(request.account)
        let (progress, equity, positions) = try await pool.withConnection { [consumer] connection in
            (
                try ConsumerRepository.progress(of: consumer, stream: stream.name, on: connection),
                try TradingRepository.lastEquity(account: stream.name, on: connection),
                try TradingRepository.positions(account: stream.name, on: connection)
            )
        }
        let mode = try await switches.stored(account: stream.name) ?? .off
        var account = Account(account: stream.name, mode: "paper", killSwitch: Self.message(mode))
        account.sequence = UInt64(progress?.sequence ?? 0)
        account.finished = stream.lastSequence.map { (progress?.sequence ?? 0) >= $0 } ?? false
        if let equity {
            account.cash = equity.cash
            account.equity = equity.equity
            account.eventTimeMicroseconds = equity.eventTime.microseconds
        }
        account.fees = positions.map { Double($0.fees.description) ?? .nan }.max() ?? 0
        account.realisedPnl = positions.reduce(0) { $0 + (Double($1.realisedPnL.description) ?? .nan) }
        account.positions = positions.map {
            VommaProto.Position(
                symbol: $0.symbol, quantity: $0.quantity.description, averagePrice: $0.averagePrice.description,
                realisedPnl: $0.realisedPnL.description)
        }
        return account
    }

    func listOrders(_ request: ListOrdersRequest, context: CallContext) async throws -> ListOrdersResponse {
        let account = try await requireStream(request.account).name
        let orders = try await pool.withConnection { try TradingRepository.orders(account: account, on: $0) }
        return ListOrdersResponse(
            orders: orders.suffix(Self.limit(request.limit)).reversed().map { order in
                VommaProto.Order(
                    account: account, clientOrderID: order.clientOrderID, symbol: order.symbol,
                    side: Self.side(order.side), kind: order.kind, quantity: order.quantity.description,
                    state: Self.state(order.state), decisionTimeMicroseconds: order.decisionTime.microseconds,
                    filledQuantity: order.filledQuantity.description, reason: order.reason ?? "")
            })
    }

    func listFills(_ request: ListFillsRequest, context: CallContext) async throws -> ListFillsResponse {
        let account = try await requireStream(request.account).name
        let fills = try await pool.withConnection { try TradingRepository.fills(account: account, on: $0) }
        return ListFillsResponse(
            fills: fills.suffix(Self.limit(request.limit)).reversed().map { fill in
                VommaProto.Fill(
                    account: account, clientOrderID: fill.clientOrderID, symbol: fill.symbol,
                    side: Self.side(fill.side),
                    eventTimeMicroseconds: fill.eventTime.microseconds, price: fill.price.description,
                    quantity: fill.quantity.description, fee: fill.fee.description,
                    realisedPnl: fill.realisedPnL.description)
            })
    }

    func streamEquity(
        _ request: StreamEquityRequest, responses: ResponseWriter<VommaProto.EquityPoint>, context: CallContext
    ) async throws {
        let stream = try await requireStream(request.account)
        let tail = try await tails.tail(of: stream.name)
        var next = max(request.fromSequence, 1)
        while true {
            let rows: [TradingRepository.Equity]
            switch try await tail.next(from: next, limit: Self.page) {
            case .finished: return
            case .rows(let newest):
                rows = newest
                next = UInt64(rows.last?.sequence ?? Int64(next)) + 1
            case .behind(let through):
                rows = try await pool.withConnection { [next] connection in
                    try TradingRepository.equity(
                        account: stream.name, fromSequence: Int64(next), limit: Self.page, on: connection)
                }
                next = rows.count == Self.page ? UInt64(rows.last?.sequence ?? 0) + 1 : through + 1
            }
            for row in rows {
                try await responses.write(
                    VommaProto.EquityPoint(
                        account: stream.name, eventTimeMicroseconds: row.eventTime.microseconds,
                        sequence: UInt64(row.sequence), cash: row.cash, equity: row.equity, exposure: row.exposure,
                        price: row.price))
            }
        }
    }

    func setKillSwitch(_ request: SetKillSwitchRequest, context: CallContext) async throws -> Account {
        let mode: Trading.KillSwitch
        switch request.killSwitch {
        case .released: mode = .off
        case .freeze: mode = .freeze
        case .flatten: mode = .flatten
        case .unspecified, .unrecognized:
            throw RPCStatus(.invalidArgument, "kill_switch is to be RELEASED, FREEZE or FLATTEN")
        }
        let account = try await requireStream(request.account).name
        try await switches.set(mode, account: account, reason: request.reason)
        return try await getAccount(GetAccountRequest(account: account), context: context)
    }

    func audit(_ request: AuditRequest, context: CallContext) async throws -> AuditResponse {
        let account = try await requireStream(request.account).name
        let audit = try await pool.withConnection { try Audit(account: account, on: $0) }
        if let fault = audit.fault { throw RPCStatus(.failedPrecondition, fault) }
        return AuditResponse(
            fills: UInt64(audit.fills), orders: UInt64(audit.orders), equityPoints: UInt64(audit.equityPoints),
            checked: Audit.invariants)
    }

    // MARK: Words

    private func requireStream(_ account: String) async throws -> EventRepository.Stream {
        let found = try await EventRepository.stream(account, in: pool)
        guard let stream = found, !stream.tradedSymbols.isEmpty else {
            throw RPCStatus(.notFound, "no account “\(account)”: an account has the name of the stream that it trades")
        }
        return stream
    }

    private static func limit(_ asked: Int32) -> Int { asked <= 0 ? 100 : Int(asked) }

    private static func side(_ text: String) -> VommaProto.OrderSide { text == "buy" ? .buy : .sell }

    private static func state(_ text: String) -> VommaProto.OrderState {
        switch Trading.OrderState(rawValue: text) {
        case .new: .new
        case .sent: .sent
        case .acknowledged: .acknowledged
        case .partiallyFilled: .partiallyFilled
        case .filled: .filled
        case .cancelled: .cancelled
        case .rejected: .rejected
        case .expired: .expired
        case .unknown: .unknown
        case nil: .unspecified
        }
    }

    private static func message(_ mode: Trading.KillSwitch) -> VommaProto.KillSwitch {
        switch mode {
        case .off: .released
        case .freeze: .freeze
        case .flatten: .flatten
        }
    }
}
