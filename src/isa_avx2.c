/* The compiled floors for x86-64 processors with AVX2 (and BMI2, which all of them have: shifts by a
 * register of one instruction). Strict arithmetic: no
 * fused multiply-add, so the bits are those of the baseline. */
#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,bmi2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi2")
#endif

#include <stdint.h>

static const int32_t fl_mask_avx2[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

#define FL_MASKED_LOAD_FLOAT(p, m) \
    ((V)_mm256_maskload_ps((p), _mm256_loadu_si256((const __m256i *)(fl_mask_avx2 + 8 - (m)))))
#define FL_MASKED_LOAD_DOUBLE(p, m) \
    ((V)_mm256_maskload_pd((p), _mm256_loadu_si256((const __m256i *)(fl_mask_avx2 + 8 - 2 * (m)))))
/* GCC 12 makes a slow detour of its own __builtin_convertvector. */
#define FL_WIDEN_FLOAT(p) _mm256_cvtps_pd(_mm_loadu_ps(p))
#define FL_NARROW(from, to)                                                                                     \
    for (int half = 0; half < 2; half++)                                                                        \
        (to)[half] = (FLN(bytes))_mm256_set_m128(_mm256_cvtpd_ps((__m256d)(from)[2 * half + 1]),                \
                                                 _mm256_cvtpd_ps((__m256d)(from)[2 * half]))
#define FL_MULTIPLY_LOW(a, b) _mm256_mul_epu32((__m256i)(a), (__m256i)(b))
#define FL_MIN_FLOAT(a, b) _mm256_min_ps((__m256)(a), (__m256)(b))
#define FL_MAX_FLOAT(a, b) _mm256_max_ps((__m256)(a), (__m256)(b))
#define FL_SQRT_FLOAT(v) _mm256_sqrt_ps((__m256)(v))
#define FL_SQRT_DOUBLE(v) _mm256_sqrt_pd((__m256d)(v))
#define FL_ANY(v) (!_mm256_testz_si256((__m256i)(v), (__m256i)(v)))
#define FL_ISA avx2
#define FL_ISA_NAME "avx2"
#define FL_VBYTES 32
#include "isa_body.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
