/* Row and worker floors for CSR rows of one type T with indices of type I.
 *
 * Included by isa_body.h with T, FN and FL_IS_FLOAT as worker_body.h is, and
 *   I         int32_t or int64_t, U the unsigned type as wide
 *   FNI(name) the name with both types and the instruction set appended
 *
 * scales.h says what v and u are. A row sum runs in SPARSE_LANES lanes over the
 * stored entries in their order, folded in halves: the same bits on every set.
 *
 * X is the caller's memory and was checked when the problem was made, but may be
 * changed at any time: a row's range is compared with its bounds where it is read, and
 * its columns are copied, many at a time, compared with their bound on the way. Only the
 * copy is used: a comparison at each use costs more (see docs/benchmarks.md, "Counts"). */

#ifndef SPARSE_LANES
#define SPARSE_LANES 8
/* Columns copied at a time, whole lanes: longer rows are copied once for the margin and once more for the update. */
#define SPARSE_COPIED 512
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

typedef U FNI(columns) __attribute__((vector_size(SPARSE_LANES * sizeof(I)), aligned(sizeof(I)), may_alias));
typedef T FNI(lanes) __attribute__((vector_size(SPARSE_LANES * sizeof(T)), aligned(sizeof(T)), may_alias));

/* Copies n columns; returns whether all that stand there now are below d. */
static inline __attribute__((always_inline)) int FNI(copy_columns)(const I *at, int64_t n, U d, U *to)
{
    if (n < SPARSE_LANES) {
        int beyond = 0;
        for (int64_t i = 0; i < n; i++) {
            const U j = (U)at[i];
            beyond |= j >= d;
            to[i] = j;
        }
        return !beyond;
    }
    FNI(columns) beyond = {0};
    for (int64_t i = 0;; i += SPARSE_LANES) {
        /* The last ones overlap those before. */
        const int64_t from = i + SPARSE_LANES < n ? i : n - SPARSE_LANES;
        const FNI(columns) its = *(const FNI(columns) *)(at + from);
        beyond |= (FNI(columns))(its >= d);
        *(FNI(columns) *)(to + from) = its;
        if (i + SPARSE_LANES >= n)
            break;
    }
    return !FLN(any_of)(&beyond, sizeof beyond);
}

/* <x, v>; columns is left with those of the last SPARSE_COPIED entries or fewer, and kept, unless it is NULL,
 * with v there, whole lanes. *broken is set at a column beyond d, or where the row has no range. */
static inline __attribute__((always_inline)) T FNI(sparse_dot)(FNI(entries) row, const T *v, U d, U *columns,
                                                               T *kept, int *broken)
{
    FNI(lanes) sum = {0};
    T lanes[SPARSE_LANES];
    const T *x = row.x;
    int64_t n = row.n, i = 0;
    *broken |= n < 0;
    for (;;) {
        const int64_t some = n < SPARSE_COPIED ? n : SPARSE_COPIED;
        if (!FNI(copy_columns)(row.at + (x - row.x), some, d, columns)) {
            *broken = 1;
            return 0;
        }
        for (i = 0; i + SPARSE_LANES <= some; i += SPARSE_LANES) {
            const U *at = columns + i;
            const FNI(lanes) its = {v[at[0]], v[at[1]], v[at[2]], v[at[3]], v[at[4]], v[at[5]], v[at[6]], v[at[7]]};
            if (kept)
                *(FNI(lanes) *)(kept + i) = its;
            sum += *(const FNI(lanes) *)(x + i) * its;
        }
        if (n <= SPARSE_COPIED)
            break;
        x += SPARSE_COPIED;
        n -= SPARSE_COPIED;
    }
    memcpy(lanes, &sum, sizeof lanes);
    const int64_t full = i;
#pragma GCC unroll 8
    for (int e = 0; e < SPARSE_LANES - 1; e++)
        if (full + e < n)
            lanes[e] += x[full + e] * v[columns[full + e]];
#pragma GCC unroll 8
    for (int half = SPARSE_LANES / 2; half >= 1; half /= 2)
#pragma GCC unroll 8
        for (int e = 0; e < half; e++)
            lanes[e] += lanes[e + half];
    return lanes[0];
}

/* v[j] becomes new; u[j] takes mass times what v has lost; and the column's bit. */
static inline __attribute__((always_inline)) void FNI(put)(U j, T new, double lost, T *v, double *u,
                                                           uint32_t *changed, int averages, int marks)
{
    v[j] = new;
    if (averages)
        u[j] += lost;
    if (marks)
        changed[j >> 5] |= (uint32_t)1 << (j & 31);
}

/* v -= c x, u += mass times what v lost, and the bits of the columns. In the order of
 * the entries: a column may be stored twice. columns holds those of the whole row if it is `at_hand`. */
static inline __attribute__((always_inline)) void FNI(sparse_update)(FNI(entries) row, T *v, double *u,
                                                                     uint32_t *changed, U d, T c, double mass,
                                                                     int averages, int marks, U *columns, int at_hand,
                                                                     int *broken)
{
    for (int64_t done = 0; done < row.n; done += SPARSE_COPIED) {
        const int64_t left = row.n - done, some = left < SPARSE_COPIED ? left : SPARSE_COPIED;
        const T *x = row.x + done;
        if (!at_hand && !FNI(copy_columns)(row.at + done, some, d, columns)) {
            *broken = 1;
            return;
        }
        for (int64_t i = 0; i < some; i++) {
            const T old = v[columns[i]], new = old - c * x[i];
            FNI(put)(columns[i], new, mass * ((double)old - (double)new), v, u, changed, averages, marks);
        }
    }
}

/* Whether each column is beyond the one before, so that none is there twice. */
static inline __attribute__((always_inline)) int FNI(ascend)(const U *columns, int64_t n)
{
    FNI(columns) back = {0};
    int down = 0;
    int64_t i = 0;
    for (; i + SPARSE_LANES < n; i += SPARSE_LANES)
        back |= (FNI(columns))(*(const FNI(columns) *)(columns + i) >= *(const FNI(columns) *)(columns + i + 1));
    for (; i + 1 < n; i++)
        down |= columns[i] >= columns[i + 1];
    return !down && !FLN(any_of)(&back, sizeof back);
}

typedef T FNI(four) __attribute__((vector_size(4 * sizeof(T)), aligned(sizeof(T)), may_alias));

/* FL_WIDE of four entries from the e-th on, as doubles. */
static inline __attribute__((always_inline)) FLN(wide) FNI(some_of_four)(const FNI(four) *its, int e)
{
#if FL_IS_FLOAT
    return FLN(widen)((const float *)its + e);
#else
    return *(const FLN(wide) *)((const double *)its + e);
#endif
}

/* The same of a row at hand whose columns ascend and whose v are kept: all that entries do not share is
 * made four at a time (13 instructions an entry instead of 21; one thread, one-shot: 7% of a step). */
static inline __attribute__((always_inline)) void FNI(update_of_kept)(FNI(entries) row, T *v, double *u,
                                                                      uint32_t *changed, T c, double mass,
                                                                      int averages, int marks, const U *columns,
                                                                      const T *kept)
{
    const int64_t whole = row.n / SPARSE_LANES * SPARSE_LANES;
    for (int64_t i = 0; i < whole; i += 4) {
        const FNI(four) old = *(const FNI(four) *)(kept + i), new = old - c * *(const FNI(four) *)(row.x + i);
        FLN(wide) lost[4 / FL_WIDE];
#pragma GCC unroll 4
        for (int e = 0; e < 4; e += FL_WIDE)
            lost[e / FL_WIDE] = mass * (FNI(some_of_four)(&old, e) - FNI(some_of_four)(&new, e));
#pragma GCC unroll 4
        for (int e = 0; e < 4; e++)
            FNI(put)(columns[i + e], new[e], lost[e / FL_WIDE][e % FL_WIDE], v, u, changed, averages, marks);
    }
    for (int64_t i = whole; i < row.n; i++) {
        const T old = v[columns[i]], new = old - c * row.x[i];
        FNI(put)(columns[i], new, mass * ((double)old - (double)new), v, u, changed, averages, marks);
    }
}

static inline __attribute__((always_inline)) void FNI(prefetch_entries)(const fl_shards *shards, int64_t row)
{
    const FNI(entries) its = FNI(entries_of)(shards, row);
    const int64_t a_line = 64 / (int64_t)(sizeof(I) > sizeof(T) ? sizeof(I) : sizeof(T));
    for (int64_t i = 0; i < its.n; i += a_line) {
        __builtin_prefetch(its.at + i, 0, 3);
        __builtin_prefetch(its.x + i, 0, 3);
    }
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

/* Row r of those at hand: its entries, and its slope at v, which is kept unless kept is NULL. The rows to come
 * are fetched. */
static inline __attribute__((always_inline)) T FNI(slope_at_hand)(
    const fl_shards *shards, int loss, const uint32_t *ahead, int64_t r, int64_t known, T scale, T shift, const T *v,
    U *columns, T *kept, FNI(entries) *its, int *broken)
{
    const T *y = shards->y, *s = shards->s;
    const int64_t row = ahead[r];
    if (r + 2 * SPARSE_AHEAD < known)
        __builtin_prefetch((const I *)shards->indptr + ahead[r + 2 * SPARSE_AHEAD], 0, 3);
    if (r + SPARSE_AHEAD < known)
        FNI(prefetch_entries)(shards, ahead[r + SPARSE_AHEAD]);
    *its = FNI(entries_of)(shards, row);
    const T z = scale * FNI(sparse_dot)(*its, v, (U)shards->n_features, columns, kept, broken) + shift;
    return FN(dloss)(loss, z, y[row], s ? s[row] : (T)1);
}

/* Steps of one row each: its columns are copied once, its v is read once where no column is there twice, its slope
 * stays in a register. */
static inline __attribute__((always_inline)) int FNI(steps_of_a_row)(
    const fl_shards *shards, const fl_step *step, int64_t k, int64_t t0, int64_t n, const fl_scale *scales, T *v,
    double *u, uint32_t *changed, int averages, int marks)
{
    U columns[SPARSE_COPIED];
    T kept[SPARSE_COPIED];
    const int64_t d = shards->n_features;
    const int intercept = shards->intercept, loss = step->loss;
    for (int64_t done = 0; done < n;) {
        int64_t usable, known;
        const uint32_t *ahead = fl_rows_ahead(shards, k, t0 + done, &usable, &known);
        const int64_t some = usable < n - done ? usable : n - done;
        for (int64_t r = 0; r < some; r++) {
            const fl_scale *at = scales + done + r;
            FNI(entries) its;
            int broken = 0;
            const T slope = FNI(slope_at_hand)(shards, loss, ahead, r, known, (T)at->before, intercept ? v[d] : (T)0,
                                               v, columns, kept, &its, &broken);
            double mass = at->mass;
            if (at->fold != 1.0) {
                FNI(fold)(v, u, d, at->fold, mass);
                mass = 0.0;
            }
            if (broken)
                return 1;
            const T c = (T)at->each * slope;
            const int at_hand = its.n <= SPARSE_COPIED;
            if (at_hand && at->fold == 1.0 && FNI(ascend)(columns, its.n))
                FNI(update_of_kept)(its, v, u, changed, c, mass, averages, marks, columns, kept);
            else
                FNI(sparse_update)(its, v, u, changed, (U)d, c, mass, averages, marks, columns, at_hand, &broken);
            if (intercept) {
                v[d] -= (T)at->plain * slope;
                u[d] += at->weight * (double)v[d];
            }
            if (broken)
                return 1;
        }
        done += some;
    }
    return 0;
}

/* Steps of many rows. All have their margins at the same iterate, so their slopes are
 * kept until the last one's is known. */
static inline __attribute__((always_inline)) int FNI(steps_of_a_batch)(
    const fl_shards *shards, const fl_step *step, int64_t k, int64_t t0, int64_t n, const fl_scale *scales, T *v,
    double *u, uint32_t *changed, const fl_scratch *scratch, int averages, int marks)
{
    U columns[SPARSE_COPIED];
    const int64_t d = shards->n_features, b = step->batch_size;
    const int intercept = shards->intercept;
    T *slopes = scratch->slopes;
    uint32_t *rows = scratch->rows;
    for (int64_t i = 0; i < n; i++) {
        const fl_scale *at = scales + i;
        const T scale = (T)at->before, shift = intercept ? v[d] : (T)0;
        int broken = 0;
        for (int64_t done = 0; done < b;) {
            int64_t at_hand, known;
            const uint32_t *ahead = fl_rows_ahead(shards, k, (t0 + i) * b + done, &at_hand, &known);
            const int64_t some = at_hand < b - done ? at_hand : b - done;
            for (int64_t r = 0; r < some; r++) {
                FNI(entries) its;
                slopes[done + r] = FNI(slope_at_hand)(shards, step->loss, ahead, r, known, scale, shift, v, columns,
                                                      NULL, &its, &broken);
                rows[done + r] = ahead[r];
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
                               averages, marks, columns, 0, &broken);
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

static inline __attribute__((always_inline)) int FNI(steps)(
    const fl_shards *shards, const fl_step *step, int64_t k, int64_t t0, int64_t n, const fl_scale *scales, T *v,
    double *u, uint32_t *changed, const fl_scratch *scratch, int averages, int marks)
{
    const int64_t d = shards->n_features;
    if (marks && shards->intercept)
        changed[d >> 5] |= (uint32_t)1 << (d & 31);
    if (step->batch_size == 1)
        return FNI(steps_of_a_row)(shards, step, k, t0, n, scales, v, u, changed, averages, marks);
    return FNI(steps_of_a_batch)(shards, step, k, t0, n, scales, v, u, changed, scratch, averages, marks);
}

static int FNI(sparse_steps)(const fl_shards *shards, const fl_step *step, int64_t k, int64_t t0, int64_t n,
                             const fl_scale *scales, void *v, double *u, uint32_t *changed, const fl_scratch *scratch)
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
static void FNI(mark_visits)(const fl_shards *shards, int64_t k, int64_t first, int64_t n, uint32_t *changed)
{
    const U d = (U)shards->n_features;
    if (n > 0 && shards->intercept)
        changed[d >> 5] |= (uint32_t)1 << (d & 31);
    while (n > 0) {
        int64_t at_hand, known;
        const uint32_t *ahead = fl_rows_ahead(shards, k, first, &at_hand, &known);
        const int64_t some = at_hand < n ? at_hand : n;
        for (int64_t r = 0; r < some; r++) {
            const FNI(entries) its = FNI(entries_of)(shards, ahead[r]);
            for (int64_t i = 0; i < its.n; i++) {
                const U j = (U)its.at[i];
                if (j < d)
                    changed[j >> 5] |= (uint32_t)1 << (j & 31);
            }
        }
        first += some;
        n -= some;
    }
}
