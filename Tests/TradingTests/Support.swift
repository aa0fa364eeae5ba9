import Foundation
import Kernels
import MarketData
import Trading

/// Rows of Golden/golden.csv by their first field; `make_golden.py` beside it made them.
enum Golden {
    static let rows: [[String]] = {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Golden/golden.csv")
        let text = (try? String(contentsOf: file, encoding: .utf8)) ?? ""
        return text.split(separator: "\n").map {
            $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        }
    }()

    static func all(_ name: String) -> [[String]] { rows.filter { $0[0] == name }.map { Array($0.dropFirst()) } }
    static func numbers(_ name: String) -> [Double] { all(name).first?.compactMap(Double.init) ?? [] }
}

/// One-minute bars from 2026-03-01, each given by open and close.
func bar(_ index: Int, open: Double, close: Double, volume: Double = 1000) -> Bar {
    Bar(
        openTime: Timestamp(seconds: 1_772_323_200 + Int64(index) * 60), interval: .minutes(1), open: open,
        high: max(open, close), low: min(open, close), close: close, volume: volume)
}

/// A random walk of bars; each opens where the one before closed.
func randomBars(_ count: Int, seed: UInt64, start: Double = 1, volatility: Double = 0.01) -> [Bar] {
    var random = RandomGenerator(seed: seed)
    var price = start
    return (0..<count).map { index in
        let open = price
        price *= exp(volatility * random.normal())
        return bar(index, open: open, close: price)
    }
}

func decision(
    _ symbol: String, at bar: Bar, _ exposure: Double, version: String = "test", reference: Double? = nil
) -> Decision {
    Decision(
        symbol: symbol, barTime: bar.openTime, modelVersion: version, targetExposure: exposure, time: bar.closeTime,
        referencePrice: reference)
}

/// SUI-like spot rules with chosen minima.
func rules(
    _ symbol: String = "SUIUSDT", lot: String = "0.1", minQuantity: String? = nil, minNotional: String = "5",
    fee: Double = 0.001, tick: String = "0.0001", allowsShort: Bool = false, maxLeverage: Double = 1
) throws -> InstrumentRules {
    let lotSize = Quantity(lot) ?? .zero
    return try InstrumentRules(
        symbol: symbol, baseAsset: "SUI", quoteAsset: "USDT", tickSize: Price(tick) ?? .zero, lotSize: lotSize,
        minQuantity: minQuantity.flatMap { Quantity($0) } ?? lotSize, maxQuantity: Quantity(units: 90_000_000_000_000),
        minNotional: Amount(minNotional) ?? .zero, makerFee: fee, takerFee: fee, allowsShort: allowsShort,
        maxLeverage: maxLeverage)
}

func makeSession(
    _ rules: InstrumentRules..., cash: String = "19.99", reserve: Double = 0.005, costs: ExecutionCosts = .init(),
    risk: RiskLimits = .none
) throws -> TradingSession {
    try TradingSession(
        .init(
            initialCash: Amount(cash) ?? .zero,
            instruments: rules.map { .init(rules: $0, allocation: 1 / Double(rules.count)) }, reserve: reserve,
            costs: costs, risk: risk))
}

/// A bar, then a decision at its close, sent if it makes an order.
@discardableResult
func step(
    _ session: inout TradingSession, _ bar: Bar, _ exposure: Double, symbol: String = "SUIUSDT",
    into events: inout [SessionEvent]
) throws -> Plan {
    try session.onBar(symbol, bar, into: &events)
    let plan = try session.plan(decision(symbol, at: bar, exposure), into: &events)
    if case .order(let order) = plan { try session.send(order, at: bar.closeTime, into: &events) }
    try session.checkInvariants()
    return plan
}

extension [SessionEvent] {
    var fills: [Fill] { compactMap { if case .fill(let fill) = $0 { fill } else { nil } } }
    var orders: [Order] { compactMap { if case .order(let order) = $0 { order } else { nil } } }
    var points: [EquityPoint] { compactMap { if case .equity(let point) = $0 { point } else { nil } } }
}
