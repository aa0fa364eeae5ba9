internal import ArgumentParser
internal import Features
internal import MarketData

/// A CSV of fills: time_ms, quantity (negative: sold), price, fee, and perhaps decided_ms, in the order of time.
struct FillFile {
    let executions: [Execution]

    /// Throws `ValidationError` with the fill that is wrong: of an account's fills none may be left out.
    init(path: String) throws {
        let table = try NumericTable(.file(path: path))
        if let issue = table.report.issues.first { throw ValidationError("\(path), \(issue)") }
        func column(_ name: String) throws -> [Double] {
            guard let values = table[name] else {
                throw ValidationError("\(path) has no column \(name): fills have time_ms, quantity, price and fee")
            }
            return values
        }
        let (times, quantities) = (try column("time_ms"), try column("quantity"))
        let (prices, fees) = (try column("price"), try column("fee"))
        let decided = table["decided_ms"]
        var executions: [Execution] = []
        for (index, stamp) in times.enumerated() {
            func fault(_ what: String) -> ValidationError { ValidationError("\(path), fill \(index + 1): \(what)") }
            guard let time = Self.time(stamp) else { throw fault("time_ms is missing or no time") }
            if let last = executions.last, time < last.time { throw fault("it is earlier than the one before") }
            guard quantities[index].isFinite, quantities[index] != 0 else { throw fault("quantity is missing or 0") }
            guard prices[index] > 0, prices[index].isFinite else { throw fault("price is missing or not positive") }
            guard fees[index].isFinite else { throw fault("fee is missing") }
            // An empty field: when it was decided is not known.
            let decision = decided.map { $0[index] }.flatMap { $0.isNaN ? nil : $0 }
            let decidedAt = decision.flatMap(Self.time)
            guard decision == nil || decidedAt != nil else { throw fault("decided_ms is no time") }
            executions.append(
                Execution(
                    time: time, signedQuantity: quantities[index], price: prices[index], fee: fees[index],
                    decidedAt: decidedAt))
        }
        self.executions = executions
    }

    private static func time(_ milliseconds: Double) -> Timestamp? {
        guard abs(milliseconds) < 1e14, milliseconds == milliseconds.rounded() else { return nil }
        return Timestamp(milliseconds: Int64(milliseconds))
    }
}
