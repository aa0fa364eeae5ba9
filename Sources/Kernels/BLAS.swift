internal import COpenBLAS

/// OpenBLAS, thinly: dense row-major matrix products. The only file that imports COpenBLAS.
///
/// The pointer functions do what their C namesakes do and check only signs; callers own the shapes. Results are equal
/// bit for bit between two runs on one machine with one core name and one thread; another core name or thread count
/// may round differently.
public enum BLAS {
    /// Threads that a product may use. OpenBLAS's own default is one a core.
    public static var threadCount: Int { Int(openblas_get_num_threads()) }

    /// Sets `threadCount` for the whole process. Call it once, from `main.swift`, before other threads compute.
    public static func setThreadCount(_ count: Int) {
        precondition(count > 0, "a thread count is positive")
        openblas_set_num_threads(Int32(count))
    }

    /// Makes OpenBLAS compute with this processor's instructions. It knows processors by their numbers: Debian's 0.3.21
    /// takes its oldest kernels, `Prescott`, on one newer than itself, at a sixth of the speed. Nothing happens where
    /// the environment says `OPENBLAS_CORETYPE`. Call it once, from `main.swift`, before anything computes.
    public static func adaptToProcessor() { vomma_openblas_adapt() }

    /// The kernel family that OpenBLAS uses, such as `Haswell` or `SkylakeX`.
    public static var coreName: String { unsafe String(cString: openblas_get_corename()) }

    /// C ← alpha·op(A)·op(B) + beta·C in single precision, row-major and dense: op(A) is [m × k], op(B) [k × n],
    /// C [m × n]; a transposed operand is stored as [k × m] or [n × k]. With `beta` 0, C is not read.
    @unsafe @inline(__always)
    public static func gemm(
        rows m: Int, columns n: Int, inner k: Int, alpha: Float = 1,
        _ a: UnsafePointer<Float>, transposedA: Bool = false,
        _ b: UnsafePointer<Float>, transposedB: Bool = false,
        beta: Float = 0, into c: UnsafeMutablePointer<Float>
    ) {
        unsafe cblas_sgemm(
            CblasRowMajor, transposedA ? CblasTrans : CblasNoTrans, transposedB ? CblasTrans : CblasNoTrans,
            Int32(m), Int32(n), Int32(k), alpha, a, Int32(transposedA ? m : k), b, Int32(transposedB ? k : n),
            beta, c, Int32(n))
    }

    /// As the single-precision product, in double precision.
    @unsafe @inline(__always)
    public static func gemm(
        rows m: Int, columns n: Int, inner k: Int, alpha: Double = 1,
        _ a: UnsafePointer<Double>, transposedA: Bool = false,
        _ b: UnsafePointer<Double>, transposedB: Bool = false,
        beta: Double = 0, into c: UnsafeMutablePointer<Double>
    ) {
        unsafe cblas_dgemm(
            CblasRowMajor, transposedA ? CblasTrans : CblasNoTrans, transposedB ? CblasTrans : CblasNoTrans,
            Int32(m), Int32(n), Int32(k), alpha, a, Int32(transposedA ? m : k), b, Int32(transposedB ? k : n),
            beta, c, Int32(n))
    }

    /// y ← alpha·op(A)·x + beta·y, A stored as [rows × columns], row-major and dense.
    @unsafe @inline(__always)
    public static func gemv(
        rows: Int, columns: Int, alpha: Float = 1, _ a: UnsafePointer<Float>, transposed: Bool = false,
        _ x: UnsafePointer<Float>, beta: Float = 0, into y: UnsafeMutablePointer<Float>
    ) {
        unsafe cblas_sgemv(
            CblasRowMajor, transposed ? CblasTrans : CblasNoTrans, Int32(rows), Int32(columns), alpha, a,
            Int32(columns), x, 1, beta, y, 1)
    }

    /// As the single-precision product, in double precision.
    @unsafe @inline(__always)
    public static func gemv(
        rows: Int, columns: Int, alpha: Double = 1, _ a: UnsafePointer<Double>, transposed: Bool = false,
        _ x: UnsafePointer<Double>, beta: Double = 0, into y: UnsafeMutablePointer<Double>
    ) {
        unsafe cblas_dgemv(
            CblasRowMajor, transposed ? CblasTrans : CblasNoTrans, Int32(rows), Int32(columns), alpha, a,
            Int32(columns), x, 1, beta, y, 1)
    }

    /// op(A)·op(B), dense and row-major, allocated: for set-up code and tests. Traps when the counts do not fit.
    public static func product(
        _ a: [Double], transposedA: Bool = false, _ b: [Double], transposedB: Bool = false,
        rows: Int, columns: Int, inner: Int
    ) -> [Double] {
        precondition(a.count == rows * inner && b.count == inner * columns, "operands have the stated shapes")
        var c = [Double](repeating: 0, count: rows * columns)
        unsafe a.withUnsafeBufferPointer { a in
            unsafe b.withUnsafeBufferPointer { b in
                unsafe c.withUnsafeMutableBufferPointer { c in
                    guard let a = a.baseAddress, let b = b.baseAddress, let c = c.baseAddress else { return }
                    unsafe gemm(
                        rows: rows, columns: columns, inner: inner, a, transposedA: transposedA,
                        b, transposedB: transposedB, into: c)
                }
            }
        }
        return c
    }
}
