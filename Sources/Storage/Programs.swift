internal import ChildProcesses
internal import Glibc

/// Runs another program to its end. For starting and stopping the private cluster: rare, so plain and blocking.
enum Program {
    struct Outcome {
        /// The exit status; 128 + the signal's number when a signal ended it.
        var status: Int32
        /// What it wrote to standard output and standard error, at most 64 KiB.
        var output: String
    }

    /// Runs `arguments` (the first is the program's path) and waits. The server that it may leave behind keeps its
    /// output open, so that goes through a file.
    ///
    /// Blocks: call it from a thread of its own. Throws `cluster` when it can't be started.
    static func run(_ arguments: [String]) throws(StorageError) -> Outcome {
        do {
            let child = try ChildProcess(arguments[0], Array(arguments.dropFirst()), output: .unnamedFile)
            return Outcome(status: child.waitUntilEnd(), output: child.text)
        } catch {
            throw .cluster("\(error)")
        }
    }
}

/// The few file operations of the private cluster; each throws `cluster` with the path and the error's number.
enum FileSystem {
    static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }
    static func isExecutable(_ path: String) -> Bool { unsafe access(path, X_OK) == 0 }

    /// Makes a folder, and those above it. `mode` holds for the last one, where it is made.
    static func makeFolder(_ path: String, mode: mode_t) throws(StorageError) {
        var prefix = path.hasPrefix("/") ? "/" : ""
        let parts = path.split(separator: "/")
        for (index, part) in parts.enumerated() {
            prefix += (prefix.isEmpty || prefix.hasSuffix("/") ? "" : "/") + part
            let isLast = index == parts.count - 1
            guard unsafe mkdir(prefix, isLast ? mode : 0o755) == 0 || errno == EEXIST else { throw failure(prefix) }
        }
    }

    static func read(_ path: String) -> String? {
        let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = unsafe bytes.withUnsafeMutableBytes { unsafe Glibc.read(file, $0.baseAddress, $0.count) }
        return count < 0 ? nil : String(decoding: bytes.prefix(count), as: UTF8.self)
    }

    /// Replaces a file in one step, readable by its owner only, on disk when this returns.
    static func write(_ text: String, to path: String) throws(StorageError) {
        let temporary = path + ".new"
        let file = unsafe open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw failure(temporary) }
        let bytes = Array(text.utf8)
        let written = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(file, $0.baseAddress, $0.count) }
        let isSafe = fsync(file) == 0
        close(file)
        guard written == bytes.count, isSafe, unsafe rename(temporary, path) == 0 else { throw failure(path) }
    }

    static func remove(_ path: String) { unsafe _ = unlink(path) }

    static func setOwner(_ path: String, _ user: UInt32, _ group: UInt32) throws(StorageError) {
        guard unsafe lchown(path, user, group) == 0 else { throw failure(path) }
    }

    /// Owner and permission bits, of the path itself where it is a link; nil where there is nothing.
    static func status(_ path: String) -> (owner: UInt32, mode: mode_t, isFolder: Bool)? {
        var information = stat()
        guard unsafe lstat(path, &information) == 0 else { return nil }
        return (information.st_uid, information.st_mode & 0o7777, information.st_mode & S_IFMT == S_IFDIR)
    }

    /// The path from the root, links resolved; nil where nothing is there.
    static func resolved(_ path: String) -> String? {
        guard let text = unsafe realpath(path, nil) else { return nil }
        defer { unsafe free(text) }
        return unsafe String(cString: text)
    }

    static func names(in folder: String) -> [String] {
        guard let handle = unsafe opendir(folder) else { return [] }
        defer { unsafe _ = closedir(handle) }
        var names: [String] = []
        while let entry = unsafe readdir(handle) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                unsafe pointer.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    static func failure(_ path: String) -> StorageError { .cluster("\(path): error \(errno)") }
}

/// A lock on a file that ends with the process, however it ends: one starter or stopper of a cluster at a time.
struct FileLock: ~Copyable {
    private let file: CInt

    /// Waits for the lock. Blocks.
    init(_ path: String) throws(StorageError) {
        file = unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw FileSystem.failure(path) }
        while flock(file, LOCK_EX) != 0 {
            guard errno == EINTR else {
                close(file)
                throw FileSystem.failure(path)
            }
        }
    }

    deinit { close(file) }
}
