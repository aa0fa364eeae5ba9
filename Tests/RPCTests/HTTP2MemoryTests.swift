import Foundation
import Testing

@testable import RPC

@Suite struct HTTP2MemoryTests {
    @Test("A freed block is the next of its size, on the thread that it is of; another thread's come from malloc")
    func threads() {
        let memory = HTTP2Memory()
        let first = unsafe memory.allocate(100)
        unsafe memory.release(first)
        let kept = Int(bitPattern: first)

        // Theirs is another block; and one of ours that they free is gone, not kept twice.
        let second = unsafe memory.allocate(500)
        let handed = Int(bitPattern: second)
        let done = DispatchSemaphore(value: 0)
        Thread.detachNewThread {
            let theirs = unsafe memory.allocate(100)
            #expect(Int(bitPattern: theirs) != kept)
            unsafe memory.release(theirs)
            unsafe memory.release(UnsafeMutableRawPointer(bitPattern: handed))
            done.signal()
        }
        done.wait()

        let third = unsafe memory.allocate(100)
        #expect(Int(bitPattern: third) == kept)
        unsafe memory.release(third)
    }

    @Test("What is resized keeps its bytes, within a block and beyond")
    func resizing() {
        let memory = HTTP2Memory()
        var block = unsafe memory.allocate(10)
        unsafe block?.storeBytes(of: 0x1234_5678, as: UInt32.self)
        for size in [40, 100, 1000, 5000, 100_000] {
            unsafe block = memory.resize(block, size)
            #expect(unsafe block?.load(as: UInt32.self) == 0x1234_5678)
        }
        unsafe memory.release(block)
    }

    @Test("Sessions of one thread share their memory")
    func ofThread() { #expect(HTTP2Memory.ofThread === HTTP2Memory.ofThread) }
}
