internal import Evaluation
internal import MarketData
internal import Reports

/// A walk-forward's result for people: window by window, and all tests together.
struct WalkForwardPage {
    let result: WalkForwardReport
    private var windows: [WalkForwardReport.Window] { result.windows }
    private var pooled: WalkForwardReport.Pooled { result.pooled }

    func report() -> Report {
        let verdict =
            "\(pooled.totalReturn.shownPercent) in \(pooled.days.shown(0)) days out of sample, "
            + "\(pooled.profitableWindows) of \(windows.count) windows with a profit."
        return Report(
            title: "Walk-forward of \(result.symbol)", verdict: verdict, sections: [table, together, curves])
    }

    private static func day(_ time: String) -> String { String(time.prefix(10)) }

    private var table: Report.Section {
        let names = Set(windows.flatMap(\.baselines.keys)).sorted()
        let rows = windows.map { window in
            let found = window.report.statistics
            return [
                Self.day(window.trainFrom), Self.day(window.testFrom), Self.day(window.testTo),
                window.validationReturn.shownPercent, found.totalReturn.shownPercent, (found.sharpe ?? .nan).shown(2),
                found.maxDrawdown.shownPercent, "\(found.roundTrips)", found.fees.shown(4),
            ] + names.map { window.baselines[$0]?.statistics.totalReturn.shownPercent ?? "–" }
        }
        return .init(
            "Window by window",
            [
                .table(
                    header: [
                        "trained from", "tested from", "to", "validation", "return", "Sharpe", "max drawdown", "trades",
                        "fees",
                    ] + names, rows: rows)
            ])
    }

    private var together: Report.Section {
        let rows =
            [
                [
                    "policy", pooled.totalReturn.shownPercent, (pooled.sharpe ?? .nan).shown(2),
                    pooled.maxDrawdown.shownPercent, "\(pooled.roundTrips)", pooled.fees.shown(4),
                ]
            ] + pooled.baselines.sorted { $0.key < $1.key }.map { [$0.key, $0.value.shownPercent, "", "", "", ""] }
        return .init(
            "All tests together",
            [
                .table(header: ["", "return", "Sharpe", "max drawdown", "trades", "fees"], rows: rows),
                .text(
                    "Probability of profit \(pooled.probabilityOfProfit.shownPercent); deflated Sharpe ratio "
                        + "\((pooled.deflatedSharpe ?? .nan).shown(4)) with \(pooled.trials) trials counted. Each test "
                        + "begins with the capital."),
            ])
    }

    private var curves: Report.Section {
        let series = windows.map { window in
            LineChart.Series(
                name: Self.day(window.testFrom), points: window.report.equity.map { ($0.time.seconds, $0.equity) })
        }
        return .init(
            "The account in each test", [.chart(LineChart(title: "Equity", unit: "USDT", axis: .time, series: series))])
    }
}
