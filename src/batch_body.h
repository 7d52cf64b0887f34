/* Worker floor for batches of rows, for one type T (and D of rows) on one instruction set:
 * margins at the same w, l2 once, rows added in order. Included by worker_body.h.
 *
 * Nothing but the sum of the rows waits for anything, so one worker at a time suffices. */

/* Rows of so many vectors at most are done as many at a time as a vector has lanes, with w and
 * the sum of the rows in registers. */
#define FL_HELD_VECTORS 4

#if FL_IS_FLOAT
typedef uint32_t FN(words_of_all) __attribute__((vector_size(FL_VBYTES), may_alias));

static inline __attribute__((always_inline)) V FN(clamped_all)(V t)
{
#if defined(FL_MIN_FLOAT)
    const V zero = {0};
    return (V)FL_MIN_FLOAT(zero + FL_EXPONENT_MAX, FL_MAX_FLOAT(zero + FL_EXPONENT_MIN, t));
#else
    for (int e = 0; e < VL; e++)
        t[e] = fl_clamped(t[e]);
    return t;
#endif
}
FL_DEFINE_EXP2F_PARTS(FN(exp2f_parts_all), V)
static inline V FN(scale_down_all)(V shifted) { return (V)((127u - (FN(words_of_all))shifted) << 23); }
FL_DEFINE_DLOSSF(FN(dloss_all), V, FN(clamped_all), FN(exp2f_parts_all), FN(scale_down_all))
#else
static inline __attribute__((always_inline)) V FN(dloss_all)(int loss, V z, V y, V scale)
{
    T margins[VL] __attribute__((aligned(FL_VBYTES))), targets[VL] __attribute__((aligned(FL_VBYTES)));
    W_AT(margins) = z;
    W_AT(targets) = y;
    for (int e = 0; e < VL; e++)
        margins[e] = FN(dloss)(loss, margins[e], targets[e], scale[e]);
    return W_AT(margins);
}
#endif

/* slopes_of_four for as many rows as a vector has lanes. */
static inline __attribute__((always_inline)) V FN(slopes_of_all)(int loss, V z, const T *targets, const T *weights,
                                                                 const uint32_t *rows, T eta)
{
#define OF(e) of[rows[e]]
#define FOUR_FROM(e) OF(e), OF(e + 1), OF(e + 2), OF(e + 3)
#if VL == 16
#define ALL {FOUR_FROM(0), FOUR_FROM(4), FOUR_FROM(8), FOUR_FROM(12)}
#elif VL == 8
#define ALL {FOUR_FROM(0), FOUR_FROM(4)}
#elif VL == 4
#define ALL {FOUR_FROM(0)}
#else
#define ALL {OF(0), OF(1)}
#endif
    const T *of = targets;
    const V y = ALL;
    V scale = eta - (V){0};
    if (weights) {
        of = weights;
        const V s = ALL;
        scale *= s;
    }
    return FN(dloss_all)(loss, z, y, scale);
#undef ALL
#undef FOUR_FROM
#undef OF
}

/* The rows to be fetched while the batch visits its own, *n of them from the first on. */
static inline const uint32_t *FN(rows_to_fetch)(const fl_shards *shards, int64_t k, int64_t visit,
                                                const uint32_t *rows, int64_t known, int64_t *n)
{
    const int64_t d = shards->n_features, distance = FN(rows_of_batches_ahead)(d);
    const uint32_t *far = fl_rows_far_ahead(shards, k, visit, d * (int64_t)sizeof(D), n);
    if (*n > 0)
        return far;
    *n = known - distance;
    return rows + distance;
}

/* Rows [r, r + some) of a batch: the ones to be fetched meanwhile, and the near ones that are out of order. */
static inline __attribute__((always_inline)) void FN(fetch_rows)(const fl_shards *shards, const uint32_t *rows,
                                                                 int64_t known, const uint32_t *fetched,
                                                                 int64_t n_fetched, int64_t r, int64_t some,
                                                                 int64_t near)
{
    const int64_t d = shards->n_features;
    for (int64_t e = r; e < r + some && e < n_fetched; e++)
        FN(prefetch_row)(shards, fetched[e], d);
    for (int64_t e = r; near && e < r + some && e + near < known; e++)
        FN(prefetch_near)(shards, rows[e + near], d);
}

/* Adds the gradients of four rows at w, each times `each`. On the way rows to come are asked for: in_dots of them
 * while margins are made, the next in_sums while rows are added; both are constants, and so is `ends`. */
static inline __attribute__((always_inline)) void FN(add_four)(const fl_shards *shards, const uint32_t *rows,
                                                               const D *const *coming, const int in_dots,
                                                               const int in_sums, const T *w,
                                                               const FN(batch_sum) *to, const int ends,
                                                               const FN(shape) *shape, int loss, const T *targets,
                                                               const T *weights, T each)
{
    const D *x[4];
    T c[4] __attribute__((aligned(FL_VBYTES)));
    V lanes[4];
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++)
        x[g] = ROW(rows[g]);
#pragma GCC unroll 4
    for (int g = 0; g < 4; g += ROWS_A_DOT) {
        const int first = g * in_dots / 4, end = (g + ROWS_A_DOT) * in_dots / 4;
        FN(dot_rows)(x + g, ROWS_A_DOT, w, shape, coming + first, end - first, lanes + g);
    }
    *(FN(four) *)c = FN(slopes_of_four)(loss, FN(fold_four)(lanes), targets, weights, rows, each);
    FN(add_rows)(x, c, 4, to, ends, shape, coming + in_dots, in_sums);
}

/* Short rows: `vectors`, a constant, is what each takes. */
static inline __attribute__((always_inline)) void FN(short_batches)(const fl_shards *shards, const fl_step *step,
                                                                    int64_t k, int64_t t0, int64_t n,
                                                                    const double *eta, const double *alpha, T *W,
                                                                    T *sum, double *sum64, const int vectors)
{
    const int64_t b = step->batch_size;
    const int loss = step->loss, average = step->average;
    FN(shape) shape = FN(shape_of_rows)(shards);
    shape.full = vectors - 1;
    const T *targets = shards->y, *weights = shards->s;
    V w[FL_HELD_VECTORS], update[FL_HELD_VECTORS];
    for (int v = 0; v < vectors; v++)
        w[v] = W_AT(W + v * VL);
    const V one = (V){0} + 1;
    const FN(batch_sum) to = {.from = (T *)update, .f = one, .f_last = one, .update = (T *)update};
    for (int64_t i = 0; i < n; i++) {
        const T each = (T)(eta[i] / (double)b);
        const V el2 = (T)(eta[i] * step->l2) - (V){0};
        for (int v = 0; v < vectors - 1; v++)
            update[v] = el2 * w[v];
        update[vectors - 1] = (V)((LANE_BITS)el2 & (LANE_BITS)shape.penalised) * w[vectors - 1];
        for (int64_t done = 0; done < b;) {
            int64_t at_hand, known, n_fetched;
            const int64_t visit = (t0 + i) * b + done;
            const uint32_t *rows = fl_rows_to_visit(shards, k, visit, &at_hand, &known);
            const uint32_t *fetched = FN(rows_to_fetch)(shards, k, visit, rows, known, &n_fetched);
            /* Out of order: the next group, while this one is done. */
            const int64_t near = fl_in_order(shards, k, visit) ? 0 : VL < 4 ? 4 : VL;
            const int64_t some = at_hand < b - done ? at_hand : b - done;
            int64_t r = 0;
            for (; r + VL <= some; r += VL) {
                const D *x[VL];
                T c[VL] __attribute__((aligned(FL_VBYTES)));
                V parts[ROWS_APART];
                FN(fetch_rows)(shards, rows, known, fetched, n_fetched, r, VL, near);
#pragma GCC unroll 4
                for (int p = 0; p < ROWS_APART; p++) {
                    V lanes[VL];
#pragma GCC unroll 4
                    for (int e = p; e < VL; e += ROWS_APART) {
                        x[e] = ROW(rows[r + e]);
                        lanes[e] = FN(row_dot)(x[e], (const T *)w, &shape);
                    }
                    parts[p] = FN(fold_rows)(lanes + p);
                }
                W_AT(c) = FN(slopes_of_all)(loss, FN(fold_all)(parts), targets, weights, rows + r, each);
#pragma GCC unroll 4
                for (int e = 0; e < VL; e += VL < 4 ? VL : 4)
                    FN(add_rows)(x + e, c + e, VL < 4 ? VL : 4, &to, 0, &shape, NULL, 0);
            }
            FN(fetch_rows)(shards, rows, known, fetched, n_fetched, r, some - r, near);
#if VL > 4
            for (; r + 4 <= some; r += 4)
                FN(add_four)(shards, rows + r, NULL, 0, 0, (const T *)w, &to, 0, &shape, loss, targets, weights,
                             each);
#endif
            for (; r < some; r++) {
                const D *x = ROW(rows[r]);
                const T z = FN(fold)(FN(row_dot)(x, (const T *)w, &shape));
                const T c = FN(slope)(loss, z, targets, weights, rows[r], each);
                FN(add_rows)(&x, &c, 1, &to, 0, &shape, NULL, 0);
            }
            done += some;
        }
        const T a = alpha ? (T)alpha[i] : (T)1;
        for (int v = 0; v < vectors; v++) {
            w[v] -= update[v];
            if (average == FL_AVERAGE_UNIFORM)
                W_AT(sum + v * VL) += w[v];
            else if (average == FL_AVERAGE_WEIGHTED)
                W_AT(sum + v * VL) += a * w[v];
        }
        if (average && ((t0 + i + 1) & (FL_FLUSH - 1)) == 0)
            FN(flush)(sum, sum64, step->n_params);
    }
    for (int v = 0; v < vectors; v++)
        W_AT(W + v * VL) = w[v];
}

/* n rows of a batch from the r-th on, a constant: coming[g] is what is to be asked for meanwhile, a row at hand where
 * nothing comes; near ones that are out of order are fetched. */
static inline __attribute__((always_inline)) void FN(rows_to_come)(const fl_shards *shards, const uint32_t *rows,
                                                                   int64_t known, const uint32_t *fetched,
                                                                   int64_t n_fetched, int64_t r, const int n,
                                                                   int64_t near, const D **coming)
{
#pragma GCC unroll 4
    for (int g = 0; g < n; g++) {
        const uint32_t row = r + g < n_fetched ? fetched[r + g] : rows[r + g];
        coming[g] = ROW(row);
        __builtin_prefetch((const T *)shards->y + row, 0, 3);
        if (near && r + g + near < known)
            FN(prefetch_near)(shards, rows[r + g + near], shards->n_features);
    }
}

/* Longer rows, in fours: a first cache holds no more of them until they are added. A step's first four start from
 * el2 w and its last ones take the sum from w, as walks of their own cost more (d = 1,000, batches of 4, in
 * cache: 107 ns a gradient against 94).
 *
 * The lines of rows to come are asked for one by one (comes_by_lines), of four rows while four are done. The longer
 * they are the more evenly, as the core has places for some tens of them only (batches of 32, out of cache, one
 * thread, AVX-512: d = 1,000, 238 ns a gradient if all are asked for while rows are added, 207 if half of them
 * while margins are made); but what margins are made of comes from the second cache and waits for
 * places as well (d = 250: 41 and 54). */
static void FN(batches_in_fours)(const fl_shards *shards, const fl_step *step, int64_t k, int64_t t0, int64_t n,
                                 const double *eta, const double *alpha, T *w, T *sum, double *sum64,
                                 const fl_scratch *scratch)
{
    const int64_t d = shards->n_features, b = step->batch_size, p = step->n_params;
    const int loss = step->loss;
    const FN(shape) shape = FN(shape_of_rows)(shards);
    const T *targets = shards->y, *weights = shards->s;
    const int64_t rows_near = FN(rows_near)(d, 1);
    const int long_rows = d * (int64_t)sizeof(D) > 1024;
    const V one = (V){0} + 1;
    FN(batch_sum) to = {.update = scratch->update, .w = w, .sum = sum, .average = step->average};
    for (int64_t i = 0; i < n; i++) {
        const T each = (T)(eta[i] / (double)b);
        const V el2 = (T)(eta[i] * step->l2) - (V){0};
        to.from = w;
        to.f = el2;
        to.f_last = (V)((LANE_BITS)el2 & (LANE_BITS)shape.penalised);
        to.alpha = alpha ? (T)alpha[i] : (T)1;
        for (int64_t done = 0; done < b;) {
            int64_t at_hand, known, n_fetched;
            const int64_t visit = (t0 + i) * b + done;
            const uint32_t *rows = fl_rows_to_visit(shards, k, visit, &at_hand, &known);
            const uint32_t *fetched = FN(rows_to_fetch)(shards, k, visit, rows, known, &n_fetched);
            const int64_t near = fl_in_order(shards, k, visit) ? 0 : rows_near;
            const int64_t some = at_hand < b - done ? at_hand : b - done;
            int64_t r = 0;
#define ADD_FOUR(in_dots, in_sums, ends)                                                                      \
    FN(add_four)(shards, rows + r, coming, in_dots, in_sums, w, &to, ends, &shape, loss, targets, weights, each)
#define ADD_ONE(ends) FN(add_rows)(&x, &c, 1, &to, ends, &shape, &coming, 1)
            for (; r + 4 <= some; r += 4) {
                const D *coming[4];
                const int ends = done + r + 4 == b;
                FN(rows_to_come)(shards, rows, known, fetched, n_fetched, r, 4, near, coming);
                if (long_rows && ends)
                    ADD_FOUR(2, 2, 1);
                else if (long_rows)
                    ADD_FOUR(2, 2, 0);
                else if (ends)
                    ADD_FOUR(0, 4, 1);
                else
                    ADD_FOUR(0, 4, 0);
                to.from = to.update;
                to.f = to.f_last = one;
            }
            for (; r < some; r++) {
                const D *x = ROW(rows[r]), *coming;
                V lanes;
                FN(rows_to_come)(shards, rows, known, fetched, n_fetched, r, 1, near, &coming);
                FN(dot_rows)(&x, 1, w, &shape, NULL, 0, &lanes);
                const T c = FN(slope)(loss, FN(fold)(lanes), targets, weights, rows[r], each);
                if (done + r + 1 == b)
                    ADD_ONE(1);
                else
                    ADD_ONE(0);
                to.from = to.update;
                to.f = to.f_last = one;
            }
#undef ADD_ONE
#undef ADD_FOUR
            done += some;
        }
        if (step->average && ((t0 + i + 1) & (FL_FLUSH - 1)) == 0)
            FN(flush)(sum, sum64, p);
    }
}

static void FN(steps_of_batches)(const fl_shards *shards, const fl_step *step, int64_t k, int64_t t0, int64_t n,
                                 const double *eta, const double *alpha, T *w, T *sum, double *sum64,
                                 const fl_scratch *scratch)
{
    switch ((step->n_params + VL - 1) / VL) {
    case 1:
        FN(short_batches)(shards, step, k, t0, n, eta, alpha, w, sum, sum64, 1);
        break;
    case 2:
        FN(short_batches)(shards, step, k, t0, n, eta, alpha, w, sum, sum64, 2);
        break;
    case 3:
        FN(short_batches)(shards, step, k, t0, n, eta, alpha, w, sum, sum64, 3);
        break;
    case 4:
        FN(short_batches)(shards, step, k, t0, n, eta, alpha, w, sum, sum64, 4);
        break;
    default:
        FN(batches_in_fours)(shards, step, k, t0, n, eta, alpha, w, sum, sum64, scratch);
    }
}

#undef FL_HELD_VECTORS
