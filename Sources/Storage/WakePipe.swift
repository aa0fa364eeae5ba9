internal import Glibc

/// A pipe that wakes up a thread which sleeps in `poll`: at most a few bytes are ever in it.
final class WakePipe: Sendable {
    /// What the sleeper reads or polls.
    let readEnd: CInt
    private let writeEnd: CInt

    /// Throws `outOfMemory` when the process has no file descriptor left.
    init() throws(StorageError) {
        var ends: [CInt] = [-1, -1]
        guard unsafe pipe(&ends) == 0 else { throw .outOfMemory }
        readEnd = ends[0]
        writeEnd = ends[1]
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
        }
    }

    deinit {
        close(readEnd)
        close(writeEnd)
    }

    /// Wakes the sleeper, now or at its next sleep. A full pipe is awake enough.
    func signal() {
        var byte: UInt8 = 1
        unsafe _ = write(writeEnd, &byte, 1)
    }

    /// Takes all signals.
    func drain() {
        var bytes = (UInt64(0), UInt64(0))
        unsafe _ = withUnsafeMutableBytes(of: &bytes) { unsafe read(readEnd, $0.baseAddress, $0.count) }
    }
}
