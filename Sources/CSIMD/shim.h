#pragma once
#include "layers.h"

/// Four doubles: Swift's SIMD4<Double>.
typedef double vomma_double4 __attribute__((ext_vector_type(4)));

/// The square roots in one instruction. Swift's own `squareRoot()` of a vector calls the C library lane by lane.
static inline __attribute__((always_inline)) vomma_double4 vomma_sqrt4(vomma_double4 x) {
    return __builtin_elementwise_sqrt(x);
}

typedef long long vomma_long4 __attribute__((ext_vector_type(4)));

/// Whether any bit is set.
static inline __attribute__((always_inline)) int vomma_any4(vomma_long4 x) {
    return __builtin_reduce_or(x) != 0;
}

/// The negative, which a fused multiply-add takes in itself. Swift's own `-` of a vector is 0 − x, two instructions.
static inline __attribute__((always_inline)) vomma_double4 vomma_negate4(vomma_double4 x) {
    return -x;
}

/// Whether this processor has the instructions that the numerical modules are compiled for.
static inline int vomma_has_vectors(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 1;
#endif
}
