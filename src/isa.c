/* Which instruction sets are compiled in, and which this processor has. */
#include "kernels.h"

extern const fl_isa fl_isa_baseline;
#if defined(__x86_64__)
extern const fl_isa fl_isa_avx2;
#endif

const fl_isa *const fl_isas[] = {
    &fl_isa_baseline,
#if defined(__x86_64__)
    &fl_isa_avx2,
#endif
    NULL,
};

int fl_supported(const fl_isa *isa)
{
#if defined(__x86_64__)
    if (isa == &fl_isa_avx2) {
        __builtin_cpu_init();
        return __builtin_cpu_supports("avx2") != 0;
    }
#endif
    return isa == &fl_isa_baseline;
}
