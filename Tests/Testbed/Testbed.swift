internal import ArgumentParser

/// The RPC module under the eyes of strangers: a server for foreign and hostile clients to try, and those clients.
@main struct Testbed: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rpc-testbed",
        abstract: "A gRPC server to be tested, and the clients that try its patience.",
        subcommands: [ServeCommand.self, LoadCommand.self, SoakCommand.self, AttackCommand.self])
}
