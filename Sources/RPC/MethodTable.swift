private import Glibc

/// A method as a server has it: with its path's bytes, and what the interceptors do for it.
final class ServedMethod: Sendable {
    let path: String
    let kind: RPCMethod.Kind
    let execution: HandlerExecution?
    let handler: RPCMethod.Handler
    /// What each interceptor does at a call's beginning and meanwhile. As functions: to call one of those costs less
    /// than to take a copy of an interceptor out of a list.
    let begin: [@Sendable (inout CallContext) -> RPCStatus?]
    let progress: [@Sendable (CallTraffic) -> Void]
    /// What they do at its end, in reverse: the first of them, the first two, and so on up to all.
    let end: [@Sendable (CallContext, RPCStatus, CallSummary) -> Void]
    private let pathBytes: [UInt8]

    init(_ method: RPCMethod, hooks: [any ServerCallHooks]) {
        path = method.path
        kind = method.kind
        execution = method.execution
        handler = method.handler
        begin = hooks.map { hook in { hook.begin(&$0) } }
        progress = hooks.map { hook in { hook.progress($0) } }
        var end: [@Sendable (CallContext, RPCStatus, CallSummary) -> Void] = []
        for hook in hooks {
            guard let earlier = end.last else {
                end.append { hook.end($0, $1, $2) }
                continue
            }
            end.append { context, status, summary in
                hook.end(context, status, summary)
                earlier(context, status, summary)
            }
        }
        self.end = end
        pathBytes = Array(method.path.utf8)
    }

    func hasPath(_ path: ArraySlice<UInt8>) -> Bool {
        guard path.count == pathBytes.count else { return false }
        return unsafe path.withUnsafeBytes { path in
            unsafe pathBytes.withUnsafeBytes { own in
                guard let path = path.baseAddress, let base = own.baseAddress else { return true }
                return unsafe memcmp(path, base, own.count) == 0
            }
        }
    }
}

/// The methods by path. Looked up by bytes, without making a string for each call.
struct MethodTable: Sendable {
    private var buckets: [UInt64: [ServedMethod]] = [:]

    /// Stands for what is no method of ours; its handler never runs.
    let unknown: ServedMethod

    init(_ services: [any RPCService], _ interceptors: [any ServerInterceptor] = []) throws(RPCError) {
        let nothing = RPCMethod(path: "", kind: .unary, handler: .call { _ in nil })
        unknown = ServedMethod(nothing, hooks: interceptors.map { $0.hooks(for: .unknown) })
        for service in services {
            for method in service.methods {
                let path = Array(method.path.utf8)[...]
                guard self[path] == nil else { throw .duplicateMethod(path: method.path) }
                let description = MethodDescription(path: method.path, kind: method.kind)
                let served = ServedMethod(method, hooks: interceptors.map { $0.hooks(for: description) })
                buckets[Self.hash(path), default: []].append(served)
            }
        }
    }

    subscript(path: ArraySlice<UInt8>) -> ServedMethod? { buckets[Self.hash(path)]?.first { $0.hasPath(path) } }

    /// FNV-1a. Keys are ours, so that nobody can choose colliding ones.
    private static func hash(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        bytes.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    }
}
