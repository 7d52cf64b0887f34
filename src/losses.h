/* Scalar floor, part 3: what one sample costs.
 *
 * A loss is a pair of scalars of (prediction z, target y): loss and its
 * derivative in z. To add one: write the pair for both types here, name it in
 * the enumeration, give it its two lines in the switches and its row in LOSSES of
 * _kernels.pyx. The derivative is tested against finite differences there.
 */
#ifndef FASTLSGD_LOSSES_H
#define FASTLSGD_LOSSES_H

#include "arith.h"

enum fl_loss { FL_SQUARED = 0, FL_LOGISTIC = 1 };

/* Half squared error (z - y)^2 / 2. */
static inline double fl_squared_loss(double z, double y) { const double r = z - y; return 0.5 * r * r; }
static inline double fl_squared_dloss(double z, double y) { return z - y; }
static inline float fl_squared_dlossf(float z, float y) { return z - y; }

/* log(1 + exp(-y z)), y = -1 or +1; of many at once see parts.h. */
static inline double fl_logistic_loss(double z, double y)
{
    double rest;
    const double q = fl_logistic_parts(y * z, &rest);
    return fl_log1p_small(q) + rest;
}
/* Longest step from a reference whose change is not a difference: see parts.h. */
#define FL_NEAR 8.0
static inline double fl_logistic_dloss(double z, double y) { return -y / (1.0 + fl_exp(y * z)); }
/* In float exp is p 2^k, and both sides of the fraction are taken 2^-k times: the same
 * bits as -y / (1 + exp(m)), one multiplication sooner. */
static inline float fl_logistic_dlossf(float z, float y)
{
    float shifted;
    const float p = fl_expf_parts(y * z, &shifted), q = fl_scale_down(shifted);
    return -y * q / (q + p);
}

/* The switches, for calls one at a time. */
static inline double fl_loss(int loss, double z, double y)
{
    return loss == FL_SQUARED ? fl_squared_loss(z, y) : fl_logistic_loss(z, y);
}
static inline double fl_dloss(int loss, double z, double y)
{
    return loss == FL_SQUARED ? fl_squared_dloss(z, y) : fl_logistic_dloss(z, y);
}
static inline float fl_dlossf(int loss, float z, float y)
{
    return loss == FL_SQUARED ? fl_squared_dlossf(z, y) : fl_logistic_dlossf(z, y);
}

/* Several floats at once, the same bits: F is a vector, and the two functions are those of
 * fl_logistic_dlossf for it. */
#define FL_DEFINE_DLOSSF(NAME, F, EXPF_PARTS, SCALE_DOWN)                      \
    static inline __attribute__((always_inline)) F NAME(int loss, F z, F y)    \
    {                                                                          \
        if (loss == FL_SQUARED)                                                \
            return z - y;                                                      \
        F shifted;                                                             \
        const F p = EXPF_PARTS(y * z, &shifted), q = SCALE_DOWN(shifted);      \
        return -y * q / (q + p);                                               \
    }
FL_DEFINE_DLOSSF(fl_dloss_four, fl_four, fl_expf_parts_four, fl_scale_down_four)

#endif
