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
        // 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
        var bytes = text.utf8.makeIterator()
        func hex(_ digitCount: Int) -> UInt64? {
            var value: UInt64 = 0
            for _ in 0..<digitCount {
                switch bytes.next() {
                case .some(let byte) where byte >= 0x30 && byte <= 0x39: value = value << 4 | UInt64(byte - 0x30)
                // Lower case only: the standard says so.
                case .some(let byte) where byte >= 0x61 && byte <= 0x66: value = value << 4 | UInt64(byte - 0x57)
                default: return nil
                }
            }
            return value
        }
        func dash() -> Bool { bytes.next() == 0x2D }
        guard let version = hex(2), version != 0xFF, dash(), let high = hex(16), let low = hex(16), high | low != 0,
            dash(), let span = hex(16), span != 0, dash(), let flags = hex(2)
        else { return nil }
        // Version 0 ends here; a later one may go on after a dash.
        let next = bytes.next()
        guard next == nil || (version > 0 && next == 0x2D) else { return nil }
        self.init(
            traceID: (high, low), spanID: span, flags: UInt8(truncatingIfNeeded: version == 0 ? flags : flags & 1),
            state: state)
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
        guard let text = context.metadata["traceparent"] else {
            context.trace = .root()
            return nil
        }
        let state = context.metadata["tracestate"].flatMap { $0.utf8.count <= Self.longestState ? $0 : nil }
        context.trace = TraceContext(traceparent: text, state: state)?.child() ?? .root()
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
