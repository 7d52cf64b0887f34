/* Worker floor for one type T of iterates and one D of rows on one instruction set: local steps, serial, no lock.
 * Included by isa_body.h behind row_body.h. */

static inline __attribute__((always_inline)) void FN(flush)(T *sum, double *sum64, int64_t n_params)
{
#if FL_IS_FLOAT
    for (int64_t j = 0; j < n_params; j++) {
        sum64[j] += (double)sum[j];
        sum[j] = 0;
    }
#else
    (void)sum;
    (void)sum64;
    (void)n_params;
#endif
}

static inline __attribute__((always_inline)) T FN(dloss)(int loss, T z, T y)
{
#if FL_IS_FLOAT
    return fl_dlossf(loss, z, y);
#else
    return fl_dloss(loss, z, y);
#endif
}

/* eta s loss'(z, y) of one row; weights may be NULL. */
static inline __attribute__((always_inline)) T FN(slope)(int loss, T z, const T *targets, const T *weights, int64_t row,
                                                         T eta)
{
    T slope = FN(dloss)(loss, z, targets[row]);
    if (weights)
        slope = weights[row] * slope;
    return eta * slope;
}

/* The same of four rows. */
static inline __attribute__((always_inline)) FN(four) FN(slopes_of_four)(int loss, FN(four) z, const T *targets,
                                                                         const T *weights, const uint32_t *rows, T eta)
{
#define FOUR_OF(of) ((FN(four)){of[rows[0]], of[rows[1]], of[rows[2]], of[rows[3]]})
    const FN(four) y = FOUR_OF(targets);
#if FL_IS_FLOAT
    FN(four) slope = (FN(four))fl_dloss_four(loss, (fl_four)z, (fl_four)y);
#else
    FN(four) slope;
    for (int e = 0; e < 4; e++)
        slope[e] = FN(dloss)(loss, z[e], y[e]);
#endif
    if (weights)
        slope = FOUR_OF(weights) * slope;
    return eta * slope;
#undef FOUR_OF
}

/* One row a step: the hot loop of the package.
 *
 * `width` workers, a constant, go in lockstep: one worker's step is a chain
 * (reduction, loss, broadcast, update) that the processor mostly waits for, and the
 * others' fill that time; their losses are one vector. Each worker's arithmetic is its own. */
static inline __attribute__((always_inline)) void FN(steps_in_lockstep)(
    const fl_shards *shards, const fl_step *step, int64_t k, int64_t t0, int64_t n, const double *eta,
    const double *alpha, T *W, T *sums, double *sums64, const int width)
{
    const int64_t d = shards->n_features, ld = step->ld;
    const int average = step->average, loss = step->loss;
    const FN(shape) shape = FN(shape_of_rows)(shards);
    const T *targets = shards->y, *weights = shards->s;
    const int64_t distance = FN(rows_ahead)(d, width);
    int64_t i = 0;
    while (i < n) {
        const uint32_t *rows[FL_LOCKSTEP];
        int64_t at_hand = n - i, known = FL_VISITS;
        for (int g = 0; g < width; g++) {
            int64_t its, its_known;
            rows[g] = fl_rows_to_visit(shards, k + g, t0 + i, &its, &its_known);
            at_hand = its < at_hand ? its : at_hand;
            known = its_known < known ? its_known : known;
        }
        const int64_t some = at_hand;
        V lanes[FL_LOCKSTEP];
        for (int g = 0; g < width; g++)
            lanes[g] = FN(row_dot)(ROW(rows[g][0]), W + g * ld, &shape);
        for (int64_t r = 0; r < some; r++, i++) {
            T c[FL_LOCKSTEP] __attribute__((aligned(FL_VBYTES)));
            const T eta_t = (T)eta[i], el2 = (T)(eta[i] * step->l2);
            const T alpha_t = average == FL_AVERAGE_WEIGHTED ? (T)alpha[i] : (T)0;
            if (r + distance < known)
                for (int g = 0; g < width; g++)
                    FN(prefetch_row)(shards, rows[g][r + distance], d);
            if (width == 1)
                c[0] = FN(slope)(loss, FN(fold)(lanes[0]), targets, weights, rows[0][r], eta_t);
            else {
                for (int g = width; g < 4; g++)
                    lanes[g] = lanes[g - width];
                const uint32_t four[4] = {rows[0][r], rows[1 % width][r], rows[2 % width][r], rows[3 % width][r]};
                *(FN(four) *)c = FN(slopes_of_four)(loss, FN(fold_four)(lanes), targets, weights, four, eta_t);
            }
            /* The last row at hand has no next: its own margin is made for nothing. */
            const int64_t next = r + 1 < some ? r + 1 : r;
#pragma GCC unroll 4
            for (int g = 0; g < width; g++) {
                const D *x = ROW(rows[g][r]), *then = ROW(rows[g][next]);
                T *w = W + g * ld, *sum = sums + g * ld;
                if (average == FL_AVERAGE_UNIFORM)
                    lanes[g] = FN(update_and_dot)(x, then, w, sum, &shape, c[g], el2, FL_AVERAGE_UNIFORM, alpha_t);
                else if (average == FL_AVERAGE_WEIGHTED)
                    lanes[g] = FN(update_and_dot)(x, then, w, sum, &shape, c[g], el2, FL_AVERAGE_WEIGHTED, alpha_t);
                else
                    lanes[g] = FN(update_and_dot)(x, then, w, sum, &shape, c[g], el2, FL_AVERAGE_NONE, alpha_t);
            }
            if (average && ((t0 + i + 1) & (FL_FLUSH - 1)) == 0)
                for (int g = 0; g < width; g++)
                    FN(flush)(sums + g * ld, sums64 + g * ld, step->n_params);
        }
    }
}

/* batch_size rows a step: margins at the same w, l2 once, rows added in order. Nothing
 * but the sum of the rows waits for anything, so one worker at a time suffices. */
static void FN(steps_of_batches)(const fl_shards *shards, const fl_step *step, int64_t k, int64_t t0, int64_t n,
                                 const double *eta, const double *alpha, T *w, T *sum, double *sum64,
                                 const fl_scratch *scratch)
{
    const int64_t d = shards->n_features, b = step->batch_size, p = step->n_params;
    const int loss = step->loss;
    const FN(shape) shape = FN(shape_of_rows)(shards);
    const T *targets = shards->y, *weights = shards->s;
    const int64_t distance = FN(rows_ahead)(d, 1);
    T *update = scratch->update;
    for (int64_t i = 0; i < n; i++) {
        const T each = (T)(eta[i] / (double)b);
        const T el2 = (T)(eta[i] * step->l2);
        for (int64_t j = 0; j < p; j++)
            update[j] = el2 * w[j];
        if (shards->intercept)
            update[d] = (T)0 * w[d];
        for (int64_t done = 0; done < b;) {
            int64_t at_hand, known;
            const uint32_t *rows = fl_rows_to_visit(shards, k, (t0 + i) * b + done, &at_hand, &known);
            const int64_t some = at_hand < b - done ? at_hand : b - done;
            int64_t r = 0;
            for (; r + 4 <= some; r += 4) {
                const D *x[4];
                T c[4] __attribute__((aligned(FL_VBYTES)));
                V lanes[4];
#pragma GCC unroll 4
                for (int g = 0; g < 4; g++) {
                    if (r + g + distance < known)
                        FN(prefetch_row)(shards, rows[r + g + distance], d);
                    x[g] = ROW(rows[r + g]);
                    lanes[g] = FN(row_dot)(x[g], w, &shape);
                }
                *(FN(four) *)c = FN(slopes_of_four)(loss, FN(fold_four)(lanes), targets, weights, rows + r, each);
                FN(add_rows)(x, c, 4, update, &shape);
            }
            for (; r < some; r++) {
                const D *x = ROW(rows[r]);
                const T c = FN(slope)(loss, FN(fold)(FN(row_dot)(x, w, &shape)), targets, weights, rows[r], each);
                FN(add_rows)(&x, &c, 1, update, &shape);
            }
            done += some;
        }
        const T a = alpha ? (T)alpha[i] : (T)1;
        for (int64_t j = 0; j < p; j++) {
            const T new = w[j] - update[j];
            w[j] = new;
            if (step->average == FL_AVERAGE_UNIFORM)
                sum[j] += new;
            else if (step->average == FL_AVERAGE_WEIGHTED)
                sum[j] += a * new;
        }
        if (step->average && ((t0 + i + 1) & (FL_FLUSH - 1)) == 0)
            FN(flush)(sum, sum64, p);
    }
}

#if !FL_IS_BF16
#include "stream_body.h"
#endif

static void FN(local_steps)(const fl_shards *shards, const fl_step *step, int64_t k, int64_t width, int64_t t0,
                            int64_t n, const double *eta, const double *alpha, void *w, void *sum, double *sum64,
                            const fl_scratch *scratch)
{
#if defined(FL_LEFT_TO)
    if (FL_LEAVES_ROWS_OF(step->n_params * (int64_t)sizeof(T))) {
        FL_LEFT_TO.local_steps[fl_storage(shards)](shards, step, k, width, t0, n, eta, alpha, w, sum, sum64, scratch);
        return;
    }
#endif
    while (width > 0) {
        int64_t some = width >= 4 ? 4 : width >= 2 ? 2 : 1;
#if !FL_IS_BF16
        if (shards->stream && shards->stream->spectrum) {
            FN(quadratic_steps)(shards, step, k, t0, n, eta, alpha, w, sum, sum64, scratch);
            some = 1;
        } else
#endif
        if (step->batch_size > 1) {
            FN(steps_of_batches)(shards, step, k, t0, n, eta, alpha, w, sum, sum64, scratch);
            some = 1;
        } else if (some == 4)
            FN(steps_in_lockstep)(shards, step, k, t0, n, eta, alpha, w, sum, sum64, 4);
        else if (some == 2)
            FN(steps_in_lockstep)(shards, step, k, t0, n, eta, alpha, w, sum, sum64, 2);
        else
            FN(steps_in_lockstep)(shards, step, k, t0, n, eta, alpha, w, sum, sum64, 1);
        width -= some;
        k += some;
        w = (T *)w + some * step->ld;
        sum = (T *)sum + some * step->ld;
        sum64 += some * step->ld;
    }
}

#undef V
#undef ROW
