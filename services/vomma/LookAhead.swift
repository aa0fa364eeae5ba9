internal import Features
internal import MarketData

/// Which columns have looked ahead: computed again without the last tenth of the bars and all that was known after
/// them, and with that scrambled.
struct LookAhead {
    let configuration: FeatureConfiguration
    let symbol: String

    /// Names, sorted. `events`: those that `whole` was computed from, in their order.
    func columns(_ events: [MarketEvent], _ whole: FeatureTable) throws -> [String] {
        let kept = whole.count - max(1, whole.count / 10)
        guard kept > 0 else { return [] }
        let cut = whole.barTimes[kept - 1]
        let past = events.filter { $0.knownAt <= cut }
        let scrambled = events.enumerated().map { index, event in
            event.knownAt <= cut ? event : Self.scrambled(event, by: 0.5 + Double((index &* 7919) % 1000) / 1000)
        }
        let width = whole.schema.count
        var ahead = [Bool](repeating: false, count: width)
        for events in [past, scrambled] {
            let other = try FeatureEngine.table(of: events, symbol: symbol, configuration)
            for place in 0..<kept * width {
                let isSame = other.values[place].bitPattern == whole.values[place].bitPattern
                    && other.absences[place] == whole.absences[place]
                if !isSame { ahead[place % width] = true }
            }
        }
        return whole.schema.names.indices.filter { ahead[$0] }.map { whole.schema.names[$0] }
    }

    private static func scrambled(_ event: MarketEvent, by factor: Double) -> MarketEvent {
        var event = event
        switch event.payload {
        case .bar(var bar):
            (bar.open, bar.high, bar.low) = (bar.open * factor, bar.high * factor, bar.low * factor)
            (bar.close, bar.volume) = (bar.close * factor, bar.volume * (2 - factor))
            event.payload = .bar(bar)
        case .trade(let trade):
            event.payload = .trade(
                PublicTrade(
                    id: trade.id, price: trade.price * factor, quantity: trade.quantity * (2 - factor),
                    isBuy: !trade.isBuy))
        case .bookTop(let top):
            event.payload = .bookTop(
                BookTop(
                    bidPrice: top.bidPrice * factor, askPrice: top.askPrice * factor,
                    bidVolume: top.askVolume, askVolume: top.bidVolume))
        case .bookDepth(var depth):
            depth.bidVolumes = depth.bidVolumes.map { $0 * factor }
            depth.askVolumes = depth.askVolumes.map { $0 * (2 - factor) }
            event.payload = .bookDepth(depth)
        case .surface, .fundingRate, .openInterest, .fearGreed, .message: break
        }
        return event
    }
}
