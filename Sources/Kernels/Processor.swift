internal import CSIMD

/// What the numerical modules need of the machine.
public enum Processor {
    /// Why this machine can't run them; `nil` where it can. Asked once, before anything computes.
    public static var fault: String? {
        guard vomma_has_vectors() == 0 else { return nil }
        return "this processor has no AVX2 and FMA instructions: Vomma needs an x86-64 one of 2013 or later, or arm64"
    }
}
