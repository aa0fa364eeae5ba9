internal import Glibc
internal import Reports

/// What a person at the terminal sees while the work goes on: one line a step, with a bar while it grows. Where the
/// output is no terminal, only the finished lines are written.
final class Terminal {
    private let isInteractive = isatty(2) == 1
    private var current = ""
    private var started = ContinuousClock.now
    private var lastDraw = ContinuousClock.now - .seconds(1)

    /// Begins a step.
    func begin(_ title: String) {
        current = title
        started = .now
        draw("\(title) …")
    }

    /// Shows how far the step is, 0 … 1, with a remark; at most ten times a second.
    func update(_ fraction: Double, _ remark: String) {
        guard isInteractive, ContinuousClock.now - lastDraw > .milliseconds(100) else { return }
        let width = 24
        let filled = Int((min(max(fraction, 0), 1) * Double(width)).rounded())
        let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: width - filled)
        let elapsed = (ContinuousClock.now - started).seconds
        let left = fraction > 0.02 ? "  \((elapsed / fraction - elapsed).shown(0)) s left" : ""
        draw("\(current.padded(28)) \(bar) \((fraction * 100).shown(0).padded(3, right: true)) %\(left)  \(remark)")
    }

    /// Ends the step with its result.
    func finish(_ result: String) {
        let elapsed = (ContinuousClock.now - started).seconds.shown(1)
        clear()
        write("✓ \(current.padded(28)) \(result)  (\(elapsed) s)\n")
    }

    func note(_ text: String) {
        clear()
        write(text + "\n")
    }

    private func draw(_ text: String) {
        guard isInteractive else { return }
        clear()
        write(String(text.prefix(118)))
        lastDraw = .now
    }

    private func clear() { if isInteractive { write("\r\u{1B}[K") } }

    private func write(_ text: String) {
        var text = text
        text.withUTF8 { bytes in _ = unsafe Glibc.write(2, bytes.baseAddress, bytes.count) }
    }
}

extension Duration {
    var seconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
