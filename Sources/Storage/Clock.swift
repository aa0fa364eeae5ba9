public import MarketData
internal import Kernels

extension Timestamp {
    /// The wall clock. For stamps of latency and for the database's own business, never for data.
    public static var now: Timestamp {
        var time = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(microseconds: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000)
    }
}
