/* Passes over CSR rows for one type T with indices of type I, in float64. Included by
 * isa_body.h behind sparse_body.h. Sums run over the stored entries in their order. */

/* Margins of one row at `width` iterates that lie side by side: w[j * width + e]. */
static inline __attribute__((always_inline)) void FNI(margins)(FNI(entries) row, const double *w, U d, double shift[],
                                                               int width, double *z)
{
    double sum[FL_SPARSE_TILE];
    for (int e = 0; e < width; e++)
        sum[e] = row.n < 0 ? NAN : shift[e];
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
        z[e * FL_BLOCK_ROWS] = sum[e];
}

/* The losses of up to FL_BLOCK_ROWS rows at one tile of iterates. */
static inline __attribute__((always_inline)) void FNI(tile_losses)(const fl_shards *shards, int loss, int64_t first,
                                                                   int64_t n, const double *w, int width,
                                                                   double value[][FL_BLOCK_ROWS],
                                                                   double slope[][FL_BLOCK_ROWS], double *weight)
{
    const int64_t d = shards->n_features;
    const T *y = shards->y, *s = shards->s;
    double target[FL_BLOCK_ROWS], shift[FL_SPARSE_TILE] = {0};
    if (shards->intercept)
        for (int e = 0; e < width; e++)
            shift[e] = w[d * width + e];
    for (int64_t r = 0; r < FL_BLOCK_ROWS; r++) {
        const int64_t row = first + (r < n ? r : n - 1);
        if (r < n) {
            if (r + 4 < n)
                FNI(prefetch_entries)(shards, row + 4);
            FNI(margins)(FNI(entries_of)(shards, row), w, (U)d, shift, width, &value[0][r]);
        } else
            for (int e = 0; e < width; e++)
                value[e][r] = value[e][n - 1];
        target[r] = (double)y[row];
        weight[r] = r >= n ? 0.0 : s ? (double)s[row] : 1.0;
    }
    for (int e = 0; e < width; e++)
        FLN(losses)(loss, value[e], target, value[e], slope[e]);
}

static inline __attribute__((always_inline)) void FNI(objective_of_tile)(const fl_shards *shards, int loss,
                                                                         int64_t first, int64_t last, const double *w,
                                                                         int width, double *sums)
{
    double value[FL_SPARSE_TILE][FL_BLOCK_ROWS], slope[FL_SPARSE_TILE][FL_BLOCK_ROWS], weight[FL_BLOCK_ROWS];
    for (; first < last; first += FL_BLOCK_ROWS) {
        FNI(tile_losses)(shards, loss, first, last - first < FL_BLOCK_ROWS ? last - first : FL_BLOCK_ROWS, w, width,
                         value, slope, weight);
        for (int e = 0; e < width; e++)
            for (int r = 0; r < FL_BLOCK_ROWS; r++)
                sums[e] += weight[r] * value[e][r];
    }
}

/* Whole tiles of FL_SPARSE_TILE iterates, a cache line for each feature; a single
 * iterate by itself. */
static void FNI(sparse_objective)(const fl_shards *shards, int loss, int64_t first, int64_t last, const double *w,
                                  int64_t ldw, int64_t n_iterates, double *sums, double *work)
{
    (void)work;
    if (n_iterates == 1) {
        FNI(objective_of_tile)(shards, loss, first, last, w, 1, sums);
        return;
    }
    for (int64_t j = 0; j < n_iterates; j += FL_SPARSE_TILE)
        FNI(objective_of_tile)(shards, loss, first, last, w + j * ldw, FL_SPARSE_TILE, sums + j);
}

static double FNI(sparse_gradient)(const fl_shards *shards, int loss, int64_t first, int64_t last, const double *w,
                                   double *gradient, double *work)
{
    const int64_t d = shards->n_features;
    double value[FL_SPARSE_TILE][FL_BLOCK_ROWS], slope[FL_SPARSE_TILE][FL_BLOCK_ROWS], weight[FL_BLOCK_ROWS];
    double total = 0.0;
    (void)work;
    for (; first < last; first += FL_BLOCK_ROWS) {
        const int64_t n = last - first < FL_BLOCK_ROWS ? last - first : FL_BLOCK_ROWS;
        FNI(tile_losses)(shards, loss, first, n, w, 1, value, slope, weight);
        for (int64_t r = 0; r < n; r++) {
            const FNI(entries) its = FNI(entries_of)(shards, first + r);
            const double c = weight[r] * slope[0][r];
            total += weight[r] * value[0][r];
            for (int64_t i = 0; i < its.n; i++) {
                const U j = (U)its.at[i];
                if (j < (U)d)
                    gradient[j] += c * (double)its.x[i];
            }
            if (shards->intercept)
                gradient[d] += c;
        }
    }
    return total;
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
    const T *y = shards->y, *s = shards->s;
    double largest = 0.0, squares = 0.0, fourths = 0.0, finite = 0.0;
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
        finite += within ? zero : NAN;
        if (within && !sorted)
            norm = FNI(norm_of_unsorted)(its, d, work);
        if (shards->intercept)
            norm += 1.0;
        finite += (double)y[row] * 0.0;
        if (s) {
            finite += (double)s[row] * 0.0;
            norm *= (double)s[row];
        }
        largest = norm > largest ? norm : largest;
        squares += norm;
        fourths += norm * norm;
    }
    out[0] = largest;
    out[1] = squares;
    out[2] = fourths;
    out[3] = finite;
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
