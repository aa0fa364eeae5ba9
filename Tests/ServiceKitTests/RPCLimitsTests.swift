import Foundation
import RPC
import Testing

@testable import ServiceKit

@Suite struct RPCLimitsTests {
    /// What the variables make of a service's server, and what is wrong with them.
    private static func read(_ variables: [String: String]) -> (server: RPCServerConfiguration, faults: [String]) {
        let environment = Dictionary(uniqueKeysWithValues: variables.map { ("VOMMA_RPC_" + $0, $1) })
        var settings = Settings(environment: environment)
        let common = CommonSettings(&settings, port: 1, needsDatabase: false)
        return (common.server, settings.faults)
    }

    @Test("each variable sets its own limit, and none another's")
    func places() {
        let (server, faults) = Self.read([
            "MAX_MESSAGE_BYTES": "2001", "MAX_HELD_BYTES": "70002", "MAX_HEADER_BYTES": "2003",
            "MAX_CONNECTIONS": "2004", "MAX_STREAMS": "2005", "STREAM_WINDOW_BYTES": "70006",
            "CONNECTION_WINDOW_BYTES": "70007", "WRITE_BUFFER_BYTES": "2008", "HANDSHAKE_SECONDS": "2009",
            "MAX_IDLE_SECONDS": "2010", "MAX_AGE_SECONDS": "2011", "MAX_AGE_GRACE_SECONDS": "2012",
            "KEEPALIVE_SECONDS": "2013", "KEEPALIVE_TIMEOUT_SECONDS": "2014", "CLIENT_PING_SECONDS": "2015",
            "CLIENT_PING_WITHOUT_CALLS": "yes", "CONTROL_FRAME_BURST": "2016", "CONTROL_FRAMES_PER_SECOND": "2017",
            "DRAIN_SECONDS": "2018",
        ])
        #expect(faults.isEmpty)
        #expect(server.maxMessageByteCount == 2001)
        #expect(server.maxHeldByteCount == 70_002)
        #expect(server.http2.maxHeaderListByteCount == 2003)
        #expect(server.maxConnectionCount == 2004)
        #expect(server.http2.maxConcurrentStreamCount == 2005)
        #expect(server.http2.streamWindowByteCount == 70_006)
        #expect(server.http2.connectionWindowByteCount == 70_007)
        #expect(server.http2.writeHighWaterMark == 2008)
        #expect(server.handshakeTimeout == .seconds(2009))
        #expect(server.maxConnectionIdle == .seconds(2010))
        #expect(server.maxConnectionAge == .seconds(2011))
        #expect(server.maxConnectionAgeGrace == .seconds(2012))
        #expect(server.keepAlive.interval == .seconds(2013))
        #expect(server.keepAlive.timeout == .seconds(2014))
        #expect(server.clientPings.minInterval == .seconds(2015))
        #expect(server.clientPings.permitsWithoutCalls)
        #expect(server.http2.maxControlFrameBurst == 2016)
        #expect(server.http2.maxControlFramesPerSecond == 2017)
        #expect(server.drainTimeout == .seconds(2018))
    }

    /// compose.yml sets all of them, to nothing where its environment says nothing.
    @Test("what is not set, or to nothing, is as any server has it, but for longer messages", arguments: [false, true])
    func defaults(isEmpty: Bool) {
        let keys = isEmpty ? RPCLimit.all.map(\.key) + ["rpc.compression"] : []
        let names = keys.map { $0.dropFirst("rpc.".count).uppercased().replacing(".", with: "_") }
        let (server, faults) = Self.read(Dictionary(uniqueKeysWithValues: names.map { ($0, "") }))
        let plain = RPCServerConfiguration()
        #expect(faults.isEmpty)
        #expect(server.maxMessageByteCount == 64 << 20)
        #expect(server.maxHeldByteCount == plain.maxHeldByteCount)
        #expect(server.http2.maxConcurrentStreamCount == plain.http2.maxConcurrentStreamCount)
        #expect(server.drainTimeout == plain.drainTimeout)
        #expect(server.keepAlive.interval == plain.keepAlive.interval)
        #expect(server.clientPings.permitsWithoutCalls == plain.clientPings.permitsWithoutCalls)
        #expect(server.maxConnectionIdle == nil && server.maxConnectionAge == nil)
        #expect(server.maxConnectionAgeGrace == nil)
    }

    @Test("every bad value is a fault that names the variable, the value and what is expected")
    func faults() {
        let (_, faults) = Self.read([
            "MAX_MESSAGE_BYTES": "64MiB", "MAX_STREAMS": "0", "HANDSHAKE_SECONDS": "1.5", "MAX_AGE_SECONDS": "-1",
            "CLIENT_PING_WITHOUT_CALLS": "true", "MAX_HELD_BYTES": "1",
        ])
        #expect(
            faults == [
                "VOMMA_RPC_MAX_MESSAGE_BYTES is “64MiB”, expected a whole number from 1024 to 2147483647",
                "VOMMA_RPC_MAX_HELD_BYTES is “1”, expected a whole number from 65536 to 1099511627776",
                "VOMMA_RPC_MAX_STREAMS is “0”, expected a whole number from 1 to 1000000",
                "VOMMA_RPC_HANDSHAKE_SECONDS is “1.5”, expected a whole number from 1 to 3600",
                "VOMMA_RPC_MAX_AGE_SECONDS is “-1”, expected a whole number from 0 to 31536000",
                "VOMMA_RPC_CLIENT_PING_WITHOUT_CALLS is “true”, expected one of no, yes",
            ])
    }

    @Test("a longest message that could not be held is a fault")
    func messagesBeyondWhatIsHeld() {
        #expect(
            Self.read(["MAX_MESSAGE_BYTES": "1000000", "MAX_HELD_BYTES": "999999"]).faults == [
                "VOMMA_RPC_MAX_HELD_BYTES is “999999”, expected no less than VOMMA_RPC_MAX_MESSAGE_BYTES, 1000000"
            ])
        #expect(Self.read(["MAX_MESSAGE_BYTES": "1000000", "MAX_HELD_BYTES": "1000000"]).faults.isEmpty)
    }

    @Test("docs/configuration.md has a row for each, with default, what is allowed, and meaning")
    func documentation() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let text = try String(contentsOf: root.appending(path: "docs/configuration.md"), encoding: .utf8)
        let section = try #require(text.split(separator: "## Limits of a service\n").dropFirst().first)
        let rows = try #require(section.split(separator: "\n## ").first).split(separator: "\n")
            .filter { $0.hasPrefix("| `VOMMA_") }
        var settings = Settings(environment: [:])
        var server = RPCLimit.defaults
        RPCLimit.read(&settings, into: &server)
        let wanted = zip(settings.descriptions, RPCLimit.all).map { setting, limit in
            let allowed =
                switch limit.value {
                case .number(_, let range), .seconds(_, let range): "\(range.lowerBound) to \(range.upperBound)"
                case .secondsOrNone(_, let longest): "0 to \(longest)"
                case .yesOrNo: "`yes`, `no`"
                }
            return "| `\(setting.variable)` | `\(setting.defaultValue ?? "")` | \(allowed) | \(setting.meaning) |"
        }
        #expect(rows.map(String.init) == wanted)
    }
}
