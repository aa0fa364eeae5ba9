public import MarketData

/// One trade as people count it: from no position to no position, or to the other side.
public struct RoundTrip: Sendable, Equatable {
    public var symbol: String
    public var openTime: Timestamp
    public var closeTime: Timestamp
    /// The side of the opening fill: `buy` is a long trade.
    public var side: Side
    /// The greatest |position| on the way, in base units.
    public var quantity: Double
    /// Profit before fees, and the fees of all its fills, in the quote currency.
    public var profit: Double
    public var fees: Double
    public var fillCount: Int

    /// Profit after fees.
    public var net: Double { profit - fees }

    /// The finished trades in one symbol's fills, in their order; what is still open at the end is left out. A fill
    /// through zero ends one trade and begins the next, its fee shared by quantity.
    public static func trips(in fills: some Sequence<Fill>) -> [RoundTrip] {
        var trips: [RoundTrip] = []
        var open: RoundTrip?
        var held: Int64 = 0
        var cash = 0.0
        for fill in fills {
            let signed = fill.positionChange.units
            let passesZero = held != 0 && (held > 0) != (signed > 0) && signed.magnitude > held.magnitude
            let closingShare = passesZero ? Double(held.magnitude) / Double(signed.magnitude) : 1
            var trip = open ?? begin(fill)
            cash -= Double(fill.side.sign) * fill.notional.double * closingShare
            trip.fees += fill.fee.double * closingShare
            trip.fillCount += 1
            held += signed
            if held == 0 || passesZero {
                trip.closeTime = fill.time
                trip.profit = cash
                trips.append(trip)
                open = nil
                cash = 0
            } else {
                trip.quantity = max(trip.quantity, Quantity(units: held).magnitude.double)
                open = trip
            }
            if passesZero {
                var next = begin(fill)
                next.fees = fill.fee.double * (1 - closingShare)
                next.fillCount = 1
                next.quantity = Quantity(units: held).magnitude.double
                cash = -Double(fill.side.sign) * fill.notional.double * (1 - closingShare)
                open = next
            }
        }
        return trips
    }

    private static func begin(_ fill: Fill) -> RoundTrip {
        RoundTrip(
            symbol: fill.symbol, openTime: fill.time, closeTime: fill.time, side: fill.side, quantity: 0, profit: 0,
            fees: 0, fillCount: 0)
    }
}
