public import Kernels

/// What a curve's returns could have been: percentiles over resampled histories.
public struct BootstrapResult: Sendable, Equatable {
    /// A percentile interval and its middle.
    public struct Interval: Sendable, Equatable {
        public var low: Double
        public var median: Double
        public var high: Double
    }

    public var sampleCount: Int
    public var meanBlockLength: Double
    /// Share of the samples whose total return is above 0.
    public var probabilityOfProfit: Double
    public var totalReturn: Interval
    /// Of one interval, not annualised; `nil` when some sample has no variance.
    public var sharpe: Interval?
    public var maxDrawdown: Interval
}

/// Whether a result could be luck.
public enum Significance {
    /// Stationary block bootstrap (Politis, Romano 1994): histories of the same length made of blocks of the real one
    /// that start anywhere, wrap around, and have geometric lengths, so that what hangs together in time stays so.
    ///
    /// `returns` are one interval's simple returns, above −1 each (a lost account has no log return: those are counted
    /// as −1 + 1e-12). `meanBlockLength` defaults to n^{1/3}, the order that minimises the variance's error; at least
    /// 1. `confidence` in (0, 1). O(samples × returns). Traps on an empty array, and on arguments out of range.
    public static func bootstrap(
        returns: [Double], samples: Int = 1000, meanBlockLength: Double? = nil, confidence: Double = 0.95,
        random: inout RandomGenerator
    ) -> BootstrapResult {
        precondition(!returns.isEmpty && samples >= 1, "nothing to resample")
        precondition(confidence > 0 && confidence < 1, "confidence in (0, 1)")
        let count = returns.count
        let blockLength = max(1, meanBlockLength ?? cbrt(Double(count)))
        let logs = returns.map { log1p(max($0, -1 + 1e-12)) }
        var totals: [Double] = []
        var sharpes: [Double] = []
        var drawdowns: [Double] = []
        totals.reserveCapacity(samples)
        sharpes.reserveCapacity(samples)
        drawdowns.reserveCapacity(samples)
        for _ in 0..<samples {
            var (sum, squares, total, peak, trough) = (0.0, 0.0, 0.0, 0.0, 0.0)
            var index = 0
            var left = 0
            for _ in 0..<count {
                if left == 0 {
                    index = random.index(below: count)
                    left = geometric(mean: blockLength, &random)
                }
                sum += returns[index]
                squares += returns[index] * returns[index]
                total += logs[index]
                peak = max(peak, total)
                trough = min(trough, total - peak)
                left -= 1
                index = index + 1 == count ? 0 : index + 1
            }
            totals.append(expm1(total))
            drawdowns.append(-expm1(trough))
            let mean = sum / Double(count)
            let variance = (squares - sum * mean) / Double(max(1, count - 1))
            if variance > 1e-24 { sharpes.append(mean / variance.squareRoot()) }
        }
        let profits = totals.count { $0 > 0 }
        return BootstrapResult(
            sampleCount: samples, meanBlockLength: blockLength,
            probabilityOfProfit: Double(profits) / Double(samples), totalReturn: interval(totals, confidence),
            sharpe: sharpes.count == samples ? interval(sharpes, confidence) : nil,
            maxDrawdown: interval(drawdowns, confidence))
    }

    /// The probability that the true Sharpe ratio is above what the best of `trials` worthless strategies would show:
    /// the deflated Sharpe ratio (Bailey, López de Prado 2014, "The Deflated Sharpe Ratio", eq. 2 and its threshold).
    ///
    ///     DSR = Φ( (SR − SR₀)·√(n − 1) / √(1 − γ₃·SR + (γ₄ − 1)/4·SR²) )
    ///     SR₀ = √V·( (1 − γ)·Φ⁻¹(1 − 1/N) + γ·Φ⁻¹(1 − 1/(N·e)) ),  γ = 0.5772… (Euler–Mascheroni)
    ///
    /// SR, n, skewness γ₃ and kurtosis γ₄ (3 for a normal) are those of `returns`, of one interval; N is `trials`, all
    /// that were tried, failed and discarded ones too; V is the variance of the trials' Sharpe ratios (one interval),
    /// by default 1/(n − 1), what worthless strategies with independent returns have. One trial has SR₀ = 0: then it
    /// is the probabilistic Sharpe ratio. `nil` for fewer than three returns, or without variance.
    public static func deflatedSharpe(
        returns: [Double], trials: Int, trialSharpeVariance: Double? = nil
    ) -> Double? {
        precondition(trials >= 1 && trialSharpeVariance.map { $0 >= 0 } != false, "trials count from 1")
        guard returns.count >= 3, let sharpe = PerformanceStatistics.sharpe(returns) else { return nil }
        let n = Double(returns.count)
        let mean = returns.reduce(0, +) / n
        var (m2, m3, m4) = (0.0, 0.0, 0.0)
        for value in returns {
            let d = value - mean
            m2 += d * d / n
            m3 += d * d * d / n
            m4 += d * d * d * d / n
        }
        let skewness = m3 / (m2 * m2.squareRoot())
        let kurtosis = m4 / (m2 * m2)
        let threshold = expectedMaximumSharpe(trials: trials, variance: trialSharpeVariance ?? 1 / (n - 1))
        let spread = 1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe * sharpe
        guard spread > 0 else { return nil }
        return normalDistribution((sharpe - threshold) * (n - 1).squareRoot() / spread.squareRoot())
    }

    /// SR₀ above: the Sharpe ratio that the best of `trials` worthless strategies is expected to show.
    public static func expectedMaximumSharpe(trials: Int, variance: Double) -> Double {
        guard trials > 1 else { return 0 }
        let gamma = 0.577_215_664_901_532_9
        let n = Double(trials)
        return variance.squareRoot()
            * ((1 - gamma) * normalQuantile(1 - 1 / n) + gamma * normalQuantile(1 - 1 / (n * exp(1))))
    }

    /// Φ, by erfc: full relative precision in the lower tail.
    public static func normalDistribution(_ x: Double) -> Double { 0.5 * erfc(-x * 0.5.squareRoot()) }

    /// Φ⁻¹ on (0, 1), ±∞ at the ends, NaN outside. Wichura 1988, algorithm AS 241 (PPND16), relative error below 1e-15.
    public static func normalQuantile(_ p: Double) -> Double {
        func ratio(_ x: Double, _ a: [Double], _ b: [Double]) -> Double {
            a.reversed().reduce(0) { $0 * x + $1 } / b.reversed().reduce(0) { $0 * x + $1 }
        }
        guard p > 0, p < 1 else { return p == 0 ? -.infinity : p == 1 ? .infinity : .nan }
        let q = p - 0.5
        if abs(q) <= 0.425 { return q * ratio(0.180625 - q * q, Self.centralA, Self.centralB) }
        let r = (-log(min(p, 1 - p))).squareRoot()
        let value = r <= 5 ? ratio(r - 1.6, Self.middleA, Self.middleB) : ratio(r - 5, Self.tailA, Self.tailB)
        return q < 0 ? -value : value
    }

    /// The number of trials until the first success with probability 1/mean, at least 1.
    private static func geometric(mean: Double, _ random: inout RandomGenerator) -> Int {
        guard mean > 1 else { return 1 }
        return 1 + Int(min(1e9, log1p(-random.uniform()) / log1p(-1 / mean)))
    }

    private static func interval(_ values: [Double], _ confidence: Double) -> BootstrapResult.Interval {
        let sorted = values.sorted()
        // Linear between order statistics, numpy's default.
        func percentile(_ p: Double) -> Double {
            let position = p * Double(sorted.count - 1)
            let below = Int(position)
            let above = min(below + 1, sorted.count - 1)
            return sorted[below] + (sorted[above] - sorted[below]) * (position - Double(below))
        }
        let tail = (1 - confidence) / 2
        return .init(low: percentile(tail), median: percentile(0.5), high: percentile(1 - tail))
    }

    // AS 241's coefficients, lowest power first.
    private static let centralA = [
        3.387_132_872_796_366_608_0, 133.141_667_891_784_377_45, 1971.590_950_306_551_442_7,
        13731.693_765_509_461_125, 45921.953_931_549_871_457, 67265.770_927_008_700_853,
        33430.575_583_588_128_105, 2509.080_928_730_122_672_7,
    ]
    private static let centralB = [
        1.0, 42.313_330_701_600_911_252, 687.187_007_492_057_908_3, 5394.196_021_424_751_107_7,
        21213.794_301_586_595_867, 39307.895_800_092_710_610, 28729.085_735_721_942_674, 5226.495_278_852_854_561_0,
    ]
    private static let middleA = [
        1.423_437_110_749_683_577_34, 4.630_337_846_156_545_295_90, 5.769_497_221_460_691_405_50,
        3.647_848_324_763_204_605_04, 1.270_458_252_452_368_382_58, 0.241_780_725_177_450_611_770,
        0.022_723_844_989_269_184_583_3, 7.745_450_142_783_414_076_40e-4,
    ]
    private static let middleB = [
        1.0, 2.053_191_626_637_758_821_87, 1.676_384_830_183_803_849_40, 0.689_767_334_985_100_004_550,
        0.148_103_976_427_480_074_590, 0.015_198_666_563_616_457_196_6, 5.475_938_084_995_344_946_00e-4,
        1.050_750_071_644_416_843_24e-9,
    ]
    private static let tailA = [
        6.657_904_643_501_103_777_20, 5.463_784_911_164_114_369_90, 1.784_826_539_917_291_335_80,
        0.296_560_571_828_504_891_230, 0.026_532_189_526_576_123_093_0, 1.242_660_947_388_078_438_60e-3,
        2.711_555_568_743_487_578_15e-5, 2.010_334_399_292_288_132_65e-7,
    ]
    private static let tailB = [
        1.0, 0.599_832_206_555_887_937_690, 0.136_929_880_922_735_805_310, 0.014_875_361_290_850_615_025_0,
        7.868_691_311_456_132_591_00e-4, 1.846_318_317_510_054_681_80e-5, 1.421_511_758_316_445_888_70e-7,
        2.044_263_103_389_939_785_64e-15,
    ]
}
