import Kernels
import Testing
import Trading

@Suite struct FixedPointTests {
    @Test("printing and reading are inverse, at the ends of the range too")
    func text() throws {
        var random = RandomGenerator(seed: 1)
        let edges: [Int64] = [0, 1, -1, 99_999_999, 100_000_000, -100_000_001, .max, -.max]
        for units in edges + (0..<200).map({ _ in Int64(bitPattern: random.next()) >> Int64(random.index(below: 63)) })
        {
            #expect(Price(Price(units: units).description)?.units == units)
        }
        #expect(Price(units: 6_828_448_000_000).description == "68284.48")
        #expect(Quantity("0.00010000")?.units == 10_000)
        #expect(Quantity("0.000100000000")?.units == 10_000)
        for text in ["", "-", ".5", "5.", "1e5", "+1", "0.000000001", "92233720369", "1.2.3", " 1", "nan"] {
            #expect(Price(text) == nil, "\(text)")
        }
    }

    @Test("doubles convert to the nearest unit, and what has none is nil")
    func doubles() {
        #expect(Price(68_284.48)?.units == 6_828_448_000_000)
        #expect(Amount(-0.1)?.units == -10_000_000)
        #expect(Amount(.nan) == nil && Amount(.infinity) == nil && Amount(1e11) == nil)
    }

    @Test("prices go to the tick against us, but a price on a tick stays")
    func ticks() throws {
        let tick = try #require(Price("0.01"))
        #expect(Price.rounding(100.001, toTick: tick, up: true)?.description == "100.01")
        #expect(Price.rounding(100.009, toTick: tick, up: false)?.description == "100")
        for cents in stride(from: 1, to: 2_000_000, by: 997) {
            let price = Double(cents) * 0.01
            #expect(Price.rounding(price, toTick: tick, up: true)?.units == Int64(cents) * 1_000_000)
            #expect(Price.rounding(price, toTick: tick, up: false)?.units == Int64(cents) * 1_000_000)
        }
        #expect(Price.rounding(0.0001, toTick: tick, up: false) == tick)
        #expect(Price.rounding(.nan, toTick: tick, up: true) == nil)
        #expect(Price.rounding(1e12, toTick: tick, up: true) == nil)
    }

    @Test("quantities are cut to the lot and never rounded up")
    func lots() throws {
        let lot = try #require(Quantity("0.1"))
        var random = RandomGenerator(seed: 2)
        for _ in 0..<500 {
            let value = random.uniform(0, 1000)
            let quantity = Quantity.roundingDown(value, toLot: lot)
            #expect(quantity.units % lot.units == 0)
            #expect(quantity.double <= value && quantity.double > value - 0.1 - 1e-9)
        }
        #expect(Quantity.roundingDown(0.0999999, toLot: lot) == .zero)
        #expect(Quantity.roundingDown(.nan, toLot: lot) == .zero)
        #expect(Quantity.roundingDown(.infinity, toLot: lot).units % lot.units == 0)
    }

    @Test("notionals and fees are exact, rounded against us, and nil beyond the range")
    func money() throws {
        let price = try #require(Price("68284.48"))
        let quantity = try #require(Quantity("0.00029"))
        #expect(price.notional(of: quantity, roundingUp: true)?.description == "19.8024992")
        let odd = Price(units: 1)
        #expect(odd.notional(of: Quantity(units: 1), roundingUp: true)?.units == 1)
        #expect(odd.notional(of: Quantity(units: 1), roundingUp: false)?.units == 0)
        #expect(Amount(units: 1001).fee(rateUnits: 100_000)?.units == 2)
        #expect(Amount(units: -1000).fee(rateUnits: 100_000)?.units == 1)
        #expect(Amount(units: 1000).fee(rateUnits: 0) == .zero)
        #expect(Price(units: .max).notional(of: Quantity(units: .max), roundingUp: true) == nil)
    }
}
