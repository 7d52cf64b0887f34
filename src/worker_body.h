/* Row and worker floors for one type T on one instruction set.
 *
 * Included by isa_body.h with
 *   T            float or double
 *   FN(name)     the name with type and instruction set appended
 *   FL_VBYTES    bytes of a hardware vector
 *   FL_IS_FLOAT  1 for float
 *
 * The same bits on every set: a row sum runs in 128 bytes of virtual lanes (of 32 floats
 * lane j mod 32 takes feature j) which are folded in halves, whatever the width of the
 * hardware's vectors. The intercept is one more feature equal to 1.
 */

#if FL_IS_FLOAT
#define VL (FL_VBYTES / 4)
#else
#define VL (FL_VBYTES / 8)
#endif
#define NACC (128 / FL_VBYTES)

typedef T FN(vec) __attribute__((vector_size(FL_VBYTES), aligned(FL_VBYTES), may_alias));
typedef T FN(uvec) __attribute__((vector_size(FL_VBYTES), aligned(sizeof(T)), may_alias));
#if FL_IS_FLOAT
typedef int32_t FN(bits) __attribute__((vector_size(FL_VBYTES), may_alias));
#else
typedef int64_t FN(bits) __attribute__((vector_size(FL_VBYTES), may_alias));
#endif
#define V FN(vec)
#define LANE_BITS FN(bits)
#define LOAD(p) ((V)(*(const FN(uvec) *)(p)))
#define W_AT(p) (*(V *)(p))
#define ROW(i) ((const T *)shards->X + (int64_t)(i) * shards->x_stride)

/* How rows lie in vectors: `full` whole ones and then one, perhaps whole too, that
 * ends with m features and the intercept's 1. */
typedef struct FN(shape) {
    int64_t full;
    int m;
    V one;                   /* the intercept's 1, in its lane */
    V penalised;             /* all bits set where l2 acts */
} FN(shape);

static inline FN(shape) FN(shape_of_rows)(const fl_shards *shards)
{
    const int64_t d = shards->n_features;
    FN(shape) shape = {.full = (d + shards->intercept - 1) / VL, .one = {0}};
    shape.m = (int)(d - shape.full * VL);
    shape.penalised = (V)(shape.one == 0);
    if (shards->intercept) {
        T one[VL] __attribute__((aligned(FL_VBYTES))) = {0};
        one[shape.m] = 1;
        shape.one = W_AT(one);
        shape.penalised = (V)(shape.one == 0);
    }
    return shape;
}

/* The last vector of a row. */
static inline __attribute__((always_inline)) V FN(load_last)(const T *x, const FN(shape) *shape)
{
#if defined(FL_MASKED_LOAD)
    const V v = FL_MASKED_LOAD(x, shape->m);
#else
    T lanes[VL] __attribute__((aligned(FL_VBYTES))) = {0};
    for (int e = 0; e < VL; e++)
        if (e < shape->m)
            lanes[e] = x[e];
    const V v = W_AT(lanes);
#endif
    return (V)((LANE_BITS)v | (LANE_BITS)shape->one);
}

/* Lanes of a and then of b, picked by number: as many as a has, or (PICK4) four. */
#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (LANE_BITS){__VA_ARGS__})
#endif
#define PICK4(v, i, j, k, l) ((FN(four)){v[i], v[j], v[k], v[l]})
typedef T FN(four) __attribute__((vector_size(4 * sizeof(T)), may_alias));

/* Fold the lanes of one vector in halves. */
static inline __attribute__((always_inline)) T FN(fold)(V v)
{
#if VL == 16
    v += SHUFFLE(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    v += SHUFFLE(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
    v += SHUFFLE(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    v += SHUFFLE(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
#elif VL == 8
    v += SHUFFLE(v, v, 4, 5, 6, 7, 0, 1, 2, 3);
    v += SHUFFLE(v, v, 2, 3, 0, 1, 6, 7, 4, 5);
    v += SHUFFLE(v, v, 1, 0, 3, 2, 5, 4, 7, 6);
#elif VL == 4
    v += SHUFFLE(v, v, 2, 3, 0, 1);
    v += SHUFFLE(v, v, 1, 0, 3, 2);
#else
    v += SHUFFLE(v, v, 1, 0);
#endif
    return v[0];
}

/* The same for four vectors at once: they are woven together as they shrink, so that
 * one addition serves several. */
static inline __attribute__((always_inline)) FN(four) FN(fold_four)(const V *v)
{
#if VL == 16
    const V ab = SHUFFLE(v[0], v[1], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
                 SHUFFLE(v[0], v[1], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    const V cd = SHUFFLE(v[2], v[3], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
                 SHUFFLE(v[2], v[3], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    V abcd = SHUFFLE(ab, cd, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
             SHUFFLE(ab, cd, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    abcd += SHUFFLE(abcd, abcd, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    return PICK4(abcd, 0, 4, 8, 12) + PICK4(abcd, 1, 5, 9, 13);
#elif VL == 8
    const V ab = SHUFFLE(v[0], v[1], 0, 1, 2, 3, 8, 9, 10, 11) + SHUFFLE(v[0], v[1], 4, 5, 6, 7, 12, 13, 14, 15);
    const V cd = SHUFFLE(v[2], v[3], 0, 1, 2, 3, 8, 9, 10, 11) + SHUFFLE(v[2], v[3], 4, 5, 6, 7, 12, 13, 14, 15);
    const V acbd = SHUFFLE(ab, cd, 0, 1, 8, 9, 4, 5, 12, 13) + SHUFFLE(ab, cd, 2, 3, 10, 11, 6, 7, 14, 15);
    return PICK4(acbd, 0, 4, 2, 6) + PICK4(acbd, 1, 5, 3, 7);
#elif VL == 4
    const V ab = SHUFFLE(v[0], v[1], 0, 1, 4, 5) + SHUFFLE(v[0], v[1], 2, 3, 6, 7);
    const V cd = SHUFFLE(v[2], v[3], 0, 1, 4, 5) + SHUFFLE(v[2], v[3], 2, 3, 6, 7);
    return SHUFFLE(ab, cd, 0, 2, 4, 6) + SHUFFLE(ab, cd, 1, 3, 5, 7);
#else
    const V ab = SHUFFLE(v[0], v[1], 0, 2) + SHUFFLE(v[0], v[1], 1, 3);
    const V cd = SHUFFLE(v[2], v[3], 0, 2) + SHUFFLE(v[2], v[3], 1, 3);
    return (FN(four)){ab[0], ab[1], cd[0], cd[1]};
#endif
}

/* A row sum runs over NACC vectors s0, s1, ... in turn: scalars and not an array, which
 * compilers would keep in memory. TERM(v) is what vector v adds. */
#if NACC == 2
#define EACH_SUM(DO) DO(0) DO(1)
#define FOLDED_SUMS (s0 + s1)
#elif NACC == 4
#define EACH_SUM(DO) DO(0) DO(1) DO(2) DO(3)
#define FOLDED_SUMS ((s0 + s2) + (s1 + s3))
#else
#define EACH_SUM(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#define FOLDED_SUMS (((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7)))
#endif
#define START_SUM(a) V s##a = {0};
#define ADD_TERM(a) s##a += TERM(j + a);
#define ADD_REST(a) \
    if (a < rest)   \
        s##a += TERM(j + a);
#define ADD_LAST(a) \
    if (a == rest)  \
        s##a += last;

/* <x, w> in VL lanes, still to be folded; w is aligned, padded with zeros to whole vectors. */
static inline __attribute__((always_inline)) V FN(row_dot)(const T *x, const T *w, const FN(shape) *shape)
{
#define TERM(v) LOAD(x + (v) * VL) * W_AT(w + (v) * VL)
    const int64_t full = shape->full;
    int64_t j = 0;
    EACH_SUM(START_SUM)
    for (; j + NACC <= full; j += NACC) {
        EACH_SUM(ADD_TERM)
    }
    const int rest = (int)(full - j);
    EACH_SUM(ADD_REST)
    const V last = FN(load_last)(x + full * VL, shape) * W_AT(w + full * VL);
    EACH_SUM(ADD_LAST)
    return FOLDED_SUMS;
#undef TERM
}

/* w <- w - (el2 w + c x) in one vector, which is returned; the running sum takes it
 * (weighted by alpha). */
static inline __attribute__((always_inline)) V FN(update_vector)(V x, T *w, T *sum, T c, V el2, int average, T alpha)
{
    const V old = W_AT(w);
    const V new = old - (el2 * old + c * x);
    W_AT(w) = new;
    if (average == FL_AVERAGE_UNIFORM)
        W_AT(sum) += new;
    else if (average == FL_AVERAGE_WEIGHTED)
        W_AT(sum) += alpha * new;
    return new;
}

/* The update with row x and, while w is at hand, the margin of row `next`: returned
 * as row_dot does. */
static inline __attribute__((always_inline)) V FN(update_and_dot)(const T *x, const T *next, T *w, T *sum,
                                                                  const FN(shape) *shape, T c, T el2, int average,
                                                                  T alpha)
{
#define TERM(v)                   \
    LOAD(next + (v) * VL) *       \
        FN(update_vector)(LOAD(x + (v) * VL), w + (v) * VL, sum + (v) * VL, c, shrink, average, alpha)
    const int64_t full = shape->full;
    const V shrink = el2 - (V){0};
    int64_t j = 0;
    EACH_SUM(START_SUM)
    for (; j + NACC <= full; j += NACC) {
        EACH_SUM(ADD_TERM)
    }
    const int rest = (int)(full - j);
    EACH_SUM(ADD_REST)
    const int64_t at = full * VL;
    const V last = FN(load_last)(next + at, shape) *
                   FN(update_vector)(FN(load_last)(x + at, shape), w + at, sum + at, c,
                                     (V)((LANE_BITS)shrink & (LANE_BITS)shape->penalised), average, alpha);
    EACH_SUM(ADD_LAST)
    return FOLDED_SUMS;
#undef TERM
}

/* update += c[0] x[0], then c[1] x[1], ...: rows of a batch, n a constant. */
static inline __attribute__((always_inline)) void FN(add_rows)(const T *const *x, const T *c, int n, T *update,
                                                               const FN(shape) *shape)
{
    const int64_t full = shape->full;
    for (int64_t j = 0; j < full; j++) {
        V sum = W_AT(update + j * VL);
#pragma GCC unroll 4
        for (int g = 0; g < n; g++)
            sum += c[g] * LOAD(x[g] + j * VL);
        W_AT(update + j * VL) = sum;
    }
    V last = W_AT(update + full * VL);
#pragma GCC unroll 4
    for (int g = 0; g < n; g++)
        last += c[g] * FN(load_last)(x[g] + full * VL, shape);
    W_AT(update + full * VL) = last;
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
    const int64_t bytes = d * (int64_t)sizeof(T);
    for (int64_t at = 0; at < bytes; at += 64)
        __builtin_prefetch(x + at, 0, 3);
    /* A row that starts within a line ends in one more. */
    __builtin_prefetch(x + bytes - 1, 0, 3);
    __builtin_prefetch((const T *)shards->y + row, 0, 3);
}

/* How many rows ahead to fetch: about 4 KB, at least two rows, enough to hide a miss at
 * any d. Rows in order are fetched as well: workers in lockstep are more streams than
 * the hardware follows (d = 20, four workers: 18 against 30 ns a gradient). */
static inline int64_t FN(rows_ahead)(int64_t d)
{
    const int64_t row_bytes = d * (int64_t)sizeof(T) + 1;
    return row_bytes >= 2048 ? 2 : row_bytes <= 256 ? 16 : 4096 / row_bytes;
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
    const int64_t rows_ahead = FN(rows_ahead)(d);
    const int64_t distance = rows_ahead > width ? rows_ahead / width : 1;
    int64_t i = 0;
    while (i < n) {
        const uint32_t *rows[FL_LOCKSTEP];
        int64_t at_hand = n - i + distance;
        for (int g = 0; g < width; g++) {
            int64_t its;
            rows[g] = fl_rows_ahead(shards, k + g, t0 + i, &its);
            at_hand = its < at_hand ? its : at_hand;
        }
        const int64_t some = at_hand < n - i ? at_hand : n - i;
        V lanes[FL_LOCKSTEP];
        for (int g = 0; g < width; g++)
            lanes[g] = FN(row_dot)(ROW(rows[g][0]), W + g * ld, &shape);
        for (int64_t r = 0; r < some; r++, i++) {
            T c[FL_LOCKSTEP] __attribute__((aligned(FL_VBYTES)));
            const T eta_t = (T)eta[i], el2 = (T)(eta[i] * step->l2);
            const T alpha_t = average == FL_AVERAGE_WEIGHTED ? (T)alpha[i] : (T)0;
            if (r + distance < at_hand)
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
                const T *x = ROW(rows[g][r]), *then = ROW(rows[g][next]);
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
    const int64_t distance = FN(rows_ahead)(d);
    T *update = scratch->update;
    for (int64_t i = 0; i < n; i++) {
        const T each = (T)(eta[i] / (double)b);
        const T el2 = (T)(eta[i] * step->l2);
        for (int64_t j = 0; j < p; j++)
            update[j] = el2 * w[j];
        if (shards->intercept)
            update[d] = (T)0 * w[d];
        for (int64_t done = 0; done < b;) {
            int64_t at_hand;
            const uint32_t *rows = fl_rows_ahead(shards, k, (t0 + i) * b + done, &at_hand);
            const int64_t some = at_hand < b - done ? at_hand : b - done;
            int64_t r = 0;
            for (; r + 4 <= some; r += 4) {
                const T *x[4];
                T c[4] __attribute__((aligned(FL_VBYTES)));
                V lanes[4];
#pragma GCC unroll 4
                for (int g = 0; g < 4; g++) {
                    if (r + g + distance < at_hand)
                        FN(prefetch_row)(shards, rows[r + g + distance], d);
                    x[g] = ROW(rows[r + g]);
                    lanes[g] = FN(row_dot)(x[g], w, &shape);
                }
                *(FN(four) *)c = FN(slopes_of_four)(loss, FN(fold_four)(lanes), targets, weights, rows + r, each);
                FN(add_rows)(x, c, 4, update, &shape);
            }
            for (; r < some; r++) {
                const T *x = ROW(rows[r]);
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

static void FN(local_steps)(const fl_shards *shards, const fl_step *step, int64_t k, int64_t width, int64_t t0,
                            int64_t n, const double *eta, const double *alpha, void *w, void *sum, double *sum64,
                            const fl_scratch *scratch)
{
#if defined(FL_SHORT_ROWS)
    if (step->n_params * (int64_t)sizeof(T) <= 128) {
        FL_SHORT_ROWS.local_steps[FL_IS_FLOAT ? FL_FLOAT32 : FL_FLOAT64](shards, step, k, width, t0, n, eta, alpha, w,
                                                                         sum, sum64, scratch);
        return;
    }
#endif
    while (width > 0) {
        int64_t some = width >= 4 ? 4 : width >= 2 ? 2 : 1;
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

#undef VL
#undef NACC
#undef V
#undef LANE_BITS
#undef LOAD
#undef W_AT
#undef SHUFFLE
#undef PICK4
#undef ROW
#undef EACH_SUM
#undef FOLDED_SUMS
#undef START_SUM
#undef ADD_TERM
#undef ADD_REST
#undef ADD_LAST
