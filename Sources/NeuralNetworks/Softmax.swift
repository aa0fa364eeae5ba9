internal import Kernels

/// The softmax of rows, and the loss that goes with it.
public enum Softmax {
    /// p = e^{x − max x}/Σ e^{x − max x} of each row of x [rows × columns]; the two may be one. An entry of −∞ gets 0,
    /// a row of nothing but −∞ NaN.
    @unsafe
    package static func forward(
        _ x: UnsafePointer<Float>, rows: Int, columns: Int, into p: UnsafeMutablePointer<Float>
    ) {
        for row in 0..<rows {
            let (x, p) = unsafe (x + row * columns, p + row * columns)
            var largest = unsafe x[0]
            for k in 1..<max(columns, 1) { largest = unsafe x[k] > largest ? x[k] : largest }
            for k in 0..<columns {
                // Below −87 the exponential stays where it is; nothing there counts beside the largest's 1.
                let d = unsafe x[k] - largest
                unsafe p[k] = d < -87 ? 0 : exponential(d)
            }
            var sum = 0.0
            for k in 0..<columns { sum += unsafe Double(p[k]) }
            let scale = Float(1 / sum)
            for k in 0..<columns { unsafe p[k] *= scale }
        }
    }

    /// Turns ∂loss/∂p in `gradient` into ∂loss/∂x = p·(∂loss/∂p − Σ p·∂loss/∂p).
    @unsafe
    package static func applyDerivative(
        outputs p: UnsafePointer<Float>, gradient: UnsafeMutablePointer<Float>, rows: Int, columns: Int
    ) {
        for row in 0..<rows {
            let (p, gradient) = unsafe (p + row * columns, gradient + row * columns)
            var sum = 0.0
            for k in 0..<columns { sum += unsafe Double(p[k]) * Double(gradient[k]) }
            let mean = Float(sum)
            for k in 0..<columns { unsafe gradient[k] = p[k] * (gradient[k] - mean) }
        }
    }

    /// The mean cross-entropy −ln p[target] of `rows` rows of logits [rows × classes], and its gradient by the logits.
    ///
    /// With class weights it is the mean weighted by the targets' classes, Σ w·loss/Σ w, as PyTorch's; they must not be
    /// negative, and those of the targets not all 0. Targets are class indices. Traps when a count does not fit or a
    /// target is no class.
    public static func crossEntropy(
        logits: [Float], targets: [Int], classes: Int, classWeights: [Float]? = nil, gradient: inout [Float]
    ) -> Float {
        let rows = targets.count
        precondition(classes > 0 && rows > 0, "a loss has a row and a class")
        precondition(logits.count == rows * classes && gradient.count == logits.count, "a number a row and class")
        precondition(classWeights.map { $0.count == classes } ?? true, "a weight a class")
        precondition(targets.allSatisfy { $0 >= 0 && $0 < classes }, "a target is a class")
        var (sum, total) = (0.0, 0.0)
        for target in targets { total += Double(classWeights?[target] ?? 1) }
        unsafe logits.withUnsafeBufferPointer { x in
            unsafe gradient.withUnsafeMutableBufferPointer { p in
                guard let x = x.baseAddress, let p = p.baseAddress else { return }
                unsafe forward(x, rows: rows, columns: classes, into: p)
                for (row, target) in targets.enumerated() {
                    let (x, p) = unsafe (x + row * classes, p + row * classes)
                    let weight = Float(Double(classWeights?[target] ?? 1) / total)
                    sum += unsafe Double(weight) * (logSumExp(x, classes) - Double(x[target]))
                    for k in 0..<classes { unsafe p[k] = weight * (p[k] - (k == target ? 1 : 0)) }
                }
            }
        }
        return Float(sum)
    }

    /// ln Σ e^x, which neither overflows nor loses a large loss to an underflow.
    @unsafe
    private static func logSumExp(_ x: UnsafePointer<Float>, _ count: Int) -> Double {
        var largest = unsafe x[0]
        for k in 1..<max(count, 1) { largest = unsafe max(largest, x[k]) }
        var sum = 0.0
        for k in 0..<count { sum += unsafe exp(Double(x[k]) - Double(largest)) }
        return Double(largest) + log(sum)
    }
}
