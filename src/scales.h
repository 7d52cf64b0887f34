/* Worker floor for sparse rows: the scalars that all workers share.
 *
 * A worker of a CSR run keeps v and u instead of w and its sum, so that a step
 * touches only the coordinates of its rows:
 *
 *     w_t = s_t v_t,     s_t = s_{t-1} (1 - eta_t l2)
 *     sum over i <= t of a_i w_i = u_t + A_t v_t,     A_t = A_{t-1} + a_t s_t
 *
 * with a_i the weights of the average. A step that takes v to v - delta adds
 * A_{t-1} delta to u. s and A are functions of t alone, the same for every worker,
 * so averaging works on v. It takes workers to their mean m: sums whose mean is w_bar need
 * A (sum_k weight_k v_k - m) more, which is what rounding took from m; that is owed to all
 * of them together. When |s| leaves [1/FL_FOLD, FL_FOLD] it is folded into
 * v: u += A v, A = 0, v *= s, s = 1. The intercept is not penalised: its v is its w,
 * its u the plain sum.
 */
#ifndef FASTLSGD_SCALES_H
#define FASTLSGD_SCALES_H

#include "kernels.h"

/* Between two folds u and A v cancel to no less than a part in FL_FOLD of their size. */
#define FL_FOLD 1024.0

/* One step. */
typedef struct fl_scale {
    double before;   /* s at the step's margins */
    double fold;     /* v is multiplied by this before the update; 1 is no fold */
    double each;     /* eta / (batch_size s): v loses this much of each row's slope x */
    double plain;    /* eta / batch_size: the same for the intercept */
    double mass;     /* A before the step */
    double weight;   /* a, 0 where the average has not begun */
} fl_scale;

/* The n steps of a slice, and one entry more for where it ends. */
static inline void fl_make_scales(const fl_step *step, int64_t n, const double *eta, const double *alpha, double s,
                                  double mass, fl_scale *out)
{
    const double b = (double)step->batch_size;
    for (int64_t i = 0; i < n; i++) {
        double after = s * (1.0 - eta[i] * step->l2), fold = 1.0;
        const double weight = step->average == FL_AVERAGE_NONE ? 0.0 : alpha ? alpha[i] : 1.0;
        const double size = after < 0.0 ? -after : after;
        if (!(size >= 1.0 / FL_FOLD && size <= FL_FOLD)) {
            fold = after;
            after = 1.0;
        }
        out[i] = (fl_scale){s, fold, eta[i] / (b * after), eta[i] / b, mass, weight};
        mass = (fold == 1.0 ? mass : 0.0) + weight * after;
        s = after;
    }
    out[n] = (fl_scale){s, 1.0, 0.0, 0.0, mass, 0.0};
}

#endif
