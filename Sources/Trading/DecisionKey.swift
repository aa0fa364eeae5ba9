public import MarketData

/// What makes a decision one decision: who, which market, which bar, which model. An order is derived from it, so a
/// repeated decision is the same order.
public struct DecisionKey: Sendable, Hashable {
    public var account: String
    public var symbol: String
    /// The opening time of the bar at whose close the decision was taken.
    public var barTime: Timestamp
    public var modelVersion: String

    public init(account: String, symbol: String, barTime: Timestamp, modelVersion: String) {
        self.account = account
        self.symbol = symbol
        self.barTime = barTime
        self.modelVersion = modelVersion
    }
}

/// The id that an order carries to the exchange, computed from its decision: the same decision gives the same id in any
/// process at any time, so the exchange itself refuses a second order.
///
/// FNV-1a, 128 bits (Fowler, Noll, Vo; draft-eastlake-fnv), over account, 0, symbol, 0, model version, 0 in UTF-8, then
/// the bar time's eight bytes, most significant first. The keys are our own, so nobody looks for collisions.
public struct ClientOrderID: Sendable, Hashable, LosslessStringConvertible {
    public let high: UInt64
    public let low: UInt64

    public init(_ key: DecisionKey) {
        // The offset basis 0x6c62272e07bb014262b821756295c58d in two words; the prime is 2^88 + 0x13b.
        var (high, low): (UInt64, UInt64) = (0x6c62_272e_07bb_0142, 0x62b8_2175_6295_c58d)
        func mix(_ byte: UInt8) {
            let shifted = (low ^ UInt64(byte)) << 24
            let product = (low ^ UInt64(byte)).multipliedFullWidth(by: 0x13b)
            high = high &* 0x13b &+ product.high &+ shifted
            low = product.low
        }
        func mix(_ text: String) {
            for byte in text.utf8 { mix(byte) }
            mix(UInt8(0))
        }
        mix(key.account)
        mix(key.symbol)
        mix(key.modelVersion)
        let time = UInt64(bitPattern: key.barTime.microseconds)
        for shift in stride(from: 56, through: 0, by: -8) { mix(UInt8(truncatingIfNeeded: time >> UInt64(shift))) }
        (self.high, self.low) = (high, low)
    }

    /// The 128 bits as two words: a key for storage.
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// `vm` and 32 hexadecimal digits: within the 36 characters that Binance and Deribit accept.
    public var description: String {
        func hex(_ word: UInt64) -> String {
            let digits = String(word, radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }
        return "vm" + hex(high) + hex(low)
    }

    public init?(_ text: String) {
        guard text.utf8.count == 34, text.hasPrefix("vm"), text.dropFirst(2).allSatisfy(\.isHexDigit),
            let high = UInt64(text.dropFirst(2).prefix(16), radix: 16), let low = UInt64(text.suffix(16), radix: 16)
        else { return nil }
        self.init(high: high, low: low)
    }
}

/// What a policy wants, for one symbol at the close of one bar.
public struct Decision: Sendable, Equatable {
    public var symbol: String
    /// The opening time of the bar at whose close the decision was taken.
    public var barTime: Timestamp
    public var modelVersion: String
    /// The share of the symbol's allocation to hold: −1 all short, 0 nothing, 1 all long.
    public var targetExposure: Double
    /// When it was taken, by the event clock.
    public var time: Timestamp
    /// The price that the policy saw; `nil` leaves the collar to the estimated price alone.
    public var referencePrice: Double?

    public init(
        symbol: String, barTime: Timestamp, modelVersion: String, targetExposure: Double, time: Timestamp,
        referencePrice: Double? = nil
    ) {
        self.symbol = symbol
        self.barTime = barTime
        self.modelVersion = modelVersion
        self.targetExposure = targetExposure
        self.time = time
        self.referencePrice = referencePrice
    }
}
