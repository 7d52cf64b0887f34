/* Exact second moments of local SGD on a quadratic, coordinate by coordinate of the
 * Hessian's eigenbasis: theory/exact.py says what they are and where they come from. */
#ifndef FASTLSGD_MOMENTS_H
#define FASTLSGD_MOMENTS_H

#include <stdint.h>

/* All arrays have d entries. */
typedef struct fl_moments {
    int64_t d;
    const double *lambda;    /* eigenvalues */
    const double *fixed;     /* variance of a worker's gradient noise that depends on no iterate ... */
    const double *shared;    /* ... plus shared[i] sum_j lambda[j] worker[j] ... */
    const double *own;       /* ... plus own[i] worker[i]; shared and own NULL for additive noise */
    double w2;               /* sum of the squared weights of the workers */
    double *worker;          /* second moment of one worker's distance from the optimum ... */
    double *mean;            /* ... of the workers' mean ... */
    double *cross;           /* ... of the sum of the means so far times the mean ... */
    double *square;          /* ... and of that sum */
} fl_moments;

/* n steps; ends[i] says that step i ends a round. The sum takes them if averages is set.
 * Returns the sum over coordinates of the worker's moment after the last step, before the
 * averaging that may follow it. */
double fl_moments_advance(const fl_moments *, int64_t n, const double *eta, const uint8_t *ends, int averages);

#endif
