import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import NIOSSL
import TestKit
import Testing

@testable import RPC

private let echo = RPCMethod.unary("/test.Service/Echo") { (request: Blob, _) in request }

/// Tells who the server takes the client for.
private let whoAmI = RPCMethod.unary("/test.Service/WhoAmI") { (_: Blob, context) in
    Blob(context.identity.map { "\($0.commonName ?? "-") \($0.names.joined(separator: " "))" } ?? "nobody")
}

private func call(_ channel: RPCChannel) async -> RPCStatus {
    await status { _ = try await channel.unary("/test.Service/Echo", Blob("x")) as Blob }
}

/// Asks a server with these credentials, by a channel with those.
private func exchange(
    server: TLSCredentials?, client: TLSCredentials?, host: String = "127.0.0.1", path: String = "/test.Service/Echo"
) async throws -> Result<String, RPCStatus> {
    try await withServer([echo, whoAmI], configure: { $0.tls = server }) { running, _ in
        var configuration = RPCChannelConfiguration()
        // A busy machine takes its time for a handshake.
        configuration.connectTimeout = .seconds(60)
        configuration.tls = client
        let channel = RPCChannel(
            host: host, port: try await running.boundPort, configuration: configuration, log: quiet)
        let text = NIOLockedValueBox("")
        let outcome = await status {
            let answer: Blob = try await channel.unary(path, Blob("through"))
            text.withLockedValue { $0 = answer.text }
        }
        await channel.close()
        return outcome == .ok ? .success(text.withLockedValue { $0 }) : .failure(outcome)
    }
}

extension TestCertificates {
    /// Certificate and key of one name, trusting another; looked at before every connection.
    fileprivate func credentials(_ identity: String?, trusting authority: String?) throws -> TLSCredentials {
        try TLSCredentials(
            TLSCredentials.Files(
                certificate: identity.map { path("\($0).pem") }, key: identity.map { path("\($0).key") },
                authority: authority.map { path("\($0).pem") }), checkInterval: .zero)
    }
}

@Suite(.timeLimit(.minutes(1))) struct TLSTests {
    private let certificates: TestCertificates

    init() async throws { certificates = try await TestCertificates() }

    private func refusal(server: TLSCredentials?, client: TLSCredentials?, host: String = "127.0.0.1") async throws
        -> String
    {
        switch try await exchange(server: server, client: client, host: host) {
        case .success(let text): return "not refused: \(text)"
        case .failure(let status):
            #expect(status.code == .unavailable)
            return status.message
        }
    }

    @Test("TLS: a server of the right authority and name is called, by name and by address; it knows no client")
    func serverOnly() async throws {
        let server = try certificates.credentials("server", trusting: nil)
        let client = try certificates.credentials(nil, trusting: "ca")
        for host in ["127.0.0.1", "localhost"] {
            #expect(try await exchange(server: server, client: client, host: host) == .success("through"))
        }
        #expect(
            try await exchange(server: server, client: client, path: "/test.Service/WhoAmI") == .success("nobody"))
    }

    @Test("Mutual TLS: the server knows its client by common name and alternative names")
    func mutual() async throws {
        let server = try certificates.credentials("server", trusting: "ca")
        let client = try certificates.credentials("client", trusting: "ca")
        #expect(
            try await exchange(server: server, client: client, path: "/test.Service/WhoAmI")
                == .success("client policy-service spiffe://vomma/policy ::1"))
    }

    @Test("Mutual TLS refuses a client without a certificate, or with one of another authority, and says so")
    func refusedClients() async throws {
        let server = try certificates.credentials("server", trusting: "ca")
        let nameless = try certificates.credentials(nil, trusting: "ca")
        #expect(try await refusal(server: server, client: nameless).contains("demands a client certificate"))
        let foreign = try certificates.credentials("foreign", trusting: "ca")
        #expect(try await refusal(server: server, client: foreign).contains("does not trust the authority"))
    }

    @Test("A server of another authority, or with another name, is refused by the client")
    func refusedServers() async throws {
        let client = try certificates.credentials(nil, trusting: "ca")
        let foreign = try certificates.credentials("foreign", trusting: nil)
        #expect(try await refusal(server: foreign, client: client).contains("authority that we trust"))
        let elsewhere = try certificates.credentials("elsewhere", trusting: nil)
        for host in ["localhost", "127.0.0.1"] {
            #expect(try await refusal(server: elsewhere, client: client, host: host).contains("for another name"))
        }
    }

    @Test("Plain and encrypted ends do not understand each other, and the caller learns why")
    func mixedUp() async throws {
        let server = try certificates.credentials("server", trusting: nil)
        let client = try certificates.credentials(nil, trusting: "ca")
        #expect(try await refusal(server: server, client: nil).contains("the server speaks TLS"))
        #expect(try await refusal(server: nil, client: client).contains("the peer does not speak TLS"))
    }

    @Test("A peer that does not offer HTTP/2 is refused, at both ends")
    func applicationProtocol() async throws {
        // A TLS client without ALPN: the server closes, and a gRPC client is served all the same.
        let server = try certificates.credentials("server", trusting: nil)
        let authority = try NIOSSLCertificate.fromPEMFile(certificates.path("ca.pem"))
        try await withServer([echo], configure: { $0.tls = server }) { running, _ in
            var configuration = TLSConfiguration.makeClientConfiguration()
            configuration.trustRoots = .certificates(authority)
            let context = try NIOSSLContext(configuration: configuration)
            let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(
                            NIOSSLClientHandler(context: context, serverHostname: "localhost"))
                    }
                }
                .connect(host: "127.0.0.1", port: try await running.boundPort).get()
            try? await channel.closeFuture.get()
        }
        // A TLS server without ALPN.
        let configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMFile(certificates.path("server.pem")).map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(file: certificates.path("server.key"), format: .pem)))
        let context = try NIOSSLContext(configuration: configuration)
        let client = try certificates.credentials(nil, trusting: "ca")
        try await withListener { channel in
            try? channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: context))
        } _: { port in
            var configuration = RPCChannelConfiguration()
            configuration.tls = client
            let channel = RPCChannel(host: "127.0.0.1", port: port, configuration: configuration, log: quiet)
            #expect(await call(channel).message.contains("does not offer HTTP/2"))
            await channel.close()
        }
    }

    @Test("Changed files hold for new connections; unusable ones change nothing; calls under way go on")
    func reload() async throws {
        try await certificates.issue("used", names: "IP:127.0.0.1")
        try await certificates.issue("new", names: "DNS:elsewhere.example")
        let (server, client) = (
            try certificates.credentials("used", trusting: nil), try certificates.credentials(nil, trusting: "ca")
        )
        let certificates = certificates
        try await withServer([echo], configure: { $0.tls = server }) { running, _ in
            let port = try await running.boundPort
            func newChannel() -> RPCChannel {
                var configuration = RPCChannelConfiguration()
                configuration.tls = client
                return RPCChannel(host: "127.0.0.1", port: port, configuration: configuration, log: quiet)
            }
            func replace(_ suffix: String, by source: String) throws {
                try FileManager.default.removeItem(atPath: certificates.path("used.\(suffix)"))
                try FileManager.default.moveItem(
                    atPath: certificates.path(source), toPath: certificates.path("used.\(suffix)"))
            }
            let old = newChannel()
            #expect(await call(old) == .ok)
            // A key without its certificate is no use: the old pair stays.
            try replace("key", by: "new.key")
            let during = newChannel()
            #expect(await call(during) == .ok)
            // With the certificate it is another name's, so that the client notices.
            try replace("pem", by: "new.pem")
            let after = newChannel()
            #expect(await call(after).message.contains("for another name"))
            #expect(await call(old) == .ok)
            // Files that are gone change nothing either.
            try FileManager.default.removeItem(atPath: certificates.path("used.pem"))
            let last = newChannel()
            #expect(await call(last).message.contains("for another name"))
            for channel in [old, during, after, last] { await channel.close() }
        }
    }

    @Test("A client's changed authority holds for its next connection")
    func reloadAuthority() async throws {
        let server = try certificates.credentials("server", trusting: nil)
        try FileManager.default.copyItem(
            atPath: certificates.path("foreign-ca.pem"), toPath: certificates.path("trust.pem"))
        let client = try certificates.credentials(nil, trusting: "trust")
        #expect(try await refusal(server: server, client: client).contains("authority that we trust"))
        try FileManager.default.removeItem(atPath: certificates.path("trust.pem"))
        try FileManager.default.copyItem(atPath: certificates.path("ca.pem"), toPath: certificates.path("trust.pem"))
        #expect(try await exchange(server: server, client: client) == .success("through"))
    }

    @Test("What is wrong with the files is found when they are first read, and named")
    func badFiles() throws {
        let c = certificates
        try Data("not a certificate".utf8).write(to: URL(filePath: c.path("text.pem")))
        func failure(_ files: TLSCredentials.Files) -> TLSError? {
            do throws(TLSError) {
                _ = try TLSCredentials(files)
                return nil
            } catch {
                return error
            }
        }
        func files(_ certificate: String?, _ key: String?, _ authority: String? = nil) -> TLSCredentials.Files {
            TLSCredentials.Files(
                certificate: certificate.map { c.path($0) }, key: key.map { c.path($0) },
                authority: authority.map { c.path($0) })
        }
        #expect(failure(files("server.pem", "server.key", "ca.pem")) == nil)
        #expect(failure(files("server.pem", nil)) == .incomplete)
        #expect(failure(files(nil, "server.key")) == .incomplete)
        let missing = failure(files("none.pem", "server.key"))
        #expect(missing == .cannotRead(path: c.path("none.pem"), reason: "No such file or directory"))
        #expect("\(try #require(missing))" == "\(c.path("none.pem")) cannot be read: No such file or directory")
        #expect(failure(files("server.pem", "none.key"))
            == .cannotRead(path: c.path("none.key"), reason: "No such file or directory"))
        #expect(failure(files(nil, nil, "none.pem"))
            == .cannotRead(path: c.path("none.pem"), reason: "No such file or directory"))
        #expect(failure(files("text.pem", "server.key")) == .noCertificate(path: c.path("text.pem")))
        #expect(failure(files(nil, nil, "text.pem")) == .noCertificate(path: c.path("text.pem")))
        func setMode(_ mode: Int, _ name: String) throws {
            try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: c.path(name))
        }
        try setMode(0o600, "text.pem")
        #expect(failure(files("server.pem", "text.pem")) == .badKey(path: c.path("text.pem")))
        // A key is its owner's, and its group's at the most; certificates are everybody's.
        for (mode, error) in [
            (0o640, nil), (0o644, TLSError.exposed(path: c.path("server.key"), mode: 0o644)),
            (0o602, .exposed(path: c.path("server.key"), mode: 0o602)), (0o400, nil),
        ] as [(Int, TLSError?)] {
            try setMode(mode, "server.key")
            try setMode(0o644, "server.pem")
            #expect(failure(files("server.pem", "server.key", "ca.pem")) == error)
        }
        #expect("\(TLSError.exposed(path: "a.key", mode: 0o4604))".hasSuffix("(mode 4604): chmod 600 a.key"))
        // A container's secrets may be readable by all of its users: it has one.
        try setMode(0o444, "server.key")
        let file = unsafe open(c.path("server.key"), O_RDONLY)
        #expect(SecretFile.openness(of: file, path: c.path("server.key")) == 0o444)
        #expect(SecretFile.openness(of: file, path: "/run/secrets/server.key") == nil)
        #expect(SecretFile.openness(of: file, path: "/run/secrets/../server.key") == 0o444)
        close(file)
        try setMode(0o600, "server.key")
        #expect(
            failure(files("server.pem", "client.key"))
                == .keyMismatch(certificate: c.path("server.pem"), key: c.path("client.key")))
        for expired in [failure(files("expired.pem", "expired.key")), failure(files(nil, nil, "expired.pem"))] {
            guard case .expired(let path, let time)? = expired else {
                Issue.record("\(String(describing: expired))")
                continue
            }
            #expect(path == c.path("expired.pem"))
            // A day ago, at most.
            #expect(time < Int(Date().timeIntervalSince1970) && time > Int(Date().timeIntervalSince1970) - 100_000)
        }
        #expect("\(TLSError.expired(path: "a.pem", secondsSince1970: 951_782_400))" == "the certificate in a.pem ran out on 2000-02-29")
    }

    @Test("A connection that never finishes its TLS handshake is closed by the server's handshake timeout")
    func handshakeTimeout() async throws {
        let server = try certificates.credentials("server", trusting: nil)
        try await withServer(
            [echo],
            configure: {
                $0.tls = server
                $0.handshakeTimeout = .milliseconds(20)
            }
        ) { running, _ in
            let port = try await running.boundPort
            // Nothing at all, and the beginning of a TLS record.
            try await Probe.send(port: port, [], waits: true)
            try await Probe.send(port: port, [22, 3, 1, 1, 0], waits: true)
        }
    }

    @Test("A server that never finishes its TLS handshake fails the call by the connect timeout")
    func connectTimeout() async throws {
        let client = try certificates.credentials(nil, trusting: "ca")
        try await withListener { _ in } _: { port in
            var configuration = RPCChannelConfiguration()
            configuration.tls = client
            configuration.connectTimeout = .milliseconds(50)
            let channel = RPCChannel(host: "127.0.0.1", port: port, configuration: configuration, log: quiet)
            #expect(await call(channel).code == .unavailable)
            await channel.close()
        }
    }
}
