/* Row and worker floors for CSR rows of one type T with indices of type I.
 *
 * Included by isa_body.h with T, FN and FL_IS_FLOAT as worker_body.h is, and
 *   I         int32_t or int64_t, U the unsigned type as wide
 *   FNI(name) the name with both types and the instruction set appended
 *
 * scales.h says what v and u are. A row sum runs in SPARSE_LANES lanes over the
 * stored entries in their order, folded in halves: the same bits on every set.
 *
 * X is the caller's memory and was checked when the problem was made, but may have
 * been changed since: each row's range and each index is compared with its bound
 * where it is used. Measured, it costs nothing: the gathers are what a step waits for. */

#ifndef SPARSE_LANES
#define SPARSE_LANES 8
/* Rows fetched ahead of the step that reads them. */
#define SPARSE_AHEAD 4
#endif

typedef struct FNI(entries) {
    const I *at;    /* columns, in any order, repeated or not */
    const T *x;
    int64_t n;
} FNI(entries);

/* The stored entries of a row; n = -1 if its range is not one. */
static inline __attribute__((always_inline)) FNI(entries) FNI(entries_of)(const fl_shards *shards, int64_t row)
{
    const I *indptr = (const I *)shards->indptr + row;
    const int64_t from = (int64_t)indptr[0], to = (int64_t)indptr[1];
    const int fits = from >= 0 && from <= to && to <= shards->n_stored;
    return (FNI(entries)){(const I *)shards->indices + from, (const T *)shards->X + from, fits ? to - from : -1};
}

/* <x, v>; *broken is set at a column beyond d. */
static inline __attribute__((always_inline)) T FNI(sparse_dot)(FNI(entries) row, const T *v, U d, int *broken)
{
    T lanes[SPARSE_LANES] = {0};
    int64_t i = 0;
    for (; i + SPARSE_LANES <= row.n; i += SPARSE_LANES)
#pragma GCC unroll 8
        for (int e = 0; e < SPARSE_LANES; e++) {
            const U j = (U)row.at[i + e];
            if (j >= d) {
                *broken = 1;
                return 0;
            }
            lanes[e] += row.x[i + e] * v[j];
        }
    const int64_t full = i;
#pragma GCC unroll 8
    for (int e = 0; e < SPARSE_LANES - 1; e++)
        if (full + e < row.n) {
            const U j = (U)row.at[full + e];
            if (j >= d) {
                *broken = 1;
                return 0;
            }
            lanes[e] += row.x[full + e] * v[j];
        }
#pragma GCC unroll 8
    for (int half = SPARSE_LANES / 2; half >= 1; half /= 2)
#pragma GCC unroll 8
        for (int e = 0; e < half; e++)
            lanes[e] += lanes[e + half];
    return lanes[0];
}

/* v -= c x, u += mass times what v lost, and the bits of the columns. In the order of
 * the entries: a column may be stored twice. */
static inline __attribute__((always_inline)) void FNI(sparse_update)(FNI(entries) row, T *v, double *u,
                                                                     uint16_t *changed, U d, T c, double mass,
                                                                     int averages, int marks, int *broken)
{
    for (int64_t i = 0; i < row.n; i++) {
        const U j = (U)row.at[i];
        if (j >= d) {
            *broken = 1;
            return;
        }
        const T old = v[j];
        const T new = old - c * row.x[i];
        v[j] = new;
        if (averages)
            u[j] += mass * ((double)old - (double)new);
        if (marks)
            changed[j >> 4] |= (uint16_t)(1u << (j & 15));
    }
}

static inline __attribute__((always_inline)) void FNI(prefetch_entries)(const fl_shards *shards, int64_t row)
{
    const FNI(entries) its = FNI(entries_of)(shards, row);
    for (int64_t i = 0; i < its.n; i += 64 / (int64_t)sizeof(I))
        __builtin_prefetch(its.at + i, 0, 3);
    for (int64_t i = 0; i < its.n; i += 64 / (int64_t)sizeof(T))
        __builtin_prefetch(its.x + i, 0, 3);
    __builtin_prefetch((const T *)shards->y + row, 0, 3);
}

/* Fold s into v and u: see scales.h. */
static void FNI(fold)(T *v, double *u, int64_t d, double fold, double mass)
{
    for (int64_t j = 0; j < d; j++) {
        u[j] += mass * (double)v[j];
        v[j] = (T)fold * v[j];
    }
}

/* All rows of a step have their margins at the same iterate, so their slopes are
 * kept until the last one's is known. */
static inline __attribute__((always_inline)) int FNI(steps)(
    const fl_shards *shards, const fl_step *step, int64_t k, int64_t t0, int64_t n, const fl_scale *scales, T *v,
    double *u, uint16_t *changed, const fl_scratch *scratch, int averages, int marks)
{
    const int64_t d = shards->n_features, b = step->batch_size;
    const int intercept = shards->intercept;
    const T *y = shards->y, *s = shards->s;
    T *slopes = scratch->slopes;
    uint32_t *rows = scratch->rows;
    int broken = 0;
    if (marks && intercept)
        changed[d >> 4] |= (uint16_t)(1u << (d & 15));
    for (int64_t i = 0; i < n; i++) {
        const fl_scale *at = scales + i;
        const T scale = (T)at->before, shift = intercept ? v[d] : (T)0;
        for (int64_t done = 0; done < b;) {
            int64_t at_hand, known;
            const uint32_t *ahead = fl_rows_ahead(shards, k, (t0 + i) * b + done, &at_hand, &known);
            const int64_t some = at_hand < b - done ? at_hand : b - done;
            for (int64_t r = 0; r < some; r++) {
                const int64_t row = ahead[r];
                if (r + 2 * SPARSE_AHEAD < known)
                    __builtin_prefetch((const I *)shards->indptr + ahead[r + 2 * SPARSE_AHEAD], 0, 3);
                if (r + SPARSE_AHEAD < known)
                    FNI(prefetch_entries)(shards, ahead[r + SPARSE_AHEAD]);
                const FNI(entries) its = FNI(entries_of)(shards, row);
                broken |= its.n < 0;
                const T z = scale * FNI(sparse_dot)(its, v, (U)d, &broken) + shift;
                const T slope = FN(dloss)(step->loss, z, y[row]);
                slopes[done + r] = s ? s[row] * slope : slope;
                rows[done + r] = (uint32_t)row;
            }
            done += some;
        }
        double mass = at->mass;
        if (at->fold != 1.0) {
            FNI(fold)(v, u, d, at->fold, mass);
            mass = 0.0;
        }
        const T each = (T)at->each, plain = (T)at->plain;
        T lost = 0;
        for (int64_t r = 0; r < b; r++) {
            FNI(sparse_update)(FNI(entries_of)(shards, rows[r]), v, u, changed, (U)d, each * slopes[r], mass,
                               averages, marks, &broken);
            lost += plain * slopes[r];
        }
        if (intercept) {
            v[d] -= lost;
            u[d] += at->weight * (double)v[d];
        }
        if (broken)
            return 1;
    }
    return 0;
}

static int FNI(sparse_steps)(const fl_shards *shards, const fl_step *step, int64_t k, int64_t t0, int64_t n,
                             const fl_scale *scales, void *v, double *u, uint16_t *changed, const fl_scratch *scratch)
{
    const int averages = step->average != FL_AVERAGE_NONE;
    if (averages && changed)
        return FNI(steps)(shards, step, k, t0, n, scales, v, u, changed, scratch, 1, 1);
    if (averages)
        return FNI(steps)(shards, step, k, t0, n, scales, v, u, changed, scratch, 1, 0);
    if (changed)
        return FNI(steps)(shards, step, k, t0, n, scales, v, u, changed, scratch, 0, 1);
    return FNI(steps)(shards, step, k, t0, n, scales, v, u, changed, scratch, 0, 0);
}

/* The bits of the columns that worker k's visits first .. first + n - 1 change. */
static void FNI(mark_visits)(const fl_shards *shards, int64_t k, int64_t first, int64_t n, uint16_t *changed)
{
    const U d = (U)shards->n_features;
    if (n > 0 && shards->intercept)
        changed[d >> 4] |= (uint16_t)(1u << (d & 15));
    while (n > 0) {
        int64_t at_hand, known;
        const uint32_t *ahead = fl_rows_ahead(shards, k, first, &at_hand, &known);
        const int64_t some = at_hand < n ? at_hand : n;
        for (int64_t r = 0; r < some; r++) {
            const FNI(entries) its = FNI(entries_of)(shards, ahead[r]);
            for (int64_t i = 0; i < its.n; i++) {
                const U j = (U)its.at[i];
                if (j < d)
                    changed[j >> 4] |= (uint16_t)(1u << (j & 15));
            }
        }
        first += some;
        n -= some;
    }
}
