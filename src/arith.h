/* Scalar floor, part 1: exp, log, log1p and powers in our own arithmetic.
 *
 * The C library's versions differ from one library and processor to the next.
 * These use only IEEE add, multiply, divide and square root, one rounding each
 * (the build forbids contraction), so every processor gives the same bits.
 * tests/exact.py repeats exp operation by operation.
 *
 * Accuracy, measured in tests/test_kernels.py: exp and log 2 ulp in double; expf in
 * float 2 ulp of its argument rounded once.
 */
#ifndef FASTLSGD_ARITH_H
#define FASTLSGD_ARITH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Adding 1.5 * 2^mantissa rounds to the nearest integer (ties to even) and
 * leaves that integer in the low bits: no instruction that some set lacks. */
#define FL_ROUND_F 12582912.0f
#define FL_ROUND_D 6755399441055744.0

static inline float fl_bits_float(uint32_t bits) { float x; memcpy(&x, &bits, sizeof x); return x; }
static inline uint32_t fl_float_bits(float x) { uint32_t bits; memcpy(&bits, &x, sizeof bits); return bits; }
static inline double fl_bits_double(uint64_t bits) { double x; memcpy(&x, &bits, sizeof x); return x; }
static inline uint64_t fl_double_bits(double x) { uint64_t bits; memcpy(&bits, &x, sizeof bits); return bits; }

/* The bits of the nearest float (ties to even) whose lower half is zero: a bfloat16 is its upper half.
 * What is beyond the largest finite one by half a unit or more, infinities and NaNs included, has none. */
#define FL_BF16_BEYOND 0x7f7f8000
static inline uint32_t fl_bf16_bits(float x)
{
    const uint32_t bits = fl_float_bits(x);
    return (bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u;
}

/* 2^t = p 2^k, |t| <= 126: k in the low bits of `shifted`. One text for one float and for several side by side.
 *
 * Chebyshev interpolation of (2^f - 1 - f ln 2) / f^2 on |f| <= 1/2, relative error of 2^f 8.6e-9; in powers
 * of f^2 (Estrin) to shorten the chain. Powers of two, and not of e: t - k is exact, where x - k ln 2 takes
 * two more operations of the chain that a step of SGD waits for. */
#define FL_LOG2_E 0x1.715476p+0f
#define FL_DEFINE_EXP2F_PARTS(NAME, F)                                    \
    static inline F NAME(F t, F *shifted)                                 \
    {                                                                     \
        *shifted = t + FL_ROUND_F;                                        \
        const F f = t - (*shifted - FL_ROUND_F);                          \
        const F f2 = f * f;                                               \
        const F low = 0x1.ebfbe0p-3f + 0x1.c6afeep-5f * f;                \
        const F high = 0x1.3b2a80p-7f + 0x1.5ec866p-10f * f;              \
        const F most = (1.0f + 0x1.62e430p-1f * f) + f2 * low;            \
        return most + (f2 * f2) * (high + f2 * 0x1.43e716p-13f);          \
    }
FL_DEFINE_EXP2F_PARTS(fl_exp2f_parts, float)

/* 2^k and 2^-k: rounding left k in the low bits. */
static inline float fl_scale_up(float shifted) { return fl_bits_float((fl_float_bits(shifted) + 127u) << 23); }
static inline float fl_scale_down(float shifted) { return fl_bits_float((127u - fl_float_bits(shifted)) << 23); }

/* exp(x) for |x| <= 87, clamped there: of x rounded once more, times log2 e, and then 2 ulp. */
static inline float fl_expf(float x)
{
    float shifted;
    x = x < -87.0f ? -87.0f : x;
    x = x > 87.0f ? 87.0f : x;
    const float p = fl_exp2f_parts(x * FL_LOG2_E, &shifted);
    return p * fl_scale_up(shifted);
}

typedef float fl_four __attribute__((vector_size(16), may_alias));
typedef uint32_t fl_four_bits __attribute__((vector_size(16), may_alias));
FL_DEFINE_EXP2F_PARTS(fl_exp2f_parts_four, fl_four)
static inline fl_four fl_scale_down_four(fl_four shifted) { return (fl_four)((127u - (fl_four_bits)shifted) << 23); }

/* exp(x) for |x| <= 708, clamped there. Taylor to r^13: 4e-18 relative. */
static inline double fl_exp(double x)
{
    x = x < -708.0 ? -708.0 : x;
    x = x > 708.0 ? 708.0 : x;
    const double shifted = x * 0x1.71547652b82fep+0 + FL_ROUND_D;
    const double k = shifted - FL_ROUND_D;
    const double r = (x - k * 0x1.62e42feep-1) - k * 0x1.a39ef35793c76p-33;
    const double r2 = r * r, r4 = r2 * r2;
    const double c2 = 1.0 / 2 + r * (1.0 / 6);
    const double c4 = 1.0 / 24 + r * (1.0 / 120);
    const double c6 = 1.0 / 720 + r * (1.0 / 5040);
    const double c8 = 1.0 / 40320 + r * (1.0 / 362880);
    const double c10 = 1.0 / 3628800 + r * (1.0 / 39916800);
    const double c12 = 1.0 / 479001600 + r * (1.0 / 6227020800.0);
    const double tail = (c8 + r2 * c10) + r4 * c12;
    const double mid = (c4 + r2 * c6) + r4 * tail;
    const double p = (1.0 + r) + r2 * (c2 + r2 * mid);
    return p * fl_bits_double((fl_double_bits(shifted) + 1023u) << 52);
}

/* Of numbers one by one; margins.h has the same of vectors. */
#define D double
#define U uint64_t
#define PN(name) fl_##name
#define BITS(x) fl_double_bits(x)
#define DOUBLE(bits) fl_bits_double(bits)
#define WHERE(holds) (0u - (uint64_t)(holds))
#include "parts.h"

/* Natural logarithm of a positive normal number. */
static inline double fl_log(double x)
{
    uint64_t bits = fl_double_bits(x);
    /* Subtract the bits of sqrt(1/2): the exponent field then counts from a
     * mantissa in [sqrt(1/2), sqrt(2)). */
    const uint64_t offset = bits - 0x3fe6a09e667f3bcdull;
    const int64_t k = (int64_t)offset >> 52;
    const double m = fl_bits_double(bits - ((uint64_t)k << 52));
    const double kd = (double)k;
    const double tail = kd * 0x1.a39ef35793c76p-33 + fl_two_atanh((m - 1.0) / (m + 1.0));
    return kd * 0x1.62e42feep-1 + tail;
}

/* t^-alpha. The square root and the whole power are IEEE operations. */
static inline double fl_inverse_power(double t, double alpha)
{
    if (alpha == 0.0)
        return 1.0;
    if (alpha == 0.5)
        return 1.0 / sqrt(t);
    if (alpha == 1.0)
        return 1.0 / t;
    return fl_exp(-alpha * fl_log(t));
}

#endif
