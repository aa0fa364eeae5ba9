/// What can go wrong in Trading and Evaluation although the caller's program is right.
public enum TradingError: Error, Sendable, Equatable {
    /// An instrument's rules contradict themselves: `reason` names the field.
    case invalidRules(symbol: String, reason: String)
    /// A limit, cost or share out of its range: `reason` names the field.
    case invalidConfiguration(reason: String)
    /// The session does not trade this symbol.
    case unknownSymbol(String)
    /// A bar with a price that is not finite and positive, or a high or low that does not contain open and close.
    case invalidBar(symbol: String, openTimeMicroseconds: Int64)
    /// An event is older than the one before it: sort the stream by event time.
    case timeBackwards(symbol: String, microseconds: Int64)
    /// A series whose arrays do not fit together, or whose bars do not increase in time.
    case invalidSeries(reason: String)
    /// An order may not go from one state to the other: the message that asked for it is out of order or wrong.
    case illegalTransition(from: OrderState, to: OrderState)
    /// A fill does not continue the order's fills: one is missing in between, or it exceeds the order's quantity.
    case inconsistentFill(order: ClientOrderID, sequence: Int)
    /// No order with this id is open in the session.
    case unknownOrder(ClientOrderID)
    /// An amount does not fit ±92 billion.
    case overflow
    /// The books do not balance: `rule` is the equation that failed. Stop trading, and look.
    case invariantViolated(rule: String)
    /// Bytes that are not a state written by `saveState()`, or one of another account or other symbols.
    case corruptState(reason: String)
}
