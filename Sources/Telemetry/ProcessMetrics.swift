private import Glibc

/// The process itself: memory, processor time, age, and what it is.
public enum ProcessMetrics {
    static let residentMemory = MetricDefinition(
        "process_resident_memory_bytes", .gauge, "Resident memory size in bytes.")
    static let cpuSeconds = MetricDefinition(
        "process_cpu_seconds_total", .counter, "User and system processor time spent, in seconds.")
    static let startTime = MetricDefinition(
        "process_start_time_seconds", .gauge, "When the process started, in seconds since 1970.")
    static let openFiles = MetricDefinition("process_open_fds", .gauge, "Open file descriptors.")
    static let build = MetricDefinition(
        "vomma_build_info", .gauge, labels: ["service", "swift"], "Always 1; the labels say what runs.")

    /// Registers them. `service` is the executable's name.
    public static func register(in registry: MetricRegistry, service: String) {
        // The process is a moment older than this; close enough for an uptime.
        let started = Double(time(nil))
        registry.observe(startTime) { started }
        registry.observe(residentMemory) { Double(residentByteCount()) }
        registry.observe(cpuSeconds, read: processorSeconds)
        registry.observe(openFiles) { Double(openFileCount()) }
        #if compiler(>=6.3)
            let swift = "6.3"
        #else
            let swift = "6.2"
        #endif
        registry.observe(build, service, swift) { 1 }
    }

    /// The second field of /proc/self/statm, in pages.
    static func residentByteCount() -> Int {
        let file = unsafe open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return 0 }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 128)
        let count = unsafe bytes.withUnsafeMutableBytes { unsafe read(file, $0.baseAddress, $0.count) }
        let fields = bytes.prefix(max(0, count)).split(separator: UInt8(ascii: " "))
        guard fields.count > 1 else { return 0 }
        return fields[1].reduce(0) { $0 * 10 + Int($1) - 48 } * sysconf(Int32(_SC_PAGESIZE))
    }

    static func processorSeconds() -> Double {
        var usage = rusage()
        guard unsafe getrusage(.init(RUSAGE_SELF.rawValue), &usage) == 0 else { return 0 }
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
        return seconds(usage.ru_utime) + seconds(usage.ru_stime)
    }

    static func openFileCount() -> Int {
        guard let folder = unsafe opendir("/proc/self/fd") else { return 0 }
        defer { unsafe closedir(folder) }
        var count = 0
        while unsafe readdir(folder) != nil { count += 1 }
        // Without ".", ".." and the folder's own.
        return max(0, count - 3)
    }
}
