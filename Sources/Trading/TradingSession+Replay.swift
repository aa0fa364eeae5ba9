internal import MarketData

// Decisions that were made beforehand, replayed at the speed of memory. Most bars find no order on its way, and most
// decisions want what is held already: for these `take` and `decide` come down to a few plain numbers, which stay in
// registers here. Everything else goes the general way. What comes out is the same, bit for bit (SignalTests).
extension TradingSession {
    /// Takes in the bars of `rows` as `onBar` does, and after each but the last decides on its target as `plan` and
    /// `send` do; `nil` is no decision. `targets` has one for each of `rows` but the last. Throws what they throw;
    /// traps when the session knows a later bar.
    package mutating func replay(
        _ series: MarketSeries, rows: Range<Int>, at index: Int, targets: Span<Double?>, modelVersion: String,
        into record: inout SessionRecord
    ) throws(TradingError) {
        precondition(targets.count == rows.count - 1, "a target for each row but the last")
        let stored = series.bars
        let bars = stored.span.extracting(rows)
        precondition(bars[0].openTime > markets[index].openTime, "a session takes in bars in their order")
        let interval = series.interval
        let terms = markets[index].terms
        var quiet = Quiet(self, at: index)
        var decision = Decision(
            symbol: series.symbol, barTime: bars[0].openTime, modelVersion: modelVersion, targetExposure: 0,
            time: bars[0].openTime)
        for row in 0..<bars.count {
            let (openTime, close) = (bars[row].openTime, bars[row].close)
            // The first bar goes the general way, which also judges the interval, the same for all.
            if quiet.hasNoOrder, row > 0 {
                let before = equity
                let sum = quiet.held == 0 ? quiet.cash : quiet.cash + quiet.held * close
                equity = sum
                _ = risk.mark(equity: sum, equityBefore: before, barTime: openTime)
                record.mark(equity: sum, peak: risk.peakEquity)
            } else {
                _ = try take(bars[row], at: index, &record)
                quiet.read(self, at: index)
            }
            guard row < targets.count, let target = targets[row] else { continue }
            let closeTime = openTime + interval
            if quiet.hasNoOrder, abs(target) <= 1, openTime > quiet.lastDecision {
                let outcome = terms.outcome(
                    exposure: risk.killSwitch == .flatten ? 0 : target, equity: equity, price: close,
                    position: quiet.position, affordable: affordable(at: index, price: close))
                var isQuiet = true
                switch outcome {
                case .hold(let reason): record.hold(reason)
                case .trade(let trade):
                    if let refusal = risk.check(proposal(trade, close, closeTime, close, at: index)) {
                        record.refuse(refusal.rule)
                    } else {
                        isQuiet = false
                    }
                }
                if isQuiet {
                    (quiet.lastDecision, quiet.targetExposure) = (openTime, target)
                    continue
                }
            }
            quiet.write(openTime, interval, close, to: &self, at: index)
            decision.barTime = openTime
            decision.time = closeTime
            decision.targetExposure = target
            decision.referencePrice = close
            try act(decision, at: index, into: &record)
            quiet.read(self, at: index)
        }
        let last = bars[bars.count - 1]
        quiet.write(last.openTime, interval, last.close, to: &self, at: index)
    }

    /// What quiet bars need of a session, and what they change beside equity and the risk engine's memory.
    private struct Quiet {
        /// No order is on its way, and no other market is held: equity is cash + held·close.
        var hasNoOrder = false
        var cash = 0.0
        var position = Quantity.zero
        var held = 0.0
        var lastDecision = Timestamp(microseconds: .min)
        var targetExposure = 0.0

        init(_ session: borrowing TradingSession, at index: Int) { read(session, at: index) }

        @inline(__always)
        mutating func read(_ session: borrowing TradingSession, at index: Int) {
            hasNoOrder = session.markets[index].working.isEmpty
            for other in session.markets.indices where other != index {
                if session.ledger.positions[other].quantity != .zero { hasNoOrder = false }
            }
            cash = session.ledger.cash.double
            position = session.ledger.positions[index].quantity
            held = position.double
            lastDecision = session.markets[index].lastDecision
            targetExposure = session.markets[index].targetExposure
        }

        @inline(__always)
        func write(
            _ openTime: Timestamp, _ interval: Interval, _ close: Double, to session: inout TradingSession,
            at index: Int
        ) {
            session.markets[index].openTime = openTime
            session.markets[index].closeTime = openTime + interval
            session.markets[index].close = close
            session.markets[index].lastDecision = lastDecision
            session.markets[index].targetExposure = targetExposure
        }
    }
}
