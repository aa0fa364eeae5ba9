import Evaluation
import Kernels
import MarketData
import Policies
import Trading

/// A market of one-minute bars in which a crossing of moving averages earns its costs: returns of 0.05 % a bar around a
/// drift that comes and goes within 100 bars. Without one, fees alone ruin an account long before its millionth bar.
func market(_ count: Int) -> [Bar] {
    var random = RandomGenerator(seed: 1)
    let (memory, deviation) = (0.99, 0.00012)
    var (drift, price) = (0.0, 100.0)
    return (0..<count).map { index in
        drift = memory * drift + deviation * (1 - memory * memory).squareRoot() * random.normal()
        let open = price
        price *= exp(drift + 0.0005 * random.normal() - 0.00001 * log(price / 100))
        let wick = 1 + 0.0002 * random.uniform()
        return Bar(
            openTime: Timestamp(seconds: 1_600_000_020 + Int64(index) * 60), interval: .minutes(1), open: open,
            high: max(open, price) * wick, low: min(open, price) / wick, close: price,
            volume: 100 + 100 * random.uniform())
    }
}

/// All in while the average of 12 bars is above that of 26, else out: one target a bar.
func crossing(_ bars: [Bar]) -> [Double?] {
    var (fast, slow) = (bars[0].close, bars[0].close)
    return bars.map { bar in
        fast += (bar.close - fast) * 2 / 13
        slow += (bar.close - slow) * 2 / 27
        return fast > slow ? 1 : 0
    }
}

/// Everything is on: fees of 10 basis points a side, spread and slippage of 1 each, tick, lot, least notional and the
/// default limits: leverage 1, 60 orders a minute, price collar, daily loss, drawdown.
func backtest(window: Int) throws -> Backtest {
    let rules = try InstrumentRules.simulated("XYZUSDT", price: 100)
    let account = TradingSession.Configuration(
        initialCash: Amount(units: 100_000_000_000), instruments: [.init(rules: rules)])
    return Backtest(session: account, window: window)
}
