internal import Foundation

/// The JSON form of values that are not messages, https://protobuf.dev/programming-guides/json, both ways.
enum ScalarMapping {
    /// Why a value has no place in a field, or bytes are no value of it.
    struct Fault: Error {
        let reason: String
        init(_ reason: String) { self.reason = reason }
    }

    // MARK: JSON to the wire

    /// 64-bit integers, and all other numbers too, are also read from strings; floating-point numbers may be `"NaN"`,
    /// `"Infinity"` and `"-Infinity"`; bytes are base64 of either alphabet, padded or not.
    static func encode(
        _ json: JSONDocument, _ kind: FieldSchema.Kind, _ pool: DescriptorPool
    ) throws(ScalarError) -> WireScalar {
        do {
            switch kind {
            case .double: return .fixed64(try double(json).bitPattern)
            case .float: return .fixed32(try float(json).bitPattern)
            case .int32: return .varint(UInt64(bitPattern: Int64(try integer(json, Int32.self))))
            case .int64: return .varint(UInt64(bitPattern: try integer(json, Int64.self)))
            case .uint32: return .varint(UInt64(try integer(json, UInt32.self)))
            case .uint64: return .varint(try integer(json, UInt64.self))
            case .sint32:
                let value = try integer(json, Int32.self)
                return .varint(UInt64(UInt32(bitPattern: value << 1 ^ value >> 31)))
            case .sint64:
                let value = try integer(json, Int64.self)
                return .varint(UInt64(bitPattern: value << 1 ^ value >> 63))
            case .fixed32: return .fixed32(try integer(json, UInt32.self))
            case .fixed64: return .fixed64(try integer(json, UInt64.self))
            case .sfixed32: return .fixed32(UInt32(bitPattern: try integer(json, Int32.self)))
            case .sfixed64: return .fixed64(UInt64(bitPattern: try integer(json, Int64.self)))
            case .bool:
                guard case .bool(let value) = json else { throw Fault("\(json.kind) where true or false is expected") }
                return .varint(value ? 1 : 0)
            case .string:
                guard case .string(let text) = json else { throw Fault("\(json.kind) where a string is expected") }
                return .bytes(Array(text.utf8))
            case .bytes: return .bytes(try base64(json))
            case .enumeration(let name):
                return .varint(UInt64(bitPattern: Int64(try enumNumber(json, name, pool))))
            case .message, .group: throw Fault("a message is expected")
            }
        } catch let fault as Fault {
            throw .unfit(fault)
        } catch let error as DynamicMessageError {
            throw .schema(error)
        } catch {
            throw .unfit(Fault("\(error)"))
        }
    }

    /// What `encode` throws: the value's fault, or a type that is missing.
    enum ScalarError: Error {
        case unfit(Fault)
        case schema(DynamicMessageError)
    }

    /// A map's key, which JSON has as a string always.
    static func encodeKey(
        _ text: String, _ kind: FieldSchema.Kind, _ pool: DescriptorPool
    ) throws(ScalarError) -> WireScalar {
        guard kind == .bool else { return try encode(.string(text), kind, pool) }
        guard text == "true" || text == "false" else {
            throw .unfit(Fault("a key that is neither true nor false"))
        }
        return .varint(text == "true" ? 1 : 0)
    }

    private static func numberText(_ json: JSONDocument, _ expected: String) throws(Fault) -> String {
        switch json {
        case .number(let text): return text
        case .string(let text):
            guard (try? JSONDocument(parsing: text)) == .number(text) else {
                throw Fault("\(json.text()) where \(expected) is expected")
            }
            return text
        default: throw Fault("\(json.kind) where \(expected) is expected")
        }
    }

    static func double(_ json: JSONDocument) throws(Fault) -> Double {
        switch json {
        case .string("NaN"): return .nan
        case .string("Infinity"): return .infinity
        case .string("-Infinity"): return -.infinity
        default: break
        }
        let text = try numberText(json, "a number")
        guard let value = Double(text), value.isFinite else { throw Fault("\(text) is beyond what a double holds") }
        return value
    }

    private static func float(_ json: JSONDocument) throws(Fault) -> Float {
        switch json {
        case .string("NaN"): return .nan
        case .string("Infinity"): return .infinity
        case .string("-Infinity"): return -.infinity
        default: break
        }
        let text = try numberText(json, "a number")
        guard let value = Float(text), value.isFinite else { throw Fault("\(text) is beyond what a float holds") }
        return value
    }

    private static func integer<T: FixedWidthInteger>(_ json: JSONDocument, _ type: T.Type) throws(Fault) -> T {
        let text = try numberText(json, "an integer")
        guard let digits = integerText(text) else { throw Fault("\(text) where an integer is expected") }
        guard let value = T(digits) else { throw Fault("\(text) is beyond \(T.min) … \(T.max)") }
        return value
    }

    /// The integer that a JSON number is exactly, without point and exponent; `nil` for any other. `1.50e1` is 15. An
    /// integer of more than 20 digits may lose some at its end: it is beyond every type either way.
    private static func integerText(_ number: String) -> String? {
        let isNegative = number.hasPrefix("-")
        let parts = number.drop { $0 == "-" }.split(whereSeparator: { $0 == "e" || $0 == "E" })
        guard let mantissa = parts.first else { return nil }
        let pieces = mantissa.split(separator: ".", omittingEmptySubsequences: false)
        let fraction = pieces.count > 1 ? pieces[1] : ""
        var digits = ((pieces.first ?? "") + fraction).drop { $0 == "0" }
        guard !digits.isEmpty else { return "0" }
        // An exponent that no Int holds is far beyond, or far below one.
        let written = parts.count > 1 ? Int(parts[1]) ?? (parts[1].hasPrefix("-") ? -1_000_000 : 1_000_000) : 0
        var exponent = min(max(written, -1_000_000), 1_000_000) - fraction.count
        while digits.last == "0" {
            digits.removeLast()
            exponent += 1
        }
        guard exponent >= 0 else { return nil }
        return (isNegative ? "-" : "") + digits + String(repeating: "0", count: min(exponent, 21))
    }

    private static func base64(_ json: JSONDocument) throws(Fault) -> [UInt8] {
        guard case .string(let text) = json else { throw Fault("\(json.kind) where base64 in a string is expected") }
        var standard = text.replacing("-", with: "+").replacing("_", with: "/")
        if !standard.hasSuffix("="), standard.utf8.count % 4 != 0 {
            standard += String(repeating: "=", count: 4 - standard.utf8.count % 4)
        }
        guard let data = Data(base64Encoded: standard) else { throw Fault("a string that is not base64") }
        return Array(data)
    }

    private static func enumNumber(_ json: JSONDocument, _ name: String, _ pool: DescriptorPool) throws -> Int32 {
        switch json {
        case .null where name == "google.protobuf.NullValue": return 0
        case .number: return try integer(json, Int32.self)
        case .string(let text):
            let schema = try pool.requireEnum(name)
            guard let number = schema.number(named: text) else {
                throw Fault("no value named \(text) in \(schema.shortName)")
            }
            return number
        default: throw Fault("\(json.kind) where a name or number of \(name.lastComponent) is expected")
        }
    }

    // MARK: The wire to JSON

    /// `nil` where the value has not the wire type of the field: it then counts as an unknown field.
    static func decode(
        _ value: WireValue, _ kind: FieldSchema.Kind, _ pool: DescriptorPool
    ) throws(Fault) -> JSONDocument? {
        switch (kind, value) {
        case (.double, .fixed64(let bits)): number(Double(bitPattern: bits))
        case (.float, .fixed32(let bits)): number(Float(bitPattern: bits))
        case (.int32, .varint(let bits)): .number("\(Int32(truncatingIfNeeded: bits))")
        case (.int64, .varint(let bits)): .string("\(Int64(bitPattern: bits))")
        case (.uint32, .varint(let bits)): .number("\(UInt32(truncatingIfNeeded: bits))")
        case (.uint64, .varint(let bits)): .string("\(bits)")
        case (.sint32, .varint(let bits)):
            .number("\(Int32(bitPattern: UInt32(truncatingIfNeeded: bits) >> 1) ^ -Int32(bits & 1))")
        case (.sint64, .varint(let bits)): .string("\(Int64(bitPattern: bits >> 1) ^ -Int64(bits & 1))")
        case (.fixed32, .fixed32(let bits)): .number("\(bits)")
        case (.fixed64, .fixed64(let bits)): .string("\(bits)")
        case (.sfixed32, .fixed32(let bits)): .number("\(Int32(bitPattern: bits))")
        case (.sfixed64, .fixed64(let bits)): .string("\(Int64(bitPattern: bits))")
        case (.bool, .varint(let bits)): .bool(bits != 0)
        case (.string, .bytes(let bytes)): .string(try text(bytes))
        case (.bytes, .bytes(let bytes)): base64(bytes)
        case (.enumeration(let name), .varint(let bits)): enumValue(Int32(truncatingIfNeeded: bits), name, pool)
        default: nil
        }
    }

    /// The value that a map's entry without a key or value has.
    static func defaultValue(_ kind: FieldSchema.Kind) -> WireValue {
        switch kind {
        case .double, .fixed64, .sfixed64: .fixed64(0)
        case .float, .fixed32, .sfixed32: .fixed32(0)
        case .string, .bytes, .message, .group: .bytes([])
        default: .varint(0)
        }
    }

    /// Reads one element of a packed list; `nil` for kinds that cannot be packed.
    static func packedElement(_ reader: inout WireReader, _ kind: FieldSchema.Kind) throws(WireFault) -> WireValue? {
        switch defaultValue(kind) {
        case .varint: .varint(try reader.varint())
        case .fixed32: .fixed32(try reader.fixed32())
        case .fixed64: .fixed64(try reader.fixed64())
        case .bytes, .group: nil
        }
    }

    static func text(_ bytes: ArraySlice<UInt8>) throws(Fault) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else { throw Fault("a string that is not UTF-8") }
        return text
    }

    static func base64(_ bytes: ArraySlice<UInt8>) -> JSONDocument { .string(Data(bytes).base64EncodedString()) }

    /// The shortest text that reads back as the same number.
    static func number<F: BinaryFloatingPoint & CustomStringConvertible>(_ value: F) -> JSONDocument {
        if value.isNaN { return .string("NaN") }
        if value.isInfinite { return .string(value > 0 ? "Infinity" : "-Infinity") }
        let text = value.description
        // "-0" would be read as an integer, by many readers: it keeps its point.
        return .number(text.hasSuffix(".0") && text != "-0.0" ? String(text.dropLast(2)) : text)
    }

    private static func enumValue(_ number: Int32, _ name: String, _ pool: DescriptorPool) -> JSONDocument {
        if name == "google.protobuf.NullValue" { return .null }
        // A type that is missing costs the name, no more.
        return pool.enumeration(named: name)?.name(of: number).map { .string($0) } ?? .number("\(number)")
    }
}
