internal import Dispatch
internal import Glibc
internal import Heston
internal import HestonInverse
internal import Kernels
internal import MarketData

// Our side of benchmarks/heston/compare.py and network.py: one job a process, its answer one line of JSON. Times are
// medians, in nanoseconds a call, of samples long enough for the clock.

func median(_ samples: Int, calls: Int, _ body: () throws -> Void) rethrows -> Double {
    for _ in 0..<calls { try body() }
    var times: [Double] = []
    for _ in 0..<samples {
        let start = DispatchTime.now().uptimeNanoseconds
        for _ in 0..<calls { try body() }
        times.append(Double(DispatchTime.now().uptimeNanoseconds - start) / Double(calls))
    }
    return times.sorted()[samples / 2]
}

func json(_ values: [Double]) -> String { "[" + values.map { "\($0)" }.joined(separator: ",") + "]" }

/// What is wrong with the arguments.
struct UsageError: Error, CustomStringConvertible { var description: String }

func preset(_ name: String) throws -> ParameterPreset {
    guard let preset = ParameterPreset(rawValue: name) else {
        throw UsageError(description: "no preset is called \(name)")
    }
    return preset
}

func numbers(_ arguments: ArraySlice<String>) -> [Double] { arguments.map { Double($0) ?? .nan } }

/// `surface prices|gradients TOLERANCE kappa theta sigma rho v0 spot rate dividend strikes… / taus…`: calls on the
/// grid, strike by strike.
func surface(_ arguments: ArraySlice<String>) throws {
    let detail: SurfacePricer.Detail = arguments.first == "gradients" ? .gradients : .prices
    let values = numbers(arguments.dropFirst())
    let slash = values.firstIndex { $0.isNaN } ?? values.endIndex
    let heston = try HestonParameters(array: Array(values[1..<6]))
    let market = Market(spot: values[6], rate: values[7], dividendYield: values[8])
    var contracts: [OptionContract] = []
    for strike in values[9..<slash] {
        for tau in values[(slash + 1)...] { contracts.append(.init(kind: .call, strike: strike, tau: tau)) }
    }
    var pricer = try SurfacePricer(
        contracts, market, accuracy: .init(tolerance: values[0], maximumNodes: 1 << 17))
    let time = try median(201, calls: 20) { try pricer.evaluate(heston, detail) }
    let gradients = detail == .gradients ? pricer.values.flatMap(\.gradient.array) : []
    print("{\"ns\": \(time), \"prices\": \(json(pricer.values.map(\.price))), \"gradients\": \(json(gradients))}")
}

/// The model's volatilities on 5 × 6 or 10 × 10 points; cells without information are left out.
func quotes(_ heston: HestonParameters, _ count: Int) throws -> [CalibrationQuote] {
    let pricer = try HestonPricer(heston, Market(spot: 100))
    let ks = count == 30 ? [-0.4, -0.2, 0, 0.2, 0.4] : (0..<10).map { -0.4 + 0.8 * Double($0) / 9 }
    let taus =
        count == 30 ? [0.05, 0.1, 0.25, 0.5, 1, 2] : [0.05, 0.1, 0.15, 0.25, 0.35, 0.5, 0.75, 1, 1.5, 2]
    let surface = try pricer.surface(logMoneyness: ks, tau: taus)
    var quotes: [CalibrationQuote] = []
    for (i, k) in ks.enumerated() {
        for (t, tau) in taus.enumerated() {
            guard let volatility = surface[i, t] else { continue }
            quotes.append(.init(logMoneyness: k, tau: tau, impliedVolatility: volatility))
        }
    }
    return quotes
}

/// `calibrate PRESET QUOTES CASES`: random surfaces, each fitted once from the preset's start.
func calibrate(_ arguments: [String]) throws {
    let (preset, count, cases) = (try preset(arguments[0]), Int(arguments[1]) ?? 30, Int(arguments[2]) ?? 10)
    var random = RandomGenerator(seed: 20_261_126)
    let calibrator = try Calibrator()
    var times: [Double] = []
    var steps: [Int] = []
    var recovered = 0
    var examples: [String] = []
    for index in 0..<cases {
        let heston = preset.draw(&random)
        let market = try quotes(heston, count)
        let before = DispatchTime.now().uptimeNanoseconds
        let found = try calibrator.calibrate(market, warmStart: preset.centre)
        times.append(Double(DispatchTime.now().uptimeNanoseconds - before))
        steps.append(found.iterations)
        let error = zip(found.parameters.array, heston.array).map { abs($0 - $1) }.max() ?? .infinity
        if error < 1e-4 { recovered += 1 }
        if index < 10 {
            let fields = market.map { json([$0.logMoneyness, $0.tau, $0.impliedVolatility]) }
            examples.append(
                "{\"true\": \(json(heston.array)), \"quotes\": [\(fields.joined(separator: ","))]}")
        }
    }
    print(
        "{\"ns\": \(times.sorted()[cases / 2]), \"steps\": \(steps.sorted()[cases / 2]), \"recovered\": \(recovered),"
            + " \"start\": \(json(preset.centre.array)), \"examples\": [\(examples.joined(separator: ","))]}")
}

/// `volatility COUNT`: out-of-the-money prices of random strikes and volatilities, one by one and in a batch.
func volatility(_ arguments: [String]) throws {
    let count = Int(arguments[0]) ?? 10_000
    var random = RandomGenerator(seed: 5)
    var (kinds, strikes, prices, exact): ([OptionQuote.Kind], [Double], [Double], [Double]) = ([], [], [], [])
    while prices.count < count {
        let k = random.uniform(-1, 1)
        let sigma = exp(random.uniform(log(0.05), log(2)))
        let kind: OptionQuote.Kind = k >= 0 ? .call : .put
        let price = try Black.price(kind, forward: 100, strike: 100 * exp(k), tau: 0.5, volatility: sigma)
        guard price > 1e-60 else { continue }
        kinds.append(kind)
        strikes.append(100 * exp(k))
        prices.append(price)
        exact.append(sigma)
    }
    var found: [Double] = []
    let batch = try median(21, calls: 1) {
        try Black.impliedVolatilities(kinds, prices: prices, forward: 100, strikes: strikes, tau: 0.5, into: &found)
    }
    var sum = 0.0
    let scalar = try median(21, calls: 1) {
        for i in 0..<count {
            sum += try Black.impliedVolatility(kinds[i], price: prices[i], forward: 100, strike: strikes[i], tau: 0.5)
        }
    }
    var worst = 0.0
    for i in 0..<count {
        let again = try Black.price(kinds[i], forward: 100, strike: strikes[i], tau: 0.5, volatility: found[i])
        worst = max(worst, abs(again / prices[i] - 1))
    }
    print(
        "{\"batch\": \(batch / Double(count)), \"scalar\": \(scalar / Double(count)), \"roundTrip\": \(worst),"
            + " \"checksum\": \(sum), \"strikes\": \(json(strikes)), \"prices\": \(json(prices))}")
}

/// The kept quotes of a chain, as `vomma surface fit` has them; maturities in whole units of the peer's calendar.
func realQuotes(_ chain: OptionChain) throws -> [CalibrationQuote] {
    // compare.py's days, stretched: real.py explains.
    let unit = 1 / (365 * 64.0)
    var quotes: [CalibrationQuote] = []
    for smile in try SurfaceBuilder().build(chain).smiles {
        for (k, volatility) in zip(smile.quotedLogMoneyness, smile.quotedVolatility) {
            let tau = (smile.tau / unit).rounded() * unit
            quotes.append(.init(logMoneyness: k, tau: tau, impliedVolatility: volatility))
        }
    }
    return quotes
}

/// `real FILE COUNT`: COUNT snapshots of a file of option chains, evenly spaced in it (0: all), each calibrated to all
/// its quotes. A line of JSON each.
func real(_ arguments: [String]) throws {
    var chains: [OptionChain] = []
    _ = try ChainReader().forEach(.file(path: arguments[0]), span: nil) { chain in
        chains.append(chain)
        return true
    }
    let wanted = Int(arguments[1]) ?? 0
    let count = wanted > 0 ? min(wanted, chains.count) : chains.count
    let calibrator = try Calibrator()
    for i in 0..<count {
        let index = count > 1 ? i * (chains.count - 1) / (count - 1) : chains.count / 2
        let quotes = try realQuotes(chains[index])
        let before = DispatchTime.now().uptimeNanoseconds
        let found = try calibrator.calibrate(quotes)
        let time = Double(DispatchTime.now().uptimeNanoseconds - before)
        // What carries no information takes no part on either side.
        let fitted = zip(quotes, found.residuals).filter { $0.1.status == .fitted }.map(\.0)
        let fields = fitted.map { json([$0.logMoneyness, $0.tau, $0.impliedVolatility]) }
        print(
            "{\"snapshot\": \(index), \"snapshots\": \(chains.count), \"ns\": \(time),"
                + " \"rmse\": \(found.volatilityRootMeanSquare), \"parameters\": \(json(found.parameters.array)),"
                + " \"start\": \(found.start), \"iterations\": \(found.iterations),"
                + " \"quotes\": [\(fields.joined(separator: ","))]}")
    }
}

/// `error kappa theta sigma rho v0`, quotes k, tau, volatility on the lines of standard input: the root mean square of
/// model − market in volatility.
func error(_ arguments: [String]) throws {
    let heston = try HestonParameters(array: numbers(arguments[...]))
    var quotes: [CalibrationQuote] = []
    while let line = readLine() {
        let values = line.split(separator: " ").map { Double($0) ?? .nan }
        quotes.append(.init(logMoneyness: values[0], tau: values[1], impliedVolatility: values[2]))
    }
    var loss = try RepricingLoss(quotes, accuracy: .init(tolerance: 1e-10, maximumNodes: 1 << 17))
    let square = loss.evaluate(heston)?.meanSquare
    print("{\"rmse\": \(square.map { "\($0.squareRoot())" } ?? "null")}")
}

BLAS.adaptToProcessor()
BLAS.setThreadCount(1)
let arguments = Array(CommandLine.arguments.dropFirst())
switch arguments.first {
case "surface": try surface(arguments.dropFirst())
case "calibrate": try calibrate(Array(arguments.dropFirst()))
case "volatility": try volatility(Array(arguments.dropFirst()))
case "real": try real(Array(arguments.dropFirst()))
case "error": try error(Array(arguments.dropFirst()))
case "network": try network(Array(arguments.dropFirst()))
default:
    print("usage: heston-bench surface|calibrate|volatility|real|error|network … (see the scripts beside it)")
    exit(64)
}
