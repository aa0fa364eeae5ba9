internal import RPC
internal import VommaProto

// From the wire's request to the model's, with every check. A shape's product is bounded by the data that must be
// there, so that no request takes more memory than it has bytes.

extension ModelInferRequest {
    /// The outputs that the client wants, in its order; all where it names none.
    func requestedOutputs(of version: any TensorModelVersion, model: String) throws -> [String] {
        let known = version.outputs.map(\.name)
        guard !outputs.isEmpty else { return known }
        var names: [String] = []
        for output in outputs {
            guard known.contains(output.name) else {
                throw invalid("model “\(model)” has no output “\(output.name)”; it has \(list(known))")
            }
            guard !names.contains(output.name) else { throw invalid("output “\(output.name)” is requested twice") }
            // To leave these out would change what the output's bytes mean, or where they are.
            for unsupported in ["classification", "shared_memory_region"] where output.parameters[unsupported] != nil {
                throw invalid("output “\(output.name)”: parameter “\(unsupported)” is not supported")
            }
            names.append(output.name)
        }
        return names
    }
}

extension InferenceRequest {
    /// Throws INVALID_ARGUMENT for whatever is not as the version declares it.
    init(
        _ request: ModelInferRequest, _ version: any TensorModelVersion, model: String, outputs: Set<String>
    ) throws {
        let isRaw = !request.rawInputContents.isEmpty
        guard !isRaw || request.rawInputContents.count == request.inputs.count else {
            throw invalid(
                "raw_input_contents has \(request.rawInputContents.count) tensors for \(request.inputs.count) inputs")
        }
        var inputs: [String: Tensor] = [:]
        var extents = Extents()
        for (index, input) in request.inputs.enumerated() {
            guard let declaration = version.inputs.first(where: { $0.name == input.name }) else {
                throw invalid(
                    "model “\(model)” has no input “\(input.name)”; it has \(list(version.inputs.map(\.name)))")
            }
            guard inputs[input.name] == nil else { throw invalid("input “\(input.name)” is there twice") }
            let (shape, count) = try declaration.shape(of: input, &extents)
            let tensor: Tensor
            if isRaw {
                guard input.contents == nil else {
                    throw invalid("input “\(input.name)” has contents, and the request has raw_input_contents too")
                }
                tensor = try declaration.tensor(raw: request.rawInputContents[index], shape: shape, count: count)
            } else {
                tensor = try declaration.tensor(input.contents ?? InferTensorContents(), shape: shape, count: count)
            }
            inputs[input.name] = tensor
        }
        for declaration in version.inputs where !declaration.isOptional && inputs[declaration.name] == nil {
            throw invalid(
                "model “\(model)” needs input “\(declaration.name)”, \(declaration.datatype.rawValue) \(declaration.shapeText)"
            )
        }
        self.init(
            id: request.id, parameters: request.parameters, outputs: outputs,
            extents: extents.known.mapValues(\.extent), inputs: inputs)
    }
}

/// The extents of varying dimensions, and the input where each was met first.
private struct Extents {
    var known: [String: (extent: Int, input: String)] = [:]
}

private func invalid(_ message: String) -> RPCStatus { RPCStatus(.invalidArgument, message) }

private func list(_ names: [String]) -> String { names.joined(separator: ", ") }

extension TensorDeclaration {
    /// The shape of an input, when it is a declared one, and its count of elements.
    fileprivate func shape(
        of input: ModelInferRequest.InferInputTensor, _ extents: inout Extents
    ) throws -> (shape: [Int], count: Int) {
        guard input.datatype == datatype.rawValue else {
            throw invalid("input “\(name)” has datatype \(input.datatype), \(datatype.rawValue) is expected")
        }
        let given = input.shape.map(Int.init)
        guard given.count == shape.count, given.allSatisfy({ $0 >= 0 }) else {
            throw invalid("input “\(name)” has shape \(given), \(shapeText) is expected")
        }
        var count = 1
        for (extent, dimension) in zip(given, shape) {
            switch dimension {
            case .fixed(let expected):
                guard extent == expected else {
                    throw invalid("input “\(name)” has shape \(given), \(shapeText) is expected")
                }
            case .varying(let dimension):
                let first = extents.known[dimension] ?? (extent, name)
                guard extent == first.extent else {
                    throw invalid(
                        "input “\(name)” has shape \(given), \(shapeText) is expected: \(dimension) is \(extent) here and \(first.extent) in input “\(first.input)”"
                    )
                }
                extents.known[dimension] = first
            }
            let (product, overflow) = count.multipliedReportingOverflow(by: extent)
            guard !overflow else { throw invalid("input “\(name)” has shape \(given): too many elements") }
            count = product
        }
        return (given, count)
    }

    // MARK: Raw

    fileprivate func tensor(raw bytes: [UInt8], shape: [Int], count: Int) throws -> Tensor {
        guard let size = datatype.byteCount else {
            let strings = try strings(raw: bytes, shape: shape, count: count)
            return Tensor(datatype, shape: shape, storage: .strings(strings))
        }
        // A count whose bytes overflow has no such data either.
        guard count.multipliedReportingOverflow(by: size) == (bytes.count, false) else {
            throw invalid(
                "input “\(name)” has \(bytes.count) raw bytes, shape \(shape) of \(datatype.rawValue) needs \(count) elements of \(size)"
            )
        }
        if datatype == .bool, let bad = bytes.firstIndex(where: { $0 > 1 }) {
            throw invalid("input “\(name)”: element \(bad) is \(bytes[bad]), a BOOL is 0 or 1")
        }
        return Tensor(datatype, shape: shape, storage: .raw(bytes))
    }

    /// Each element's length in four bytes, then the element.
    private func strings(raw bytes: [UInt8], shape: [Int], count: Int) throws -> [[UInt8]] {
        var strings: [[UInt8]] = []
        // An element has four bytes at least.
        strings.reserveCapacity(min(count, bytes.count / 4))
        var position = 0
        while position < bytes.count {
            guard bytes.count - position >= 4 else {
                throw invalid("input “\(name)” ends within the length of element \(strings.count)")
            }
            let length = (0..<4).reduce(0) { $0 | Int(bytes[position + $1]) << (8 * $1) }
            position += 4
            guard bytes.count - position >= length else {
                throw invalid(
                    "input “\(name)”: element \(strings.count) has \(length) bytes, \(bytes.count - position) are left")
            }
            strings.append(Array(bytes[position..<position + length]))
            position += length
        }
        guard strings.count == count else {
            throw invalid("input “\(name)” has \(strings.count) elements, shape \(shape) needs \(count)")
        }
        return strings
    }

    // MARK: Typed

    fileprivate func tensor(_ contents: InferTensorContents, shape: [Int], count: Int) throws -> Tensor {
        let (field, given) =
            switch datatype {
            case .bool: ("bool_contents", contents.boolContents.count)
            case .int8, .int16, .int32: ("int_contents", contents.intContents.count)
            case .int64: ("int64_contents", contents.int64Contents.count)
            case .uint8, .uint16, .uint32: ("uint_contents", contents.uintContents.count)
            case .uint64: ("uint64_contents", contents.uint64Contents.count)
            case .float32: ("fp32_contents", contents.fp32Contents.count)
            case .float64: ("fp64_contents", contents.fp64Contents.count)
            case .bytes: ("bytes_contents", contents.bytesContents.count)
            case .float16, .bfloat16:
                throw invalid("input “\(name)” is \(datatype.rawValue), which goes in raw_input_contents only")
            }
        if let other = contents.filled.first(where: { $0 != field }) {
            throw invalid("input “\(name)” has \(other), a tensor of \(datatype.rawValue) has \(field)")
        }
        guard given == count else {
            throw invalid("input “\(name)” has \(given) elements in \(field), shape \(shape) needs \(count)")
        }
        switch datatype {
        case .bool: return Tensor(bools: contents.boolContents, shape: shape)
        case .int8: return Tensor(try narrow(contents.intContents, to: Int8.self), shape: shape)
        case .int16: return Tensor(try narrow(contents.intContents, to: Int16.self), shape: shape)
        case .int32: return Tensor(contents.intContents, shape: shape)
        case .int64: return Tensor(contents.int64Contents, shape: shape)
        case .uint8: return Tensor(try narrow(contents.uintContents, to: UInt8.self), shape: shape)
        case .uint16: return Tensor(try narrow(contents.uintContents, to: UInt16.self), shape: shape)
        case .uint32: return Tensor(contents.uintContents, shape: shape)
        case .uint64: return Tensor(contents.uint64Contents, shape: shape)
        case .float32: return Tensor(contents.fp32Contents, shape: shape)
        case .float64: return Tensor(contents.fp64Contents, shape: shape)
        case .bytes, .float16, .bfloat16: return Tensor(byteStrings: contents.bytesContents, shape: shape)
        }
    }

    private func narrow<From: FixedWidthInteger, To: FixedWidthInteger>(
        _ values: [From], to type: To.Type
    ) throws -> [To] {
        var result: [To] = []
        result.reserveCapacity(values.count)
        for (index, value) in values.enumerated() {
            guard let narrowed = To(exactly: value) else {
                throw invalid("input “\(name)”: element \(index) is \(value), not of \(datatype.rawValue)")
            }
            result.append(narrowed)
        }
        return result
    }
}

extension InferTensorContents {
    /// The lists that have elements.
    fileprivate var filled: [String] {
        [
            ("bool_contents", boolContents.isEmpty), ("int_contents", intContents.isEmpty),
            ("int64_contents", int64Contents.isEmpty), ("uint_contents", uintContents.isEmpty),
            ("uint64_contents", uint64Contents.isEmpty), ("fp32_contents", fp32Contents.isEmpty),
            ("fp64_contents", fp64Contents.isEmpty), ("bytes_contents", bytesContents.isEmpty),
        ].filter { !$0.1 }.map(\.0)
    }
}
