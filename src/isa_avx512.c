/* The compiled floors for x86-64 processors with AVX-512 (F, DQ, VL, BW, and BMI2; isa.c also
 * asks for VBMI2, and says why). Strict
 * arithmetic, as everywhere: the bits are those of the baseline. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "kernels.h"

extern const fl_isa fl_isa_avx2;

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,bmi2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,bmi2,prefer-vector-width=512")
#endif

#define FL_MASKED_LOAD_FLOAT(p, m) ((V)_mm512_maskz_loadu_ps((__mmask16)((1u << (m)) - 1u), (p)))
#define FL_MASKED_LOAD_DOUBLE(p, m) ((V)_mm512_maskz_loadu_pd((__mmask8)((1u << (m)) - 1u), (p)))
/* GCC 12 makes a slow detour of its own __builtin_convertvector. */
#define FL_WIDEN_FLOAT(p) _mm256_cvtps_pd(_mm_loadu_ps(p))
/* Rows that are left to AVX2, whose bits are the same. Short ones no more than fill the
 * lanes once: one row a step, half the vector is one fold less to wait for (d = 20, four workers: 7.9
 * against 9.5 ns a gradient). Long ones come from memory, one row a step, where loads that straddle two
 * lines wait for both (d = 1,000: 133 against 187 ns; 158 where rows are aligned), but for those of
 * bfloat16, which none straddles; batches, which load w once for four rows instead of two, are sooner done here all the
 * same (d = 1,000 and 10,000, batches of 32, one thread: by 6% and 26%). */
#define FL_LEAVES_ROWS_OF(bytes, batch_size) \
    ((batch_size) == 1 && ((bytes) <= 128 || (!FL_IS_BF16 && (bytes) > 3072)))
#define FL_LEFT_TO fl_isa_avx2
#define FL_NARROW(from, to)                                                                                     \
    (to)[0] = (FLN(bytes))_mm512_insertf32x8(                                                                   \
        _mm512_castps256_ps512(_mm256_set_m128(_mm256_cvtpd_ps((__m256d)(from)[1]),                             \
                                               _mm256_cvtpd_ps((__m256d)(from)[0]))),                           \
        _mm256_set_m128(_mm256_cvtpd_ps((__m256d)(from)[3]), _mm256_cvtpd_ps((__m256d)(from)[2])), 1)
#define FL_MULTIPLY_LOW(a, b) _mm512_mul_epu32((__m512i)(a), (__m512i)(b))
#define FL_MIN_FLOAT(a, b) _mm512_min_ps((__m512)(a), (__m512)(b))
#define FL_MAX_FLOAT(a, b) _mm512_max_ps((__m512)(a), (__m512)(b))
#define FL_SQRT_FLOAT(v) _mm512_sqrt_ps((__m512)(v))
#define FL_SQRT_DOUBLE(v) _mm512_sqrt_pd((__m512d)(v))
#define FL_ANY(v) (_mm512_test_epi64_mask((__m512i)(v), (__m512i)(v)) != 0)
#define FL_ISA avx512
#define FL_ISA_NAME "avx512"
#define FL_VBYTES 64
#include "isa_body.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
