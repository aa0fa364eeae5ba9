#pragma once
#include <cblas.h>
#include <stdlib.h>
#include <string.h>

/* In every build of OpenBLAS that holds kernels for several processors: chooses them, and forgets the choice. */
extern void gotoblas_dynamic_init(void) __attribute__((weak));
extern void gotoblas_dynamic_quit(void) __attribute__((weak));

/* OpenBLAS knows processors by their numbers, and takes its oldest kernels on one that is newer than itself, at a sixth
   of the speed. Chooses by the instructions instead, unless OPENBLAS_CORETYPE says something or nothing is to choose.
   Call it before any other thread uses OpenBLAS. */
static inline void vomma_openblas_adapt(void) {
#if defined(__x86_64__)
    if (getenv("OPENBLAS_CORETYPE") || !gotoblas_dynamic_init || !gotoblas_dynamic_quit) return;
    const char *name = openblas_get_corename();
    if (!strcmp(name, "SkylakeX") || !strcmp(name, "Cooperlake") || !strcmp(name, "Sapphirerapids")) return;
    const char *better = NULL;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
        better = "SkylakeX";
    } else if (strcmp(name, "Haswell") && strcmp(name, "Zen") && __builtin_cpu_supports("avx2") &&
               __builtin_cpu_supports("fma")) {
        better = "Haswell";
    }
    if (!better) return;
    setenv("OPENBLAS_CORETYPE", better, 1);
    gotoblas_dynamic_quit();
    gotoblas_dynamic_init();
    unsetenv("OPENBLAS_CORETYPE");
#endif
}
