#pragma once

/* Affine layers in single precision, with their weights packed in the order in which they are read: panels of 16
   outputs, in each all inputs in turn, 16 weights an input. A tile of rows × panels stays in registers while the
   inputs go by, so nothing is copied and nothing is stored in between.

   Each output is b + x0·w0 + x1·w1 + …, in this order, each step rounded once (fused multiply-add): the bits depend
   neither on the number of rows nor on the processor. Compiled twice, and chosen at run time: with 512-bit registers,
   and for what every machine of ours has. */

/// 16 floats: one register of AVX-512, two of AVX2, four of NEON.
typedef float vomma_float16 __attribute__((ext_vector_type(16)));
typedef int vomma_int16 __attribute__((ext_vector_type(16)));
typedef float vomma_float16u __attribute__((ext_vector_type(16), aligned(4)));
typedef int vomma_int16u __attribute__((ext_vector_type(16), aligned(4)));

#define VOMMA_UNROLLED _Pragma("clang loop unroll(full)") for

/// y[rows × panels] += x[rows × inputs] · w, the tile in registers. `w` is the first panel.
#define VOMMA_TILE(NAME, TARGET, ROWS, PANELS)                                                                        \
    static TARGET void NAME(const float *x, long stride, const float *w, long inputs, float *y, long width) {         \
        vomma_float16 sum[ROWS][PANELS];                                                                              \
        VOMMA_UNROLLED (int i = 0; i < ROWS; i++)                                                                     \
            VOMMA_UNROLLED (int j = 0; j < PANELS; j++)                                                               \
                sum[i][j] = *(const vomma_float16u *)(y + i * width + 16 * j);                                        \
        for (long k = 0; k < inputs; k++) {                                                                           \
            vomma_float16 weights[PANELS];                                                                            \
            VOMMA_UNROLLED (int j = 0; j < PANELS; j++)                                                               \
                weights[j] = *(const vomma_float16 *)(w + 16 * (inputs * j + k));                                     \
            VOMMA_UNROLLED (int i = 0; i < ROWS; i++) {                                                               \
                vomma_float16 input = (vomma_float16)(x[i * stride + k]);                                             \
                VOMMA_UNROLLED (int j = 0; j < PANELS; j++)                                                           \
                    sum[i][j] = __builtin_elementwise_fma(input, weights[j], sum[i][j]);                              \
            }                                                                                                         \
        }                                                                                                             \
        VOMMA_UNROLLED (int i = 0; i < ROWS; i++)                                                                     \
            VOMMA_UNROLLED (int j = 0; j < PANELS; j++)                                                               \
                *(vomma_float16u *)(y + i * width + 16 * j) = sum[i][j];                                              \
    }

/// All of a layer, for one set of instructions. ROWS × PANELS is the tile that fills its registers.
#define VOMMA_LAYER(SUFFIX, TARGET, ROWS, PANELS)                                                                     \
    VOMMA_TILE(vomma_tile_##SUFFIX, TARGET, ROWS, PANELS)                                                             \
    VOMMA_TILE(vomma_column_##SUFFIX, TARGET, ROWS, 1)                                                                \
    VOMMA_TILE(vomma_row_##SUFFIX, TARGET, 1, 4)                                                                      \
    VOMMA_TILE(vomma_cell_##SUFFIX, TARGET, 1, 1)                                                                     \
    static TARGET void vomma_layer_##SUFFIX(                                                                          \
        const float *x, long stride, long rows, const float *w, long inputs, long panels, float *y, int backwards) {  \
        const long width = 16 * panels, whole = rows / ROWS * ROWS, groups = panels / 4;                              \
        for (long j = 0; whole > 0 && j < panels;) {                                                                  \
            const int wide = panels - j >= PANELS;                                                                    \
            for (long i = 0; i < whole; i += ROWS) {                                                                  \
                if (wide)                                                                                             \
                    vomma_tile_##SUFFIX(x + i * stride, stride, w + 16 * inputs * j, inputs, y + i * width + 16 * j,  \
                                        width);                                                                       \
                else                                                                                                  \
                    vomma_column_##SUFFIX(x + i * stride, stride, w + 16 * inputs * j, inputs,                        \
                                          y + i * width + 16 * j, width);                                             \
            }                                                                                                         \
            j += wide ? PANELS : 1;                                                                                   \
        }                                                                                                             \
        for (long i = whole; i < rows; i++) {                                                                         \
            for (long g = 0; g < groups; g++) {                                                                       \
                const long j = 4 * (backwards ? groups - 1 - g : g);                                                  \
                vomma_row_##SUFFIX(x + i * stride, stride, w + 16 * inputs * j, inputs, y + i * width + 16 * j, 0);   \
            }                                                                                                         \
            for (long j = 4 * groups; j < panels; j++)                                                                \
                vomma_cell_##SUFFIX(x + i * stride, stride, w + 16 * inputs * j, inputs, y + i * width + 16 * j, 0);  \
        }                                                                                                             \
    }

/// tanh of 16 numbers: `hyperbolicTangent` in Activation.swift says how; here with fused steps.
#define VOMMA_TANH(SUFFIX, TARGET)                                                                                    \
    static TARGET void vomma_tanh_##SUFFIX(float *values, long vectors) {                                             \
        for (long n = 0; n < vectors; n++) {                                                                          \
            const vomma_float16 x = *(const vomma_float16u *)(values + 16 * n);                                       \
            const vomma_float16 magnitude = (vomma_float16)((vomma_int16)x & 0x7fffffff);                             \
            const vomma_float16 y = magnitude > (vomma_float16)10.0f ? (vomma_float16)10.0f : magnitude;              \
            const vomma_float16 z = y * y;                                                                            \
            vomma_float16 p = (vomma_float16)-0.005731194752872729f;                                                  \
            p = __builtin_elementwise_fma(p, z, (vomma_float16)0.020664723677393238f);                                \
            p = __builtin_elementwise_fma(p, z, (vomma_float16)-0.053748442014094025f);                               \
            p = __builtin_elementwise_fma(p, z, (vomma_float16)0.13331561137587586f);                                 \
            p = __builtin_elementwise_fma(p, z, (vomma_float16)-0.3333328713348424f);                                 \
            const vomma_float16 zp = z * p;                                                                           \
            const vomma_float16 small = __builtin_elementwise_fma(y, zp, y);                                          \
            const vomma_float16 shift = (vomma_float16)12582912.0f;                                                   \
            const vomma_float16 t = y + y;                                                                            \
            const vomma_float16 shifted = __builtin_elementwise_fma(t, (vomma_float16)1.442695041f, shift);           \
            const vomma_float16 k = shifted - shift;                                                                  \
            vomma_float16 r = __builtin_elementwise_fma(k, (vomma_float16)-0.693145751953125f, t);                    \
            r = __builtin_elementwise_fma(k, (vomma_float16)-1.42860682030941723212e-6f, r);                          \
            vomma_float16 q = (vomma_float16)0.0013946446562543048f;                                                  \
            q = __builtin_elementwise_fma(q, r, (vomma_float16)0.008369151694199555f);                                \
            q = __builtin_elementwise_fma(q, r, (vomma_float16)0.04166626313606922f);                                 \
            q = __builtin_elementwise_fma(q, r, (vomma_float16)0.1666651598890402f);                                  \
            q = __builtin_elementwise_fma(q, r, (vomma_float16)0.5000000080806979f);                                  \
            const vomma_float16 rr = r * r;                                                                           \
            const vomma_float16 linear = r + 1.0f;                                                                    \
            const vomma_float16 e = __builtin_elementwise_fma(rr, q, linear);                                         \
            const vomma_float16 power = e * (vomma_float16)(((vomma_int16)shifted + 127) << 23);                      \
            const vomma_float16 above = power + 1.0f;                                                                 \
            const vomma_float16 large = 1.0f - 2.0f / above;                                                          \
            const vomma_float16 result = y < (vomma_float16)0.625f ? small : large;                                   \
            *(vomma_float16u *)(values + 16 * n) =                                                                    \
                (vomma_float16)((vomma_int16)result | ((vomma_int16)x & (int)0x80000000));                            \
        }                                                                                                             \
    }

#if defined(__x86_64__)
#define VOMMA_WIDE __attribute__((noinline, target("avx512f")))
#define VOMMA_COMMON __attribute__((noinline, target("avx2,fma")))
VOMMA_LAYER(wide, VOMMA_WIDE, 8, 2)
VOMMA_TANH(wide, VOMMA_WIDE)
#define VOMMA_CHOOSE(IS_WIDE, NAME, ...) (IS_WIDE ? NAME##_wide(__VA_ARGS__) : NAME##_common(__VA_ARGS__))
#else
#define VOMMA_COMMON __attribute__((noinline))
#define VOMMA_CHOOSE(IS_WIDE, NAME, ...) ((void)IS_WIDE, NAME##_common(__VA_ARGS__))
#endif
VOMMA_LAYER(common, VOMMA_COMMON, 4, 1)
VOMMA_TANH(common, VOMMA_COMMON)

/// Whether this processor has registers of 512 bits.
static inline int vomma_is_wide(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512f") != 0;
#else
    return 0;
#endif
}

/// y[rows × 16·panels] += x[rows × inputs] · w. Rows of `x` are `stride` apart; `w` stands at a multiple of 64.
/// `backwards` goes through the panels from the last to the first, for what a cache still holds of the last call.
static inline void vomma_layer(
    const float *x, long stride, long rows, const float *w, long inputs, long panels, float *y, int backwards,
    int is_wide) {
    VOMMA_CHOOSE(is_wide, vomma_layer, x, stride, rows, w, inputs, panels, y, backwards);
}

/// Replaces 16·vectors numbers by their tanh.
static inline void vomma_tanh(float *values, long vectors, int is_wide) {
    VOMMA_CHOOSE(is_wide, vomma_tanh, values, vectors);
}
