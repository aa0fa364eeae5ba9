private import Synchronization

/// A place in a distributed trace, as the W3C's `traceparent` header carries it
/// (https://www.w3.org/TR/trace-context/): which request of the outside world this work belongs to, and which call.
public struct TraceContext: Sendable, Hashable {
    /// The trace's 16 bytes, big-endian; not both zero.
    public let traceID: (high: UInt64, low: UInt64)
    /// The call's own id within the trace; not zero.
    public let spanID: UInt64
    /// Bit 0: the caller records this trace.
    public let flags: UInt8
    /// The vendors' `tracestate`, passed on as it came.
    public let state: String?

    init(traceID: (high: UInt64, low: UInt64), spanID: UInt64, flags: UInt8, state: String? = nil) {
        self.traceID = traceID
        self.spanID = spanID
        self.flags = flags
        self.state = state
    }

    /// A new trace, recorded by nobody yet.
    public static func root() -> TraceContext {
        let traceID = (IdentifierSource.next(), IdentifierSource.next())
        return TraceContext(traceID: traceID, spanID: IdentifierSource.next(), flags: 0)
    }

    /// A call within this one.
    public func child() -> TraceContext {
        TraceContext(traceID: traceID, spanID: IdentifierSource.next(), flags: flags, state: state)
    }

    /// Reads a `traceparent`; `nil` for one that the standard says to ignore. Later versions are read as version 0,
    /// as it demands.
    public init?(traceparent text: String, state: String? = nil) {
        self.init(traceparent: text.utf8.span, state: state)
    }

    init?(traceparent text: Span<UInt8>, state: String?) {
        // 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
        let longest = 55
        guard text.count >= longest, text[2] == 0x2D, text[35] == 0x2D, text[52] == 0x2D else { return nil }
        let bytes = unsafe text.bytes
        guard let version = Self.number(text[0], text[1]), version != 0xFF,
            let high = Self.number(bytes, at: 3), let low = Self.number(bytes, at: 19), high | low != 0,
            let span = Self.number(bytes, at: 36), span != 0, let flags = Self.number(text[53], text[54])
        else { return nil }
        // Version 0 ends here; a later one may go on after a dash.
        guard text.count == longest || (version > 0 && text[longest] == 0x2D) else { return nil }
        self.init(traceID: (high, low), spanID: span, flags: version == 0 ? flags : flags & 1, state: state)
    }

    /// 16 hexadecimal digits; lower case only, the standard says so.
    private static func number(_ bytes: RawSpan, at offset: Int) -> UInt64? {
        let high = eight(unsafe bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self))
        let low = eight(unsafe bytes.unsafeLoadUnaligned(fromByteOffset: offset + 8, as: UInt64.self))
        guard let high, let low else { return nil }
        return high << 32 | low
    }

    private static func number(_ first: UInt8, _ second: UInt8) -> UInt8? {
        // Between two runs of zeros the eight digits are these two.
        eight(0x3030_3030_3030 | UInt64(first) << 48 | UInt64(second) << 56).map { UInt8($0) }
    }

    /// Eight digits at once, the first one in the lowest byte.
    @inline(__always)
    private static func eight(_ digits: UInt64) -> UInt64? {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let tops = ones << 7
        // The top bit of each byte that is at least so much; of none that is beyond ASCII.
        func atLeast(_ bound: UInt64) -> UInt64 { (digits | tops) - bound * ones }
        let isLetter = atLeast(0x61) & ~atLeast(0x67) & tops
        let isNumber = atLeast(0x30) & ~atLeast(0x3A) & tops
        guard digits & tops == 0, isLetter | isNumber == tops else { return nil }
        // 0-9 are their low four bits, a-f those and 9.
        let nibbles = (digits & (0x0F * ones)) + 9 * (isLetter >> 7)
        let pairs = (nibbles << 4 | nibbles >> 8) & 0x00FF_00FF_00FF_00FF
        let fours = (pairs << 8 | pairs >> 16) & 0x0000_FFFF_0000_FFFF
        return (fours << 16 | fours >> 32) & 0xFFFF_FFFF
    }

    /// The `traceparent` that tells a server about this call.
    public var traceparent: String {
        "00-\(traceIDText)-\(Self.hex(spanID))-\(Self.hex(UInt64(flags)).suffix(2))"
    }

    /// 32 hexadecimal digits, as logs show them.
    public var traceIDText: String { Self.hex(traceID.high) + Self.hex(traceID.low) }
    /// 16 hexadecimal digits.
    public var spanIDText: String { Self.hex(spanID) }

    private static func hex(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    public static func == (left: TraceContext, right: TraceContext) -> Bool {
        left.traceID == right.traceID && left.spanID == right.spanID && left.flags == right.flags
            && left.state == right.state
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(traceID.high)
        hasher.combine(traceID.low)
        hasher.combine(spanID)
    }
}

/// Identifiers that do not repeat. They are no secrets, so that one addition and a mix (SplitMix64 from a random
/// start) do: the system's generator would cost a system call each.
private enum IdentifierSource {
    private static let state = Atomic(UInt64.random(in: .min ... .max))

    /// Never zero.
    static func next() -> UInt64 {
        var value = state.wrappingAdd(0x9E37_79B9_7F4A_7C15, ordering: .relaxed).newValue
        value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
        value ^= value >> 31
        return value == 0 ? 1 : value
    }
}

/// Puts each call into the trace that its caller names, or into a new one.
///
/// The handler finds it in its context; logs show it; client calls made from the handler's task carry it on, if their
/// channel has a `ClientTracing`.
public struct ServerTracing: ServerInterceptor, ServerCallHooks {
    /// Longer `tracestate`s are dropped, as the standard allows.
    private static let longestState = 512

    public init() {}

    public func hooks(for method: MethodDescription) -> any ServerCallHooks { self }

    public func begin(_ context: inout CallContext) -> RPCStatus? {
        let metadata = context.metadata
        let caller = metadata.withText("traceparent") { text in
            let state = metadata.withText("tracestate") { state in
                guard state.count <= Self.longestState else { return String?.none }
                return unsafe state.withUnsafeBufferPointer { unsafe String(decoding: $0, as: UTF8.self) }
            }
            return TraceContext(traceparent: text, state: state ?? nil)
        }
        context.trace = caller??.child() ?? .root()
        return nil
    }
}

/// Tells servers which trace their calls belong to: that of the call being handled by the calling task, else a new one.
public struct ClientTracing: ClientInterceptor, ClientCallHooks {
    public init() {}

    public func hooks(for path: String) -> any ClientCallHooks { self }

    public func begin(_ call: inout OutgoingCall) -> RPCStatus? {
        // The caller's own header stands.
        guard call.metadata["traceparent"] == nil else { return nil }
        let trace = call.trace?.child() ?? .root()
        call.metadata.appendReceived("traceparent", trace.traceparent)
        if let state = trace.state { call.metadata.appendReceived("tracestate", state) }
        return nil
    }
}
