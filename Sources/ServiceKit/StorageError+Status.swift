public import RPC
public import Storage

/// How trouble with the database looks to a caller. The texts hold no SQL and no values.
extension StorageError: RPCStatusConvertible {
    public var rpcStatus: RPCStatus {
        switch self {
        case .cancelled: RPCStatus(.cancelled, "\(self)")
        // A caller that calls again later is served once the database is back, or less busy.
        case .unavailable, .tooManyConnections, .outcomeUnknown, .timeout, .tooManyWaiters, .serializationFailure,
            .closed:
            RPCStatus(.unavailable, "\(self)")
        case .diskFull: RPCStatus(.resourceExhausted, "\(self)")
        default: RPCStatus(.internal, "\(self)")
        }
    }
}
