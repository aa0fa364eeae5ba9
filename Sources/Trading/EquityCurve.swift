internal import MarketData

/// The account at each close of a run, as a collection of `EquityPoint`s in 24 bytes a point: times and prices are the
/// series' own, cash and position change with fills alone, and the rest follows from them.
public struct EquityCurve: RandomAccessCollection, Sendable {
    /// What is kept of each close.
    struct Point: Sendable {
        var equity: Double
        /// The highest equity so far.
        var peak: Double
        /// Of `pages`: the account since its last fill.
        var page: Int
    }

    /// What only a fill or a settlement changes.
    struct Page: Sendable {
        var cash: Amount
        var position: Quantity
        var realised: Amount
        var fees: Amount
    }

    let series: MarketSeries
    /// The row of the first point.
    let firstRow: Int
    var points: [Point] = []
    var pages: [Page] = []

    init(_ series: MarketSeries, rows: Range<Int>) {
        self.series = series
        firstRow = rows.lowerBound
        points.reserveCapacity(rows.count)
    }

    public var startIndex: Int { 0 }
    public var endIndex: Int { points.count }

    public subscript(position: Int) -> EquityPoint {
        let (bar, point) = (series.bars[firstRow + position], points[position])
        let page = pages[point.page]
        return EquityPoint(
            time: bar.closeTime, symbol: series.symbol, cash: page.cash, position: page.position, price: bar.close,
            equity: point.equity, leverage: leverage(at: position),
            drawdown: point.peak > 0 ? 1 - point.equity / point.peak : 0, realised: page.realised, fees: page.fees)
    }

    /// Each point's equity, in the quote currency. O(count), allocates.
    public var equity: [Double] { points.map(\.equity) }
    /// Each point's |position|·price over equity. O(count), allocates.
    public var leverages: [Double] { indices.map { leverage(at: $0) } }

    private func leverage(at index: Int) -> Double {
        let point = points[index]
        let held = pages[point.page].position.magnitude.double * series.bars[firstRow + index].close
        return point.equity > 0 ? held / point.equity : 0
    }
}
