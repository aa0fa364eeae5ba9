internal import Logging
internal import NIOCore

/// One connection to a server: gives events to the calls, and tells the transport how it fares.
final class ClientConnection: HTTP2Connection {
    private let transport: ClientTransport
    /// The transport's number for the address.
    let number: Int
    /// What the server is called.
    let authority: String
    private var calls: [ClientCall?] = []
    private var callCount = 0
    /// No new calls: GOAWAY came, or the transport has closed. Ends with the last call.
    private(set) var isLeaving = false
    private var isReported = false
    private var reportedAt = NIODeadline.now()

    init(_ transport: ClientTransport, number: Int, authority: String, log: Logger) throws {
        self.transport = transport
        self.number = number
        self.authority = authority
        let configuration = transport.configuration
        try super.init(
            .client, configuration.http2, keepAlive: transport.keepAlive, metrics: configuration.metrics,
            loop: transport.loop, log: log)
    }

    override var isBusy: Bool { callCount > 0 }

    /// Opens a stream for a call; `nil` when this connection takes no more, and the call is placed anew.
    func open(_ headers: HeaderFields, _ call: ClientCall) -> HTTP2Session.StreamReference? {
        do throws(HTTP2Session.Failure) {
            let stream = try session.request(headers)
            while calls.count <= stream.slot { calls.append(nil) }
            calls[stream.slot] = call
            callCount += 1
            return stream
        } catch {
            // Stream identifiers are used up, or GOAWAY is in the session already.
            leave()
            transport.place(call)
            return nil
        }
    }

    override func handle(_ event: HTTP2Session.Event, input: UnsafeRawBufferPointer) {
        switch event {
        case .headers(let stream, let block): call(stream)?.receiveHeaders(session.headers, block)
        case .data(let stream, let range):
            guard let call = call(stream) else { return }
            unsafe call.receive(UnsafeRawBufferPointer(rebasing: input[range]))
        case .endStream(let stream): call(stream)?.receiveEnd()
        case .writable(let stream): call(stream)?.releaseWriters(nil)
        case .closed(let stream, let code):
            if let call = call(stream) {
                calls[stream.slot] = nil
                callCount -= 1
                call.streamClosed(code, wasSent: session.wasHeadSent(slot: stream.slot))
            }
            session.release(stream)
            endIfLeft()
        case .settings:
            if !isReported {
                isReported = true
                transport.established(self)
            }
        case .goAway(let code):
            ends(as: .peer)
            if code == .enhanceYourCalm, !isLeaving { transport.calmDown() }
            leave()
        case .pingAnswered: break
        }
    }

    override func connectionLost(_ reason: String) {
        var reason = reason
        if !isEstablished, !isSecure, firstByte == 21 {
            reason = "the server speaks TLS, and this channel does not"
        }
        let lost = calls
        calls = []
        callCount = 0
        transport.lost(self, reason)
        for (slot, call) in lost.enumerated() {
            call?.connectionLost(reason, wasSent: session.wasHeadSent(slot: slot))
        }
    }

    override func tick(now: NIODeadline) {
        if now - reportedAt >= .seconds(1) {
            reportedAt = now
            for call in calls { call?.reportProgress() }
        }
    }

    /// The call is done with its stream, which may not have ended yet.
    func forget(_ stream: HTTP2Session.StreamReference) {
        guard call(stream) != nil else { return }
        calls[stream.slot] = nil
        callCount -= 1
        endIfLeft()
    }

    /// Takes no new calls, and closes after the last.
    func leave() {
        guard !isLeaving else { return }
        ends(as: .shutdown)
        isLeaving = true
        transport.leaving(self)
        endIfLeft()
    }

    /// Ends every call, and the connection.
    func stop(_ status: RPCStatus) {
        ends(as: .shutdown)
        isLeaving = true
        for call in calls { call?.abort(status) }
        session.terminate(.noError)
        flush()
        close(status.message)
    }

    private func endIfLeft() {
        guard isLeaving, callCount == 0 else { return }
        session.terminate(.noError)
        scheduleFlush()
    }

    private func call(_ stream: HTTP2Session.StreamReference) -> ClientCall? {
        stream.slot < calls.count ? calls[stream.slot] : nil
    }
}
