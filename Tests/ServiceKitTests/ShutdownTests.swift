import ServiceLifecycle
import Testing

@testable import ServiceKit

/// A minute is longer than what the bounds of these tests are, and shorter than what the services would take.
@Suite(.timeLimit(.minutes(1))) struct ShutdownTests {
    /// Asked to stop, it goes on until a gate opens, or until it is cancelled.
    private struct Patient: Service {
        let stopping: Count
        let gate: Count
        let isCut: Count

        func run() async throws {
            try await gracefulShutdown()
            stopping.increment()
            do {
                while gate.value == 0 { try await Task.sleep(for: .milliseconds(1)) }
            } catch {
                isCut.increment()
            }
        }
    }

    private static func stop(drain: Duration, opensGate: Bool) async throws -> (isCut: Bool, isPatient: Bool) {
        let (stopping, gate, isCut) = (Count(), Count(), Count())
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                [.init(service: Patient(stopping: stopping, gate: gate, isCut: isCut))], drain: drain, log: quiet))
        async let error = thrown { try await group.run() }
        await group.triggerGracefulShutdown()
        await stopping.reached(1)
        if opensGate { gate.increment() }
        return (isCut.value == 1, await error == nil && isCut.value == 0)
    }

    @Test("services have as long to stop as calls have, and five seconds more, however long that is")
    func bound() async throws {
        // One that is not done after a tenth of a second is cut short.
        #expect(try await !Self.stop(drain: .milliseconds(-4900), opensGate: false).isPatient)
        #expect(try await Self.stop(drain: .seconds(3600), opensGate: true).isPatient)
        for seconds in [1, 5, 3600] {
            let configuration = ServiceGroupConfiguration([], drain: .seconds(seconds), log: quiet)
            #expect(configuration.maximumGracefulShutdownDuration == .seconds(seconds + 5))
        }
    }
}
