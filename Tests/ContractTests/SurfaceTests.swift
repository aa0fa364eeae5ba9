import MarketData
import Testing
import VommaProto

@testable import Contract

/// 3 × 2 cells, one of each kind and two observed.
func surface() -> ImpliedVolatilitySurface {
    ImpliedVolatilitySurface(
        logMoneyness: [-0.2, 0, 0.2], tau: [0.1, 0.5],
        impliedVolatility: [0.71, 0.6, 0.65, 0.55, 10, .leastNonzeroMagnitude],
        cells: [.observed, .interpolated, .observed, .extrapolated, .stale, .observed], spot: 90_000,
        forwards: [90_100, 90_500], method: "svi")
}

private func changed(_ change: (inout Surface) -> Void) -> String? {
    var wire = Surface(surface())
    change(&wire)
    return field { try wire.domain() }
}

@Suite struct SurfaceTests {
    @Test("a surface comes over the wire unchanged; a missing cell stays missing")
    func roundTrip() throws {
        #expect(try Surface(serializedBytes: Surface(surface()).serializedBytes()).domain() == surface())
        var holed = surface()
        holed.cells[3] = .missing
        holed.impliedVolatility[3] = .nan
        let back = try Surface(serializedBytes: Surface(holed).serializedBytes()).domain()
        #expect(back.cells == holed.cells && back.impliedVolatility[3].isNaN)
        #expect(back.impliedVolatility[..<3] == holed.impliedVolatility[..<3])
    }

    @Test("whatever stands in a missing cell is not a volatility")
    func missingCells() throws {
        for value in [0, 0.5, -1, Double.infinity] {
            var wire = Surface(surface())
            wire.cells[2] = .missing
            wire.impliedVolatility[2] = value
            #expect(try wire.domain().impliedVolatility[2].isNaN)
        }
    }

    @Test("arrays that do not fit together are refused by name")
    func shapes() {
        #expect(changed { $0.logMoneyness = [] } == "surface.log_moneyness or surface.tau")
        #expect(changed { $0.tau = [] } == "surface.log_moneyness or surface.tau")
        #expect(changed { $0 = Surface() } == "surface.log_moneyness or surface.tau")
        #expect(changed { $0.impliedVolatility.removeLast() } == "surface.implied_volatility")
        #expect(changed { $0.impliedVolatility.append(0.5) } == "surface.implied_volatility")
        #expect(changed { $0.cells.removeLast() } == "surface.cells")
        #expect(changed { $0.cells.append(.observed) } == "surface.cells")
        #expect(changed { $0.forwards.removeLast() } == "surface.forwards")
        #expect(changed { $0.forwards = [] } == "surface.forwards")
        #expect(changed { $0.logMoneyness.append(0.4) } == "surface.implied_volatility")
    }

    @Test("a grid that is not increasing, finite and in the future is refused by its point")
    func grids() {
        #expect(changed { $0.logMoneyness[1] = -0.2 } == "surface.log_moneyness[1]")
        #expect(changed { $0.logMoneyness[2] = -1 } == "surface.log_moneyness[2]")
        #expect(changed { $0.logMoneyness[0] = .nan } == "surface.log_moneyness[0]")
        #expect(changed { $0.logMoneyness[2] = .infinity } == "surface.log_moneyness[2]")
        #expect(changed { $0.tau[1] = 0.1 } == "surface.tau[1]")
        #expect(changed { $0.tau[1] = .nan } == "surface.tau[1]")
        #expect(changed { $0.tau[0] = 0 } == "surface.tau[0]")
        #expect(changed { $0.tau[0] = -0.1 } == "surface.tau[0]")
    }

    @Test("a cell without its volatility or its mark is refused by its index", arguments: 0..<6)
    func cells(index: Int) {
        for value in [Double.nan, .infinity, 0, -0.2, 10.000001] {
            #expect(
                changed { $0.impliedVolatility[index] = value } == "surface.implied_volatility[\(index)]", "\(value)")
        }
        #expect(changed { $0.cells[index] = .unspecified } == "surface.cells[\(index)]")
        #expect(changed { $0.cells[index] = SurfaceCell(rawValue: 77) } == "surface.cells[\(index)]")
    }

    @Test("prices that are none are refused by name", arguments: [Double.nan, .infinity, 0, -1])
    func prices(value: Double) {
        #expect(changed { $0.spot = value } == "surface.spot")
        #expect(changed { $0.forwards[0] = value } == "surface.forwards[0]")
        #expect(changed { $0.forwards[1] = value } == "surface.forwards[1]")
    }

    @Test("the error says where in the grid the bad volatility stands")
    func placeInGrid() {
        var wire = Surface(surface())
        wire.impliedVolatility[3] = -1
        #expect(
            throws: ContractError.invalid(
                field: "surface.implied_volatility[3]", reason: "(k = 0.0, tau = 0.5) is not in (0, 10]")
        ) { try wire.domain() }
    }
}

@Suite struct OptionChainTests {
    private static func chain() -> VommaProto.OptionChain {
        VommaProto.OptionChain(
            currency: "BTC", snapshotTimeMicroseconds: 1_772_366_400_000_000, indexPrice: 90_000,
            quotes: [
                VommaProto.OptionQuote(
                    instrument: "BTC-27MAR26-90000-C", kind: .call, strike: 90_000,
                    expiryMicroseconds: 1_774_598_400_000_000, underlyingPrice: 90_300, bidPriceCoin: 0.04,
                    askPriceCoin: 0.042, markPriceCoin: 0.041, markVolatility: 0.55, openInterest: 3, volume: 0),
                VommaProto.OptionQuote(
                    instrument: "BTC-27MAR26-80000-P", kind: .put, strike: 80_000,
                    expiryMicroseconds: 1_774_598_400_000_000, underlyingPrice: 90_300),
            ])
    }

    @Test("a chain over the wire, what nobody quoted absent")
    func reading() throws {
        let chain = try VommaProto.OptionChain(serializedBytes: Self.chain().serializedBytes()).domain()
        let expiry = Timestamp(microseconds: 1_774_598_400_000_000)
        #expect(
            chain
                == MarketData.OptionChain(
                    currency: "BTC", snapshotTime: Timestamp(microseconds: 1_772_366_400_000_000), indexPrice: 90_000,
                    quotes: [
                        MarketData.OptionQuote(
                            instrument: "BTC-27MAR26-90000-C", kind: .call, strike: 90_000, expiry: expiry,
                            underlyingPrice: 90_300, bidPriceCoin: 0.04, askPriceCoin: 0.042, markPriceCoin: 0.041,
                            markVolatility: 0.55, openInterest: 3, volume: 0),
                        MarketData.OptionQuote(
                            instrument: "BTC-27MAR26-80000-P", kind: .put, strike: 80_000, expiry: expiry,
                            underlyingPrice: 90_300),
                    ]))
    }

    @Test("what no exchange would list is refused by its quote and field")
    func refusals() {
        func changed(_ change: (inout VommaProto.OptionChain) -> Void) -> String? {
            var wire = Self.chain()
            change(&wire)
            return field { try wire.domain() }
        }
        #expect(changed { $0.quotes[1].kind = .unspecified } == "chain.quotes[1].kind")
        #expect(changed { $0.quotes[1].kind = VommaProto.OptionKind(rawValue: 9) } == "chain.quotes[1].kind")
        for bad in [Double.nan, .infinity, 0, -1] {
            #expect(changed { $0.quotes[1].strike = bad } == "chain.quotes[1].strike")
            #expect(changed { $0.quotes[0].underlyingPrice = bad } == "chain.quotes[0].underlying_price")
            #expect(changed { $0.indexPrice = bad } == "chain.index_price")
        }
        // The difference of two times must not overflow: this once would have ended the process.
        for extreme in [Int64.min, .max] {
            #expect(changed { $0.quotes[1].expiryMicroseconds = extreme } == "chain.quotes[1].expiry")
            #expect(changed { $0.snapshotTimeMicroseconds = extreme } == "chain.snapshot_time")
        }
    }
}
