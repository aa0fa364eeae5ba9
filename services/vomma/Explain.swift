internal import LocalStack
internal import RPC
internal import Storage

/// An error as a person wants to read it, with what to do next where that is known.
func explain(_ error: any Error) -> String {
    switch error {
    case let status as RPCStatus where status.code == .unavailable:
        "\(status). Is the stack running? `vomma run --keep` starts one."
    case let error as StorageError:
        if case .missingServer = error {
            "\(error). `make deps` installs PostgreSQL; --database-url uses another one."
        } else {
            "\(error)"
        }
    default: "\(error)"
    }
}
