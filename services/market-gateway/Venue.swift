/// Where the parts of one market are stored: the exchange of its bars names the whole, and futures and options may
/// belong to others.
struct Venue {
    let spot: String
    let futures: String
    let options: String

    /// Binance's spot market goes with its futures and Deribit's options; everything else is one exchange.
    init(_ exchange: String) {
        spot = exchange
        futures = exchange == "binance" ? "binance_futures" : exchange
        options = exchange == "binance" ? "deribit" : exchange
    }
}
