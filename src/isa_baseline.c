/* The compiled floors for the instruction set that every processor has. */
#if defined(__SSE2__)
#include <emmintrin.h>
#define FL_MULTIPLY_LOW(a, b) _mm_mul_epu32((__m128i)(a), (__m128i)(b))
#define FL_MIN_FLOAT(a, b) _mm_min_ps((__m128)(a), (__m128)(b))
#define FL_MAX_FLOAT(a, b) _mm_max_ps((__m128)(a), (__m128)(b))
#define FL_SQRT_FLOAT(v) _mm_sqrt_ps((__m128)(v))
#define FL_SQRT_DOUBLE(v) _mm_sqrt_pd((__m128d)(v))
#endif
#define FL_NARROW(from, to)                                                                                     \
    for (int quarter = 0; quarter < 4; quarter++)                                                               \
        (to)[quarter] = (FLN(bytes))__builtin_convertvector((from)[quarter], FLN(four_floats))
#define FL_ISA baseline
#define FL_ISA_NAME "baseline"
#define FL_VBYTES 16
#include "isa_body.h"
