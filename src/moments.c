#include "moments.h"

#include <string.h>

/* Steps after which what has decayed beyond all use is set to zero: numbers that the
 * processor keeps with fewer bits cost a hundred times as much. */
#define SWEEP 1024
#define NOTHING 1e-280

static void sweep(double *x, int64_t d)
{
    for (int64_t i = 0; i < d; i++)
        x[i] = x[i] < NOTHING && x[i] > -NOTHING ? 0.0 : x[i];
}

/* sum_i a[i] b[i], in four lanes. */
static double sum_of_products(const double *a, const double *b, int64_t d)
{
    double lanes[4] = {0};
    int64_t i = 0;
    for (; i + 4 <= d; i += 4)
        for (int e = 0; e < 4; e++)
            lanes[e] += a[i + e] * b[i + e];
    for (int e = 0; i + e < d; e++)
        lanes[e] += a[i + e] * b[i + e];
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

static double sum(const double *a, int64_t d)
{
    double total = 0.0;
    for (int64_t i = 0; i < d; i++)
        total += a[i];
    return total;
}

static void step(const fl_moments *moments, double eta, int averages)
{
    const int64_t d = moments->d;
    const double *restrict lambda = moments->lambda, *restrict fixed = moments->fixed;
    const double *restrict shared = moments->shared, *restrict own = moments->own;
    double *restrict worker = moments->worker, *restrict mean = moments->mean;
    double *restrict cross = moments->cross, *restrict square = moments->square;
    const double eta2 = eta * eta, w2 = moments->w2;
    const double spread = shared ? sum_of_products(lambda, worker, d) : 0.0;
    for (int64_t i = 0; i < d; i++) {
        const double rho = 1.0 - eta * lambda[i], rho2 = rho * rho;
        const double noise = shared ? fixed[i] + (shared[i] * spread + own[i] * worker[i]) : fixed[i];
        worker[i] = rho2 * worker[i] + eta2 * noise;
        mean[i] = rho2 * mean[i] + w2 * (eta2 * noise);
        if (averages) { /* the old cross and the new mean */
            square[i] += 2.0 * (rho * cross[i]) + mean[i];
            cross[i] = rho * cross[i] + mean[i];
        }
    }
}

double fl_moments_advance(const fl_moments *moments, int64_t n, const double *eta, const uint8_t *ends, int averages)
{
    const int64_t d = moments->d;
    double worker = 0.0;
    for (int64_t i = 0; i < n; i++) {
        step(moments, eta[i], averages);
        if (i == n - 1)
            worker = sum(moments->worker, d);
        if (ends[i])
            memcpy(moments->worker, moments->mean, (size_t)d * sizeof *moments->mean);
        if (i % SWEEP == SWEEP - 1 || i == n - 1) {
            sweep(moments->worker, d);
            sweep(moments->mean, d);
            sweep(moments->cross, d);
        }
    }
    return worker;
}
