import Kernels
import Testing

@testable import NeuralNetworks

@Suite struct SafetensorsTests {
    static let example = Safetensors(
        metadata: ["schema_version": "7", "quote \" and \\": "line\nbreak, \u{1}, ü 🙂"],
        tensors: [
            Tensor("counts", shape: [2], .int64([.min, 42])),
            Tensor("words", shape: [1, 2], .uint64([.max, 0])),
            Tensor("doubles", shape: [], .float64([.pi])),
            Tensor("weights", shape: [2, 3], .float32([0, -0.0, .nan, .infinity, .leastNonzeroMagnitude, -1.5])),
            Tensor("empty", shape: [0, 4], .float32([])),
            Tensor("bytes", shape: [3], .uint8([0, 255, 7])),
        ])

    /// A file of `header` and `dataCount` zero bytes.
    static func file(_ header: String, dataCount: Int = 0) -> [UInt8] {
        let length = header.utf8.count
        return (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) } + Array(header.utf8)
            + [UInt8](repeating: 0, count: dataCount)
    }

    @Test("What was written is read, bit for bit, and written again as the same bytes")
    func roundTrip() throws {
        let bytes = Self.example.bytes()
        let read = try Safetensors(bytes: bytes)
        #expect(read.bytes() == bytes)
        #expect(read.metadata == Self.example.metadata)
        #expect(Set(read.tensors.map(\.name)) == Set(Self.example.tensors.map(\.name)))
        guard case .float32(let weights) = try read.tensor("weights").elements,
            case .float32(let originals) = Self.example.tensors[3].elements
        else { throw NeuralNetworkError.missingTensor(name: "weights") }
        #expect(weights.map(\.bitPattern) == originals.map(\.bitPattern))
        for name in ["counts", "words", "doubles", "empty", "bytes"] {
            #expect(try read.tensor(name) == Self.example.tensor(name))
        }
        #expect(try Safetensors(bytes: Safetensors(tensors: []).bytes()) == Safetensors(tensors: []))
    }

    /// Written by `safetensors.numpy.save({"b": float32 [[1.5, -2]], "a": int64 [3]}, metadata={"k": "v"})`, Python's
    /// safetensors 0.8.0.
    @Test("A file written by the reference implementation is read")
    func foreign() throws {
        let header = #"{"__metadata__":{"k":"v"},"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"#
            + #""b":{"dtype":"F32","shape":[1,2],"data_offsets":[8,16]}} "#
        let bytes = Self.file(header) + [3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 192, 63, 0, 0, 0, 192]
        let read = try Safetensors(bytes: bytes)
        #expect(read.metadata == ["k": "v"])
        #expect(try read.floats("b", shape: [1, 2]) == [1.5, -2])
        #expect(try read.tensor("a").elements == .int64([3]))
    }

    @Test(
        "Files that break the format are refused",
        arguments: [
            [], [1, 2, 3], [255, 255, 255, 255, 255, 255, 255, 255], file(""), file("[]"), file("{"), file("{}x"),
            file(" {}"), file("{}", dataCount: 1), file(#"{"a":1}"#), file(#"{"a":{}}"#),
            file(#"{"__metadata__":{"k":1}}"#), file(#"{"__metadata__":[]}"#),
            file(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#),
            file(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, dataCount: 5),
            file(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}"#, dataCount: 8),
            file(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, dataCount: 8),
            file(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, dataCount: 8),
            file(#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, dataCount: 4),
            file(#"{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}"#, dataCount: 4),
            file(#"{"a":{"dtype":"F32","shape":[9223372036854775807,2],"data_offsets":[0,4]}}"#, dataCount: 4),
            file(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,9223372036854775807]}}"#, dataCount: 4),
            file(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}"#, dataCount: 4),
            file(#"{"a":{"dtype":"F32","shape":[1]}}"#, dataCount: 4),
            file(
                #"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"#
                    + #""b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#,
                dataCount: 3),
            file(
                #"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"#
                    + #""a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#,
                dataCount: 2),
            file(String(repeating: #"{"a":"#, count: 5000)), file(#"{"\ud800":{}}"#), file("{\"\u{1}\":{}}"),
        ])
    func malformed(bytes: [UInt8]) {
        #expect {
            _ = try Safetensors(bytes: bytes)
        } throws: {
            if case .malformedSafetensors = $0 as? NeuralNetworkError { true } else { false }
        }
    }

    @Test("Valid files that do not hold what is needed are refused by name")
    func wrongContent() throws {
        #expect(throws: NeuralNetworkError.unsupportedElementType(tensor: "a", type: "BF16")) {
            try Safetensors(
                bytes: Self.file(#"{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}"#, dataCount: 2))
        }
        #expect(throws: NeuralNetworkError.missingTensor(name: "c")) { try Self.example.tensor("c") }
        #expect(throws: NeuralNetworkError.self) { try Self.example.floats("weights", shape: [3, 2]) }
        #expect(throws: NeuralNetworkError.self) { try Self.example.floats("counts", shape: [2]) }
    }

    @Test("No change of bytes traps: each is read or refused, and what is read can be written")
    func fuzz() {
        let bytes = Self.example.bytes()
        var random = RandomGenerator(seed: 99)
        var refused = 0
        for _ in 0..<1500 {
            var changed = bytes
            switch random.index(below: 4) {
            case 0: changed.removeLast(random.index(below: changed.count))
            case 1: changed.insert(UInt8(random.index(below: 256)), at: random.index(below: changed.count))
            default:
                for _ in 0...random.index(below: 3) {
                    changed[random.index(below: changed.count)] = UInt8(random.index(below: 256))
                }
            }
            do { _ = try Safetensors(bytes: changed).bytes() } catch { refused += 1 }
        }
        #expect(refused > 500)
    }
}
