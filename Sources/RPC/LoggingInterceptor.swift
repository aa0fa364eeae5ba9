public import Logging

/// Who calls, by the name that an interceptor knows the caller under; absent where none does.
public enum CallerName: CallContextKey {
    public typealias Value = String
}

/// Logs each call at debug, and at warning those that end with a bug of this side: INTERNAL, UNKNOWN, DATA_LOSS.
///
/// Metadata is not logged, neither keys nor values: it may hold secrets. A status's message is: it is made for callers.
public struct ServerLogging: ServerInterceptor, ServerCallHooks {
    private let log: Logger
    /// The logger's, asked once.
    private let level: Logger.Level

    public init(_ log: Logger) {
        self.log = log
        level = log.logLevel
    }

    public func hooks(for method: MethodDescription) -> any ServerCallHooks { self }

    public func end(_ context: CallContext, _ status: RPCStatus, _ summary: CallSummary) {
        let level: Logger.Level =
            switch status.code {
            // Without a beginning it was not our code that failed, but something that does not speak gRPC.
            case .internal, .unknown, .dataLoss: summary.hasBegun ? .warning : .debug
            default: .debug
            }
        guard self.level <= level else { return }
        var metadata: Logger.Metadata = [
            "path": "\(context.path)", "status": "\(status.code)", "peer": "\(context.peer)",
            "milliseconds": "\(Double(summary.nanoseconds) / 1e6)", "requests": "\(summary.traffic.requestCount)",
            "responses": "\(summary.traffic.responseCount)",
        ]
        if !status.message.isEmpty { metadata["message"] = "\(status.message)" }
        if let caller = context[CallerName.self] { metadata["caller"] = "\(caller)" }
        if let trace = context.trace {
            metadata["trace"] = "\(trace.traceIDText)"
            metadata["span"] = "\(trace.spanIDText)"
        }
        log.log(level: level, "call ended", metadata: metadata)
    }
}
