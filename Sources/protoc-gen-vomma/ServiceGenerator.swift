internal import SwiftProtobufPluginLibrary

/// Writes one service: the protocol that a server implements, and the client's stub.
struct ServiceGenerator {
    private let service: ServiceDescriptor
    private let naming: Naming

    init(_ service: ServiceDescriptor, _ naming: Naming) {
        self.service = service
        self.naming = naming
    }

    private var protocolName: String { naming.stem(service) + "Service" }
    private var clientName: String { naming.stem(service) + "Client" }

    func declare(_ out: inout Source) {
        out.doc(service, fallback: "The service `\(service.fullName)`.")
        out.line("///")
        out.line("/// Methods that an implementation leaves out answer UNIMPLEMENTED.")
        out.block("public protocol \(protocolName): RPCService") { out in
            for method in service.methods {
                doc(method, &out)
                signature(method, visibility: "", &out)
            }
        }
        out.line()
        out.block("extension \(protocolName)") { out in
            out.line("/// `\(service.fullName)`.")
            out.line("public var serviceName: String { \"\(service.fullName)\" }")
            out.line()
            out.line("/// The methods of the proto, bound to this implementation.")
            out.block("public var methods: [RPCMethod]") { out in
                out.nested("[", "]") { out in
                    for method in service.methods { bind(method, &out) }
                }
            }
            for method in service.methods {
                out.line()
                out.line("/// Answers UNIMPLEMENTED.")
                signature(method, visibility: "public ", body: true, &out)
            }
        }
        out.line()
        client(&out)
    }

    // MARK: Server

    private func request(_ method: MethodDescriptor) -> String { naming.reference(naming.scoped(method.inputType)) }
    private func response(_ method: MethodDescriptor) -> String { naming.reference(naming.scoped(method.outputType)) }
    private func path(_ method: MethodDescriptor) -> String { "/\(service.fullName)/\(method.name)" }

    private func doc(_ method: MethodDescriptor, _ out: inout Source) {
        out.doc(method, fallback: "`\(path(method))`.")
    }

    private func signature(
        _ method: MethodDescriptor, visibility: String, body: Bool = false, _ out: inout Source
    ) {
        let input =
            method.clientStreaming ? "_ requests: RequestStream<\(request(method))>" : "_ request: \(request(method))"
        let writer = method.serverStreaming ? "responses: ResponseWriter<\(response(method))>, " : ""
        let result = method.serverStreaming ? "" : " -> \(response(method))"
        out.line("\(visibility)func \(naming.method(method.name))(")
        out.indented { $0.line("\(input), \(writer)context: CallContext") }
        guard body else { return out.line(") async throws\(result)") }
        out.block(") async throws\(result)") { out in
            out.line("throw RPCStatus(.unimplemented, \"\(path(method)) is not implemented\")")
        }
    }

    private func bind(_ method: MethodDescriptor, _ out: inout Source) {
        let (input, output) = (request(method), response(method))
        let name = naming.method(method.name)
        let kind: String
        let parameters: String
        let call: String
        switch (method.clientStreaming, method.serverStreaming) {
        case (false, false):
            kind = "unary"
            parameters = "(request: \(input), context) async throws -> \(output)"
            call = "\(name)(request, context: context)"
        case (false, true):
            kind = "serverStreaming"
            parameters = "(request: \(input), responses: ResponseWriter<\(output)>, context)"
            call = "\(name)(request, responses: responses, context: context)"
        case (true, false):
            kind = "clientStreaming"
            parameters = "(requests: RequestStream<\(input)>, context) async throws -> \(output)"
            call = "\(name)(requests, context: context)"
        case (true, true):
            kind = "bidirectional"
            parameters = "(requests: RequestStream<\(input)>, responses: ResponseWriter<\(output)>, context)"
            call = "\(name)(requests, responses: responses, context: context)"
        }
        out.nested(".\(kind)(\"\(path(method))\") {", "},") { out in
            out.line("\(parameters) in")
            out.line("try await \(call)")
        }
    }

    // MARK: Client

    private func client(_ out: inout Source) {
        out.doc(service, fallback: "The service `\(service.fullName)`.")
        out.line("///")
        out.line("/// Calls it over a channel. Every method throws `RPCStatus` when the call doesn't end with OK.")
        out.block("public struct \(clientName): Sendable") { out in
            out.line("private let channel: RPCChannel")
            out.line()
            out.line("public init(_ channel: RPCChannel) { self.channel = channel }")
            for method in service.methods {
                out.line()
                doc(method, &out)
                call(method, &out)
            }
        }
    }

    private func call(_ method: MethodDescriptor, _ out: inout Source) {
        let (input, output) = (request(method), response(method))
        let name = naming.method(method.name)
        let options = "options: CallOptions = CallOptions()"
        switch (method.clientStreaming, method.serverStreaming) {
        case (false, false):
            out.line("public func \(name)(")
            out.indented { $0.line("_ request: \(input), \(options)") }
            out.block(") async throws -> \(output)") { out in
                out.line("try await channel.unary(\"\(path(method))\", request, options: options)")
            }
        case (false, true):
            out.line("public func \(name)(")
            out.indented { $0.line("_ request: \(input), \(options)") }
            out.block(") -> ResponseStream<\(output)>") { out in
                out.line("channel.serverStreaming(\"\(path(method))\", request, options: options)")
            }
        case (true, false):
            out.line("public func \(name)(")
            out.indented { out in
                out.line("\(options),")
                out.line("_ requests: (RequestWriter<\(input)>) async throws -> Void")
            }
            out.block(") async throws -> \(output)") { out in
                out.line("try await channel.clientStreaming(\"\(path(method))\", options: options, requests)")
            }
        case (true, true):
            out.line("public func \(name)(")
            out.indented { $0.line(options) }
            out.block(") -> BidirectionalCall<\(input), \(output)>") { out in
                out.line("channel.bidirectional(\"\(path(method))\", options: options)")
            }
        }
    }
}
