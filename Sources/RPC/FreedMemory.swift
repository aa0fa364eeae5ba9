private import CMalloc

/// How this process's memory allocator treats what is freed.
public enum FreedMemory {
    /// Keeps freed memory for what comes next, up to 64 MiB in each of malloc's arenas, instead of giving it back to
    /// the system again and again. For servers and what calls them: without it each message of a megabyte, and now and
    /// then a batch of small ones, pays for pages that the kernel takes away, clears and hands out anew. Call once, at
    /// the start.
    public static func keep() {
        mallopt(M_TRIM_THRESHOLD, 64 << 20)
        // The most that glibc accepts: blocks of up to so much come from the arenas.
        mallopt(M_MMAP_THRESHOLD, 32 << 20)
    }
}
