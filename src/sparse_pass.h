/* Passes over CSR rows for one type T with indices of type I, in float64. Included by
 * isa_body.h behind sparse_body.h. Sums run over the stored entries in their order. */

/* z[e] = start[e] + <x, w_e> of one row at `width` iterates whose entries lie side by side. */
static inline __attribute__((always_inline)) void FNI(margins)(FNI(entries) row, const double *w, U d,
                                                               const double *start, int width, double *z)
{
    double sum[FL_PANEL];
    for (int e = 0; e < width; e++)
        sum[e] = row.n < 0 ? NAN : start[e];
    for (int64_t i = 0; i < row.n; i++) {
        const U j = (U)row.at[i];
        const double x = (double)row.x[i];
        if (j >= d) {   /* X was changed: the caller sees a NaN */
            for (int e = 0; e < width; e++)
                sum[e] = NAN;
            break;
        }
        for (int e = 0; e < width; e++)
            sum[e] += x * w[(size_t)j * (size_t)width + (size_t)e];
    }
    for (int e = 0; e < width; e++)
        z[e] = sum[e];
}

/* Rows beyond n repeat the last one: their weight is 0. */
static inline __attribute__((always_inline)) void FNI(block_margins)(const fl_shards *shards, int64_t first, int64_t n,
                                                                     const double *w, const double *start, int width,
                                                                     double *z)
{
    for (int64_t r = 0; r < FL_BLOCK_ROWS; r++) {
        if (r + 4 < n)
            FNI(prefetch_entries)(shards, first + r + 4);
        if (r < n)
            FNI(margins)(FNI(entries_of)(shards, first + r), w, (U)shards->n_features, start, width, z + r * width);
        else
            memcpy(z + r * width, z + (n - 1) * width, (size_t)width * sizeof *z);
    }
}

static void FNI(margins_of_one)(const fl_shards *shards, int64_t first, int64_t n, const double *w, double intercept,
                                double *z)
{
    FNI(block_margins)(shards, first, n, w, &intercept, 1, z);
}

static void FNI(margins_of_many)(const fl_shards *shards, int64_t first, int64_t n, const fl_iterates *iterates,
                                 double *z, double *work)
{
    (void)work;
    for (int64_t i = 0; i < iterates->n; i += FL_PANEL)
        FNI(block_margins)(shards, first, n, iterates->panels + i * shards->n_features, iterates->intercepts + i,
                           FL_PANEL, z + i * FL_BLOCK_ROWS);
}

static void FNI(add_gradients)(const fl_shards *shards, int64_t first, int64_t n, const double *slope,
                               int64_t r_stride, double *gradients, int64_t ld, int64_t n_iterates)
{
    const int64_t d = shards->n_features;
    for (int64_t r = 0; r < n; r++) {
        const FNI(entries) its = FNI(entries_of)(shards, first + r);
        for (int64_t e = 0; e < n_iterates; e++) {
            const double c = slope[r * r_stride + e];
            double *gradient = gradients + e * ld;
            for (int64_t i = 0; i < its.n; i++) {
                const U j = (U)its.at[i];
                if (j < (U)d)
                    gradient[j] += c * (double)its.x[i];
            }
            if (shards->intercept)
                gradient[d] += c;
        }
    }
}

static void FNI(sparse_evaluate)(const fl_shards *shards, int loss, int64_t first, int64_t last,
                                 const fl_iterates *iterates, int changes, double *sums, double *gradients,
                                 double *work)
{
    static const FN(reader) csr = {FNI(margins_of_one), FNI(margins_of_many), FNI(add_gradients)};
    FN(evaluate_rows)(&csr, shards, loss, first, last, iterates, changes, sums, gradients, work);
}

/* |x|^2 of a row whose columns may repeat: entries of a column are added first. */
static double FNI(norm_of_unsorted)(FNI(entries) row, U d, double *work)
{
    double norm = 0.0;
    for (int64_t i = 0; i < row.n; i++) {
        const U j = (U)row.at[i];
        if (j < d)
            work[j] += (double)row.x[i];
    }
    for (int64_t i = 0; i < row.n; i++) {
        const U j = (U)row.at[i];
        if (j < d) {
            norm += work[j] * work[j];
            work[j] = 0.0;
        }
    }
    return norm;
}

/* As scan, and out[3] is NaN too where a row's range or an index is out of bounds. */
static void FNI(sparse_scan)(const fl_shards *shards, int64_t first, int64_t last, double out[4], double *work)
{
    const U d = (U)shards->n_features;
    for (int64_t row = first; row < last; row++) {
        const FNI(entries) its = FNI(entries_of)(shards, row);
        double norm = 0.0, zero = 0.0;
        int sorted = 1, within = its.n >= 0;
        for (int64_t i = 0; i < its.n; i++) {
            const U j = (U)its.at[i];
            within &= j < d;
            sorted &= i == 0 || (U)its.at[i - 1] < j;
            zero += (double)its.x[i] * 0.0;
            norm += (double)its.x[i] * (double)its.x[i];
        }
        const double finite = within ? zero : NAN;
        if (within && !sorted)
            norm = FNI(norm_of_unsorted)(its, d, work);
        FN(note_row)(shards, row, norm, finite, out);
    }
}

/* The entries of the rows at positions [first, last), side by side as to_indptr has
 * it. Returns whether every row still has the length that to_indptr was made for. */
static int FNI(sparse_copy)(const fl_shards *shards, int64_t first, int64_t last, void *to_x, void *to_indices,
                            const void *to_indptr)
{
    for (int64_t i = first; i < last; i++) {
        const int64_t row = shards->order ? (int64_t)shards->order[i] : i;
        const int64_t to = (int64_t)((const I *)to_indptr)[i];
        const FNI(entries) its = FNI(entries_of)(shards, row);
        if (i + 4 < last)
            FNI(prefetch_entries)(shards, shards->order ? (int64_t)shards->order[i + 4] : i + 4);
        if (its.n != (int64_t)((const I *)to_indptr)[i + 1] - to)
            return 0;
        memcpy((T *)to_x + to, its.x, (size_t)its.n * sizeof(T));
        memcpy((I *)to_indices + to, its.at, (size_t)its.n * sizeof(I));
    }
    return 1;
}
