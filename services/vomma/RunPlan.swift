internal import MarketData

/// What one run does: which market, which spans, which account. Two runs of one plan are the same run, and the second
/// goes on where the first stopped.
struct RunPlan: Sendable, Codable, Equatable {
    /// Names the run's streams, jobs and account.
    var name: String
    /// A folder of recorded history; `nil`: a simulated market.
    var dataFolder: String?
    /// `heston` or `gbm`, where the market is simulated.
    var simulator: String
    var exchange: String
    var symbols: [String]
    var currencies: [String]
    /// The symbol that is traded.
    var tradedSymbol: String
    var seed: UInt64
    var trainFrom: Timestamp
    var trainTo: Timestamp
    var validateTo: Timestamp
    /// A third span selects among the seeds; `nil`: there is one.
    var selectTo: Timestamp?
    var testFrom: Timestamp
    var testTo: Timestamp
    /// Trainings; absent in plans that were stored before there could be several.
    var seeds: Int?
    /// Environment steps of the policy's training.
    var trainingSteps: Int
    /// Synthetic surfaces that the inverse network learns from; 0: surfaces are calibrated without one.
    var surfaces: Int
    var capital: String

    static let usualSurfaces = 40_000

    /// Bars before the test span that warm the features up; no decision is made on them.
    static let warmUp = Interval.days(2)

    var trainStream: String { "\(name)-train" }
    var testStream: String { "\(name)-test" }
    var latencyStream: String { "\(name)-latency" }

    /// `heston`: 24 days of simulated minutes, 14 to train on, 4 to choose on, 6 to trade. `gbm`: 10,000 minutes, of a
    /// volatility that would take prices to nothing over a longer time.
    static func simulated(
        _ simulator: String, seed: UInt64, trainingSteps: Int, surfaces: Int = usualSurfaces, capital: String
    ) -> RunPlan {
        let start = Timestamp(seconds: 1_767_225_600)  // 2026-01-01
        let isBrownian = simulator == "gbm"
        let validateTo = start + .days(isBrownian ? 5 : 18)
        return RunPlan(
            name: "\(simulator)-\(seed)-\(trainingSteps)" + suffix(surfaces), dataFolder: nil, simulator: simulator,
            // Markets that differ are different exchanges: they must not mix.
            exchange: "simulation-\(simulator)-\(seed)", symbols: ["BTCUSDT", "ALTUSDT"], currencies: ["BTC"],
            tradedSymbol: isBrownian ? "BTCUSDT" : "ALTUSDT", seed: seed, trainFrom: start,
            trainTo: start + .days(isBrownian ? 4 : 14), validateTo: validateTo, testFrom: validateTo,
            testTo: start + (isBrownian ? .minutes(10_000) : .days(24)), trainingSteps: trainingSteps,
            surfaces: surfaces, capital: capital)
    }

    /// Recorded history of the first quarter of 2026: trained to 15 February, chosen to 28 February, traded in March.
    static func recorded(
        folder: String, symbol: String, seed: UInt64, trainingSteps: Int, surfaces: Int = usualSurfaces,
        capital: String, testDays: Int
    ) -> RunPlan {
        func day(_ seconds: Int64) -> Timestamp { Timestamp(seconds: seconds) }
        let march = day(1_772_323_200)
        return RunPlan(
            name: "recorded-\(symbol.lowercased())-\(seed)-\(trainingSteps)" + (testDays == 31 ? "" : "-\(testDays)d")
                + suffix(surfaces),
            dataFolder: folder, simulator: "none", exchange: "binance",
            symbols: symbol == "BTCUSDT" ? ["BTCUSDT"] : ["BTCUSDT", symbol], currencies: ["BTC"], tradedSymbol: symbol,
            seed: seed, trainFrom: day(1_767_225_600), trainTo: day(1_771_113_600), validateTo: day(1_772_236_800),
            testFrom: march, testTo: march + .days(Int64(testDays)), trainingSteps: trainingSteps,
            surfaces: surfaces, capital: capital)
    }

    /// Spans in place of the plan's own; a run of other spans is another run.
    struct Spans {
        var trainFrom: Timestamp
        var trainTo: Timestamp
        var validateTo: Timestamp
        var selectTo: Timestamp?
        /// A day after the last of them the test begins.
        var testTo: Timestamp

        var chosenTo: Timestamp { selectTo ?? validateTo }
    }

    mutating func use(_ spans: Spans, seeds: Int) {
        (trainFrom, trainTo, validateTo, selectTo) = (
            spans.trainFrom, spans.trainTo, spans.validateTo, spans.selectTo
        )
        (testFrom, testTo) = (spans.chosenTo + .days(1), spans.testTo)
        self.seeds = seeds
        let days = [trainFrom, trainTo, validateTo, selectTo ?? validateTo, testTo].map {
            String($0.description.prefix(10).filter { $0 != "-" })
        }
        name += "-" + days.joined(separator: "-") + "-\(seeds)"
    }

    /// The last instant that the policy is chosen by.
    var chosenTo: Timestamp { selectTo ?? validateTo }

    private static func suffix(_ surfaces: Int) -> String { surfaces == usualSurfaces ? "" : "-\(surfaces)s" }
}
