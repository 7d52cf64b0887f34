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
static inline double fl_squared_change(double z, double u, double y) { return u * ((z - y) + 0.5 * u); }
static inline double fl_squared_dloss(double z, double y) { return z - y; }
static inline float fl_squared_dlossf(float z, float y) { return z - y; }

/* log(1 + exp(-y z)), y = -1 or +1: with m = y z, log1p(exp(-|m|)) - min(m, 0); and
 * the derivative -y / (1 + exp(m)) from the same exp. 0 m keeps a NaN. */
static inline double fl_logistic_both(double z, double y, double *slope)
{
    const double m = y * z;
    const double e = fl_exp(m < 0.0 ? m : -m);
    *slope = -y * ((m < 0.0 ? 1.0 : e) / (1.0 + e));
    return fl_log1p(e) + (m < 0.0 ? -m : 0.0 * m);
}
static inline double fl_logistic_loss(double z, double y)
{
    double slope;
    return fl_logistic_both(z, y, &slope);
}

/* loss(z + u) - loss(z), to a few ulp of itself however small u is. With m = y z, v = y u and
 * p = 1 / (1 + exp(m)) it is log(1 + p (exp(-v) - 1)); where |v| > 1/2 nothing cancels.
 * What depends on z alone is handed in: there are many u. */
static inline double fl_logistic_p(double z, double y) { return 1.0 / (1.0 + fl_exp(y * z)); }
static inline __attribute__((always_inline)) double fl_logistic_change(double z, double p, double loss_at_z, double u,
                                                                       double y)
{
    const double v = y * u;
    const double near = fl_log1p(p * fl_expm1_small(-v));
    const double far = fl_logistic_loss(z + u, y) - loss_at_z;
    /* Chosen by bits: as a choice of values it becomes a branch, and the loop stays scalar. */
    const uint64_t is_near = fabs(v) <= 0.5 ? ~(uint64_t)0 : 0;
    return fl_bits_double((fl_double_bits(near) & is_near) | (fl_double_bits(far) & ~is_near));
}
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
