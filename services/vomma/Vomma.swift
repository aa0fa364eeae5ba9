internal import ArgumentParser

/// The command line of Vomma.
@main
struct Vomma: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vomma",
        abstract: "Turns option markets into trading decisions.",
        discussion: """
            `vomma run` does the main job on this machine: it starts a private PostgreSQL and the seven services, loads or \
            simulates a market, trains a policy, trades the test span on paper from 19.99 USD and reports. The other \
            commands talk to a stack that is running (`vomma run --keep`, or docker compose).
            """,
        version: "0.1.0",
        subcommands: [
            RunCommand.self, MigrateCommand.self, RetentionCommand.self, TrainCommand.self, BacktestCommand.self,
            ExecuteCommand.self, ReportCommand.self, StatusCommand.self, CallCommand.self, TokenCommand.self,
            SurfaceCommand.self, FeaturesCommand.self, ModelCommand.self,
        ])
}
