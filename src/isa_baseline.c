/* The compiled floors for the instruction set that every processor has. */
#if defined(__SSE2__)
#include <emmintrin.h>
/* GCC 12 converts two floats one by one. */
#define FL_WIDEN_FLOAT(p) _mm_cvtps_pd(_mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)(p))))
#define FL_NARROW_PAIRS(a, b) _mm_movelh_ps(_mm_cvtpd_ps((__m128d)(a)), _mm_cvtpd_ps((__m128d)(b)))
#define FL_MULTIPLY_LOW(a, b) _mm_mul_epu32((__m128i)(a), (__m128i)(b))
#define FL_MIN_FLOAT(a, b) _mm_min_ps((__m128)(a), (__m128)(b))
#define FL_MAX_FLOAT(a, b) _mm_max_ps((__m128)(a), (__m128)(b))
#define FL_SQRT_FLOAT(v) _mm_sqrt_ps((__m128)(v))
#define FL_SQRT_DOUBLE(v) _mm_sqrt_pd((__m128d)(v))
#elif defined(__aarch64__)
#include <arm_neon.h>
#define FL_WIDEN_FLOAT(p) vcvt_f64_f32(vld1_f32(p))
#define FL_NARROW_PAIRS(a, b) vcvt_high_f32_f64(vcvt_f32_f64((float64x2_t)(a)), (float64x2_t)(b))
#else
typedef float fl_four_floats __attribute__((vector_size(16)));
#define FL_NARROW_PAIRS(a, b) (fl_four_floats){(float)(a)[0], (float)(a)[1], (float)(b)[0], (float)(b)[1]}
#endif
#define FL_NARROW(from, to)                                                                                     \
    for (int quarter = 0; quarter < 4; quarter++)                                                               \
        (to)[quarter] = (FLN(bytes))FL_NARROW_PAIRS((from)[2 * quarter], (from)[2 * quarter + 1])
#define FL_ISA baseline
#define FL_ISA_NAME "baseline"
#define FL_VBYTES 16
#include "isa_body.h"
