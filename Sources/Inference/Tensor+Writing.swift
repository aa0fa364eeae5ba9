internal import VommaProto

extension Tensor {
    /// The raw form: no copy, but for byte strings, which get their lengths.
    var rawContents: [UInt8] {
        switch storage {
        case .raw(let bytes): return bytes
        case .strings(let strings):
            var bytes: [UInt8] = []
            bytes.reserveCapacity(strings.reduce(0) { $0 + 4 + $1.count })
            for string in strings {
                for shift in stride(from: 0, to: 32, by: 8) {
                    bytes.append(UInt8(truncatingIfNeeded: string.count >> shift))
                }
                bytes += string
            }
            return bytes
        }
    }

    /// The typed form. Empty for FP16 and BF16, which have none.
    var contents: InferTensorContents {
        switch datatype {
        case .bool: InferTensorContents(boolContents: bools)
        case .int8: InferTensorContents(intContents: values(Int8.self).map(Int32.init))
        case .int16: InferTensorContents(intContents: values(Int16.self).map(Int32.init))
        case .int32: InferTensorContents(intContents: values())
        case .int64: InferTensorContents(int64Contents: values())
        case .uint8: InferTensorContents(uintContents: values(UInt8.self).map(UInt32.init))
        case .uint16: InferTensorContents(uintContents: values(UInt16.self).map(UInt32.init))
        case .uint32: InferTensorContents(uintContents: values())
        case .uint64: InferTensorContents(uint64Contents: values())
        case .float32: InferTensorContents(fp32Contents: values())
        case .float64: InferTensorContents(fp64Contents: values())
        case .bytes: InferTensorContents(bytesContents: byteStrings)
        case .float16, .bfloat16: InferTensorContents()
        }
    }
}
