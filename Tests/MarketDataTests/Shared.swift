import Kernels
import MarketData

/// The recorded data that lies beside the checkout, where it does.
enum Shared {
    static let data: String? = {
        let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let path = "/\(root)/../shared/data"
        return unsafe access("\(path)/binance_spot", R_OK) == 0 ? path : nil
    }()
}

extension RowSource {
    /// A file's text given in the test.
    static func text(_ text: String) -> RowSource { .bytes(Array(text.utf8)) }
}

/// `YYYY-MM-DD…` that the test knows to be right.
func at(_ text: String) -> Timestamp { Timestamp(text) ?? Timestamp(microseconds: .min) }
