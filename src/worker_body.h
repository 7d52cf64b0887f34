/* Row and worker floors for one type T on one instruction set.
 *
 * Included by isa_body.h with
 *   T            float or double
 *   FN(name)     the name with type and instruction set appended
 *   FL_VBYTES    bytes of a hardware vector
 *   FL_IS_FLOAT  1 for float
 *
 * The same bits on every set: a row sum runs in LANES virtual lanes (lane j mod
 * LANES takes feature j) which are folded in halves, whatever the width of the
 * hardware's vectors. The intercept is one more feature equal to 1.
 */

#define LANES (128 / (int)sizeof(T))
#define VL (FL_VBYTES / (int)sizeof(T))
#define NACC (LANES / VL)

typedef T FN(vec) __attribute__((vector_size(FL_VBYTES), aligned(FL_VBYTES), may_alias));
typedef T FN(uvec) __attribute__((vector_size(FL_VBYTES), aligned(sizeof(T)), may_alias));
#define V FN(vec)
#define LOAD(p) ((V)(*(const FN(uvec) *)(p)))
#define W_AT(p) (*(V *)(p))

static inline __attribute__((always_inline)) V FN(splat)(T x)
{
    V v;
    for (int e = 0; e < VL; e++)
        v[e] = x;
    return v;
}

/* The last, short vector of a row: m < VL entries, then 1 for the intercept. */
static inline __attribute__((always_inline)) V FN(load_last)(const T *x, int m, int intercept)
{
#if defined(FL_MASKED_LOAD)
    V v = FL_MASKED_LOAD(x, m);
#else
    V v = {0};
    for (int e = 0; e < VL - 1; e++)
        if (e < m)
            v[e] = x[e];
#endif
    if (intercept)
        for (int e = 0; e < VL; e++)
            v[e] = e == m ? (T)1 : v[e];
    return v;
}

/* Fold the lanes of one vector in halves. */
static inline __attribute__((always_inline)) T FN(fold)(V v)
{
    T lanes[VL] __attribute__((aligned(FL_VBYTES)));
    W_AT(lanes) = v;
#pragma GCC unroll 8
    for (int half = VL / 2; half >= 1; half /= 2)
#pragma GCC unroll 8
        for (int e = 0; e < half; e++)
            lanes[e] += lanes[e + half];
    return lanes[0];
}

/* <x, w>; w is aligned, padded with zeros to whole vectors. */
static inline __attribute__((always_inline)) T FN(row_dot)(const T *x, const T *w, int64_t d, int intercept)
{
    V acc[NACC];
    const int64_t full = d / VL;
    const int m = (int)(d % VL);
    const int last = m > 0 || intercept;
    for (int a = 0; a < NACC; a++)
        acc[a] = FN(splat)((T)0);
    int64_t j = 0;
    for (; j + NACC <= full; j += NACC)
#pragma GCC unroll 8
        for (int a = 0; a < NACC; a++)
            acc[a] += LOAD(x + (j + a) * VL) * W_AT(w + (j + a) * VL);
#pragma GCC unroll 8
    for (int a = 0; a < NACC; a++) {
        if (j + a < full)
            acc[a] += LOAD(x + (j + a) * VL) * W_AT(w + (j + a) * VL);
        else if (j + a == full && last)
            acc[a] += FN(load_last)(x + full * VL, m, intercept) * W_AT(w + full * VL);
    }
#pragma GCC unroll 8
    for (int half = NACC / 2; half >= 1; half /= 2)
#pragma GCC unroll 8
        for (int a = 0; a < half; a++)
            acc[a] += acc[a + half];
    return FN(fold)(acc[0]);
}

/* el2 in every lane, but 0 for the intercept. */
static inline __attribute__((always_inline)) V FN(shrink_last)(T el2, int m, int intercept)
{
    V v = FN(splat)(el2);
    if (intercept)
        for (int e = 0; e < VL; e++)
            v[e] = e == m ? (T)0 : v[e];
    return v;
}

/* w <- w - (el2 w + c x); the running sum takes the new w (weighted by alpha). */
static inline __attribute__((always_inline)) void FN(row_update)(const T *x, T *w, T *sum, int64_t d, int intercept,
                                                                 T c, T el2, int average, T alpha)
{
    const V vc = FN(splat)(c), vl = FN(splat)(el2), va = FN(splat)(alpha);
    const int64_t full = d / VL;
    const int m = (int)(d % VL);
    for (int64_t j = 0; j < full; j++) {
        const V old = W_AT(w + j * VL);
        const V new = old - (vl * old + vc * LOAD(x + j * VL));
        W_AT(w + j * VL) = new;
        if (average == FL_AVERAGE_UNIFORM)
            W_AT(sum + j * VL) += new;
        else if (average == FL_AVERAGE_WEIGHTED)
            W_AT(sum + j * VL) += va * new;
    }
    if (m > 0 || intercept) {
        const V old = W_AT(w + full * VL);
        const V shrink = FN(shrink_last)(el2, m, intercept) * old;
        const V new = old - (shrink + vc * FN(load_last)(x + full * VL, m, intercept));
        W_AT(w + full * VL) = new;
        if (average == FL_AVERAGE_UNIFORM)
            W_AT(sum + full * VL) += new;
        else if (average == FL_AVERAGE_WEIGHTED)
            W_AT(sum + full * VL) += va * new;
    }
}

/* update += c x, for a batch whose rows share w. */
static inline __attribute__((always_inline)) void FN(row_axpy)(const T *x, T *update, int64_t d, int intercept, T c)
{
    const V vc = FN(splat)(c);
    const int64_t full = d / VL;
    const int m = (int)(d % VL);
    for (int64_t j = 0; j < full; j++)
        W_AT(update + j * VL) += vc * LOAD(x + j * VL);
    if (m > 0 || intercept)
        W_AT(update + full * VL) += vc * FN(load_last)(x + full * VL, m, intercept);
}

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

static inline __attribute__((always_inline)) void FN(prefetch_row)(const fl_shards *shards, int64_t row, int64_t d)
{
    const char *x = (const char *)((const T *)shards->X + row * shards->x_stride);
    const char *end = x + d * (int64_t)sizeof(T);
    /* Line by line: a row that starts within a line ends in one more. */
    for (x -= (uintptr_t)x % 64; x < end; x += 64)
        __builtin_prefetch(x, 0, 3);
    __builtin_prefetch((const T *)shards->y + row, 0, 3);
}

static inline __attribute__((always_inline)) T FN(dloss)(int loss, T z, T y)
{
#if FL_IS_FLOAT
    return fl_dlossf(loss, z, y);
#else
    return fl_dloss(loss, z, y);
#endif
}

/* One row a step: the hot loop of the package. Called with constant loss
 * and average, so that each combination is compiled by itself.
 *
 * `width` workers go in lockstep, a step of each in turn: one worker's step is a
 * chain (reduction, loss, broadcast, update) that the processor mostly waits for,
 * and the others' steps fill that time. Each worker's arithmetic is its own. */
static inline __attribute__((always_inline)) void FN(steps_of_one_row)(
    const fl_shards *shards, const fl_step *step, int64_t k, int64_t width, int64_t t0, int64_t n,
    const double *eta, const double *alpha, T *W, T *sums, double *sums64, int loss, int average)
{
    const int64_t d = shards->n_features, ld = step->ld;
    const int intercept = shards->intercept;
    const T *y = shards->y, *s = shards->s;
    /* About 4 KB ahead, at least two rows: enough to hide a miss at any d. Rows in
     * order are fetched as well: workers in lockstep are more streams than the
     * hardware follows (d = 20, four workers: 18 against 30 ns a gradient). */
    const int64_t row_bytes = d * (int64_t)sizeof(T) + 1;
    const int64_t rows_ahead = row_bytes >= 2048 ? 2 : row_bytes <= 256 ? 16 : 4096 / row_bytes;
    const int64_t distance = rows_ahead > width ? rows_ahead / width : 1;
    int64_t i = 0;
    while (i < n) {
        const uint32_t *rows[FL_LOCKSTEP];
        int64_t at_hand = n - i + distance;
        for (int64_t g = 0; g < width; g++) {
            int64_t its;
            rows[g] = fl_rows_ahead(shards, k + g, t0 + i, &its);
            at_hand = its < at_hand ? its : at_hand;
        }
        const int64_t some = at_hand < n - i ? at_hand : n - i;
        for (int64_t r = 0; r < some; r++, i++) {
            const T eta_t = (T)eta[i], el2 = (T)(eta[i] * step->l2);
            const T alpha_t = average == FL_AVERAGE_WEIGHTED ? (T)alpha[i] : (T)0;
            const int flush = average && ((t0 + i + 1) & (FL_FLUSH - 1)) == 0;
            for (int64_t g = 0; g < width; g++) {
                T *w = W + g * ld, *sum = sums + g * ld;
                const int64_t row = rows[g][r];
                const T *x = (const T *)shards->X + row * shards->x_stride;
                if (r + distance < at_hand)
                    FN(prefetch_row)(shards, rows[g][r + distance], d);
                T slope = FN(dloss)(loss, FN(row_dot)(x, w, d, intercept), y[row]);
                if (s)
                    slope = s[row] * slope;
                FN(row_update)(x, w, sum, d, intercept, eta_t * slope, el2, average, alpha_t);
                if (flush)
                    FN(flush)(sum, sums64 + g * ld, step->n_params);
            }
        }
    }
}

/* batch_size rows a step: margins at the same w, l2 once, rows added in order. */
static void FN(steps_of_batches)(const fl_shards *shards, const fl_step *step, int64_t k, int64_t t0, int64_t n,
                                 const double *eta, const double *alpha, T *w, T *sum, double *sum64,
                                 const fl_scratch *scratch)
{
    const int64_t d = shards->n_features, b = step->batch_size, p = step->n_params;
    const int intercept = shards->intercept;
    const T *y = shards->y, *s = shards->s;
    T *update = scratch->update;
    for (int64_t i = 0; i < n; i++) {
        const T each = (T)(eta[i] / (double)b);
        const T el2 = (T)(eta[i] * step->l2);
        for (int64_t j = 0; j < p; j++)
            update[j] = el2 * w[j];
        if (intercept)
            update[d] = (T)0 * w[d];
        for (int64_t done = 0; done < b;) {
            int64_t at_hand;
            const uint32_t *rows = fl_rows_ahead(shards, k, (t0 + i) * b + done, &at_hand);
            const int64_t some = at_hand < b - done ? at_hand : b - done;
            for (int64_t r = 0; r < some; r++) {
                const int64_t row = rows[r];
                const T *x = (const T *)shards->X + row * shards->x_stride;
                if (r + 4 < at_hand)
                    FN(prefetch_row)(shards, rows[r + 4], d);
                T g = FN(dloss)(step->loss, FN(row_dot)(x, w, d, intercept), y[row]);
                if (s)
                    g = s[row] * g;
                FN(row_axpy)(x, update, d, intercept, each * g);
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

#define FL_CASE(LOSS, AVERAGE)                                                                        \
    if (step->loss == LOSS && step->average == AVERAGE) {                                             \
        FN(steps_of_one_row)(shards, step, k, width, t0, n, eta, alpha, w, sum, sum64, LOSS, AVERAGE); \
        return;                                                                                       \
    }
#define FL_CASES(LOSS) \
    FL_CASE(LOSS, FL_AVERAGE_NONE) FL_CASE(LOSS, FL_AVERAGE_UNIFORM) FL_CASE(LOSS, FL_AVERAGE_WEIGHTED)

static void FN(local_steps)(const fl_shards *shards, const fl_step *step, int64_t k, int64_t width, int64_t t0,
                            int64_t n, const double *eta, const double *alpha, void *w, void *sum, double *sum64,
                            const fl_scratch *scratch)
{
    if (step->batch_size > 1) {
        for (int64_t g = 0; g < width; g++)
            FN(steps_of_batches)(shards, step, k + g, t0, n, eta, alpha, (T *)w + g * step->ld,
                                 (T *)sum + g * step->ld, sum64 + g * step->ld, scratch);
        return;
    }
    FL_CASES(FL_SQUARED)
    FL_CASES(FL_LOGISTIC)
}
#undef FL_CASE
#undef FL_CASES

#undef LANES
#undef VL
#undef NACC
#undef V
#undef LOAD
#undef W_AT
