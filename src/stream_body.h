/* Worker floor for fresh rows, for one type T on one instruction set: how a stream's rows are
 * made, and the steps of a quadratic. Included by isa_body.h behind normals.h.
 *
 * Visits come in blocks of rows_a_block (stream.h): block b of worker k is made whole, from
 * normals numbered from b times its entries on, and lies in the worker's own buffer
 * until another block is asked for. So a run may be cut anywhere, rounds of one step do not
 * pay for it, and no schedule changes what a worker sees.
 */

/* n chunks of normals, times the scale of the feature that each belongs to. */
static inline __attribute__((always_inline)) void FN(scaled_normals)(uint64_t seed, uint32_t worker, uint32_t purpose,
                                                                     uint64_t first, int64_t n, const T *scale,
                                                                     int64_t period, T *out)
{
    const int64_t entries = 2 * FL_HALF_CHUNK_BYTES / (int64_t)sizeof(T);
    int64_t at = 0;
    for (int64_t c = 0; c < n; c++) {
        FN(chunk_of_normals)(seed, worker, purpose, first + (uint64_t)c, scale + at, out + c * entries);
        at = (at + entries) % period;
    }
}

/* The words of the same chunks under another purpose, one an entry: what makes rows of
 * another kurtosis of the normals. Of doubles the upper 32 bits. */
static inline __attribute__((always_inline)) void FN(change_kurtosis)(const fl_shards *shards, uint32_t worker,
                                                                      uint64_t first, int64_t n, const T *scale, T *x)
{
    const fl_stream *stream = shards->stream;
    const int64_t entries = 2 * FL_HALF_CHUNK_BYTES / (int64_t)sizeof(T);
    const T normal = (T)stream->normal_part, sign = (T)stream->sign_part;
    int64_t at = 0;
    for (int64_t c = 0; c < n; c++, x += entries) {
        FLN(words) low[FL_CHUNK_VECTORS], high[FL_CHUNK_VECTORS];
        FLN(chunk_of_words)(shards->seed, worker, FL_PURPOSE_KURTOSIS, first + (uint64_t)c, low, high);
        const void *halves[2] = {low, high};
        for (int h = 0; h < 2; h++)
            for (int64_t e = 0; e < entries / 2; e++) {
                const int64_t j = h * (entries / 2) + e;
#if FL_IS_FLOAT
                const uint32_t word = ((const uint32_t *)halves[h])[e];
#else
                const uint32_t word = (uint32_t)(((const uint64_t *)halves[h])[e] >> 32);
#endif
                if (stream->thinned)
                    x[j] = word < stream->kept ? normal * x[j] : (T)0;
                else
                    x[j] = normal * x[j] + (word >> 31 ? -sign : sign) * scale[at + j];
            }
        at = (at + entries) % stream->stride;
    }
}

/* x <- factor x for a lower triangle given by columns, from the last column back: in place. */
static inline __attribute__((always_inline)) void FN(correlate)(const T *factor, int64_t d, T *x)
{
    for (int64_t j = d - 1; j >= 0; j--) {
        const T z = x[j];
        const T *column = factor + j * d;
        for (int64_t i = j + 1; i < d; i++)
            x[i] += column[i] * z;
        x[j] = column[j] * z;
    }
}

/* Targets of one block's rows: <x, w_star> + noise, or labels by the logistic model. */
static inline __attribute__((always_inline)) void FN(targets)(const fl_shards *shards, uint32_t worker, uint64_t block,
                                                              const T *x, T *y)
{
    const fl_stream *stream = shards->stream;
    const int64_t rows = stream->rows_a_block, stride = stream->stride;
    const int64_t entries = 2 * FL_HALF_CHUNK_BYTES / (int64_t)sizeof(T);
    const FN(shape) shape = FN(shape_of_rows)(shards);
    if (stream->target == FL_TARGET_LINEAR) {
        /* Blocks of few rows take the first entries of a chunk. */
        const int64_t chunks = (rows + entries - 1) / entries;
        T made[FL_MOST_STREAM_ROWS + 2 * FL_HALF_CHUNK_BYTES / sizeof(T)] = {0};
        FN(scaled_normals)(shards->seed, worker, FL_PURPOSE_NOISE, block * (uint64_t)chunks, chunks,
                           (const T *)stream->ones, entries, made);
        for (int64_t r = 0; r < rows; r++)
            y[r] = FN(fold)(FN(row_dot)(x + r * stride, (const T *)stream->w_star, &shape)) + (T)stream->noise * made[r];
        return;
    }
    /* A row's label is +1 where u < 1 / (1 + exp(-margin)), u uniform. */
    const int64_t a_chunk = 2 * FL_CALLS, chunks = (rows + a_chunk - 1) / a_chunk;
    double margins[FL_MOST_STREAM_ROWS], gaps[FL_MOST_STREAM_ROWS];
    uint64_t uniform[FL_MOST_STREAM_ROWS + 2 * FL_CALLS] __attribute__((aligned(64)));
    for (int64_t c = 0; c < chunks; c++)
        FLN(chunk_of_words)(shards->seed, worker, FL_PURPOSE_LABEL, block * (uint64_t)chunks + (uint64_t)c,
                            (FLN(words) *)(uniform + c * a_chunk), (FLN(words) *)(uniform + c * a_chunk + FL_CALLS));
    for (int64_t r = 0; r < rows; r++)
        margins[r] = (double)FN(fold)(FN(row_dot)(x + r * stride, (const T *)stream->w_star, &shape));
    for (int64_t r = 0; r < rows; r++) {
        const double u = fl_bits_double((uniform[r] >> 12) | 0x3ff0000000000000u) - (1.0 - 0x1p-53);
        gaps[r] = u * (1.0 + fl_exp(-margins[r])) - 1.0;
    }
    for (int64_t r = 0; r < rows; r++)
        y[r] = gaps[r] < 0.0 ? (T)1 : (T)-1;
}

static void FN(make_block)(const fl_shards *shards, int64_t k, int64_t block)
{
    const fl_stream *stream = shards->stream;
    const int64_t rows = stream->rows_a_block, stride = stream->stride;
    const int64_t chunks = rows * stride * (int64_t)sizeof(T) / (2 * FL_HALF_CHUNK_BYTES);
    T *x = (T *)stream->X + k * rows * stride;
    const uint64_t first = (uint64_t)block * (uint64_t)chunks;
    FN(scaled_normals)(shards->seed, (uint32_t)k, FL_PURPOSE_STREAM, first, chunks, (const T *)stream->scale, stride, x);
    if (stream->thinned || stream->sign_part != 0.0)
        FN(change_kurtosis)(shards, (uint32_t)k, first, chunks, (const T *)stream->scale, x);
    if (stream->factor)
        for (int64_t r = 0; r < rows; r++)
            FN(correlate)((const T *)stream->factor, shards->n_features, x + r * stride);
    if (stream->target != FL_TARGET_NONE)
        FN(targets)(shards, (uint32_t)k, (uint64_t)block, x, (T *)stream->y + k * rows);
    stream->block[k] = block;
}

/* Steps of F(w) = (1/2) <w - w*, L (w - w*)>, L diagonal, with the block's rows as noise xi:
 * w <- w - (eta L (w - w*) - eta xi). A batch takes the mean of its rows. */
static void FN(quadratic_steps)(const fl_shards *shards, const fl_step *step, int64_t k, int64_t t0, int64_t n,
                                const double *eta, const double *alpha, T *restrict w, T *restrict sum, double *sum64,
                                const fl_scratch *scratch)
{
    const fl_stream *stream = shards->stream;
    const int64_t b = step->batch_size, p = step->n_params;
    const T *restrict spectrum = stream->spectrum, *restrict w_star = stream->w_star;
    T *restrict update = scratch->update;
    for (int64_t i = 0; i < n; i++) {
        const T eta_t = (T)eta[i], each = (T)(eta[i] / (double)b);
        const T a = alpha ? (T)alpha[i] : (T)1;
        const T *xi = NULL;
        for (int64_t done = 0; done < b;) {
            int64_t at_hand, known;
            const uint32_t *rows = fl_stream_rows(shards, k, (t0 + i) * b + done, &at_hand, &known);
            const int64_t some = at_hand < b - done ? at_hand : b - done;
            xi = (const T *)stream->X + (int64_t)rows[0] * stream->stride;
            if (b == 1)
                break;
            if (done == 0)
                memset(update, 0, (size_t)p * sizeof(T));
            for (int64_t r = 0; r < some; r++)
                for (int64_t j = 0; j < p; j++)
                    update[j] += xi[r * stream->stride + j];
            done += some;
        }
        const T *restrict noise = b == 1 ? xi : update;
        for (int64_t j = 0; j < p; j++)
            w[j] -= eta_t * (spectrum[j] * (w[j] - w_star[j])) - each * noise[j];
        if (step->average == FL_AVERAGE_UNIFORM)
            for (int64_t j = 0; j < p; j++)
                sum[j] += w[j];
        else if (step->average == FL_AVERAGE_WEIGHTED)
            for (int64_t j = 0; j < p; j++)
                sum[j] += a * w[j];
        if (step->average && ((t0 + i + 1) & (FL_FLUSH - 1)) == 0)
            FN(flush)(sum, sum64, p);
    }
}
