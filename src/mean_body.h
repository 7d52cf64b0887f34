/* The mean of all workers on one instruction set. Included by isa_body.h once.
 *
 * In float64, worker 0 first, rounded once: MEANS entries at a time, whose sums stay in
 * registers over all workers and go to `out` and to each of the copies. They are stored in
 * whole vectors of FL_VBYTES: the steps that come next load such vectors, and a load that
 * spans several stores waits until the last of them has reached the cache, which between
 * two threads is a line's way across the chip. */

#define MEANS 16

/* n vectors, a constant, to `to` and to each of the copies. */
static inline __attribute__((always_inline)) void FLN(put)(const FLN(bytes) *means, const int n, char *to,
                                                           char *copies, int64_t n_copies, int64_t apart)
{
#pragma GCC unroll 8
    for (int v = 0; v < n; v++)
        ((FLN(bytes) *)to)[v] = means[v];
    for (int64_t k = 0; k < n_copies; k++, copies += apart)
#pragma GCC unroll 8
        for (int v = 0; v < n; v++)
            ((FLN(bytes) *)copies)[v] = means[v];
}

static void FLN(mean_float)(const float *W, int64_t n_workers, int64_t ld, int64_t n_params, const double *weights,
                            float *out, float *copies, int64_t n_copies)
{
    for (int64_t j0 = 0; j0 < n_params; j0 += MEANS) {
        FLN(wide) sum[MEANS / FL_WIDE] = {{0}};
        FLN(bytes) means[MEANS * sizeof(float) / FL_VBYTES];
        for (int64_t k = 0; k < n_workers; k++)
#pragma GCC unroll 8
            for (int e = 0; e < MEANS / FL_WIDE; e++)
                sum[e] += weights[k] * FLN(widen)(W + k * ld + j0 + FL_WIDE * e);
        FL_NARROW(sum, means);
        FLN(put)(means, MEANS * sizeof(float) / FL_VBYTES, (char *)(out + j0),
                 copies ? (char *)(copies + j0) : NULL, n_copies, ld * (int64_t)sizeof(float));
    }
}

static void FLN(mean_double)(const double *W, int64_t n_workers, int64_t ld, int64_t n_params, const double *weights,
                             double *out, double *copies, int64_t n_copies)
{
    for (int64_t j0 = 0; j0 < n_params; j0 += MEANS) {
        FLN(vec8) sum[MEANS * sizeof(double) / FL_VBYTES] __attribute__((aligned(FL_VBYTES))) = {{0}};
        for (int64_t k = 0; k < n_workers; k++)
#pragma GCC unroll 8
            for (int v = 0; v < (int)(MEANS * sizeof(double) / FL_VBYTES); v++)
                sum[v] += weights[k] * ((const FLN(vec8) *)(W + k * ld + j0))[v];
        FLN(put)((const FLN(bytes) *)sum, MEANS * sizeof(double) / FL_VBYTES, (char *)(out + j0),
                 copies ? (char *)(copies + j0) : NULL, n_copies, ld * (int64_t)sizeof(double));
    }
}

static void FLN(mean)(const void *W, int dtype, int64_t n_workers, int64_t ld, int64_t n_params,
                      const double *weights, void *out, void *copies, int64_t n_copies)
{
    if (dtype == FL_FLOAT32)
        FLN(mean_float)(W, n_workers, ld, n_params, weights, out, copies, n_copies);
    else
        FLN(mean_double)(W, n_workers, ld, n_params, weights, out, copies, n_copies);
}

#undef MEANS
