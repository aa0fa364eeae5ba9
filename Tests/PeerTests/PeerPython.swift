import ChildProcesses
import Foundation

/// The private Python environment of the foreign peers that come from PyPI: Tests/Peers/make-venv.sh.
enum PeerPython {
    static let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../..").standardized
    static let environment = ["PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"]

    /// The interpreter of a private environment under .build, made at first use; `nil` where PyPI cannot be reached.
    static let interpreter = Task<String?, Never> {
        let folder = root.appending(path: ".build/peers-venv").path
        let made = try? await ChildProcess.run(
            root.appending(path: "Tests/Peers/make-venv.sh").path, [folder],
            environment: ProcessInfo.processInfo.environment)
        guard let made, made.status == 0 else {
            print("no peers from PyPI: \(made?.output ?? "make-venv.sh did not start")")
            return nil
        }
        return folder + "/bin/python"
    }
}
