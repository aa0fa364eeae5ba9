internal import ArgumentParser
internal import ServiceKit

/// `vomma token`: what callers of services show.
struct TokenCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token", abstract: "Make tokens for the callers of services.", subcommands: [New.self])

    /// `vomma token new NAME`.
    struct New: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "new", abstract: "Make a token, and the line that lets its owner in.",
            discussion: """
                The token is printed once and stored nowhere: the caller keeps it in a file that VOMMA_TOKEN_FILE names. \
                The line goes into the file that the services' VOMMA_TOKENS_FILE names; they see it within seconds.

                Example: vomma token new alice
                """)

        @Argument(help: "The caller's name, as logs show it.")
        var name: String

        func run() async throws {
            let token = BearerToken()
            guard let line = token.line(name: name) else {
                throw ValidationError("“\(name)” is no name: visible ASCII characters, no space, no # in front")
            }
            print("token, for \(name) alone (a file named by VOMMA_TOKEN_FILE):\n\(token.text)\n")
            print("line, for the services (the file named by VOMMA_TOKENS_FILE):\n\(line)")
        }
    }
}
