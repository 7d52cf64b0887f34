/* Which instruction sets are compiled in, and which this processor has. */
#include "kernels.h"

extern const fl_isa fl_isa_baseline;
#if defined(__x86_64__)
extern const fl_isa fl_isa_avx2, fl_isa_avx512;
#endif

const fl_isa *const fl_isas[] = {
    &fl_isa_baseline,
#if defined(__x86_64__)
    &fl_isa_avx2,
    &fl_isa_avx512,
#endif
    NULL,
};

int fl_supported(const fl_isa *isa)
{
#if defined(__x86_64__)
    if (isa == &fl_isa_avx2) {
        __builtin_cpu_init();
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
    }
    /* Processors before VBMI2 (Ice Lake, Zen 4) slow down when they run 64-byte vectors. */
    if (isa == &fl_isa_avx512) {
        __builtin_cpu_init();
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("bmi2");
    }
#endif
    return isa == &fl_isa_baseline;
}
