/* Scalar floor, part 3: what one sample costs.
 *
 * A loss is a pair of scalars of (prediction z, target y): loss and its derivative in z, the latter times a
 * scale (step and weight) that is at hand long before z is. To add one: write the pair here, name it in the
 * enumeration, give it its lines in the switches and its row in LOSSES of _kernels.pyx. The derivative is
 * tested against finite differences there.
 */
#ifndef FASTLSGD_LOSSES_H
#define FASTLSGD_LOSSES_H

#include "arith.h"
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum fl_loss { FL_SQUARED = 0, FL_LOGISTIC = 1 };

/* Half squared error (z - y)^2 / 2. */
static inline double fl_squared_loss(double z, double y) { const double r = z - y; return 0.5 * r * r; }
static inline double fl_squared_dloss(double z, double y, double scale) { return scale * (z - y); }

/* log(1 + exp(-y z)), y = -1 or +1; of many at once see parts.h. */
static inline double fl_logistic_loss(double z, double y)
{
    double rest;
    const double q = fl_logistic_parts(y * z, &rest);
    return fl_log1p_small(q) + rest;
}
/* Longest step from a reference whose change is not a difference: see parts.h. */
#define FL_NEAR 8.0
static inline double fl_logistic_dloss(double z, double y, double scale)
{
    return (scale * -y) / (1.0 + fl_exp(y * z));
}
/* In float exp(y z) is p 2^k, and both sides of the fraction are taken 2^-k times, one multiplication
 * sooner. The exponent of 2 is clamped: beyond 125 2^-k is denormal, and denormals cost a hundred cycles
 * each; below -46 the fraction is 1 to the last bit, and 2^-k times a large scale must not overflow. A NaN passes
 * both comparisons. */
#define FL_EXPONENT_MIN (-46.0f)
#define FL_EXPONENT_MAX 125.0f
static inline float fl_clamped(float t)
{
    t = t < FL_EXPONENT_MIN ? FL_EXPONENT_MIN : t;
    return t > FL_EXPONENT_MAX ? FL_EXPONENT_MAX : t;
}
static inline fl_four fl_clamped_four(fl_four t)
{
#if defined(__SSE2__)
    /* The second operand is what a NaN gives. */
    const fl_four zero = {0}, low = zero + FL_EXPONENT_MIN, high = zero + FL_EXPONENT_MAX;
    return (fl_four)_mm_min_ps((__m128)high, _mm_max_ps((__m128)low, (__m128)t));
#else
    for (int e = 0; e < 4; e++)
        t[e] = fl_clamped(t[e]);
    return t;
#endif
}

/* One text for one float and for several at once (F a vector). */
#define FL_DEFINE_DLOSSF(NAME, F, CLAMPED, EXP2F_PARTS, SCALE_DOWN)                           \
    static inline __attribute__((always_inline)) F NAME(int loss, F z, F y, F scale)          \
    {                                                                                         \
        if (loss == FL_SQUARED)                                                               \
            return scale * (z - y);                                                           \
        F shifted;                                                                            \
        const F p = EXP2F_PARTS(CLAMPED(z * (y * FL_LOG2_E)), &shifted);                      \
        const F q = SCALE_DOWN(shifted);                                                      \
        return (scale * -y) * q / (q + p);                                                    \
    }
FL_DEFINE_DLOSSF(fl_dlossf, float, fl_clamped, fl_exp2f_parts, fl_scale_down)
FL_DEFINE_DLOSSF(fl_dlossf_four, fl_four, fl_clamped_four, fl_exp2f_parts_four, fl_scale_down_four)

/* The switches of doubles, for calls one at a time. */
static inline double fl_loss(int loss, double z, double y)
{
    return loss == FL_SQUARED ? fl_squared_loss(z, y) : fl_logistic_loss(z, y);
}
static inline double fl_dloss(int loss, double z, double y, double scale)
{
    return loss == FL_SQUARED ? fl_squared_dloss(z, y, scale) : fl_logistic_dloss(z, y, scale);
}

#endif
