/* Passes over the data for one type T on one instruction set: what is evaluated
 * beside the steps, in float64. Included by isa_body.h as worker_body.h is. */

/* Entries of a row that scan takes at a time. */
#define SCANNED (128 / (int)sizeof(T))

/* FL_BLOCK_ROWS rows of X, y and s as float64: features, the intercept's 1, zeros up
 * to 16; rows beyond n repeat the last one with weight 0. */
static inline void FN(load_block)(const fl_shards *shards, int64_t first, int64_t n, double *x, double *target,
                                  double *weight)
{
    const int64_t d = shards->n_features, p16 = fl_padded16(d + shards->intercept);
    const T *y = shards->y, *s = shards->s;
    for (int64_t r = 0; r < FL_BLOCK_ROWS; r++, x += p16) {
        const int64_t row = first + (r < n ? r : n - 1);
        const T *from = (const T *)shards->X + row * shards->x_stride;
        for (int64_t j = 0; j < d; j++)
            x[j] = (double)from[j];
        for (int64_t j = d; j < p16; j++)
            x[j] = j == d && shards->intercept ? 1.0 : 0.0;
        target[r] = (double)y[row];
        weight[r] = r >= n ? 0.0 : s ? (double)s[row] : 1.0;
    }
}

static void FN(objective)(const fl_shards *shards, int loss, int64_t first, int64_t last, const double *w,
                          int64_t ldw, int64_t n_iterates, double *sums, double *x)
{
    const int64_t p16 = fl_padded16(shards->n_features + shards->intercept);
    double target[FL_BLOCK_ROWS], weight[FL_BLOCK_ROWS], value[FL_BLOCK_ROWS], slope[FL_BLOCK_ROWS];
    for (; first < last; first += FL_BLOCK_ROWS) {
        FN(load_block)(shards, first, last - first < FL_BLOCK_ROWS ? last - first : FL_BLOCK_ROWS, x, target, weight);
        for (int64_t j = 0; j < n_iterates; j++) {
            for (int r = 0; r < FL_BLOCK_ROWS; r++)
                value[r] = FLN(dot16)(x + r * p16, w + j * ldw, p16);
            FLN(losses)(loss, value, target, value, slope);
            for (int r = 0; r < FL_BLOCK_ROWS; r++)
                sums[j] += weight[r] * value[r];
        }
    }
}

static double FN(gradient)(const fl_shards *shards, int loss, int64_t first, int64_t last, const double *w,
                           double *gradient, double *x)
{
    const int64_t p = shards->n_features + shards->intercept, p16 = fl_padded16(p);
    double target[FL_BLOCK_ROWS], weight[FL_BLOCK_ROWS], value[FL_BLOCK_ROWS], slope[FL_BLOCK_ROWS];
    double total = 0.0;
    for (; first < last; first += FL_BLOCK_ROWS) {
        FN(load_block)(shards, first, last - first < FL_BLOCK_ROWS ? last - first : FL_BLOCK_ROWS, x, target, weight);
        for (int r = 0; r < FL_BLOCK_ROWS; r++)
            value[r] = FLN(dot16)(x + r * p16, w, p16);
        FLN(losses)(loss, value, target, value, slope);
        for (int r = 0; r < FL_BLOCK_ROWS; r++) {
            total += weight[r] * value[r];
            slope[r] *= weight[r];
        }
        for (int r = 0; r < FL_BLOCK_ROWS; r += 4) {
            const double *rows = x + r * p16;
            for (int64_t j = 0; j < p; j++)
                gradient[j] = (((gradient[j] + slope[r] * rows[j]) + slope[r + 1] * rows[p16 + j]) +
                               slope[r + 2] * rows[2 * p16 + j]) +
                              slope[r + 3] * rows[3 * p16 + j];
        }
    }
    return total;
}

static void FN(scan)(const fl_shards *shards, int64_t first, int64_t last, double out[4])
{
    const int64_t d = shards->n_features;
    const T *y = shards->y, *s = shards->s;
    double largest = 0.0, squares = 0.0, fourths = 0.0, finite = 0.0;
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
        double norm = shards->intercept ? 1.0 : 0.0;
        for (int e = 0; e < SCANNED; e++)
            finite += (double)zeros[e];
        for (int e = 0; e < 16; e++)
            norm += lanes[e];
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

#undef SCANNED
