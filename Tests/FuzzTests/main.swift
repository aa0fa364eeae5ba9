// vomma-fuzz TARGET [libFuzzer's options and folders]: `make fuzz` builds it, with VOMMA_FUZZ set, and starts it.
internal import Glibc

@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ callback: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

/// What libFuzzer's callback, which has no context, is to run. Set once, before.
nonisolated(unsafe) private var target: FuzzTarget?

private func fail(_ reason: String) -> Never {
    print("vomma-fuzz: \(reason)")
    exit(64)
}

var words = CommandLine.arguments
if words.dropFirst().first == "--list" {
    print(FuzzTarget.all.map(\.name).joined(separator: " "))
    exit(0)
}
guard words.count > 1, let named = FuzzTarget.named(words.remove(at: 1)) else {
    fail("give a target: " + FuzzTarget.all.map(\.name).joined(separator: " "))
}
unsafe target = named

// The first folder named is the corpus: it gets the valid inputs.
if let corpus = words.dropFirst().first(where: { !$0.hasPrefix("-") }) {
    for (index, seed) in try named.seeds().enumerated() {
        guard let file = unsafe fopen("\(corpus)/seed-\(index)", "w") else { fail("cannot write into \(corpus)") }
        unsafe fwrite(seed, 1, seed.count, file)
        unsafe fclose(file)
    }
}

var pointers = unsafe words.map { unsafe strdup($0) } + [nil]
var count = CInt(words.count)
let result = unsafe pointers.withUnsafeMutableBufferPointer { pointers in
    guard var base = pointers.baseAddress else { return CInt(64) }
    return unsafe runDriver(&count, &base) { bytes, count in
        unsafe target?.run(Array(UnsafeBufferPointer(start: bytes, count: count)))
        return 0
    }
}
exit(result)
