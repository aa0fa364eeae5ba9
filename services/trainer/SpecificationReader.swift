internal import Foundation
internal import MarketData
internal import Storage
internal import Trading

/// Reads the fields of a job's specification strictly: what is missing, of a wrong type, out of range or unknown fails
/// the job with the field's name.
struct SpecificationReader {
    private struct Key: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init(_ name: String) { stringValue = name }
        init?(stringValue: String) { self.init(stringValue) }
        init?(intValue: Int) { nil }
    }

    private let container: KeyedDecodingContainer<Key>
    private let prefix: String
    private var known: Set<String> = []

    init(_ decoder: any Decoder) throws {
        do { container = try decoder.container(keyedBy: Key.self) } catch {
            throw JobError.badSpecification("not a JSON object")
        }
        prefix = decoder.codingPath.map { $0.stringValue + "." }.joined()
    }

    /// Reads a whole specification. Throws `JobError.badSpecification`.
    static func read<Specification: Decodable>(_ type: Specification.Type, from json: JSON) throws -> Specification {
        do {
            return try JSONDecoder().decode(type, from: Data(json.text.utf8))
        } catch let error as JobError {
            throw error
        } catch {
            throw JobError.badSpecification("not the JSON of such a job: \(error)")
        }
    }

    /// A field, or its default; without a default it has to be there.
    mutating func field<Value: Decodable>(_ name: String, default value: Value? = nil) throws -> Value {
        known.insert(name)
        let key = Key(name)
        guard container.contains(key) else {
            guard let value else { throw fault(name, "is missing") }
            return value
        }
        do {
            return try container.decode(Value.self, forKey: key)
        } catch let error as JobError {
            throw error
        } catch {
            throw fault(name, "is not \(Self.article(Value.self))")
        }
    }

    /// A field that may be absent.
    mutating func optional<Value: Decodable>(_ name: String, as type: Value.Type) throws -> Value? {
        known.insert(name)
        return container.contains(Key(name)) ? try field(name) : nil
    }

    mutating func text(_ name: String, default value: String? = nil) throws -> String {
        let text: String = try field(name, default: value)
        guard !text.isEmpty else { throw fault(name, "is empty") }
        return text
    }

    /// A number inside `range`.
    mutating func number<Value: Decodable & Comparable>(
        _ name: String, default value: Value? = nil, in range: ClosedRange<Value>
    ) throws -> Value {
        let number: Value = try field(name, default: value)
        // NaN is in no range.
        guard range.contains(number) else {
            throw fault(name, "is \(number), outside \(range.lowerBound) … \(range.upperBound)")
        }
        return number
    }

    /// One of some values, by its name.
    mutating func choice<Value: RawRepresentable>(
        _ name: String, default value: Value, of values: [Value]
    ) throws -> Value where Value.RawValue == String {
        let text = try text(name, default: value.rawValue)
        guard let chosen = values.first(where: { $0.rawValue == text }) else {
            let names = values.map { "“\($0.rawValue)”" }.joined(separator: ", ")
            throw fault(name, "is “\(text)”, not one of \(names)")
        }
        return chosen
    }

    /// An instant in ISO 8601, UTC.
    mutating func time(_ name: String) throws -> Timestamp {
        let text: String = try field(name)
        guard let time = Timestamp(text) else {
            throw fault(name, "is “\(text)”, not a time such as 2026-03-01T00:00:00Z")
        }
        return time
    }

    /// An instant that may be absent.
    mutating func optionalTime(_ name: String) throws -> Timestamp? {
        known.insert(name)
        return container.contains(Key(name)) ? try time(name) : nil
    }

    /// The account's terms, whose absent fields have their defaults; `nil` when the field is absent.
    mutating func account(_ name: String) throws -> AccountSettings? {
        known.insert(name)
        guard container.contains(Key(name)) else { return nil }
        let fields: KeyedDecodingContainer<Key>
        do { fields = try container.nestedContainer(keyedBy: Key.self, forKey: Key(name)) } catch {
            throw fault(name, "is not a JSON object")
        }
        let defaults = try JSONSerialization.jsonObject(with: JSONEncoder().encode(AccountSettings()))
        let names = (defaults as? [String: Any]).map { Set($0.keys) } ?? []
        if let stranger = fields.allKeys.map(\.stringValue).filter({ !names.contains($0) }).min() {
            throw fault("\(name).\(stranger)", "is unknown")
        }
        return try field(name)
    }

    /// Throws for the first field that nobody asked for. Call it last.
    func finish() throws {
        if let stranger = container.allKeys.map(\.stringValue).filter({ !known.contains($0) }).min() {
            throw fault(stranger, "is unknown")
        }
    }

    func fault(_ name: String, _ reason: String) -> JobError { .badSpecification("“\(prefix)\(name)” \(reason)") }

    private static func article<Value>(_ type: Value.Type) -> String {
        switch type {
        case is String.Type: "a text"
        case is [String].Type: "a list of texts"
        case is [Int].Type: "a list of whole numbers"
        case is Int.Type, is Int64.Type: "a whole number"
        case is UInt64.Type: "a whole number that is not negative"
        case is Double.Type, is Float.Type: "a number"
        case is Bool.Type: "true or false"
        default: "what it should be"
        }
    }
}
