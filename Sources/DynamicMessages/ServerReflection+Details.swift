public import RPC
internal import VommaProto

extension ServerReflection {
    /// The details of a status as JSON, one document each, with the type in “@type”.
    ///
    /// Types come with this program, or from the server's reflection; of what neither knows, and of what does not fit
    /// its type, the bytes are in “@value”, as base64.
    public func details(of status: RPCStatus) async -> [JSONDocument] {
        var documents: [JSONDocument] = []
        for detail in status.details {
            let json = try? await pool(describing: String(detail.messageName)).decode(
                detail.serializedBytes(), as: GoogleAny.protoName)
            documents.append(json ?? Self.raw(detail))
        }
        return documents
    }

    private func pool(describing name: String) async throws -> DescriptorPool {
        var pool = DescriptorPool()
        if let file = FileDescriptors.file(containing: name) {
            for file in FileDescriptors.withDependencies(file) { try pool.add(fileDescriptor: file.serializedBytes) }
        } else if let described = try? await self.pool(containing: name) {
            pool = described
        }
        if let file = FileDescriptors.file(containing: GoogleAny.protoName) {
            try pool.add(fileDescriptor: file.serializedBytes)
        }
        return pool
    }

    private static func raw(_ detail: GoogleAny) -> JSONDocument {
        .object([.init("@type", .string(detail.typeURL)), .init("@value", ScalarMapping.base64(detail.value[...]))])
    }
}
