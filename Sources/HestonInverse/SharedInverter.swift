internal import Heston
internal import Synchronization

/// A network for many threads: each question borrows an inverter, and makes one where all are out.
public final class SharedInverter: Sendable {
    private final class Box: @unchecked Sendable {
        var inverter: Inverter
        init(_ model: InverseModel) { inverter = Inverter(model) }
    }

    public let model: InverseModel
    private let idle = Mutex<[Box]>([])

    public init(_ model: InverseModel) { self.model = model }

    /// Lends an inverter to `body`.
    public func withInverter<R>(_ body: (inout Inverter) throws -> R) rethrows -> R {
        let box = idle.withLock { $0.popLast() } ?? Box(model)
        defer { idle.withLock { $0.append(box) } }
        return try body(&box.inverter)
    }

    /// The network's answer for one surface: volatilities on its grid, NaN where a cell is missing. Throws
    /// `tooFewCells`, `impossibleVolatility`, `calibration` where the pricer refuses the answer.
    public func answer(_ volatilities: [Double]) throws(InversionError) -> (answer: NetworkAnswer, error: Double) {
        try model.grid.check(volatilities)
        let answer = withInverter { inverter in
            inverter.invert(volatilities)
            return inverter.answer()
        }
        return (answer, try InverseModel.error(of: answer.parameters, model.grid.quotes(volatilities)))
    }
}
