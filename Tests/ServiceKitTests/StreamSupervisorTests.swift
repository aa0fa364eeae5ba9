import MarketData
import RPC
import ServiceLifecycle
import Storage
import Synchronization
import Testing

@testable import ServiceKit

private func stream(_ name: String) -> EventRepository.Stream {
    let time = Timestamp(microseconds: 0)
    return EventRepository.Stream(
        name: name, exchange: "test", symbols: [], currencies: [], from: time, to: time, tradedSymbols: [],
        tradeFrom: time)
}

@Suite(.timeLimit(.minutes(1))) struct StreamSupervisorTests {
    @Test("streams are followed as they appear; one that fails is begun again and does not stop the others")
    func follows() async throws {
        let listed = Count()
        let finished = Count()
        let attempts = Mutex<[String: Int]>([:])
        let supervisor = StreamSupervisor(log: quiet) {
            listed.increment()
            // The list itself can fail when the database is away.
            if listed.value == 2 { throw StorageError.unavailable("gone") }
            return listed.value < 4 ? [stream("a")] : [stream("a"), stream("b")]
        } work: { stream in
            let attempt = attempts.withLock { attempts in
                attempts[stream.name, default: 0] += 1
                return attempts[stream.name, default: 0]
            }
            if stream.name == "a", attempt < 3 { throw RPCStatus(.unavailable, "not yet") }
            finished.increment()
        }
        let running = Task { try await supervisor.run() }
        await finished.reached(2)
        await listed.reached(listed.value + 1)
        running.cancel()
        _ = await running.result
        #expect(attempts.withLock { $0 } == ["a": 3, "b": 1])
    }

    @Test("a peer or a database that is away is worth another try soon; what is wrong in itself is not")
    func transient() {
        for code in [StatusCode.unavailable, .cancelled, .deadlineExceeded, .aborted, .notFound] {
            #expect(StreamSupervisor.isTransient(RPCStatus(code, "")))
        }
        for code in [StatusCode.invalidArgument, .unimplemented, .internal, .failedPrecondition, .resourceExhausted] {
            #expect(!StreamSupervisor.isTransient(RPCStatus(code, "")))
        }
        #expect(!StreamSupervisor.isTransient(Fault()))
    }
}
