internal import CNGHTTP2
private import Glibc
private import NIOPosix

/// The memory of the nghttp2 sessions that one thread makes, which is an event loop's: freed blocks are kept for the
/// next of their size, for each call takes and gives back the same few. One connection's call gets those of another's
/// that has just ended, which the processor's nearest cache still has.
///
/// Holds at most `retainedLimit` bytes of free blocks; blocks larger than `largestSize` go straight to malloc.
/// `@unchecked Sendable`: the free blocks are its own thread's alone. A session that another thread uses or frees, as
/// can happen where a server ends, takes from malloc and gives back to it.
@safe final class HTTP2Memory: @unchecked Sendable {
    private static let retainedLimit = 1 << 20
    private static let step = 64
    private static let largestSize = 1024
    /// Before each block: its size, a multiple of `step` for those that are kept, else 0.
    private static let headCount = 16

    private static let current = ThreadSpecificVariable<HTTP2Memory>()

    private let thread = pthread_self()
    private let free: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    @safe @exclusivity(unchecked) private var retained = 0

    /// That of the thread that asks.
    static var ofThread: HTTP2Memory {
        if let memory = current.currentValue { return memory }
        let memory = HTTP2Memory()
        current.currentValue = memory
        return memory
    }

    init() {
        let classCount = Self.largestSize / Self.step + 1
        unsafe free = .allocate(capacity: classCount)
        unsafe free.initialize(repeating: nil, count: classCount)
    }

    deinit {
        for index in 0...Self.largestSize / Self.step {
            while let block = unsafe free[index] {
                unsafe free[index] = block.load(as: UnsafeMutableRawPointer?.self)
                unsafe Glibc.free(block)
            }
        }
        unsafe free.deallocate()
    }

    private var isOnThread: Bool { pthread_self() == thread }

    /// As nghttp2 wants it. Valid while this object lives.
    var functions: nghttp2_mem {
        unsafe nghttp2_mem(
            mem_user_data: Unmanaged.passUnretained(self).toOpaque(),
            malloc: { size, memory in unsafe lend(memory) { unsafe $0.allocate(size) } },
            free: { block, memory in unsafe lend(memory) { unsafe $0.release(block) } },
            calloc: { count, size, memory in
                let (total, overflow) = count.multipliedReportingOverflow(by: size)
                guard !overflow, let block = unsafe lend(memory, { unsafe $0.allocate(total) }) else { return nil }
                return unsafe memset(block, 0, total)
            },
            realloc: { block, size, memory in unsafe lend(memory) { unsafe $0.resize(block, size) } })
    }

    func allocate(_ size: Int) -> UnsafeMutableRawPointer? {
        let (total, overflow) = size.addingReportingOverflow(Self.headCount + Self.step - 1)
        guard size >= 0, !overflow else { return nil }
        let index = total / Self.step
        let rounded = index * Self.step
        guard rounded <= Self.largestSize, isOnThread else { return unsafe head(malloc(size + Self.headCount), 0) }
        guard let block = unsafe free[index] else { return unsafe head(malloc(rounded), rounded) }
        unsafe free[index] = block.load(as: UnsafeMutableRawPointer?.self)
        retained -= rounded
        return unsafe head(block, rounded)
    }

    func release(_ pointer: UnsafeMutableRawPointer?) {
        guard let pointer = unsafe pointer else { return }
        let block = unsafe pointer - Self.headCount
        let size = unsafe block.load(as: Int.self)
        guard size > 0, isOnThread, retained + size <= Self.retainedLimit else {
            unsafe Glibc.free(block)
            return
        }
        retained += size
        unsafe block.storeBytes(of: free[size / Self.step], as: UnsafeMutableRawPointer?.self)
        unsafe free[size / Self.step] = block
    }

    func resize(_ pointer: UnsafeMutableRawPointer?, _ size: Int) -> UnsafeMutableRawPointer? {
        guard let pointer = unsafe pointer else { return unsafe allocate(size) }
        let block = unsafe pointer - Self.headCount
        let held = unsafe block.load(as: Int.self)
        if held == 0 { return unsafe head(realloc(block, size + Self.headCount), 0) }
        if size + Self.headCount <= held { return unsafe pointer }
        guard let target = unsafe allocate(size) else { return nil }
        unsafe memcpy(target, pointer, held - Self.headCount)
        unsafe release(pointer)
        return unsafe target
    }

    private func head(_ block: UnsafeMutableRawPointer?, _ size: Int) -> UnsafeMutableRawPointer? {
        guard let block = unsafe block else { return nil }
        unsafe block.storeBytes(of: size, as: Int.self)
        return unsafe block + Self.headCount
    }
}

/// Lends the memory of a call from nghttp2, without counting the reference: the session's owner holds it.
@inline(__always)
private func lend<Result>(_ memory: UnsafeMutableRawPointer?, _ body: (HTTP2Memory) -> Result?) -> Result? {
    guard let memory = unsafe memory else { return nil }
    return unsafe Unmanaged<HTTP2Memory>.fromOpaque(memory)._withUnsafeGuaranteedRef { body($0) }
}
