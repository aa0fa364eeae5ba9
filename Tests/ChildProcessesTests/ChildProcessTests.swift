import ChildProcesses
import Foundation
import Testing

@Suite("Child processes", .timeLimit(.minutes(1)))
struct ChildProcessTests {
    private static func shell(
        _ script: String, input: ChildProcess.Input = .none, output: ChildProcess.Output = .collected
    ) throws -> ChildProcess {
        try ChildProcess("/bin/sh", ["-c", script], input: input, output: output)
    }

    @Test("the end tells the exit code, or 128 and the signal", arguments: [("exit 7", 7), ("kill -9 $$", 137)])
    func status(script: String, expected: Int32) async throws {
        let child = try Self.shell(script)
        #expect(await child.end() == expected)
        #expect(!child.isRunning)
        #expect(await child.end() == expected, "the end is told as often as it is asked for")
        #expect(child.waitUntilEnd() == expected)
        // Nobody's process any more: no harm is done.
        child.signal(SIGKILL)
    }

    @Test("standard output and standard error are collected to the last byte, with the given environment alone")
    func collected() async throws {
        let (status, output) = try await ChildProcess.run(
            "/bin/sh", ["-c", "echo $WORD; echo $HOME >&2; head -c 300000 /dev/zero"], environment: ["WORD": "vega"])
        #expect(status == 0)
        #expect(output.utf8.count == 300_000 + 6)
        #expect(output.hasPrefix("vega\n\n"))
    }

    @Test("lines are told one after the other, while it runs; none is left when it ends")
    func lines() async throws {
        let child = try Self.shell("echo one; echo two; read line; echo three; printf four", input: .held)
        #expect(await child.line { $0.hasPrefix("t") } == "two")
        #expect(child.isRunning)
        child.closeInput()
        #expect(await child.line { _ in true } == "three")
        #expect(await child.line { _ in true } == nil)
        #expect(await child.end() == 0)
        #expect(child.text == "one\ntwo\nthree\nfour")
    }

    @Test("a held input closes with the object; without one, input is empty")
    func input() async throws {
        #expect(await (try Self.shell("cat")).end() == 0)
        let path = NSTemporaryDirectory() + "vomma-child-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        // The watcher ends when the dropped one has ended, which it does when its input closes.
        var dropped: ChildProcess? = try Self.shell("cat; echo ended", input: .held, output: .file(path))
        let number = try #require(dropped?.processID)
        let watcher = try Self.shell("tail --pid=\(number) -f /dev/null")
        #expect(dropped?.isRunning == true)
        dropped = nil
        #expect(await watcher.end() == 0)
        #expect(try String(contentsOfFile: path, encoding: .utf8) == "ended\n")
    }

    @Test("a daemon that keeps the output open does not keep a program from ending")
    func daemon() async throws {
        let child = try Self.shell("sleep 600 & echo $!", output: .unnamedFile)
        #expect(await child.end() == 0)
        let daemon = try #require(Int32(child.text.trimmingCharacters(in: .newlines)))
        #expect(kill(daemon, SIGKILL) == 0)
    }

    @Test("signals reach it, and those that we ignore or block it does not")
    func signals() async throws {
        signal(SIGUSR1, SIG_IGN)
        defer { signal(SIGUSR1, SIG_DFL) }
        let child = try Self.shell("kill -USR1 $$; sleep 600")
        #expect(await child.end() == 128 + SIGUSR1)
        let sleeper = try Self.shell("exec sleep 600")
        sleeper.signal(SIGTERM)
        #expect(await sleeper.end() == 128 + SIGTERM)
    }

    @Test("a program that is not there, or not one, is named")
    func missing() throws {
        for path in ["/nowhere/at-all", "/etc/passwd"] {
            #expect {
                _ = try ChildProcess(path, output: .collected)
            } throws: { error in
                "\(error)".contains(path)
            }
        }
    }

    @Test("it inherits its standard streams and no other descriptor")
    func descriptors() async throws {
        // Not closed-on-exec, as many a library leaves its own.
        let leaked = dup(0)
        defer { close(leaked) }
        try #require(leaked > 2)
        let (_, output) = try await ChildProcess.run("/bin/sh", ["-c", "exec ls /proc/self/fd"])
        // The fourth is the folder that ls reads.
        #expect(output.split(separator: "\n") == ["0", "1", "2", "3"])
    }

    @Test("many at once: each end is told, and no sibling holds another's input or output open")
    func many() async throws {
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for number in 0..<40 {
                group.addTask {
                    let child = try Self.shell("cat; echo \(number)", input: .held)
                    child.closeInput()
                    return await child.end() == 0 && child.text == "\(number)\n"
                }
            }
            for try await isRight in group { #expect(isRight) }
        }
    }
}
