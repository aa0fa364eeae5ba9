/// Why bytes or shapes from outside were refused. A wrong call of this module's own functions traps instead.
public enum NeuralNetworkError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The bytes are not a safetensors file. `reason` names the rule that they break.
    case malformedSafetensors(reason: String)
    /// A valid file holds an element type that this module does not read (it reads F32, F64, I64, U64, U8).
    case unsupportedElementType(tensor: String, type: String)
    /// The file lacks a tensor that its reader needs.
    case missingTensor(name: String)
    /// A tensor is there with another shape or element type than its reader needs.
    case tensorMismatch(name: String, expected: String, found: String)

    public var description: String {
        switch self {
        case .malformedSafetensors(let reason): "malformed safetensors file: \(reason)"
        case .unsupportedElementType(let tensor, let type): "tensor \(tensor) has unsupported element type \(type)"
        case .missingTensor(let name): "tensor \(name) is missing"
        case .tensorMismatch(let name, let expected, let found): "tensor \(name) is \(found), \(expected) needed"
        }
    }
}
