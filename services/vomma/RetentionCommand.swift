internal import ArgumentParser
internal import Reports
internal import Storage

/// `vomma retention`: how long time series are kept.
struct RetentionCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "retention", abstract: "Show or set how long time series are kept, and drop what is older.",
        discussion: """
            Whole months are dropped, once an hour by market-gateway or at once with --apply; of stream_events, those of \
            streams that were closed so many days ago. What a stream needs that is not closed, or that a waiting or \
            running job names, stays, whatever its age.

            Example: vomma retention --keep book_tops=90 --keep features=forever
            """)

    @OptionGroup var stack: StackOptions
    @Option(help: "table=days, or table=forever. May be given several times.")
    var keep: [Rule] = []
    @Flag(help: "Drop now what is older than is kept.")
    var apply = false

    func run() async throws {
        try await explaining {
            let pool = try stack.pool()
            let (tables, days, expired) = try await pool.withConnection { [keep] connection in
                for rule in keep { try Retention.keep(rule.days, of: rule.table, on: connection) }
                return (
                    try Retention.tables(on: connection), try Retention.days(on: connection),
                    try Retention.expired(on: connection)
                )
            }
            for table in tables {
                let kept = days[table].map { "\(Int($0)) days" } ?? "forever"
                let old = expired.filter { $0.table == table }.map(\.partition)
                print("\(table.padded(16)) \(kept.padded(12)) \(old.joined(separator: " "))")
            }
            if apply {
                for dropped in try await pool.applyRetention() { print("dropped \(dropped)") }
            }
            await pool.close()
        }
    }

    /// `book_tops=90` or `features=forever`.
    struct Rule: ExpressibleByArgument, Sendable {
        let table: String
        /// `nil` is for ever.
        let days: Int?

        init?(argument: String) {
            let parts = argument.split(separator: "=", maxSplits: 1).map(String.init)
            guard parts.count == 2, parts[1] == "forever" || Int(parts[1]) != nil else { return nil }
            table = parts[0]
            days = Int(parts[1])
        }
    }
}
