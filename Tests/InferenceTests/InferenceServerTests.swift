import RPC
import Testing
import VommaProto

@testable import Inference

@Suite(.timeLimit(.minutes(1))) struct InferenceServerTests {
    @Test("Liveness, readiness by model and version, metadata")
    func metadata() async throws {
        let models: [any TensorModel] = [
            Versions(name: "echo", versions: [EchoModel(version: "3"), EchoModel(version: "2")]),
            FixedModel("sum", SumModel()),
        ]
        try await withModels(models) { client in
            #expect(try await client.serverLive(ServerLiveRequest()).live)
            #expect(try await client.serverReady(ServerReadyRequest()).ready)
            let server = try await client.serverMetadata(ServerMetadataRequest())
            #expect(server.name == "test" && server.version == "7")
            for (version, isReady) in [("", true), ("3", true), ("2", true), ("1", false)] {
                #expect(try await client.modelReady(ModelReadyRequest(name: "echo", version: version)).ready == isReady)
            }
            let echo = try await client.modelMetadata(ModelMetadataRequest(name: "echo", version: "2"))
            #expect(echo.name == "echo" && echo.versions == ["3", "2"] && echo.platform == "test")
            #expect(echo.properties == ["purpose": "tests"] && echo.inputs.count == 15 && echo.outputs.count == 15)
            let fp32 = try #require(echo.inputs.first { $0.name == "FP32" })
            #expect(fp32.datatype == "FP32" && fp32.shape == [-1, 3])
        }
    }

    @Test("A model without a version is not ready, and says why; unknown names and versions are NOT_FOUND")
    func absent() async throws {
        try await withModels([Versions(name: "none", versions: []), FixedModel("sum", SumModel())]) { client in
            let server = try await client.serverReady(ServerReadyRequest())
            let model = try await client.modelReady(ModelReadyRequest(name: "none"))
            #expect(!server.ready && !model.ready)
            let none = RPCStatus(.failedPrecondition, "none was promoted")
            await expect(none) { _ = try await client.modelInfer(ModelInferRequest(modelName: "none")) }
            await expect(none) { _ = try await client.modelMetadata(ModelMetadataRequest(name: "none")) }
            let unknown = RPCStatus(.notFound, "no model “x” here; there are none, sum")
            await expect(unknown) { _ = try await client.modelInfer(ModelInferRequest(modelName: "x")) }
            await expect(unknown) { _ = try await client.modelMetadata(ModelMetadataRequest(name: "x")) }
            await expect(unknown) { _ = try await client.modelReady(ModelReadyRequest(name: "x")) }
            await expect(RPCStatus(.notFound, "version “9” of model “sum” is not ready; 1 is")) {
                _ = try await client.modelInfer(ModelInferRequest(modelName: "sum", modelVersion: "9"))
            }
        }
    }

    /// Elements of every datatype in both forms: `[2, 3]` of each.
    private static let typed: [(datatype: String, contents: InferTensorContents, raw: [UInt8])] = [
        ("BOOL", .init(boolContents: [true, false, true, false, false, true]), [1, 0, 1, 0, 0, 1]),
        ("UINT8", .init(uintContents: [0, 1, 2, 3, 254, 255]), [0, 1, 2, 3, 254, 255]),
        ("UINT16", .init(uintContents: [0, 1, 2, 3, 256, 65535]), [0, 0, 1, 0, 2, 0, 3, 0, 0, 1, 255, 255]),
        ("UINT32", .init(uintContents: [0, 1, 2, 3, 4, .max]), bytes([0, 1, 2, 3, 4, UInt32.max])),
        ("UINT64", .init(uint64Contents: [0, 1, 2, 3, 4, .max]), bytes([0, 1, 2, 3, 4, UInt64.max])),
        ("INT8", .init(intContents: [0, 1, -1, 127, -128, 3]), [0, 1, 255, 127, 128, 3]),
        ("INT16", .init(intContents: [0, 1, -1, 3, 4, -32768]), [0, 0, 1, 0, 255, 255, 3, 0, 4, 0, 0, 128]),
        ("INT32", .init(intContents: [0, 1, -1, 3, .max, .min]), bytes([0, 1, -1, 3, Int32.max, .min])),
        ("INT64", .init(int64Contents: [0, 1, -1, 3, .max, .min]), bytes([0, 1, -1, 3, Int64.max, .min])),
        ("FP32", .init(fp32Contents: [0, -0.0, 1, .infinity, 4, -5]), bytes([0, -0.0, 1, .infinity, 4, -5 as Float])),
        ("FP64", .init(fp64Contents: [0, -0.0, 1, .infinity, 4, -5]), bytes([0, -0.0, 1, .infinity, 4, -5 as Double])),
        (
            "BYTES", .init(bytesContents: [[], [1], [2, 3], [], [0], [255]]),
            [0, 0, 0, 0, 1, 0, 0, 0, 1, 2, 0, 0, 0, 2, 3, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 255]
        ),
    ]

    private static func bytes<T: FixedWidthInteger>(_ values: [T]) -> [UInt8] {
        values.flatMap { value in (0..<T.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }
    }
    private static func bytes(_ values: [Float]) -> [UInt8] { bytes(values.map(\.bitPattern)) }
    private static func bytes(_ values: [Double]) -> [UInt8] { bytes(values.map(\.bitPattern)) }

    @Test("Every datatype passes typed and raw, to the bit, and comes back in the form it came in")
    func datatypes() async throws {
        try await withModels([Versions(name: "echo", versions: [EchoModel()])]) { client in
            let anchor = Input(name: "anchor", datatype: "INT32", shape: [2])
            for (datatype, contents, raw) in Self.typed {
                var typedAnchor = anchor
                typedAnchor.contents = .init(intContents: [5, -5])
                let wanted = ["out \(datatype)", "out anchor"].map {
                    ModelInferRequest.InferRequestedOutputTensor(name: $0)
                }
                var request = ModelInferRequest(
                    modelName: "echo", id: "id \(datatype)",
                    inputs: [Input(name: datatype, datatype: datatype, shape: [2, 3], contents: contents), typedAnchor],
                    outputs: wanted)
                let response = try await client.modelInfer(request)
                #expect(response.modelName == "echo" && response.modelVersion == "2")
                #expect(response.id == "id \(datatype)" && response.rawOutputContents.isEmpty)
                #expect(response.outputs.map(\.name) == ["out \(datatype)", "out anchor"])
                #expect(response.outputs[0].datatype == datatype && response.outputs[0].shape == [2, 3])
                let isSame = try response.outputs[0].contents?.serializedBytes() == contents.serializedBytes()
                #expect(isSame, "\(datatype)")

                request.inputs = [Input(name: datatype, datatype: datatype, shape: [2, 3]), anchor]
                request.rawInputContents = [raw, Self.bytes([5, -5 as Int32])]
                let answer = try await client.modelInfer(request)
                #expect(answer.rawOutputContents == [raw, [5, 0, 0, 0, 251, 255, 255, 255]], "\(datatype)")
                #expect(answer.outputs.allSatisfy { $0.contents == nil })
            }
            for half in ["FP16", "BF16"] {
                let raw: [[UInt8]] = [Array(0..<6), [1, 0, 0, 0]]
                var request = ModelInferRequest(
                    modelName: "echo",
                    inputs: [
                        Input(name: half, datatype: half, shape: [1, 3]),
                        Input(name: "anchor", datatype: "INT32", shape: [1]),
                    ], outputs: [.init(name: "out \(half)")], rawInputContents: raw)
                #expect(try await client.modelInfer(request).rawOutputContents == [raw[0]])
                request.rawInputContents = []
                let words = "input “\(half)” is \(half), which goes in raw_input_contents only"
                await expect(RPCStatus(.invalidArgument, words)) { [request] in
                    _ = try await client.modelInfer(request)
                }
            }
        }
    }

    @Test("Batches of any size, empty ones too; without a list of outputs all are computed")
    func batches() async throws {
        try await withModels([FixedModel("sum", SumModel())]) { client in
            for batch in [0, 1, 1000] {
                let a = Tensor((0..<batch * 4).map(Double.init), shape: [batch, 4])
                let shape = a.shape.map(Int64.init)
                let inputs = ["a", "b"].map { Input(name: $0, datatype: "FP64", shape: shape) }
                let response = try await client.modelInfer(
                    ModelInferRequest(modelName: "sum", inputs: inputs, rawInputContents: [a.rawContents, a.rawContents]))
                #expect(response.outputs.map(\.name) == ["sum", "count"])
                let sums = (0..<batch).map { Double($0 * 32 + 12) }
                #expect(response.rawOutputContents.first == Tensor(sums, shape: [batch]).rawContents)
            }
        }
    }

    @Test("A parameter that a model reads has its kind checked; its errors are the call's")
    func parameters() async throws {
        try await withModels([Versions(name: "echo", versions: [EchoModel()])]) { client in
            var request = ModelInferRequest(
                modelName: "echo", parameters: ["fail": .init(parameterChoice: .stringParam("as told"))],
                inputs: [Input(name: "anchor", datatype: "INT32", shape: [0])], outputs: [.init(name: "out anchor")])
            await expect(RPCStatus(.aborted, "as told")) { [request] in _ = try await client.modelInfer(request) }
            request.parameters = ["fail": .init(parameterChoice: .int64Param(1))]
            await expect(RPCStatus(.invalidArgument, "parameter “fail” is no string")) { [request] in
                _ = try await client.modelInfer(request)
            }
            request.parameters = ["other": .init(parameterChoice: .boolParam(true))]
            let response = try await client.modelInfer(request)
            #expect(response.outputs.count == 1)
            // An output that the model declares and does not give is its own fault.
            request.outputs = [.init(name: "out FP64")]
            await expect(RPCStatus(.internal, "model “echo” did not compute its output “out FP64”")) { [request] in
                _ = try await client.modelInfer(request)
            }
        }
    }

    /// What a request can have wrong: a change to a good one, and what the answer must say.
    private static let faults: [(change: @Sendable (inout ModelInferRequest) -> Void, message: String)] = [
        ({ $0.inputs.removeLast() }, "model “sum” needs input “b”, FP64 [batch, width]"),
        ({ $0.inputs[0].name = "c" }, "model “sum” has no input “c”; it has a, b, text"),
        ({ $0.inputs[1].name = "a" }, "input “a” is there twice"),
        ({ $0.inputs[0].datatype = "FP32" }, "input “a” has datatype FP32, FP64 is expected"),
        ({ $0.inputs[0].datatype = "fp64" }, "input “a” has datatype fp64, FP64 is expected"),
        ({ $0.inputs[0].shape = [2] }, "input “a” has shape [2], [batch, width] is expected"),
        ({ $0.inputs[0].shape = [-1, 2] }, "input “a” has shape [-1, 2], [batch, width] is expected"),
        (
            { $0.inputs[1].shape = [2, 1] },
            "input “b” has shape [2, 1], [batch, width] is expected: batch is 2 here and 1 in input “a”"
        ),
        ({ $0.inputs[0].shape = [1 << 62, 4] }, "input “a” has shape [4611686018427387904, 4]: too many elements"),
        ({ $0.inputs[0].shape = [1, 3] }, "input “a” has 2 elements in fp64_contents, shape [1, 3] needs 3"),
        ({ $0.inputs[0].contents = nil }, "input “a” has 0 elements in fp64_contents, shape [1, 2] needs 2"),
        (
            { $0.inputs[0].contents = .init(fp32Contents: [1, 2]) },
            "input “a” has fp32_contents, a tensor of FP64 has fp64_contents"
        ),
        ({ $0.rawInputContents = [[]] }, "raw_input_contents has 1 tensors for 2 inputs"),
        (
            { $0.rawInputContents = [[], []] },
            "input “a” has contents, and the request has raw_input_contents too"
        ),
        (
            { request in
                for index in 0..<2 { request.inputs[index].contents = nil }
                request.rawInputContents = [[UInt8](repeating: 0, count: 15), []]
            }, "input “a” has 15 raw bytes, shape [1, 2] of FP64 needs 2 elements of 8"
        ),
        (
            { request in
                for index in 0..<2 { request.inputs[index].contents = nil }
                request.inputs[0].shape = [1 << 61, 2]
                request.rawInputContents = [[], []]
            }, "input “a” has 0 raw bytes, shape [2305843009213693952, 2] of FP64 needs 4611686018427387904 elements of 8"
        ),
        ({ $0.outputs = [.init(name: "x")] }, "model “sum” has no output “x”; it has sum, count"),
        ({ $0.outputs = [.init(name: "sum"), .init(name: "sum")] }, "output “sum” is requested twice"),
        (
            { $0.outputs = [.init(name: "sum", parameters: ["classification": .init(parameterChoice: .int64Param(3))])] },
            "output “sum”: parameter “classification” is not supported"
        ),
        ({ $0 = text($0, [3, 0, 0, 0, 1, 2]) }, "input “text”: element 0 has 3 bytes, 2 are left"),
        ({ $0 = text($0, [0, 0, 0, 0, 1, 2]) }, "input “text” ends within the length of element 1"),
        ({ $0 = text($0, [0, 0, 0, 0]) }, "input “text” has 1 elements, shape [2] needs 2"),
        ({ $0 = text($0, [255, 255, 255, 255]) }, "input “text”: element 0 has 4294967295 bytes, 0 are left"),
    ]

    /// The request with raw tensors, and raw texts besides.
    private static func text(_ request: ModelInferRequest, _ raw: [UInt8]) -> ModelInferRequest {
        var copy = request
        for index in 0..<2 { copy.inputs[index].contents = nil }
        copy.inputs.append(Input(name: "text", datatype: "BYTES", shape: [2]))
        copy.rawInputContents = [[UInt8](repeating: 0, count: 16), [UInt8](repeating: 0, count: 16), raw]
        return copy
    }

    @Test("Whatever is wrong with a request is INVALID_ARGUMENT and named", arguments: faults.indices)
    func invalid(index: Int) async throws {
        try await withModels([FixedModel("sum", SumModel())]) { client in
            let contents = InferTensorContents(fp64Contents: [1, 2])
            var request = ModelInferRequest(
                modelName: "sum",
                inputs: ["a", "b"].map { Input(name: $0, datatype: "FP64", shape: [1, 2], contents: contents) })
            let response = try await client.modelInfer(request)
            #expect(response.outputs[0].contents?.fp64Contents == [6])
            Self.faults[index].change(&request)
            await expect(RPCStatus(.invalidArgument, Self.faults[index].message)) { [request] in
                _ = try await client.modelInfer(request)
            }
        }
    }

    @Test("Numbers that a narrow datatype does not hold are refused, and bytes that are no BOOL")
    func ranges() async throws {
        try await withModels([Versions(name: "echo", versions: [EchoModel()])]) { client in
            let cases: [(String, InferTensorContents, String)] = [
                ("INT8", .init(intContents: [0, 128, 0]), "input “INT8”: element 1 is 128, not of INT8"),
                ("INT16", .init(intContents: [0, 0, -32769]), "input “INT16”: element 2 is -32769, not of INT16"),
                ("UINT8", .init(uintContents: [256, 0, 0]), "input “UINT8”: element 0 is 256, not of UINT8"),
            ]
            for (datatype, contents, message) in cases {
                let request = ModelInferRequest(
                    modelName: "echo",
                    inputs: [Input(name: datatype, datatype: datatype, shape: [1, 3], contents: contents)])
                await expect(RPCStatus(.invalidArgument, message)) { _ = try await client.modelInfer(request) }
            }
            let request = ModelInferRequest(
                modelName: "echo", inputs: [Input(name: "BOOL", datatype: "BOOL", shape: [1, 3])],
                rawInputContents: [[0, 1, 2]])
            await expect(RPCStatus(.invalidArgument, "input “BOOL”: element 2 is 2, a BOOL is 0 or 1")) {
                _ = try await client.modelInfer(request)
            }
        }
    }

    @Test("Tensors hold the numbers they were made of")
    func tensors() {
        let tensor = Tensor([1.5, -0.0, .infinity], shape: [3, 1])
        #expect(tensor.values() == [1.5, -0.0, .infinity] && tensor.count == 3 && tensor.datatype == .float64)
        let sign = tensor.withSpan(of: Double.self) { $0[1].sign }
        #expect(sign == .minus)
        #expect(Tensor([Float](), shape: [0, 7]).values(Float.self).isEmpty)
        let count = Tensor([Float](), shape: [0, 7]).withSpan(of: Float.self) { $0.count }
        #expect(count == 0)
        #expect(Tensor(bools: [true], shape: []).bools == [true])
    }
}
