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

/* scale loss'(z, y) */
static inline __attribute__((always_inline)) T FN(dloss)(int loss, T z, T y, T scale)
{
#if FL_IS_FLOAT
    return fl_dlossf(loss, z, y, scale);
#else
    return fl_dloss(loss, z, y, scale);
#endif
}

/* eta s loss'(z, y) of one row; weights may be NULL. */
static inline __attribute__((always_inline)) T FN(slope)(int loss, T z, const T *targets, const T *weights, int64_t row,
                                                         T eta)
{
    return FN(dloss)(loss, z, targets[row], weights ? eta * weights[row] : eta);
}

/* The same of four rows. */
static inline __attribute__((always_inline)) FN(four) FN(slopes_of_four)(int loss, FN(four) z, const T *targets,
                                                                         const T *weights, const uint32_t *rows, T eta)
{
#define FOUR_OF(of) ((FN(four)){of[rows[0]], of[rows[1]], of[rows[2]], of[rows[3]]})
    const FN(four) y = FOUR_OF(targets);
    FN(four) scale = eta - (FN(four)){0};
    if (weights)
        scale *= FOUR_OF(weights);
#if FL_IS_FLOAT
    return (FN(four))fl_dlossf_four(loss, (fl_four)z, (fl_four)y, (fl_four)scale);
#else
    FN(four) slope;
    for (int e = 0; e < 4; e++)
        slope[e] = FN(dloss)(loss, z[e], y[e], scale[e]);
    return slope;
#endif
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
    const int64_t distance = FN(rows_ahead)(d, width), rows_near = FN(rows_near)(d, width);
    const int by_lines = FN(comes_by_lines)(d);
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
        /* What is fetched: a block ahead if all workers can, else some rows; and nearer if out of order. */
        const uint32_t *fetched[FL_LOCKSTEP];
        int64_t far = FL_VISITS, near = FL_VISITS;
        int in_order = 1;
        for (int g = 0; g < width; g++) {
            int64_t its;
            fetched[g] = fl_rows_far_ahead(shards, k + g, t0 + i, d * (int64_t)sizeof(D), &its);
            far = its < far ? its : far;
            in_order = in_order && fl_in_order(shards, k + g, t0 + i);
        }
        if (rows_near && !in_order)
            near = rows_near;
        if (far == 0) {
            far = known - distance;
            for (int g = 0; g < width; g++)
                fetched[g] = rows[g] + distance;
        }
        V lanes[FL_LOCKSTEP];
        for (int g = 0; g < width; g++)
            lanes[g] = FN(row_dot)(ROW(rows[g][0]), W + g * ld, &shape);
        for (int64_t r = 0; r < some; r++, i++) {
            T c[FL_LOCKSTEP] __attribute__((aligned(FL_VBYTES)));
            const T eta_t = (T)eta[i], el2 = (T)(eta[i] * step->l2);
            const T alpha_t = average == FL_AVERAGE_WEIGHTED ? (T)alpha[i] : (T)0;
            const D *coming[FL_LOCKSTEP] = {0};
            if (r < far)
                for (int g = 0; g < width; g++) {
                    if (by_lines) {
                        coming[g] = ROW(fetched[g][r]);
                        __builtin_prefetch(targets + fetched[g][r], 0, 3);
                    } else
                        FN(prefetch_row)(shards, fetched[g][r], d);
                }
            if (r + near < known)
                for (int g = 0; g < width; g++)
                    FN(prefetch_near)(shards, rows[g][r + near], d);
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
#define UPDATED_AND_DOT(kind) \
    FN(update_and_dot)(x, then, coming[g], w, sum, &shape, c[g], el2, kind, alpha_t)
                if (average == FL_AVERAGE_UNIFORM)
                    lanes[g] = UPDATED_AND_DOT(FL_AVERAGE_UNIFORM);
                else if (average == FL_AVERAGE_WEIGHTED)
                    lanes[g] = UPDATED_AND_DOT(FL_AVERAGE_WEIGHTED);
                else
                    lanes[g] = UPDATED_AND_DOT(FL_AVERAGE_NONE);
#undef UPDATED_AND_DOT
            }
            if (average && ((t0 + i + 1) & (FL_FLUSH - 1)) == 0)
                for (int g = 0; g < width; g++)
                    FN(flush)(sums + g * ld, sums64 + g * ld, step->n_params);
        }
    }
}

#include "batch_body.h"
#if !FL_IS_BF16
#include "stream_body.h"
#endif

static void FN(local_steps)(const fl_shards *shards, const fl_step *step, int64_t k, int64_t width, int64_t t0,
                            int64_t n, const double *eta, const double *alpha, void *w, void *sum, double *sum64,
                            const fl_scratch *scratch)
{
#if defined(FL_LEFT_TO)
    if (FL_LEAVES_ROWS_OF(step->n_params * (int64_t)sizeof(T), step->batch_size)) {
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
#undef VL
#undef NACC
#undef LANE_BITS
#undef LOAD
#undef W_AT
#undef SHUFFLE
#undef SHUFFLE16
#undef HALVES_OF
#undef PICK4
#undef EACH_SUM
#undef FOLDED_SUMS
#undef START_SUM
#undef ADD_TERM
#undef ADD_REST
#undef ADD_LAST
#undef ROWS_APART
#undef ROWS_A_DOT
#undef IN_A_REGISTER
#undef ENTRIES_A_LINE
#undef HALVES
#undef QUARTERS
#undef TWOS
#undef ONES
