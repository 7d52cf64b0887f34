/* Averaging of CSR runs for one type T: in place, and only where a worker's bits say
 * that it has changed something since the last one. Included by isa_body.h, with B an
 * unsigned type as wide as T. */

#define BLOCK FL_MARKED_BLOCK
#define WORDS (BLOCK / 16)
/* Changed features of 16 that are averaged one by one. */
#define FEW 3

/* The mean of n <= BLOCK features, from W on, goes to every worker; what rounding took
 * from it is owed, gain times. Where all workers agree nothing changes: three thirds
 * of a number need not be that number, and features that nobody changed are not even
 * looked at. Returns the first worker with an entry that is not finite, or -1. */
static int64_t FN(average_run)(const fl_averaging *averaging, T *W, double *owed, int64_t n)
{
    const int64_t P = averaging->n_workers, ld = averaging->ld;
    const double gain = averaging->gain, sum_of_weights = averaging->sum_of_weights;
    double sum[BLOCK], zero = 0.0;
    B differ[BLOCK];
    T mean[BLOCK];
    for (int64_t j = 0; j < n; j++) {
        sum[j] = averaging->weights[0] * (double)W[j];
        differ[j] = 0;
    }
    for (int64_t k = 1; k < P; k++) {
        const T *row = W + k * ld;
        const double weight = averaging->weights[k];
        for (int64_t j = 0; j < n; j++)
            sum[j] += weight * (double)row[j];
        for (int64_t j = 0; j < n; j++)
            differ[j] |= (B)(row[j] != W[j] ? 1 : 0);
    }
    for (int64_t j = 0; j < n; j++)
        mean[j] = differ[j] ? (T)sum[j] : W[j];
    double rest[8] = {0};
    for (int64_t j = 0; j + 8 <= n; j += 8)
        for (int e = 0; e < 8; e++)
            rest[e] += sum[j + e] * 0.0;
    for (int e = 0; e < 8; e++)
        zero += rest[e];
    if (zero != 0.0)
        for (int64_t k = 0; k < P; k++)
            for (int64_t j = 0; j < n; j++)
                if ((double)W[k * ld + j] * 0.0 != 0.0)
                    return k;
    if (gain != 0.0)
        for (int64_t j = 0; j < n; j++)
            owed[j] += gain * (differ[j] ? sum[j] - sum_of_weights * (double)mean[j] : 0.0);
    for (int64_t k = 0; k < P; k++)
        memcpy(W + k * ld, mean, (size_t)n * sizeof(T));
    return -1;
}

/* The same for one feature: cheaper where few of 16 have changed. */
static inline __attribute__((always_inline)) int64_t FN(average_one)(const fl_averaging *averaging, int64_t j)
{
    const int64_t P = averaging->n_workers, ld = averaging->ld;
    T *W = (T *)averaging->W + j;
    double sum = averaging->weights[0] * (double)W[0];
    int differ = 0;
    for (int64_t k = 1; k < P; k++) {
        sum += averaging->weights[k] * (double)W[k * ld];
        differ |= W[k * ld] != W[0];
    }
    if (sum * 0.0 != 0.0)
        for (int64_t k = 0; k < P; k++)
            if ((double)W[k * ld] * 0.0 != 0.0)
                return k;
    if (!differ)
        return -1;
    const T mean = (T)sum;
    averaging->owed[j] += averaging->gain * (sum - averaging->sum_of_weights * (double)mean);
    for (int64_t k = 0; k < P; k++)
        W[k * ld] = mean;
    return -1;
}

/* What the workers have changed in a block: their bits are gathered, counted, cleared. */
static int64_t FN(take_bits)(const fl_averaging *averaging, int64_t block, uint16_t any[WORDS])
{
    uint64_t all[WORDS / 4] = {0};
    int64_t n_up = 0, n_down = 0;
    for (int64_t k = 0; k < averaging->n_workers; k++) {
        uint16_t *bits = averaging->changed + k * averaging->marked_ld + block / 16;
        uint64_t words[WORDS / 4];
        memcpy(words, bits, sizeof words);
        for (int i = 0; i < WORDS / 4; i++) {
            all[i] |= words[i];
            n_up += __builtin_popcountll(words[i]);
        }
        memset(bits, 0, sizeof words);
    }
    for (int i = 0; i < WORDS / 4; i++)
        n_down += __builtin_popcountll(all[i]);
    memcpy(any, all, sizeof all);
    return n_up + averaging->n_workers * n_down;
}

static int64_t FN(average_changed)(const fl_averaging *averaging, int64_t first, int64_t last, int64_t *n_floats)
{
    const int64_t intercept = averaging->intercept;
    int64_t bad = -1;
    for (int64_t block = first; block < last; block += BLOCK) {
        uint16_t any[WORDS];
        *n_floats += FN(take_bits)(averaging, block, any);
        const int64_t words = (last - block < BLOCK ? last - block : BLOCK) / 16;
        for (int64_t from = 0; from < words;) {
            int64_t to = from;
            uint64_t four;
            memcpy(&four, any + from / 4 * 4, sizeof four);
            if (!four && !averaging->everything) {
                from = from / 4 * 4 + 4;
                continue;
            }
            const int64_t j = block + 16 * from;
            int64_t found = -1;
            while (to < words && (averaging->everything || __builtin_popcount(any[to]) > FEW))
                to++;
            if (to > from)
                found = FN(average_run)(averaging, (T *)averaging->W + j, averaging->owed + j, 16 * (to - from));
            else
                for (unsigned bits = any[to++]; bits; bits &= bits - 1) {
                    const int64_t its = FN(average_one)(averaging, j + __builtin_ctz(bits));
                    found = its >= 0 && (found < 0 || its < found) ? its : found;
                }
            if (found >= 0 && (bad < 0 || found < bad))
                bad = found;
            from = to;
        }
    }
    /* The intercept's u is a plain sum: nothing is owed to it. */
    if (intercept >= first && intercept < last)
        averaging->owed[intercept] = 0.0;
    return bad;
}

#undef BLOCK
#undef WORDS
#undef FEW
