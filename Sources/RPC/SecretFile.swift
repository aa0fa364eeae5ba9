private import Glibc

/// Whether a file that holds a secret is kept from other users of the machine.
package enum SecretFile {
    /// Container engines put secrets there, readable by all users of a container: there is one.
    private static let containersOwn = "/run/secrets/"

    /// The permissions of an open file, if every user of the machine may read or replace what it holds; else `nil`.
    /// Its group may read it: who is in one was put there.
    package static func openness(of file: Int32, path: String) -> UInt32? {
        guard !path.hasPrefix(containersOwn) || path.contains("/../") else { return nil }
        var status = stat()
        guard unsafe fstat(file, &status) == 0, status.st_mode & (S_IROTH | S_IWOTH) != 0 else { return nil }
        return status.st_mode & 0o7777
    }

    /// What is wrong with a file of such permissions, and what to do.
    package static func description(path: String, mode: UInt32) -> String {
        let digits = String(mode, radix: 8)
        let padded = String(repeating: "0", count: max(0, 4 - digits.count)) + digits
        return "\(path) holds a secret that every user of this machine can get at (mode \(padded)): chmod 600 \(path)"
    }
}
