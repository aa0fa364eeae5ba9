internal import Kernels
internal import MarketData

/// Time of day and of the week as points on circles, so that 23:59 lies beside 00:00. UTC.
struct ClockFace {
    private(set) var hourSine: Double?
    private(set) var hourCosine: Double?
    private(set) var weekdaySine: Double?
    private(set) var weekdayCosine: Double?

    mutating func turn(to time: Timestamp) {
        let day = (time - time.floored(to: .days(1))).seconds / 86_400
        // 1970-01-01 was a Thursday: three days after a Monday.
        let monday = (time + .days(3)).floored(to: .days(7))
        let week = (time + .days(3) - monday).seconds / (7 * 86_400)
        hourSine = sin(2 * .pi * day)
        hourCosine = cos(2 * .pi * day)
        weekdaySine = sin(2 * .pi * week)
        weekdayCosine = cos(2 * .pi * week)
    }
}
