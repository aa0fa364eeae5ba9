/// Pooling along time: of each channel, the largest or the mean of `width` neighbours. Sequences are [length ×
/// channels], channels last; no padding: what does not fill a window at the end is left out, as PyTorch does.
public struct Pooling1D: Sendable, Equatable {
    /// Numbers in a window, and the distance from one window to the next; both positive.
    public let width: Int
    public let stride: Int

    /// `stride` is `width` unless stated.
    public init(width: Int, stride: Int? = nil) {
        precondition(width > 0 && (stride ?? 1) > 0, "a window has a width and moves on")
        self.width = width
        self.stride = stride ?? width
    }

    /// Windows in a sequence of `length` ≥ `width`.
    public func outputLength(_ length: Int) -> Int { (length - width) / stride + 1 }

    /// The largest of each window: y [rows × outputLength × channels] from x [rows × length × channels]. `places`, as
    /// many as y, keeps where in its sequence each stood: of equals the first. NaN is larger than any number.
    @unsafe
    package func maximum(
        _ x: UnsafePointer<Float>, rows: Int, length: Int, channels: Int, places: UnsafeMutablePointer<Int32>,
        into y: UnsafeMutablePointer<Float>
    ) {
        let outputs = outputLength(length)
        for row in 0..<rows {
            for output in 0..<outputs {
                let here = (row * outputs + output) * channels
                for channel in 0..<channels {
                    var place = output * stride
                    var largest = unsafe x[(row * length + place) * channels + channel]
                    for t in output * stride + 1..<output * stride + width where !largest.isNaN {
                        let value = unsafe x[(row * length + t) * channels + channel]
                        if !(value <= largest) { (largest, place) = (value, t) }
                    }
                    unsafe y[here + channel] = largest
                    unsafe places[here + channel] = Int32(place)
                }
            }
        }
    }

    /// Writes ∂loss/∂x of `maximum`, from ∂loss/∂y: all of it goes to where the largest stood.
    @unsafe
    package func maximumGradient(
        outputGradient: UnsafePointer<Float>, rows: Int, length: Int, channels: Int, places: UnsafePointer<Int32>,
        into dx: UnsafeMutablePointer<Float>
    ) {
        let outputs = outputLength(length)
        unsafe dx.update(repeating: 0, count: rows * length * channels)
        for row in 0..<rows {
            for output in 0..<outputs {
                let here = (row * outputs + output) * channels
                for channel in 0..<channels {
                    let place = unsafe Int(places[here + channel])
                    unsafe dx[(row * length + place) * channels + channel] += outputGradient[here + channel]
                }
            }
        }
    }

    /// The mean of each window: y [rows × outputLength × channels] from x [rows × length × channels].
    @unsafe
    package func average(
        _ x: UnsafePointer<Float>, rows: Int, length: Int, channels: Int, into y: UnsafeMutablePointer<Float>
    ) {
        let (outputs, scale) = (outputLength(length), 1 / Float(width))
        for row in 0..<rows {
            for output in 0..<outputs {
                let target = unsafe y + (row * outputs + output) * channels
                unsafe target.update(repeating: 0, count: channels)
                for t in output * stride..<output * stride + width {
                    let source = unsafe x + (row * length + t) * channels
                    for channel in 0..<channels { unsafe target[channel] += source[channel] * scale }
                }
            }
        }
    }

    /// Writes ∂loss/∂x of `average`, from ∂loss/∂y.
    @unsafe
    package func averageGradient(
        outputGradient: UnsafePointer<Float>, rows: Int, length: Int, channels: Int,
        into dx: UnsafeMutablePointer<Float>
    ) {
        let (outputs, scale) = (outputLength(length), 1 / Float(width))
        unsafe dx.update(repeating: 0, count: rows * length * channels)
        for row in 0..<rows {
            for output in 0..<outputs {
                let source = unsafe outputGradient + (row * outputs + output) * channels
                for t in output * stride..<output * stride + width {
                    let target = unsafe dx + (row * length + t) * channels
                    for channel in 0..<channels { unsafe target[channel] += source[channel] * scale }
                }
            }
        }
    }
}
