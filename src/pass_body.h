/* Passes over the data for one type T on one instruction set: what is evaluated
 * beside the steps, in float64. Included by isa_body.h as worker_body.h is. */

/* Entries of a row that scan takes at a time. */
#define SCANNED (128 / (int)sizeof(T))

#define DV FLN(wide)
#if FL_IS_FLOAT
#define LOAD(p) FLN(widen)(p)
#else
#define LOAD(p) (*(const DV *)(p))
#endif
/* How many of them hold the four lanes of a margin. */
#define FL_PARTS (4 / FL_WIDE)
/* Rows of one iterate that run side by side: one alone waits for its sums. */
#define ABREAST (8 / FL_PARTS)
#define LINE (64 / (int)sizeof(T))
/* Rows read side by side look like no stream to the processor. So lines are asked for this many bytes
 * early at least. */
#define AHEAD_BYTES 8192

/* Rows beyond n repeat the last one with weight 0. */
static inline const T *FN(row_of_block)(const fl_shards *shards, int64_t first, int64_t n, int64_t r)
{
    return (const T *)shards->X + (first + (r < n ? r : n - 1)) * shards->x_stride;
}

static void FN(load_block)(const fl_shards *shards, int64_t first, int64_t n, fl_block *block)
{
    const T *y = shards->y, *s = shards->s;
    block->n = (int)n;
    block->weighted = s != NULL;
    for (int64_t r = 0; r < FL_BLOCK_ROWS; r++) {
        const int64_t row = first + (r < n ? r : n - 1);
        block->target[r] = (double)y[row];
        block->weight[r] = r >= n ? 0.0 : s ? (double)s[row] : 1.0;
    }
}

/* From rows first .. first + n - 1 to those that are fetched meanwhile, in entries; 0 near the end of the data. */
static inline int64_t FN(ahead)(const fl_shards *shards, int64_t first, int64_t n)
{
    const int64_t row_bytes = shards->x_stride * (int64_t)sizeof(T);
    const int64_t rows = row_bytes * n > AHEAD_BYTES ? n : AHEAD_BYTES / row_bytes;
    return first + n + rows <= shards->n_samples ? rows * shards->x_stride : 0;
}

/* z[r] = intercept + <x_r, w> of one iterate, in the order of margins.h. */
static void FN(margins_of_one)(const fl_shards *shards, int64_t first, int64_t n, const double *w, double intercept,
                               double *z)
{
    const int64_t d = shards->n_features;
    for (int r0 = 0; r0 < FL_BLOCK_ROWS; r0 += ABREAST) {
        const T *x[ABREAST];
        double sum[ABREAST];
        const int64_t ahead = FN(ahead)(shards, first + r0, ABREAST);
        for (int r = 0; r < ABREAST; r++) {
            x[r] = FN(row_of_block)(shards, first, n, r0 + r);
            sum[r] = intercept;
        }
        for (int64_t begin = 0; begin < d; begin += FL_CHUNK) {
            const int64_t end = begin + FL_CHUNK < d ? begin + FL_CHUNK : d;
            DV acc[ABREAST][FL_PARTS] = {{{0}}};
            int64_t j = begin;
            for (; j + LINE <= end; j += LINE) {
#pragma GCC unroll 8
                for (int r = 0; r < ABREAST; r++)
                    __builtin_prefetch(x[r] + (j + ahead), 0, 2);
                for (int v = 0; v < LINE; v += 4)
#pragma GCC unroll 8
                    for (int r = 0; r < ABREAST; r++)
                        for (int e = 0; e < 4; e += FL_WIDE)
                            acc[r][e / FL_WIDE] += LOAD(x[r] + (j + v + e)) * *(const DV *)(w + (j + v + e));
            }
            for (; j + 4 <= end; j += 4)
#pragma GCC unroll 8
                for (int r = 0; r < ABREAST; r++)
                    for (int e = 0; e < 4; e += FL_WIDE)
                        acc[r][e / FL_WIDE] += LOAD(x[r] + (j + e)) * *(const DV *)(w + (j + e));
            for (int r = 0; r < ABREAST; r++) {
                double lane[4];
                for (int e = 0; e < 4; e++)
                    lane[e] = acc[r][e / FL_WIDE][e % FL_WIDE];
#pragma GCC unroll 3
                for (int e = 0; e < 3; e++)
                    if (j + e < end)
                        lane[e] += (double)x[r][j + e] * w[j + e];
                sum[r] += (lane[0] + lane[2]) + (lane[1] + lane[3]);
            }
        }
        memcpy(z + r0, sum, sizeof sum);
    }
}

/* Margins of all iterates, panel after panel of FL_BLOCK_ROWS x FL_PANEL; chunk: work. */
static void FN(margins_of_many)(const fl_shards *shards, int64_t first, int64_t n, const fl_iterates *iterates,
                                double *z, double *chunk)
{
    const int64_t d = shards->n_features, ahead = FN(ahead)(shards, first, FL_BLOCK_ROWS);
    for (int64_t i = 0; i < iterates->n; i += FL_PANEL)
        for (int r = 0; r < FL_BLOCK_ROWS; r++)
            memcpy(z + i * FL_BLOCK_ROWS + r * FL_PANEL, iterates->intercepts + i, FL_PANEL * sizeof *z);
    for (int64_t begin = 0; begin < d; begin += FL_CHUNK) {
        const int64_t length = begin + FL_CHUNK < d ? FL_CHUNK : d - begin;
        for (int r = 0; r < FL_BLOCK_ROWS; r++) {
            const T *x = FN(row_of_block)(shards, first, n, r) + begin;
            double *to = chunk + r * FL_CHUNK;
            for (int64_t j = 0; j < length; j += LINE)
                __builtin_prefetch(x + (j + ahead), 0, 2);
            int64_t j = 0;
            for (; j + FL_WIDE <= length; j += FL_WIDE)
                *(DV *)(to + j) = LOAD(x + j);
            for (; j < length; j++)
                to[j] = (double)x[j];
        }
        for (int64_t i = 0; i < iterates->n; i += FL_PANEL)
            FLN(panel_margins)(chunk, length, iterates->panels + i * d + begin * FL_PANEL, iterates->n - i,
                               z + i * FL_BLOCK_ROWS);
    }
}

/* gradient[i] += sum_r slope[r][i] x_r for N iterates (n_params apart), features in strips
 * of VECS vectors from j on while they last; returns where it stopped. Rows in order. */
static inline __attribute__((always_inline)) int64_t FN(add_strips)(const fl_shards *shards, int64_t first, int64_t n,
                                                                    const double *slope, int64_t r_stride,
                                                                    double *gradient, int64_t ld, int64_t j,
                                                                    const int N, const int VECS)
{
    for (; j + FL_WIDE * VECS <= shards->n_features; j += FL_WIDE * VECS) {
        DV acc[8];
        for (int i = 0; i < N; i++)
            for (int v = 0; v < VECS; v++)
                acc[i * VECS + v] = *(const DV *)(gradient + i * ld + j + FL_WIDE * v);
        const T *x = (const T *)shards->X + first * shards->x_stride + j;
        for (int64_t r = 0; r < n; r++, x += shards->x_stride)
#pragma GCC unroll 8
            for (int v = 0; v < VECS; v++) {
                const DV entries = LOAD(x + FL_WIDE * v);
#pragma GCC unroll 8
                for (int i = 0; i < N; i++)
                    acc[i * VECS + v] += slope[r * r_stride + i] * entries;
            }
        for (int i = 0; i < N; i++)
            for (int v = 0; v < VECS; v++)
                *(DV *)(gradient + i * ld + j + FL_WIDE * v) = acc[i * VECS + v];
    }
    return j;
}

/* The same of one feature j, or of the intercept: a vector of iterates. */
static inline __attribute__((always_inline)) void FN(add_feature)(const fl_shards *shards, int64_t first, int64_t n,
                                                                  const double *slope, int64_t r_stride,
                                                                  double *gradient, int64_t ld, int64_t j)
{
    const T one = (T)1;
    const int is_feature = j < shards->n_features;
    const T *x = is_feature ? (const T *)shards->X + first * shards->x_stride + j : &one;
    const int64_t apart = is_feature ? shards->x_stride : 0;
    DV acc = {0};
    for (int i = 0; i < FL_WIDE; i++)
        acc[i] = gradient[i * ld + j];
    for (int64_t r = 0; r < n; r++)
        acc += *(const DV *)(slope + r * r_stride) * (double)x[r * apart];
    for (int i = 0; i < FL_WIDE; i++)
        gradient[i * ld + j] = acc[i];
}

static inline __attribute__((always_inline)) void FN(add_some)(const fl_shards *shards, int64_t first, int64_t n,
                                                               const double *slope, int64_t r_stride,
                                                               double *gradient, int64_t ld, const int N)
{
    int64_t j = FN(add_strips)(shards, first, n, slope, r_stride, gradient, ld, 0, N, 8 / N);
    j = FN(add_strips)(shards, first, n, slope, r_stride, gradient, ld, j, N, 1);
    for (; N > 1 && j < shards->n_features + shards->intercept; j++)
        for (int i = 0; i < N; i += FL_WIDE)
            FN(add_feature)(shards, first, n, slope + i, r_stride, gradient + i * ld, ld, j);
    for (; j < shards->n_features; j++)
        for (int64_t r = 0; r < n; r++)
            gradient[j] += slope[r * r_stride] * (double)((const T *)shards->X)[(first + r) * shards->x_stride + j];
    for (int64_t r = 0; N == 1 && shards->intercept && r < n; r++)
        gradient[shards->n_features] += slope[r * r_stride];
}

static void FN(add_gradients)(const fl_shards *shards, int64_t first, int64_t n, const double *slope, int64_t r_stride,
                              double *gradients, int64_t ld, int64_t n_iterates)
{
    int64_t i = 0;
    for (; i + 4 <= n_iterates; i += 4)
        FN(add_some)(shards, first, n, slope + i, r_stride, gradients + i * ld, ld, 4);
    for (; i < n_iterates; i++)
        FN(add_some)(shards, first, n, slope + i, r_stride, gradients + i * ld, ld, 1);
}

/* What evaluation asks of rows, dense or CSR: z of one iterate, z of all in panels, and
 * gradients[i] += sum_r slope[r * r_stride + i] x_r. */
typedef struct FN(reader) {
    void (*margins_of_one)(const fl_shards *, int64_t first, int64_t n, const double *w, double intercept, double *z);
    void (*margins_of_many)(const fl_shards *, int64_t first, int64_t n, const fl_iterates *, double *z, double *work);
    void (*add_gradients)(const fl_shards *, int64_t first, int64_t n, const double *slope, int64_t r_stride,
                          double *gradients, int64_t ld, int64_t n_iterates);
} FN(reader);

/* A block when iterates are few: one after the other. */
static void FN(evaluate_few)(const FN(reader) *reader, const fl_shards *shards, int loss, int64_t first, int64_t n,
                             const fl_block *block, const fl_iterates *iterates, int changes, double *sums,
                             double *gradients)
{
    const int64_t d = shards->n_features, p = d + shards->intercept;
    double z[FL_BLOCK_ROWS], slope[FL_BLOCK_ROWS];
    fl_reference reference;
    for (int64_t i = 0; i < iterates->n; i++) {
        const int is_reference = changes && i == 0;
        reader->margins_of_one(shards, first, n, iterates->w + i * d, iterates->intercepts[i],
                               is_reference ? reference.margin : z);
        if (is_reference)
            FLN(complete)(loss, block, &reference);
        else {
            double sum = 0.0;   /* of the block first, as among many */
            FLN(sum_rows)(loss, z, block, changes ? &reference : NULL, gradients ? slope : NULL, &sum);
            sums[i] += sum;
        }
        if (gradients)
            reader->add_gradients(shards, first, n, slope, 1, gradients + i * p, p, 1);
    }
}

/* A block when iterates are many: side by side. */
static void FN(evaluate_many)(const FN(reader) *reader, const fl_shards *shards, int loss, int64_t first, int64_t n,
                              const fl_block *block, const fl_iterates *iterates, int changes, double *sums,
                              double *gradients, double *work)
{
    const int64_t p = shards->n_features + shards->intercept;
    double *z = work + FL_BLOCK_ROWS * FL_CHUNK;
    fl_reference reference;
    reader->margins_of_many(shards, first, n, iterates, z, work);
    if (changes) {
        for (int r = 0; r < FL_BLOCK_ROWS; r++)
            reference.margin[r] = z[r * FL_PANEL];
        FLN(complete)(loss, block, &reference);
    }
    for (int64_t i = 0; i < iterates->n; i += FL_VEC) {
        double *at = z + i / FL_PANEL * FL_PANEL * FL_BLOCK_ROWS + i % FL_PANEL, sum[FL_VEC] = {0};
        FLN(sum_columns)(loss, at, block, changes ? &reference : NULL, gradients ? at : NULL, sum);
        for (int64_t c = 0; c < FL_VEC && i + c < iterates->n; c++)
            sums[i + c] += sum[c];
    }
    for (int64_t i = 0; gradients && i < iterates->n; i += FL_PANEL)
        reader->add_gradients(shards, first, n, z + i * FL_BLOCK_ROWS, FL_PANEL, gradients + i * p, p,
                              iterates->n - i < FL_PANEL ? iterates->n - i : FL_PANEL);
}

static void FN(evaluate_rows)(const FN(reader) *reader, const fl_shards *shards, int loss, int64_t first, int64_t last,
                              const fl_iterates *iterates, int changes, double *sums, double *gradients, double *work)
{
    fl_block block;
    for (; first < last; first += FL_BLOCK_ROWS) {
        const int64_t n = last - first < FL_BLOCK_ROWS ? last - first : FL_BLOCK_ROWS;
        FN(load_block)(shards, first, n, &block);
        if (iterates->n < FL_FEW_ITERATES)
            FN(evaluate_few)(reader, shards, loss, first, n, &block, iterates, changes, sums, gradients);
        else
            FN(evaluate_many)(reader, shards, loss, first, n, &block, iterates, changes, sums, gradients, work);
    }
}

static void FN(evaluate)(const fl_shards *shards, int loss, int64_t first, int64_t last, const fl_iterates *iterates,
                         int changes, double *sums, double *gradients, double *work)
{
    static const FN(reader) dense = {FN(margins_of_one), FN(margins_of_many), FN(add_gradients)};
    FN(evaluate_rows)(&dense, shards, loss, first, last, iterates, changes, sums, gradients, work);
}

/* What scan gathers of one row: its norm without weight and intercept, and a sum that is
 * finite if the row is. */
static inline void FN(note_row)(const fl_shards *shards, int64_t row, double norm, double finite, double out[4])
{
    const T *y = shards->y, *s = shards->s;
    norm += shards->intercept ? 1.0 : 0.0;
    finite += (double)y[row] * 0.0;
    if (s) {
        finite += (double)s[row] * 0.0;
        norm *= (double)s[row];
    }
    out[0] = norm > out[0] ? norm : out[0];
    out[1] += norm;
    out[2] += norm * norm;
    out[3] += finite;
}

static void FN(scan)(const fl_shards *shards, int64_t first, int64_t last, double out[4])
{
    const int64_t d = shards->n_features;
    for (int64_t row = first; row < last; row++) {
        const T *x = (const T *)shards->X + row * shards->x_stride;
        double lanes[16] = {0};
        T zeros[SCANNED] = {0};   /* x * 0 is NaN where x is not finite */
        int64_t j = 0;
        for (; j + SCANNED <= d; j += SCANNED)
            for (int e = 0; e < SCANNED; e++) {
                zeros[e] += x[j + e] * (T)0;
                lanes[e % 16] += (double)x[j + e] * (double)x[j + e];
            }
        for (; j < d; j++) {
            zeros[j % SCANNED] += x[j] * (T)0;
            lanes[j % 16] += (double)x[j] * (double)x[j];
        }
        double norm = 0.0, finite = 0.0;
        for (int e = 0; e < SCANNED; e++)
            finite += (double)zeros[e];
        for (int e = 0; e < 16; e++)
            norm += lanes[e];
        FN(note_row)(shards, row, norm, finite, out);
    }
}

#undef SCANNED
#undef ABREAST
#undef LINE
#undef AHEAD_BYTES
#undef LOAD
#undef DV
#undef FL_PARTS
