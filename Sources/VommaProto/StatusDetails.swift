// Rich statuses as gRPC's richer error model has them: `grpc-status-details-bin` carries a google.rpc.Status.
public import RPC

extension RPCStatus {
    /// A status with details, such as `GoogleBadRequest` or any other messages, for programs to read.
    ///
    /// A peer that does not know them still has the code and the message. At most 4 KiB of details are sent: a client
    /// limits its headers, and a status that exceeds the limit would be lost altogether. What is longer stays behind.
    public init(_ code: StatusCode, _ message: String, details: [any ProtoMessage], metadata: Metadata = [:]) {
        let status = GoogleStatus(
            code: Int32(code.rawValue), message: message, details: details.compactMap { GoogleAny(packing: $0) })
        self.init(code, message, detailsBytes: try? status.serializedBytes(), metadata: metadata)
    }

    /// INVALID_ARGUMENT for one field of the request, by its path within it, such as `quotes[2].strike`. The message
    /// is the field and the reason behind it: “strikes”, “is empty”.
    public init(invalidField field: String, _ reason: String) {
        self.init(.invalidArgument, "\(field) \(reason)", invalidField: field, reason)
    }

    /// INVALID_ARGUMENT, or a neighbour of it, for one field, with a message of its own.
    public init(_ code: StatusCode, _ message: String, invalidField field: String, _ reason: String) {
        let violation = GoogleBadRequest.FieldViolation(field: field, description: reason)
        self.init(code, message, details: [GoogleBadRequest(fieldViolations: [violation])])
    }

    /// The details that came with the status; none if they cannot be read. Code and message are those of the headers,
    /// whatever the details say of them.
    public var details: [GoogleAny] {
        guard let detailsBytes else { return [] }
        return (try? GoogleStatus(serializedBytes: detailsBytes))?.details ?? []
    }

    /// The first detail of this type; `nil` if there is none, or if it cannot be read.
    public func detail<Message: ProtoMessage>(_ type: Message.Type = Message.self) -> Message? {
        for detail in details where detail.messageName == Message.protoName { return detail.unpacked() }
        return nil
    }
}

extension GoogleAny {
    /// `nil` for a message that has no wire form (one of more than 2 GiB).
    public init?(packing message: some ProtoMessage) {
        guard let bytes = try? message.serializedBytes() else { return nil }
        self.init(typeURL: "type.googleapis.com/" + type(of: message).protoName, value: bytes)
    }

    /// The full name of the message inside, such as `google.rpc.BadRequest`.
    public var messageName: Substring { typeURL.split(separator: "/", omittingEmptySubsequences: false).last ?? "" }

    /// The message inside; `nil` if it is another, or cannot be read.
    public func unpacked<Message: ProtoMessage>(_ type: Message.Type = Message.self) -> Message? {
        messageName == Message.protoName ? try? Message(serializedBytes: value) : nil
    }
}
