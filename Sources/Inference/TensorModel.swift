internal import RPC
public import VommaProto

/// A model that inference clients can call: one name, and the versions of it that can infer now.
public protocol TensorModel: Sendable {
    /// What clients call it: `heston_pricer`.
    var name: String { get }
    /// The versions that can infer, first the one that does for a request that names none; empty while none can.
    var versions: [any TensorModelVersion] { get async }
    /// What to do while there are no versions: `no policy has been promoted: train one and promote it`.
    var absence: String { get }
    /// Whether the server is ready without it.
    var isOptional: Bool { get }
}

extension TensorModel {
    public var isOptional: Bool { false }
}

/// One version of a model: tensors in, tensors out. Unchanged once made.
public protocol TensorModelVersion: Sendable {
    var version: String { get }
    /// What computes it, in a word: `heston`, `mlp`.
    var platform: String { get }
    var inputs: [TensorDeclaration] { get }
    var outputs: [TensorDeclaration] { get }
    /// What else a client wants to know, for its metadata.
    var properties: [String: String] { get }
    /// Answers a request whose tensors are as declared. The result has at least the outputs of `request.outputs`, as
    /// declared. Runs on Swift's shared pool: it may compute, and looks for its cancellation now and then.
    ///
    /// Throws `RPCStatus`: `invalidArgument` for values that the model does not take.
    func infer(_ request: InferenceRequest) async throws -> [String: Tensor]
}

/// A model whose one version is part of the program.
public struct FixedModel: TensorModel {
    public let name: String
    private let version: any TensorModelVersion

    public init(_ name: String, _ version: any TensorModelVersion) {
        self.name = name
        self.version = version
    }

    public var versions: [any TensorModelVersion] { [version] }
    public var absence: String { "" }
}

/// Name, datatype and shape of an input or output.
public struct TensorDeclaration: Sendable, Equatable {
    /// One dimension: a number, or the name of one that varies from request to request, and is the same wherever a
    /// request's tensors have that name.
    public enum Dimension: Sendable, Equatable, ExpressibleByIntegerLiteral, ExpressibleByStringLiteral {
        case fixed(Int)
        case varying(String)

        public init(integerLiteral value: Int) { self = .fixed(value) }
        public init(stringLiteral value: String) { self = .varying(value) }
    }

    public let name: String
    public let datatype: TensorDatatype
    public let shape: [Dimension]
    /// Whether a request may lack this input.
    public let isOptional: Bool

    public init(_ name: String, _ datatype: TensorDatatype, _ shape: [Dimension], isOptional: Bool = false) {
        self.name = name
        self.datatype = datatype
        self.shape = shape
        self.isOptional = isOptional
    }

    /// `[batch, 5]`
    var shapeText: String {
        let texts = shape.map { dimension in
            switch dimension {
            case .fixed(let count): "\(count)"
            case .varying(let name): name
            }
        }
        return "[\(texts.joined(separator: ", "))]"
    }
}

/// A request whose tensors were found to be as the model declares them.
public struct InferenceRequest: Sendable {
    /// The client's own identifier; may be empty.
    public let id: String
    /// Those that the model does not know have no effect.
    public let parameters: [String: InferParameter]
    /// The outputs to compute; others may be left out.
    public let outputs: Set<String>
    /// Extents of the dimensions that vary.
    let extents: [String: Int]
    let inputs: [String: Tensor]

    /// Made by `InferenceServer` from a call; by hand in a test.
    public init(
        id: String = "", parameters: [String: InferParameter] = [:], outputs: Set<String>, extents: [String: Int],
        inputs: [String: Tensor]
    ) {
        self.id = id
        self.parameters = parameters
        self.outputs = outputs
        self.extents = extents
        self.inputs = inputs
    }

    /// A required input, by the name it was declared with. Traps for another.
    public func input(_ name: String) -> Tensor {
        guard let tensor = inputs[name] else { preconditionFailure("“\(name)” is not declared as a required input") }
        return tensor
    }

    /// An optional input, where the request has it.
    public func optionalInput(_ name: String) -> Tensor? { inputs[name] }

    /// How long a varying dimension of a required input is. Traps for one that none has.
    public func extent(_ name: String) -> Int {
        guard let extent = extents[name] else { preconditionFailure("no required input has a dimension “\(name)”") }
        return extent
    }

    /// A parameter that is a text, where the request has it. Throws INVALID_ARGUMENT for another kind of value.
    public func text(_ parameter: String) throws -> String? {
        guard let value = parameters[parameter] else { return nil }
        guard case .stringParam(let text) = value.parameterChoice else {
            throw RPCStatus(.invalidArgument, "parameter “\(parameter)” is no string")
        }
        return text
    }
}
