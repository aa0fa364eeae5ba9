import Kernels
import MarketData
import Testing
import VommaProto

@testable import Contract

private let noon = Timestamp(microseconds: 1_772_366_400_000_000)

private func bar() -> MarketData.Bar {
    MarketData.Bar(
        openTime: noon, interval: .minutes(1), open: 0.1 + 0.2, high: 1.0 / 3, low: 0.1, close: 0.3, volume: 0)
}

private func event(_ payload: MarketData.MarketEvent.Payload) -> MarketData.MarketEvent {
    MarketData.MarketEvent(
        sequence: .max, exchange: "binance_spot", symbol: "BTCUSDT", eventTime: noon + .minutes(1),
        knownAt: noon + .minutes(2), payload: payload)
}

/// As a peer gets it.
private func overTheWire(_ event: MarketData.MarketEvent) throws -> MarketData.MarketEvent {
    try VommaProto.MarketEvent(serializedBytes: VommaProto.MarketEvent(event, stream: "test").serializedBytes())
        .domain()
}

@Suite struct MarketEventTests {
    @Test(
        "an event of each kind comes over the wire unchanged, to the last bit",
        arguments: [
            .bar(bar()),
            .bar(
                MarketData.Bar(
                    openTime: noon, interval: .days(1), open: .leastNonzeroMagnitude, high: 1e308,
                    low: .leastNonzeroMagnitude, close: 1, volume: 1e300)),
            .bookTop(MarketData.BookTop(bidPrice: 1.1, askPrice: 1.2, bidVolume: 0, askVolume: 7)),
            .bookDepth(
                MarketData.BookDepth(
                    bidPrices: [1.1, 1.0], bidVolumes: [3, 0], askPrices: [1.2], askVolumes: [.leastNormalMagnitude])),
            .bookDepth(MarketData.BookDepth(bidPrices: [], bidVolumes: [], askPrices: [], askVolumes: [])),
            .trade(MarketData.PublicTrade(id: .max, price: 3, quantity: 0.1, isBuy: true)),
            .trade(MarketData.PublicTrade(id: 0, price: 3, quantity: 7, isBuy: false)),
            .surface(surface()),
            .fundingRate(MarketData.FundingRate(rate: -0.0001, interval: .hours(8))),
            .openInterest(MarketData.OpenInterest(quantity: 0, notional: nil)),
            .openInterest(MarketData.OpenInterest(quantity: 12.5, notional: 0)),
            .fearGreed(0), .fearGreed(100),
            .message(Message(id: "7", source: "wire", text: "Überraschung: ₿ +5 % 🚀\n\"\0\"")),
            .message(Message(id: "", source: "", text: "")),
        ] as [MarketData.MarketEvent.Payload])
    func roundTrip(payload: MarketData.MarketEvent.Payload) throws {
        #expect(try overTheWire(event(payload)) == event(payload))
    }

    @Test("any bar comes over the wire unchanged")
    func anyBar() throws {
        var random = RandomGenerator(seed: 20)
        for _ in 0..<500 {
            let low = exp(random.uniform(-300, 300))
            let high = low * (1 + random.uniform())
            let bar = MarketData.Bar(
                openTime: Timestamp(microseconds: Int64(random.uniform(-1e17, 1e17))),
                interval: Interval(microseconds: 1 + Int64(random.index(below: 1_000_000_000))),
                open: min(high, random.uniform(low, high)), high: high, low: low, close: low,
                volume: exp(random.uniform(-300, 300)))
            #expect(try overTheWire(event(.bar(bar))) == event(.bar(bar)))
        }
    }

    @Test("the wire form has the stream and the time of publication, 0 for none")
    func wireForm() {
        let wire = VommaProto.MarketEvent(event(.fearGreed(20)), stream: "s", publishedAt: noon + .hours(1))
        #expect(wire.stream == "s" && wire.publishedAtMicroseconds == noon.microseconds + 3_600_000_000)
        #expect(VommaProto.MarketEvent(event(.fearGreed(20)), stream: "s").publishedAtMicroseconds == 0)
    }

    @Test("an event without a payload, or with one of a kind to come, is refused as such")
    func payloads() {
        var wire = VommaProto.MarketEvent(event(.fearGreed(20)), stream: "s")
        wire.payload = nil
        #expect(throws: ContractError.missing(field: "payload")) { try wire.domain() }
        for payload in [VommaProto.MarketEvent.Payload.liquidation(.init())] {
            wire.payload = payload
            #expect(field { try wire.domain() } == "payload")
        }
    }

    @Test("times that could not be reckoned with, or that look ahead, are refused by name")
    func times() {
        func changed(_ change: (inout VommaProto.MarketEvent) -> Void) -> String? {
            var wire = VommaProto.MarketEvent(event(.fearGreed(20)), stream: "s")
            change(&wire)
            return field { try wire.domain() }
        }
        for extreme in [Int64.min, .max, 1 << 60 + 1] {
            #expect(changed { $0.eventTimeMicroseconds = extreme } == "event_time")
            #expect(changed { $0.knownAtMicroseconds = extreme } == "known_at")
        }
        #expect(changed { $0.knownAtMicroseconds = $0.eventTimeMicroseconds - 1 } == "known_at")
        #expect(changed { $0.knownAtMicroseconds = $0.eventTimeMicroseconds } == nil)
    }

    @Test("a bar that is none is refused by the field that makes it so")
    func bars() throws {
        func changed(_ change: (inout VommaProto.Bar) -> Void) -> String? {
            var wire = VommaProto.Bar(bar())
            change(&wire)
            return field { try wire.domain() }
        }
        #expect(changed { _ in } == nil)
        let prices: [(String, WritableKeyPath<VommaProto.Bar, Double>)] = [
            ("bar.open", \.open), ("bar.high", \.high), ("bar.low", \.low), ("bar.close", \.close),
        ]
        for (name, price) in prices {
            for bad in [Double.nan, .infinity, -.infinity, -1, 0, -0.0] {
                #expect(changed { $0[keyPath: price] = bad } == name, "\(name) \(bad)")
            }
        }
        for bad in [Double.nan, .infinity, -1e-300] { #expect(changed { $0.volume = bad } == "bar.volume") }
        for bad in [0, -1, Int64.min, .max] { #expect(changed { $0.intervalMicroseconds = bad } == "bar.interval") }
        for bad in [Int64.min, .max] { #expect(changed { $0.openTimeMicroseconds = bad } == "bar.open_time") }
        #expect(changed { $0.low = 0.4 } == "bar.low")
        #expect(changed { $0.open = 0.09 } == "bar.open")
        #expect(changed { $0.open = 0.4 } == "bar.open")
        #expect(changed { $0.close = 0.09 } == "bar.close")
        #expect(changed { $0.close = 0.4 } == "bar.close")
    }

    @Test("other values outside their domain are refused by name")
    func otherValues() {
        func refused(_ payload: VommaProto.MarketEvent.Payload) -> String? { field { try payload.domain() } }
        for bad in [Double.nan, .infinity, -1] {
            #expect(
                refused(.bookTop(.init(bidPrice: bad, askPrice: 1, bidVolume: 1, askVolume: 1))) == "book_top.bid_price"
            )
            #expect(
                refused(.bookTop(.init(bidPrice: 1, askPrice: bad, bidVolume: 1, askVolume: 1))) == "book_top.ask_price"
            )
            #expect(
                refused(.bookTop(.init(bidPrice: 1, askPrice: 1, bidVolume: bad, askVolume: 1)))
                    == "book_top.bid_volume")
            #expect(
                refused(.bookTop(.init(bidPrice: 1, askPrice: 1, bidVolume: 1, askVolume: bad)))
                    == "book_top.ask_volume")
            #expect(refused(.fundingRate(.init(rate: bad, intervalMicroseconds: 1))) == "funding_rate.rate")
            #expect(refused(.trade(.init(tradeID: 1, price: bad, quantity: 1))) == "trade.price")
            #expect(refused(.trade(.init(tradeID: 1, price: 1, quantity: bad))) == "trade.quantity")
            #expect(
                refused(.bookDepth(.init(bidPrices: [1, bad], bidVolumes: [1, 1]))) == "book_depth.bid_prices")
            #expect(
                refused(.bookDepth(.init(askPrices: [1, 2], askVolumes: [1, bad]))) == "book_depth.ask_volumes")
            #expect(refused(.bookDepth(.init(bidPrices: [1]))) == "book_depth")
            #expect(refused(.openInterest(.init(quantity: bad))) == "open_interest.quantity")
            #expect(refused(.openInterest(.init(quantity: 1, notional: bad))) == "open_interest.notional")
            #expect(refused(.fearGreed(bad)) == "fear_greed")
        }
        #expect(refused(.fearGreed(100.1)) == "fear_greed")
        #expect(refused(.fundingRate(.init(rate: 0.1, intervalMicroseconds: 0))) == "funding_rate.interval")
    }
}

/// The field that the thrown error names; `nil` if nothing is thrown.
func field<Value>(_ body: () throws -> Value) -> String? {
    do {
        _ = try body()
        return nil
    } catch ContractError.missing(let field) {
        return field
    } catch ContractError.invalid(let field, let reason) {
        return reason.isEmpty ? "no reason for \(field)" : field
    } catch {
        return "\(error)"
    }
}
