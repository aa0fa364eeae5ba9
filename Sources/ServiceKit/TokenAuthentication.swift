internal import RPC

/// Lets nobody call without a token that the server knows: others get UNAUTHENTICATED. Health stays open, for
/// orchestrators have no token. Handlers and the log of calls find the caller's name in `CallerName`.
struct TokenAuthentication: ServerInterceptor {
    let tokens: WatchedFile<AcceptedTokens>

    private static let open: Set<String> = ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"]

    func hooks(for method: MethodDescription) -> any ServerCallHooks {
        Self.open.contains(method.path) ? Open() : Closed(tokens: tokens)
    }

    private struct Open: ServerCallHooks {}

    private struct Closed: ServerCallHooks {
        let tokens: WatchedFile<AcceptedTokens>

        func begin(_ context: inout CallContext) -> RPCStatus? {
            guard let value = context.metadata["authorization"] else {
                return RPCStatus(
                    .unauthenticated, "a token is needed: send the metadata “authorization: Bearer <token>”")
            }
            // The scheme's case does not matter (RFC 9110), the token's does.
            let words = value.split(separator: " ")
            guard words.count == 2, words[0].lowercased() == "bearer" else {
                return RPCStatus(.unauthenticated, "“authorization” is not “Bearer <token>”: send it like that")
            }
            guard let name = tokens.content.name(of: words[1]) else {
                return RPCStatus(
                    .unauthenticated,
                    "this token is not known here: send one that is, as “authorization: Bearer <token>”")
            }
            context[CallerName.self] = name
            return nil
        }
    }
}

/// Shows a channel's servers our token with every call that does not bring an authorization of its own.
struct TokenCredentials: ClientInterceptor, ClientCallHooks {
    let token: WatchedFile<Metadata>

    func hooks(for path: String) -> any ClientCallHooks { self }

    func begin(_ call: inout OutgoingCall) -> RPCStatus? {
        if call.metadata["authorization"] == nil { call.metadata.append(contentsOf: token.content) }
        return nil
    }

    /// The metadata that shows the token which a file consists of.
    static func metadata(_ text: String, path: String) throws(TokenFileError) -> Metadata {
        let words = text.split(whereSeparator: \.isWhitespace)
        guard words.count == 1, let token = BearerToken(String(words[0])) else { throw .noToken(path: path) }
        return ["authorization": "Bearer \(token.text)"]
    }
}
