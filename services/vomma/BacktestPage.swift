internal import Evaluation
internal import Foundation
internal import MarketData
internal import Reports

/// A backtest for people: the sections of a report.
struct BacktestPage {
    let report: BacktestReport
    let baselines: [String: BacktestReport]
    let fills: [BacktestReport.FillRow]

    var sections: [Report.Section] { [comparison, account, trades, months, costs, held] }

    /// The policy beside the baselines: without them a number means nothing.
    var comparison: Report.Section {
        let rows = [Self.row("policy", report)] + baselines.sorted { $0.key < $1.key }.map { Self.row($0.key, $0.value) }
        return .init("Beside the baselines", [.table(header: Self.header, rows: rows)])
    }

    static let header = [
        "", "return", "Sharpe", "max drawdown", "trades", "win rate", "exposure", "fees", "final equity",
    ]

    static func row(_ name: String, _ report: BacktestReport) -> [String] {
        let found = report.statistics
        return [
            name, found.totalReturn.shownPercent, (found.sharpe ?? .nan).shown(2), found.maxDrawdown.shownPercent,
            "\(found.roundTrips)", found.winRate?.shownPercent ?? "–", found.averageExposure.shownPercent,
            found.fees.shown(4), found.finalEquity.shown(4),
        ]
    }

    private var account: Report.Section {
        func line(_ name: String, _ report: BacktestReport) -> LineChart.Series {
            .init(name: name, points: report.equity.map { ($0.time.seconds, $0.equity) })
        }
        var peak = -Double.infinity
        let drawdown = report.equity.map { point in
            peak = max(peak, point.equity)
            return (x: point.time.seconds, y: 100 * (point.equity / peak - 1))
        }
        return .init(
            "The account",
            [
                .chart(
                    LineChart(
                        title: "Equity", unit: "USDT", axis: .time,
                        series: [line("policy", report)]
                            + baselines.sorted { $0.key < $1.key }.map { line($0.key, $0.value) })),
                .chart(
                    LineChart(
                        title: "Drawdown", unit: "%", axis: .time, series: [.init(name: "policy", points: drawdown)])),
                .chart(
                    LineChart(
                        title: "Exposure", unit: "% of equity", axis: .time,
                        series: [
                            .init(
                                name: "policy", points: report.equity.map { ($0.time.seconds, 100 * $0.exposure) })
                        ])),
            ])
    }

    private var trades: Report.Section {
        func dots(_ name: String, _ side: String) -> LineChart.Series {
            .init(
                name: name,
                points: fills.filter { $0.side == side }.map {
                    (Double($0.timeMicroseconds) / 1e6, Double($0.price) ?? .nan)
                }, isDotted: true)
        }
        let cut = fills.count < report.fillCount ? " (the first \(fills.count) of \(report.fillCount))" : ""
        return .init(
            "Trades on the price",
            [
                .chart(
                    LineChart(
                        title: "Price and fills" + cut, unit: "USDT", axis: .time,
                        series: [
                            .init(name: "price", points: report.equity.map { ($0.time.seconds, $0.price) }),
                            dots("bought", "buy"), dots("sold", "sell"),
                        ]))
            ])
    }

    private var months: Report.Section {
        .init(
            "Month by month",
            [
                .table(
                    header: ["month", "return", "max drawdown", "fills", "fees"],
                    rows: report.months.map {
                        [
                            $0.month, $0.totalReturn.shownPercent, $0.maxDrawdown.shownPercent, "\($0.fills)",
                            $0.fees.shown(4),
                        ]
                    })
            ])
    }

    private var costs: Report.Section {
        let found = report.statistics
        let start = report.equity.first?.equity ?? .nan
        func row(_ name: String, _ amount: Double) -> [String] {
            [name, amount.shown(4), (amount / start).shownPercent]
        }
        let paid = found.fees + found.executionCosts - found.funding
        return .init(
            "What trading cost",
            [
                .table(
                    header: ["", "USDT", "of the capital"],
                    rows: [
                        row("fees", found.fees), row("spread, slippage and impact", found.executionCosts),
                        row("funding paid", -found.funding), row("together", paid),
                        row("result without any of it", found.finalEquity - start + paid),
                    ]),
                .text("Traded: \(found.turnover.shown(2)) USDT, \(found.relativeTurnover.shown(1)) times the equity."),
            ])
    }

    private var held: Report.Section {
        let kinds = [("refused by risk", report.refusals), ("held", report.holds), ("not filled", report.failedOrders)]
        let rows = kinds.flatMap { kind, counts in
            counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map { [kind, $0.key, "\($0.value)"] }
        }
        let text = "\(report.bars) bars, \(report.decisions) decisions, \(report.orderCount) orders, "
            + "\(report.fillCount) fills."
        return .init(
            "Decisions and orders",
            [.text(text)] + (rows.isEmpty ? [] : [.table(header: ["", "reason", "decisions"], rows: rows)]))
    }
}

/// A verdict for people.
struct AcceptancePage {
    let title: String
    let acceptance: AcceptanceReport

    func report() -> Report {
        let page = BacktestPage(
            report: acceptance.report, baselines: acceptance.baselines, fills: acceptance.fills)
        return Report(
            title: title, verdict: acceptance.verdict,
            sections: [conditions(), page.comparison, luck, markets] + page.sections.dropFirst())
    }

    func conditions(title: String = "Conditions") -> Report.Section {
        func shown(_ value: Double) -> String { abs(value) >= 100 ? value.shown(0) : value.shown(4) }
        return .init(
            title,
            [
                .table(
                    header: ["", "condition", "found", "demanded", ""],
                    rows: acceptance.checks.map {
                        [
                            $0.passed ? "✓" : "✗", $0.name, $0.value.map(shown) ?? "–", "\($0.demand.rawValue) \(shown($0.bound))",
                            $0.note,
                        ]
                    })
            ])
    }

    var luck: Report.Section {
        let found = acceptance.bootstrap
        func row(_ name: String, _ values: [Double]) -> [String] { [name] + values.map(\.shownPercent) }
        var blocks: [Report.Block] = [
            .table(
                header: ["\(found.samples) resampled histories", "2.5 %", "median", "97.5 %"],
                rows: [row("return", found.totalReturn), row("max drawdown", found.maxDrawdown)]),
            .text(
                "Blocks of \(found.meanBlockBars.shown(0)) bars on average. Probability of profit "
                    + "\(found.probabilityOfProfit.shownPercent); deflated Sharpe ratio "
                    + "\((acceptance.deflatedSharpe ?? .nan).shown(4)) with \(acceptance.trials) trials counted."),
        ]
        if acceptance.earlierReads > 0 {
            blocks.append(
                .warning(
                    "\(acceptance.earlierReads) jobs had read bars of this block before: each look makes a pass by "
                        + "luck more likely."))
        }
        return .init("Could it be luck?", blocks)
    }

    var markets: Report.Section {
        .init(
            "What can be traded with \(acceptance.capital.shown(2)) USDT",
            [
                .table(
                    header: ["market", "price", "least order", "steps of exposure", "round trip costs", "tradable"],
                    rows: acceptance.markets.map {
                        [
                            $0.symbol, $0.price.shown(4), $0.minimumOrder.shown(2), "\($0.steps)",
                            $0.roundTripCost.shownPercent, $0.isTradable ? "yes" : "no",
                        ]
                    })
            ])
    }
}
