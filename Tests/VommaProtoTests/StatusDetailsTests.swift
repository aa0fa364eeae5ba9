import RPC
import Testing
import VommaProto

@Suite struct StatusDetailsTests {
    @Test("Details of any types, in their order; each found by its type")
    func roundTrip() {
        let delay = GoogleRetryInfo(retryDelay: GoogleDuration(seconds: 1, nanos: 500_000_000))
        let reason = GoogleErrorInfo(reason: "STOCKOUT", domain: "vomma", metadata: ["zone": "a"])
        let status = RPCStatus(.unavailable, "nö", details: [delay, reason, TestingNumber(value: 7)])
        #expect(status.code == .unavailable && status.message == "nö")
        let names = status.details.map(\.messageName)
        #expect(names == ["google.rpc.RetryInfo", "google.rpc.ErrorInfo", "vomma.testing.v1.Number"])
        #expect(status.details[0].typeURL == "type.googleapis.com/google.rpc.RetryInfo")
        #expect(status.detail(GoogleRetryInfo.self) == delay)
        #expect(status.detail(GoogleErrorInfo.self) == reason)
        #expect(status.detail(TestingNumber.self)?.value == 7)
        #expect(status.detail(GoogleHelp.self) == nil)
        #expect(status.details[0].unpacked(GoogleErrorInfo.self) == nil)
    }

    @Test("A field that is wrong is a BadRequest")
    func badRequest() throws {
        let status = RPCStatus(invalidField: "quotes[2].strike", "is negative")
        #expect(status.code == .invalidArgument && status.message == "quotes[2].strike is negative")
        let violations = try #require(status.detail(GoogleBadRequest.self)).fieldViolations
        #expect(violations == [.init(field: "quotes[2].strike", description: "is negative")])
    }

    @Test("The bytes are google.rpc.Status's own")
    func bytes() {
        // `Status(code=5, message="no", details=[Any(type_url="a/b", value=b"\x01")])`, serialized by protobuf 4.
        let bytes: [UInt8] = [
            8, 5, 0x12, 2, 0x6E, 0x6F, 0x1A, 8, 0x0A, 3, 0x61, 0x2F, 0x62, 0x12, 1, 1,
        ]
        let status = RPCStatus(.notFound, "no", detailsBytes: bytes)
        #expect(status.details == [GoogleAny(typeURL: "a/b", value: [1])])
        #expect(status.details.first?.messageName == "b")
    }

    @Test("The headers' code and message stand, whatever the details say; what cannot be read is no detail")
    func mismatch() throws {
        let other = RPCStatus(.aborted, "other", details: [GoogleHelp()])
        let status = RPCStatus(.notFound, "mine", detailsBytes: other.detailsBytes)
        #expect(status.code == .notFound && status.message == "mine" && status.details.count == 1)
        for bytes in [[], [0xFF], [0x1A, 100, 1]] as [[UInt8]] {
            #expect(RPCStatus(.notFound, detailsBytes: bytes).details.isEmpty)
        }
        let damaged = GoogleStatus(details: [GoogleAny(typeURL: "x/google.rpc.Help", value: [0xFF])])
        let read = RPCStatus(.notFound, detailsBytes: try damaged.serializedBytes())
        #expect(read.details.count == 1 && read.detail(GoogleHelp.self) == nil)
        for url in ["", "/", "google.rpc.Help"] { #expect(GoogleAny(typeURL: url).unpacked(TestingNumber.self) == nil) }
    }
}
