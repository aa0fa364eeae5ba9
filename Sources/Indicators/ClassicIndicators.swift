public import MarketData

/// The eleven classic indicators of one market, brought forward together: one bar in, all values out.
///
/// Each is read from its machine, and is what the machine alone would say, bit for bit; together they share the typical
/// price and the true range, and their chains of dependent operations run beside each other.
public struct ClassicIndicators: Restorable {
    public struct Periods: Sendable, Equatable {
        public var rsi = 14
        public var ema = 20
        public var sma = 50
        public var bollinger = 20
        public var atr = 14
        public var adx = 14
        public var stochastic = 14
        public var cci = 20
        public var mfi = 14

        public init() {}
    }

    /// As of the newest bar; `nil` in the indicator's warm-up. Units as the machines'.
    public struct Values: Sendable, Equatable {
        public var rsi: Double?
        public var macd: MovingAverageConvergenceDivergence.Value?
        public var ema: Double?
        public var sma: Double?
        public var bollinger: BollingerBands.Value?
        public var atr: Double?
        public var adx: Double?
        public var stochastic: StochasticOscillator.Value?
        public var obv: Double?
        public var cci: Double?
        public var mfi: Double?

        public init() {}
    }

    public private(set) var values = Values()
    private var rsi: RelativeStrengthIndex
    private var macd = MovingAverageConvergenceDivergence()
    private var ema: ExponentialMovingAverage
    private var sma: SimpleMovingAverage
    private var bollinger: BollingerBands
    private var atr: AverageTrueRange
    private var adx: AverageDirectionalIndex
    private var stochastic: StochasticOscillator
    private var obv = OnBalanceVolume()
    private var cci: CommodityChannelIndex
    private var mfi: MoneyFlowIndex
    private var previousClose = Double.nan

    public init(_ periods: Periods = Periods()) {
        rsi = RelativeStrengthIndex(periods.rsi)
        ema = ExponentialMovingAverage(periods.ema)
        sma = SimpleMovingAverage(periods.sma)
        bollinger = BollingerBands(periods.bollinger)
        atr = AverageTrueRange(periods.atr)
        adx = AverageDirectionalIndex(periods.adx)
        stochastic = StochasticOscillator(periods.stochastic)
        cci = CommodityChannelIndex(periods.cci)
        mfi = MoneyFlowIndex(periods.mfi)
    }

    /// Bars before all have a value.
    public var warmUp: Int {
        [
            rsi.warmUp, macd.warmUp, ema.warmUp, sma.warmUp, bollinger.warmUp, atr.warmUp, adx.warmUp,
            stochastic.warmUp, cci.warmUp, mfi.warmUp,
        ].reduce(0, max)
    }

    public var isWarm: Bool {
        mutating get {
            rsi.isWarm && macd.isWarm && ema.isWarm && sma.isWarm && bollinger.isWarm && atr.isWarm && adx.isWarm
                && stochastic.isWarm && cci.isWarm && mfi.isWarm
        }
    }

    /// Nothing moved within memory: the index is TA-Lib's 0, and says nothing.
    public var isRSIFlat: Bool { mutating get { rsi.isFlat } }
    public var isStochasticFlat: Bool { mutating get { stochastic.isFlat } }
    public var isMFIFlat: Bool { mutating get { mfi.isFlat } }

    public mutating func update(_ bar: Bar) {
        let typical = bar.typicalPrice
        let range = bar.trueRange(after: previousClose)
        previousClose = bar.close
        values.cci = cci.update(typicalPrice: typical)
        values.rsi = rsi.update(bar.close)
        values.macd = macd.update(bar.close)
        values.ema = ema.update(bar.close)
        values.sma = sma.update(bar.close)
        values.bollinger = bollinger.update(bar.close)
        values.atr = atr.update(trueRange: range)
        values.adx = adx.update(reach: bar.reach, trueRange: range)
        values.stochastic = stochastic.update(bar)
        values.obv = obv.update(bar)
        values.mfi = mfi.update(typicalPrice: typical, volume: bar.volume)
    }

    public func save(to writer: inout StateWriter) {
        rsi.save(to: &writer)
        macd.save(to: &writer)
        ema.save(to: &writer)
        sma.save(to: &writer)
        bollinger.save(to: &writer)
        atr.save(to: &writer)
        adx.save(to: &writer)
        stochastic.save(to: &writer)
        obv.save(to: &writer)
        cci.save(to: &writer)
        mfi.save(to: &writer)
        writer.write(previousClose)
    }

    /// The values are those of the next bar: they are not part of the state.
    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try rsi.restore(from: &reader)
        try macd.restore(from: &reader)
        try ema.restore(from: &reader)
        try sma.restore(from: &reader)
        try bollinger.restore(from: &reader)
        try atr.restore(from: &reader)
        try adx.restore(from: &reader)
        try stochastic.restore(from: &reader)
        try obv.restore(from: &reader)
        try cci.restore(from: &reader)
        try mfi.restore(from: &reader)
        previousClose = try reader.readDouble()
        values = Values()
    }
}
