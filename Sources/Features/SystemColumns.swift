public import MarketData

/// A trading account at a bar's close: seven columns that no policy's state contains by this name, for reports.
///
/// Worked out from fills and prices by average cost, as the ledger does; everything in the quote currency.
public struct SystemColumns: Sendable, Equatable {
    /// Signed quantity, in base units.
    public var position = 0.0
    /// Of the position that is open, at the bar's close, fees of its fills not counted.
    public var pnl = 0.0
    /// Realised so far, with all fees, and `pnl`.
    public var cumulativePnl = 0.0
    /// Of the equity below its highest so far, at bars' closes: a fraction, ≤ 0.
    public var drawdown = 0.0
    /// Average price of the open position; `nil` while there is none.
    public var entryPrice: Double?
    /// 1 where a position was closed since the bar before, else 0.
    public var exitSignal = 0.0
    /// Milliseconds from decision to fill, the mean since the bar before; `nil` without a fill that says it.
    public var executionLatency: Double?

    /// Name, meaning and unit of each, in order.
    public static let definitions: [(name: String, meaning: String, unit: String)] = [
        ("position", "signed quantity held", "base"),
        ("pnl", "unrealised profit of the open position at the close", "quote"),
        ("cumulative_pnl", "realised profit, all fees, and the unrealised", "quote"),
        ("drawdown", "equity over its highest close so far, - 1", "1"),
        ("entry_price", "average price of the open position; absent without one", "quote"),
        ("exit_signal", "1: a position was closed since the bar before", "1"),
        ("execution_latency", "mean time from decision to fill since the bar before; absent without one", "ms"),
    ]

    /// In the order of `definitions`; `nil` where absent.
    public var values: [Double?] {
        [position, pnl, cumulativePnl, drawdown, entryPrice, exitSignal, executionLatency]
    }
}

/// One execution of an order.
public struct Execution: Sendable, Equatable {
    public var time: Timestamp
    /// Positive for a purchase, in base units.
    public var signedQuantity: Double
    public var price: Double
    /// In the quote currency.
    public var fee: Double
    /// When the order was decided, where that is known.
    public var decidedAt: Timestamp?

    public init(time: Timestamp, signedQuantity: Double, price: Double, fee: Double, decidedAt: Timestamp? = nil) {
        self.time = time
        self.signedQuantity = signedQuantity
        self.price = price
        self.fee = fee
        self.decidedAt = decidedAt
    }
}

/// Executions and closes in, `SystemColumns` out. Both in the order of time.
public struct SystemColumnTracker: Sendable {
    private var columns = SystemColumns()
    private let capital: Double
    private var highest: Double
    private var realised = 0.0
    private var entry = 0.0
    private var latencies = (sum: 0.0, count: 0)

    /// `capital`: what the account begins with, in the quote currency. Traps unless it is positive.
    public init(capital: Double) {
        precondition(capital > 0, "an account begins with something")
        self.capital = capital
        highest = capital
    }

    public mutating func take(_ execution: Execution) {
        let quantity = execution.signedQuantity
        realised -= execution.fee
        let held = columns.position
        if held * quantity >= 0 {
            // It grows: the entry is the average.
            let size = abs(held + quantity)
            if size > 0 { entry = (entry * abs(held) + execution.price * abs(quantity)) / size }
        } else {
            let closed = min(abs(held), abs(quantity))
            realised += (execution.price - entry) * closed * (held > 0 ? 1 : -1)
            // What is left of less than a billionth is rounding.
            let isClosed = abs(held + quantity) <= 1e-9 * max(abs(held), abs(quantity))
            if isClosed || abs(quantity) > abs(held) { columns.exitSignal = 1 }
            if abs(quantity) > abs(held) { entry = execution.price }
            if isClosed {
                columns.position = 0
                entry = 0
                note(execution)
                return
            }
        }
        columns.position = held + quantity
        note(execution)
    }

    private mutating func note(_ execution: Execution) {
        guard let decidedAt = execution.decidedAt else { return }
        latencies.sum += (execution.time - decidedAt).seconds * 1000
        latencies.count += 1
    }

    /// The columns at a bar's close; what is counted since the bar before begins anew.
    public mutating func close(at price: Double) -> SystemColumns {
        columns.pnl = columns.position * (price - entry)
        columns.cumulativePnl = realised + columns.pnl
        let equity = capital + columns.cumulativePnl
        highest = max(highest, equity)
        columns.drawdown = equity / highest - 1
        columns.entryPrice = columns.position == 0 ? nil : entry
        columns.executionLatency = latencies.count > 0 ? latencies.sum / Double(latencies.count) : nil
        defer {
            columns.exitSignal = 0
            latencies = (0, 0)
        }
        return columns
    }
}
