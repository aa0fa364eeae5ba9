import MarketData
import Testing
import Trading

/// Scenarios whose every number can be followed by hand.
@Suite struct BookExchangeTests {
    @Test("a market order walks the levels, and what the known book does not have expires")
    func walks() throws {
        var bench = try BookBench()
        try bench.depth(0, bids: [(9.99, 5), (9.98, 5)], asks: [(10.01, 1), (10.02, 2), (10.05, 3)])
        try bench.send(1, 1, .buy, "2.5", .market)
        try bench.send(1, 2, .buy, "4", .market)
        try bench.send(1, 3, .sell, "0.5", .market)
        try bench.quote(2, 9.99, 5, 10.01, 1)
        // The second finds 0.5 at 10.02 and 3 at 10.05: what the first took is not there again.
        #expect(
            bench.told() == [
                "1 fill 1@10.01 taker", "1 fill 1.5@10.02 taker", "2 fill 0.5@10.02 taker", "2 fill 3@10.05 taker",
                "2 expired no_liquidity", "3 fill 0.5@9.99 taker",
            ])
        #expect(bench.exchange.position.description == "5.5")
        // 10.01 + 15.03 + 5.01 + 30.15 = 60.2 paid and 4.995 got, each with a fee of 10 basis points.
        #expect(bench.exchange.ledger.fees.description == "0.065195")
        #expect(bench.exchange.ledger.cash.description == "99944.729805")
        try bench.exchange.ledger.checkInvariants()
    }

    @Test("a limit order takes what crosses, rests with the rest, or is refused, as it asked")
    func timeInForce() throws {
        var bench = try BookBench()
        try bench.depth(0, bids: [(9.99, 5)], asks: [(10.01, 1), (10.02, 2), (10.03, 9)])
        try bench.send(0, 1, .buy, "4", BookBench.limit("10.02", .immediateOrCancel))
        try bench.send(0, 2, .buy, "1", BookBench.limit("10.03", .makerOnly))
        try bench.send(0, 3, .buy, "10", BookBench.limit("10.03"))
        try bench.send(0, 4, .buy, "1", BookBench.limit("9.99", .makerOnly))
        try bench.trade(1, 11, 0.1, isBuy: true)
        #expect(
            bench.told() == [
                "1 fill 1@10.01 taker", "1 fill 2@10.02 taker", "1 expired no_liquidity", "2 rejected maker_only",
                "3 fill 9@10.03 taker", "3 accepted behind 0", "4 accepted behind 5",
            ])
        #expect(bench.exchange.openOrders(.buy).map(\.order.id.low) == [3, 4])
    }

    @Test("trades at the price shorten the queue, then fill in parts; a trade beyond the price fills at once")
    func queue() throws {
        var bench = try BookBench()
        try bench.quote(0, 9.99, 5, 10.01, 5)
        try bench.send(1, 1, .buy, "2", BookBench.limit("9.99"))
        // At the very time of the arrival: older, as far as we know.
        try bench.trade(1, 9.99, 3, isBuy: false)
        try bench.trade(2, 9.99, 3, isBuy: false)
        #expect(bench.told() == ["1 accepted behind 5"])
        #expect(bench.exchange.openOrders(.buy)[0].ahead?.description == "2")
        // An aggressor that buys does not meet bids; others behind us grow the level, and not our queue.
        try bench.trade(3, 10.01, 4, isBuy: true)
        try bench.quote(4, 9.99, 9, 10.01, 5)
        #expect(bench.exchange.openOrders(.buy)[0].ahead?.description == "2")
        try bench.trade(5, 9.99, 2.5, isBuy: false)
        #expect(bench.told() == ["1 fill 0.5@9.99 maker"])
        try bench.trade(6, 9.99, 0.7, isBuy: false)
        #expect(bench.told() == ["1 fill 0.7@9.99 maker"])
        // Beyond: our 0.8 at our own price, whatever stood ahead; but not more than was traded.
        try bench.trade(7, 9.98, 0.3, isBuy: false)
        try bench.trade(8, 9.97, 5, isBuy: false)
        #expect(bench.told() == ["1 fill 0.3@9.99 maker", "1 fill 0.5@9.99 maker"])
        #expect(bench.exchange.openOrders(.buy).isEmpty && bench.exchange.position.description == "2")
    }

    @Test("cancellations count as behind us until the level shows less than our place")
    func cancellations() throws {
        var bench = try BookBench()
        try bench.quote(0, 9.99, 10, 10.01, 5)
        try bench.send(1, 1, .buy, "1", BookBench.limit("9.99"))
        try bench.quote(2, 9.99, 14, 10.01, 5)
        try bench.quote(3, 9.99, 11, 10.01, 5)
        #expect(bench.exchange.openOrders(.buy)[0].ahead?.description == "10")
        try bench.quote(4, 9.99, 4, 10.01, 5)
        #expect(bench.exchange.openOrders(.buy)[0].ahead?.description == "4")
        try bench.quote(5, 9.99, 40, 10.01, 5)
        #expect(bench.exchange.openOrders(.buy)[0].ahead?.description == "4")
        // The best falls below our price: nobody is left at it, and the next sale is ours.
        try bench.quote(6, 9.97, 3, 10.01, 5)
        #expect(bench.exchange.openOrders(.buy)[0].ahead == .zero)
        try bench.trade(7, 9.99, 1, isBuy: false)
        #expect(bench.told() == ["1 accepted behind 10", "1 fill 1@9.99 maker"])
    }

    @Test("a trade that is told after its quote shortens the queue once")
    func settling() throws {
        var bench = try BookBench(settling: 10)
        try bench.quote(0, 9.99, 5, 10.01, 5)
        try bench.send(20, 1, .buy, "1", BookBench.limit("9.99"))
        // Told within 10 ms of the arrival: perhaps older than it.
        try bench.trade(29, 9.99, 4, isBuy: false)
        try bench.quote(40, 9.99, 3, 10.01, 5)
        #expect(bench.exchange.openOrders(.buy)[0].ahead?.description == "5")
        try bench.trade(42, 9.99, 2, isBuy: false)
        #expect(bench.exchange.openOrders(.buy)[0].ahead?.description == "3")
        // A cancellation: nothing explains it within 10 ms.
        try bench.quote(60, 9.99, 2, 10.01, 5)
        try bench.quote(69, 9.99, 2, 10.01, 6)
        #expect(bench.exchange.openOrders(.buy)[0].ahead?.description == "3")
        try bench.quote(70, 9.99, 2, 10.01, 7)
        #expect(bench.exchange.openOrders(.buy)[0].ahead?.description == "2")
        // One who arrives while the fall is fresh stands behind what was there before it.
        try bench.quote(80, 9.99, 1, 10.01, 7)
        try bench.send(81, 2, .buy, "1", BookBench.limit("9.99"))
        try bench.quote(82, 9.99, 1, 10.01, 8)
        #expect(bench.told() == ["1 accepted behind 5", "2 accepted behind 2"])
    }

    @Test("a price that the book does not show has an unknown queue until it does")
    func unknownQueue() throws {
        var bench = try BookBench()
        try bench.quote(0, 9.99, 5, 10.01, 5)
        try bench.send(0, 1, .buy, "1", BookBench.limit("9.95"))
        try bench.send(0, 2, .buy, "1", BookBench.limit("10"))
        try bench.trade(1, 9.95, 50, isBuy: false)
        // Better than the best: alone, and beyond the trade's price. The other's queue is not known.
        #expect(bench.told() == ["1 accepted behind ?", "2 accepted behind 0", "2 fill 1@10 maker"])
        try bench.depth(2, bids: [(9.99, 5), (9.96, 2), (9.95, 7), (9.9, 1)], asks: [(10.01, 5)])
        #expect(bench.exchange.openOrders(.buy)[0].ahead?.description == "7")
        // A quote better than the depth's best: between them nothing is known, below it all is.
        try bench.quote(3, 10, 1, 10.01, 5)
        try bench.send(3, 3, .buy, "1", BookBench.limit("9.99"))
        try bench.send(3, 4, .buy, "1", BookBench.limit("9.97"))
        try bench.quote(4, 10.005, 1, 10.01, 5)
        try bench.send(4, 5, .buy, "1", BookBench.limit("10"))
        try bench.quote(5, 10.005, 1, 10.01, 5)
        #expect(bench.told() == ["3 accepted behind 5", "4 accepted behind 0", "5 accepted behind ?"])
    }

    @Test("an opposite quote at or beyond our price fills us, with what it shows and once")
    func crossedQuote() throws {
        var bench = try BookBench()
        try bench.quote(0, 9.99, 5, 10.01, 5)
        try bench.send(0, 1, .buy, "3", BookBench.limit("9.99"))
        try bench.quote(1, 9.97, 5, 9.98, 1)
        try bench.quote(2, 9.97, 4, 9.98, 1)
        #expect(bench.told() == ["1 accepted behind 5", "1 fill 1@9.99 maker"])
        // The buyer of that one met what we have already; of three that are shown then, one counts as ours.
        try bench.trade(3, 9.98, 1, isBuy: true)
        #expect(bench.told() == [])
        try bench.quote(4, 9.97, 4, 9.98, 3)
        #expect(bench.told() == ["1 fill 2@9.99 maker"])
    }

    @Test("a depth that is older than the quotes beside it does not move the touch")
    func staleDepth() throws {
        var bench = try BookBench()
        try bench.quote(0, 9.99, 5, 10.01, 5)
        try bench.send(0, 1, .buy, "1", BookBench.limit("10"))
        try bench.depth(1, bids: [(9.96, 1), (9.95, 1)], asks: [(9.98, 2), (10, 2), (10.01, 9), (10.02, 3)])
        #expect(bench.told() == ["1 accepted behind 0"])
        #expect(bench.exchange.bestBid?.description == "9.99" && bench.exchange.bestAsk?.description == "10.01")
        // What lies behind the touch is the depth's, the touch itself the quote's.
        try bench.send(1, 2, .buy, "6", .market)
        try bench.quote(2, 9.99, 5, 10.01, 5)
        #expect(bench.told() == ["2 fill 5@10.01 taker", "2 fill 1@10.02 taker"])
    }

    @Test("two of our own orders share a trade, the better and older first")
    func ownOrders() throws {
        var bench = try BookBench()
        try bench.quote(0, 9.99, 2, 10.01, 5)
        try bench.send(0, 1, .buy, "1", BookBench.limit("9.99"))
        try bench.send(1, 2, .buy, "1", BookBench.limit("9.99"))
        try bench.send(1, 3, .buy, "1", BookBench.limit("10"))
        try bench.trade(2, 9.99, 4, isBuy: false)
        // 1 of 4 to the better order, 2 to the queue, 1 to the older; the younger waits behind nobody.
        #expect(bench.told().suffix(2) == ["3 fill 1@10 maker", "1 fill 1@9.99 maker"])
        #expect(bench.exchange.openOrders(.buy).map(\.ahead) == [.zero])
    }

    @Test("an order that arrives late finds another market")
    func latencyRace() throws {
        for (latency, price) in [(4, "10.01"), (5, "10.05")] as [(Int64, String)] {
            var bench = try BookBench(latency: delays(order: latency))
            try bench.quote(0, 9.99, 5, 10.01, 5)
            #expect(try bench.send(0, 1, .buy, "1", .market) == BookBench.at(latency))
            // At 5 ms the offers are lifted: an order of 5 ms comes after that.
            try bench.quote(5, 9.99, 5, 10.05, 5)
            try bench.exchange.finish(at: BookBench.at(10), into: &bench.reports)
            #expect(bench.told() == ["1 fill 1@\(price) taker"])
        }
        var bench = try BookBench(latency: delays(order: 5, acknowledgement: 7))
        try bench.quote(0, 9.99, 5, 10.01, 5)
        try bench.send(0, 1, .buy, "1", BookBench.limit("9.99"))
        try bench.trade(4, 9.98, 9, isBuy: false)
        try bench.trade(6, 9.98, 9, isBuy: false)
        #expect(bench.reports.map(\.time) == [BookBench.at(5), BookBench.at(6)])
        #expect(bench.reports.map(\.knownAt) == [BookBench.at(12), BookBench.at(13)])
    }

    @Test("a cancellation races with fills")
    func cancelRace() throws {
        var bench = try BookBench(latency: delays(cancel: 5))
        try bench.quote(0, 9.99, 0.1, 10.01, 5)
        for id in 1...3 as ClosedRange<UInt64> { try bench.send(0, id, .buy, "1", BookBench.limit("9.9\(9 - id)")) }
        try bench.quote(1, 9.99, 0.1, 10.01, 5)
        for id in 1...4 as ClosedRange<UInt64> { bench.exchange.cancel(BookBench.id(id), at: BookBench.at(10)) }
        try bench.trade(14, 9.97, 1.5, isBuy: false)
        #expect(bench.told().suffix(1) == ["1 fill 1@9.98 maker"])
        try bench.trade(16, 9.9, 9, isBuy: false)
        #expect(bench.told() == ["1 cancel refused", "2 cancelled", "3 cancelled", "4 cancel refused"])
        // A cancellation sent behind its order does not overtake it.
        bench = try BookBench(latency: delays(order: 9, cancel: 1))
        try bench.quote(0, 9.99, 5, 10.01, 5)
        try bench.send(1, 1, .buy, "1", BookBench.limit("9.99"))
        #expect(bench.exchange.cancel(BookBench.id(1), at: BookBench.at(2)) == BookBench.at(10))
        try bench.exchange.finish(at: BookBench.at(20), into: &bench.reports)
        #expect(bench.told() == ["1 accepted behind 5", "1 cancelled"])
    }

    @Test("each reason to refuse")
    func refusals() throws {
        var bench = try BookBench(cash: "100")
        try bench.send(0, 1, .buy, "1", .market)
        try bench.quote(1, 9.99, 5, 10.01, 5)
        try bench.send(1, 2, .buy, "0.05", .market)
        try bench.send(1, 3, .buy, "0.15", .market)
        try bench.send(1, 4, .buy, "1", BookBench.limit("9.995"))
        try bench.send(1, 5, .sell, "1", .market)
        try bench.send(1, 6, .buy, "5", BookBench.limit("9.98"))
        try bench.send(1, 6, .buy, "1", BookBench.limit("9.98"))
        // 100 − 5·9.98·1.001 = 50.0501 are free; 5·10.01·1.001 = 50.10005.
        try bench.send(1, 7, .buy, "5", .market)
        try bench.send(1, 8, .buy, "4.9", .market)
        try bench.send(1, 9, .sell, "4.9", BookBench.limit("11"))
        try bench.send(1, 10, .sell, "0.1", BookBench.limit("11"))
        try bench.send(1, 11, .buy, "900000.1", BookBench.limit("9"))
        try bench.quote(2, 9.99, 5, 10.01, 5)
        #expect(
            bench.told() == [
                "1 rejected no_liquidity", "2 rejected min_quantity", "3 rejected lot_size", "4 rejected tick_size",
                "5 rejected short_not_allowed", "6 accepted behind ?", "6 rejected duplicate",
                "7 rejected insufficient_balance", "8 fill 4.9@10.01 taker", "9 accepted behind ?",
                "10 rejected short_not_allowed", "11 rejected max_quantity",
            ])
        var future = try BookBench(cash: "100", short: true)
        try future.quote(0, 9.99, 50, 10.01, 50)
        try future.send(0, 1, .sell, "6", .market)
        try future.send(0, 2, .sell, "5", BookBench.limit("10.5"))
        try future.send(0, 3, .buy, "12", .market)
        try future.quote(1, 9.99, 50, 10.01, 50)
        #expect(
            future.told() == ["1 fill 6@9.99 taker", "2 rejected insufficient_margin", "3 fill 12@10.01 taker"])
    }

    @Test("funding is settled at its time on what is held then, whatever its interval")
    func funding() throws {
        var bench = try BookBench(cash: "1000", short: true, fee: 0)
        try bench.quote(0, 9, 50, 11, 50)
        try bench.event(1, .fundingRate(FundingRate(rate: 0.01, interval: .hours(8))))
        try bench.send(1, 1, .sell, "10", .market)
        try bench.event(2, .fundingRate(FundingRate(rate: 0.001, interval: .hours(4))))
        try bench.event(3, .fundingRate(FundingRate(rate: -0.002, interval: .hours(8))))
        // Nothing while flat; then 10·10·0.001 received and twice that paid.
        #expect(bench.exchange.ledger.funding.description == "-0.1")
        #expect(throws: TradingError.timeBackwards(symbol: "SUIUSDT", microseconds: BookBench.at(2).microseconds)) {
            try bench.quote(2, 9, 50, 11, 50)
        }
        try bench.exchange.ledger.checkInvariants()
    }

    private func delays(order: Int64 = 0, cancel: Int64 = 0, acknowledgement: Int64 = 0) -> LatencyModel {
        LatencyModel(
            order: .init(.milliseconds(order)), cancel: .init(.milliseconds(cancel)),
            acknowledgement: .init(.milliseconds(acknowledgement)), marketData: .init(.milliseconds(0)))
    }
}
