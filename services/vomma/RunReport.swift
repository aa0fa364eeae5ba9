internal import Evaluation
internal import Foundation
internal import MarketData
internal import Reports
internal import Storage

/// The report of a run, made from what is stored: it can be made again at any time.
struct RunReport {
    let plan: RunPlan
    let pool: ConnectionPool

    func make() async throws -> Report {
        let judged = try await verdictResult()
        let backtest = judged.acceptance
        let equity = try await equityCurve()
        let counts = try await counts()
        let final = equity.last?.value ?? Double(plan.capital) ?? .nan
        let start = Double(plan.capital) ?? .nan
        return Report(
            title: "Vomma: \(plan.tradedSymbol) on \(plan.exchange), \(day(plan.testFrom)) to \(day(plan.testTo))",
            verdict: verdict(start: start, final: final, trades: counts.fills, backtest),
            sections: [
                try await dataSection(), try await surfaceSection(), try await featureSection(),
                try await modelSection(), tradingSection(counts), performanceSection(equity, backtest, start: start),
            ] + verdictSections(judged) + [
                try await latencySection(), try await memorySection(), whereNext(),
            ])
    }

    private func day(_ time: Timestamp) -> String { String(time.description.prefix(10)) }

    private func verdict(start: Double, final: Double, trades: Int64, _ backtest: AcceptanceReport?) -> String {
        let change = final / start - 1
        let result =
            trades == 0
            ? "The policy did not trade: \(start.shown(2)) USDT stay \(final.shown(2))."
            : change >= 0
                ? "The policy made \(change.shownPercent): \(start.shown(2)) USDT became \(final.shown(2)) after fees."
                : "The policy LOST \((-change).shownPercent): \(start.shown(2)) USDT became \(final.shown(2)) after fees."
        guard let hold = backtest?.baselines["buy-and-hold"] else { return result }
        return result + " Buying and holding made \(hold.statistics.totalReturn.shownPercent), staying flat 0.00 %."
    }

    // MARK: Sections

    private func dataSection() async throws -> Report.Section {
        let key = "run/\(plan.name)/history"
        let json = try await pool.withConnection { try SettingsRepository.value(key, on: $0) }
        let items = try json.map(Loaded.init)?.items ?? []
        let rows = items.map { item in
            [item.name, "\(item.rows)", "\(item.refused)", day(item.first), day(item.last), item.refusals.first ?? ""]
        }
        var blocks: [Report.Block] = [
            .text(
                plan.dataFolder == nil
                    ? plan.simulator == "gbm"
                        ? "Simulated: geometric Brownian motion, in which nothing can be predicted (seed \(plan.seed))."
                        : "Simulated: Bitcoin under Heston with regimes, options priced from the true state, a correlated alt coin (seed \(plan.seed))."
                    : "Recorded history of \(plan.symbols.joined(separator: ", "))."),
            .table(
                header: ["span", "from", "to", "what it is for"],
                rows: [
                    ["training", day(plan.trainFrom), day(plan.trainTo), "regime model, normaliser, policy"],
                    ["validation", day(plan.trainTo), day(plan.validateTo), "where each training stops"],
                ] + (plan.selectTo.map { [["selection", day(plan.validateTo), day($0), "choice among the seeds"]] } ?? [])
                    + [
                        [
                            "test", day(plan.testFrom), day(plan.testTo),
                            "paper trading and verdict; nothing is fitted or chosen on it",
                        ]
                    ]),
            .table(header: ["series", "rows", "refused", "first", "last", "first refusal"], rows: rows),
        ]
        let expected = plan.symbols.flatMap { ["funding \($0)", "open interest \($0)"] } + ["fear & greed", "messages"]
        let absent = expected.filter { name in !items.contains { $0.name == name } }
        if !absent.isEmpty {
            blocks.append(
                .text(
                    "Absent, and therefore missing in the features rather than zero: \(absent.joined(separator: ", "))."
                ))
        }
        return .init("Data", blocks)
    }

    private func surfaceSection() async throws -> Report.Section {
        let fits = try await pool.withConnection { connection in
            try connection.query(
                """
                SELECT currency, event_time, kappa, theta, sigma, rho, v0, rmse_volatility, iterations, termination
                FROM heston_fits WHERE currency = ANY($1) AND event_time >= $2 AND event_time < $3 AND exchange = $4
                ORDER BY event_time
                """,
                [plan.currencies, plan.trainFrom, plan.testTo, plan.exchange == "binance" ? "deribit" : plan.exchange]
            ) { (row) throws(StorageError) in
                (
                    time: try row.get(1, as: Timestamp.self),
                    values: [
                        try row.get(2, as: Double.self), try row.get(3, as: Double.self),
                        try row.get(4, as: Double.self),
                        try row.get(5, as: Double.self), try row.get(6, as: Double.self),
                    ], rmse: try row.get(7, as: Double.self), termination: try row.get(9, as: String.self)
                )
            }
        }
        guard !fits.isEmpty else { return .init("Volatility surfaces", [.warning("no surface was inverted")]) }
        let errors = fits.map(\.rmse).sorted()
        func quantile(_ q: Double) -> Double { errors[min(errors.count - 1, Int(q * Double(errors.count)))] * 100 }
        let names = ["kappa", "theta", "sigma", "rho", "v0"]
        let rows = names.indices.map { index in
            let values = fits.map { $0.values[index] }.sorted()
            return [
                names[index], values[0].shown(3), values[values.count / 2].shown(3), values[values.count - 1].shown(3),
            ]
        }
        let bad = fits.count { $0.rmse > 0.05 }
        var blocks: [Report.Block] = [
            .text(
                "\(fits.count) surfaces inverted by Levenberg–Marquardt. Fit error in volatility points: median \(quantile(0.5).shown(2)), 95 % below \(quantile(0.95).shown(2)), worst \(quantile(1).shown(2))."
            ),
            .table(header: ["parameter", "smallest", "median", "largest"], rows: rows),
            .chart(
                LineChart(
                    title: "Heston parameters", unit: "variance", axis: .time,
                    series: [
                        .init(name: "v0", points: fits.map { ($0.time.seconds, $0.values[4]) }),
                        .init(name: "theta", points: fits.map { ($0.time.seconds, $0.values[1]) }),
                    ])),
            .chart(
                LineChart(
                    title: "Fit error", unit: "volatility points", axis: .time,
                    series: [.init(name: "rmse", points: fits.map { ($0.time.seconds, $0.rmse * 100) })])),
        ]
        if bad > 0 { blocks.append(.warning("\(bad) surfaces are fitted worse than 5 volatility points")) }
        return .init("Volatility surfaces", blocks)
    }

    private func featureSection() async throws -> Report.Section {
        let rows = try await pool.withConnection { connection in
            try connection.query(
                """
                SELECT stream, symbol, count(*), min(bar_time), max(bar_time), schema_version,
                       max(cardinality(values))::int8
                FROM features WHERE stream = ANY($1) GROUP BY stream, symbol, schema_version ORDER BY stream, symbol
                """, [[plan.trainStream, plan.testStream]]
            ) { (row) throws(StorageError) in
                [
                    try row.get(0, as: String.self), try row.get(1, as: String.self),
                    "\(try row.get(2, as: Int64.self))",
                    "\(try row.get(3, as: Timestamp.self))", "\(try row.get(4, as: Timestamp.self))",
                    "\(try row.get(6, as: Int64.self))", try row.get(5, as: String.self),
                ]
            }
        }
        return .init(
            "Features",
            [
                .table(
                    header: ["stream", "symbol", "vectors", "first bar", "last bar", "columns", "schema"], rows: rows),
                .text(
                    "Every value uses only events known at its bar's close. Surfaces count from 20 minutes after their polling began, a daily index from the following midnight, a bar from its close."
                ),
            ])
    }

    private func modelSection() async throws -> Report.Section {
        let models = try await pool.withConnection { connection in
            try connection.query(
                """
                SELECT m.name, m.version, m.kind, m.stage, m.sha256, m.metrics, j.job_id, j.attempt
                FROM models m JOIN jobs j USING (job_id) WHERE j.job_key LIKE $1 || '/%' ORDER BY m.name
                """, [plan.name]
            ) { (row) throws(StorageError) in
                (
                    cells: [
                        try row.get(0, as: String.self), "\(try row.get(1, as: Int64.self))",
                        try row.get(2, as: String.self), try row.get(3, as: String.self),
                        String(try row.get(4, as: String.self).prefix(12)), "\(try row.get(7, as: Int32.self))",
                    ], job: try row.get(6, as: Int64.self)
                )
            }
        }
        var blocks: [Report.Block] = [
            .table(
                header: ["model", "version", "kind", "stage", "sha-256", "attempts"], rows: models.map(\.cells))
        ]
        if let policy = models.last(where: { $0.cells[2] == "policy.ppo" }) {
            let curves = try await pool.withConnection { connection in
                try connection.query(
                    "SELECT name, step, value FROM job_metrics WHERE job_id = $1 ORDER BY name, step", [policy.job]
                ) { (row) throws(StorageError) in
                    (
                        name: try row.get(0, as: String.self), step: try row.get(1, as: Int64.self),
                        value: try row.get(2, as: Double.self)
                    )
                }
            }
            for (title, wanted) in [
                ("Validation return by training step", ["validation_return", "validation_total_return"]),
                ("Mean reward a step", ["mean_reward"]),
            ] {
                let series = wanted.compactMap { name -> LineChart.Series? in
                    let points = curves.filter { $0.name == name }.map { (x: Double($0.step), y: $0.value) }
                    return points.isEmpty ? nil : .init(name: name, points: points)
                }
                if !series.isEmpty {
                    blocks.append(.chart(LineChart(title: title, unit: "", axis: .number, series: series)))
                }
            }
        }
        return .init("Models", blocks)
    }

    private struct Counts {
        var decisions: Int64
        var abstained: Int64
        var orders: Int64
        var fills: Int64
        var rejected: Int64
        var fees: Double
        var reasons: [(String, Int)]
    }

    private func counts() async throws -> Counts {
        let account = plan.testStream
        return try await pool.withConnection { connection in
            return Counts(
                decisions: try connection.count("SELECT count(*) FROM decisions WHERE stream = $1", account),
                abstained: try connection.count(
                    "SELECT count(*) FROM decisions WHERE stream = $1 AND target_exposure IS NULL", account),
                orders: try connection.count("SELECT count(*) FROM orders WHERE account = $1", account),
                fills: try connection.count("SELECT count(*) FROM fills WHERE account = $1", account),
                rejected: try connection.count(
                    "SELECT count(*) FROM orders WHERE account = $1 AND state IN ('rejected', 'expired', 'cancelled')",
                    account),
                fees: try connection.queryOne(
                    "SELECT coalesce(sum(fee), 0)::float8 FROM fills WHERE account = $1", [account]
                ) { (row) throws(StorageError) in try row.get(0) },
                reasons: try TradingRepository.riskEventCounts(account: account, on: connection).map {
                    ($0.rule, $0.count)
                })
        }
    }

    private func tradingSection(_ counts: Counts) -> Report.Section {
        var blocks: [Report.Block] = [
            .table(
                header: ["decisions", "abstentions", "orders", "fills", "not filled", "fees (USDT)"],
                rows: [
                    [
                        "\(counts.decisions)", "\(counts.abstained)", "\(counts.orders)", "\(counts.fills)",
                        "\(counts.rejected)", counts.fees.shown(4),
                    ]
                ])
        ]
        if counts.reasons.isEmpty {
            blocks.append(.text("No decision was refused or held back."))
        } else {
            blocks.append(
                .table(
                    header: ["refused or held, by reason", "decisions"],
                    rows: counts.reasons.sorted { $0.1 > $1.1 }.map { [$0.0, "\($0.1)"] }))
        }
        return .init("Decisions and orders", blocks)
    }

    private func performanceSection(
        _ equity: [(time: Timestamp, value: Double)], _ backtest: AcceptanceReport?, start: Double
    ) -> Report.Section {
        var series = [LineChart.Series(name: "policy (paper)", points: equity.map { ($0.time.seconds, $0.value) })]
        var rows: [[String]] = []
        func row(_ name: String, _ report: BacktestReport) -> [String] {
            let s = report.statistics
            return [
                name, s.totalReturn.shownPercent, (s.sharpe ?? .nan).shown(2), s.maxDrawdown.shownPercent,
                "\(s.roundTrips)", s.fees.shown(4), s.averageExposure.shownPercent, s.finalEquity.shown(4),
            ]
        }
        var blocks: [Report.Block] = []
        if let backtest {
            rows.append(row("policy", backtest.report))
            for (name, part) in backtest.baselines.sorted(by: { $0.key < $1.key }) {
                rows.append(row(name, part))
                series.append(
                    .init(name: name, points: part.equity.map { ($0.time.seconds, $0.equity) }))
            }
            let paper = equity.last?.value ?? .nan
            let same = abs(paper - backtest.report.statistics.finalEquity) < 1e-6
            blocks.append(
                .table(
                    header: [
                        "", "return", "Sharpe", "max drawdown", "round trips", "fees", "mean exposure", "final equity",
                    ],
                    rows: rows))
            blocks.append(
                same
                    ? .text(
                        "The backtest engine, run on the stored features, ends at the same equity as the paper account: they are one simulator."
                    )
                    : .warning(
                        "The backtest ends at \(backtest.report.statistics.finalEquity), the paper account at \(paper): they should be equal."
                    ))
        }
        blocks.append(.chart(LineChart(title: "Equity on the test span", unit: "USDT", axis: .time, series: series)))
        return .init("Performance on the test span, fees and spread included", blocks)
    }

    private func latencySection() async throws -> Report.Section {
        let rows = try await pool.withConnection { connection in
            try connection.query(
                "SELECT hop, count, p50, p99 FROM latency_per_hop WHERE stream = $1 ORDER BY hop", [plan.latencyStream]
            ) { (row) throws(StorageError) in
                [
                    try row.get(0, as: String.self), "\(try row.get(1, as: Int64.self))",
                    try row.get(2, as: Double.self).shown(2), try row.get(3, as: Double.self).shown(2),
                ]
            }
        }
        guard !rows.isEmpty else { return .init("Latency", [.text("Not measured in this run.")]) }
        return .init(
            "Latency, replayed one bar at a time",
            [.table(header: ["hop", "count", "p50 (ms)", "p99 (ms)"], rows: rows)])
    }

    private func memorySection() async throws -> Report.Section {
        let key = "run/\(plan.name)/memory"
        let json = try await pool.withConnection { try SettingsRepository.value(key, on: $0) }
        let stored = try json.map { try JSONDecoder().decode(MemoryRecord.Stored.self, from: Data($0.text.utf8)) }
        guard let stored, let last = stored.vectors.last else {
            return .init("Memory", [.text("Not recorded in this run.")])
        }
        // What a service needs at all is there after the first quarter; from then on nothing should grow.
        let quarter = stored.vectors.firstIndex { $0 * 4 >= last } ?? 0
        let rows = stored.services.map { service in
            let end = service.megabytes.last ?? .nan
            let early = service.megabytes[quarter]
            return [service.name, early.shown(1), end.shown(1), (end - early).shown(1)]
        }
        return .init(
            "Resident memory while \(last) bars went through",
            [
                .table(
                    header: ["service", "MB after \(stored.vectors[quarter]) bars", "MB at the end", "growth"],
                    rows: rows)
            ])
    }

    private func whereNext() -> Report.Section {
        .init(
            "Where to look next",
            [
                .text("vomma run --keep            leaves the stack running, for the commands below"),
                .text("vomma status                services, streams and jobs"),
                .text("vomma report --name \(plan.name)   this report again"),
                .text("vomma backtest / train      with other terms"),
                .text("docs/python.md              call the services from Python"),
            ])
    }

    // MARK: Stored results

    private func equityCurve() async throws -> [(time: Timestamp, value: Double)] {
        let account = plan.testStream
        let (from, to) = (plan.testFrom - RunPlan.warmUp, plan.testTo + .minutes(1))
        return try await pool.withConnection { connection in
            try TradingRepository.equity(account: account, from: from, to: to, on: connection).map {
                ($0.eventTime, $0.equity)
            }
        }
    }

    /// The verdict's job: what it found, or why it ended without.
    private struct Verdict {
        var acceptance: AcceptanceReport?
        var error: String?
    }

    private struct Stored: Decodable {
        var acceptance: AcceptanceReport
    }

    private func verdictResult() async throws -> Verdict {
        let key = "\(plan.name)/accept-"
        let found = try await pool.withConnection { connection in
            try connection.queryOptional(
                "SELECT result, error FROM jobs WHERE job_key LIKE $1 || '%' ORDER BY job_id DESC LIMIT 1", [key]
            ) { (row) throws(StorageError) in (try row.get(0, as: JSON?.self), try row.get(1, as: String?.self)) }
        }
        let stored: Stored? = try found?.0.map { try decode($0.text) }
        return Verdict(acceptance: stored?.acceptance, error: found?.1)
    }

    private func verdictSections(_ verdict: Verdict) -> [Report.Section] {
        if let acceptance = verdict.acceptance {
            let page = AcceptancePage(title: "", acceptance: acceptance)
            let title = "May it trade? " + (acceptance.passed ? "It was accepted" : "It was not accepted")
            return [page.conditions(title: title), page.luck, page.markets]
        }
        return verdict.error.map { [.init("May it trade?", [.warning("No verdict: \($0)")])] } ?? []
    }
}

extension Connection {
    fileprivate func count(_ sql: String, _ parameter: String) throws(StorageError) -> Int64 {
        try queryOne(sql, [parameter]) { (row) throws(StorageError) in try row.get(0) }
    }
}
