/* Averaging of CSR runs for one type T: in place, and only where a worker's bits say
 * that it has changed something since the last one. Included by isa_body.h. */

#define BLOCK FL_MARKED_BLOCK
#define WORDS (BLOCK / 16)
/* Changed features of 16 that are averaged one by one. */
#define FEW 2
/* Vectors that hold 16 features. */
#define NV (int)(16 * sizeof(T) / FL_VBYTES)
#define V FN(vec)
#define LANE_BITS FN(bits)

#if FL_IS_FLOAT
typedef int64_t FN(double_bits) __attribute__((vector_size(FL_WIDE * 8), may_alias));
#define DOUBLES FLN(wide)
#define D_BITS FN(double_bits)
#define WIDEN(p) FLN(widen)(p)
#else
#define DOUBLES FN(vec)
#define D_BITS FN(bits)
#define WIDEN(p) (*(const DOUBLES *)(p))
#endif
#define ND (int)(16 * sizeof(double) / sizeof(DOUBLES))
#define D_LANES (int)(sizeof(DOUBLES) / sizeof(double))

/* The first worker that is not finite at one of 16 features. */
static __attribute__((noinline)) int64_t FN(not_finite)(const T *W, int64_t ld)
{
    for (int64_t k = 0;; k++)
        for (int j = 0; j < 16; j++)
            if ((double)W[k * ld + j] * 0.0 != 0.0)
                return k;
}

/* The mean of 16 features, from W on, goes to every worker; what rounding took
 * from it is owed, gain times. Where all workers agree nothing changes: three thirds
 * of a number need not be that number, and features that nobody changed are not even
 * looked at. Returns the first worker with an entry that is not finite, or -1.
 *
 * halves says that floats are averaged with weights of 2^-m that add up to one. Then floats weighted
 * last have the sum of floats weighted first, P times a float over P is that float, so that nothing is owed
 * where all agree, and a mean is finite if and only if its sum is. P is a constant where it can be. */
static inline __attribute__((always_inline)) int64_t FN(average_sixteen)(const fl_averaging *averaging,
                                                                         const int64_t P, const int halves, T *W,
                                                                         double *owed)
{
    const int64_t ld = averaging->ld;
    const double gain = averaging->gain, sum_of_weights = averaging->sum_of_weights;
    DOUBLES sum[ND], first[ND];
    D_BITS differ[ND];
    LANE_BITS changes[NV];
    V mean[NV];
#pragma GCC unroll 8
    for (int e = 0; e < ND; e++) {
        first[e] = WIDEN(W + e * D_LANES);
        sum[e] = first[e];
        if (!halves)
            sum[e] *= averaging->weights[0];
        differ[e] = (D_BITS){0};
    }
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++)
        changes[v] = (LANE_BITS){0};
    for (int64_t k = 1; k < P; k++) {
        const T *row = W + k * ld;
        const double weight = averaging->weights[k];
#pragma GCC unroll 8
        for (int e = 0; e < ND; e++) {
            const DOUBLES its = WIDEN(row + e * D_LANES);
            if (halves) {
                sum[e] += its;
            } else {
                sum[e] += weight * its;
                differ[e] |= (D_BITS)(its != first[e]);
            }
        }
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++)
            changes[v] |= (LANE_BITS)(((const V *)row)[v] != ((const V *)W)[v]);
    }
    if (halves)
#pragma GCC unroll 8
        for (int e = 0; e < ND; e++)
            sum[e] *= averaging->weights[0];
#if FL_IS_FLOAT
    FL_NARROW(sum, (FLN(bytes) *)mean);
#else
    memcpy(mean, sum, sizeof mean);
#endif
    if (halves) {
        LANE_BITS rest = {0};
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++)
            rest |= (LANE_BITS)(mean[v] - mean[v]);
        if (FLN(any_bit)((FLN(bytes))rest))
            return FN(not_finite)(W, ld);
    } else {
        DOUBLES rest = {0};
        double zero = 0.0;
#pragma GCC unroll 8
        for (int e = 0; e < ND; e++)
            rest += sum[e] * 0.0;
#pragma GCC unroll 8
        for (int e = 0; e < D_LANES; e++)
            zero += rest[e];
        if (zero != 0.0)
            return FN(not_finite)(W, ld);
    }
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++)
        mean[v] = (V)(((LANE_BITS)mean[v] & changes[v]) | ((LANE_BITS)((const V *)W)[v] & ~changes[v]));
    for (int64_t k = 0; k < P; k++)
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++)
            ((V *)(W + k * ld))[v] = mean[v];
    if (gain != 0.0)
#pragma GCC unroll 8
        for (int e = 0; e < ND; e++) {
            const DOUBLES its = WIDEN((const T *)mean + e * D_LANES);
            DOUBLES lost = sum[e] - its;
            if (!halves)
                lost = (DOUBLES)((D_BITS)(sum[e] - sum_of_weights * its) & differ[e]);
            *(DOUBLES *)(owed + e * D_LANES) += gain * lost;
        }
    return -1;
}

static inline __attribute__((always_inline)) int64_t FN(average_sixteen_of)(const fl_averaging *averaging, int halves,
                                                                            T *W, double *owed)
{
    const int64_t P = averaging->n_workers;
    if (halves)
        return P == 2 ? FN(average_sixteen)(averaging, 2, 1, W, owed) : FN(average_sixteen)(averaging, P, 1, W, owed);
    return FN(average_sixteen)(averaging, P, 0, W, owed);
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
        uint32_t *bits = averaging->changed + k * averaging->marked_ld + block / 32;
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
    uint32_t halves[WORDS / 2];
    memcpy(halves, all, sizeof all);
    for (int i = 0; i < WORDS / 2; i++) {
        any[2 * i] = (uint16_t)halves[i];
        any[2 * i + 1] = (uint16_t)(halves[i] >> 16);
    }
    return n_up + averaging->n_workers * n_down;
}

/* Whether all weights are 1/P and P is a power of two, and small enough for a float times P to be a double. */
static int FN(in_halves)(const fl_averaging *averaging)
{
    const int64_t P = averaging->n_workers;
    int alike = FL_IS_FLOAT && (P & (P - 1)) == 0 && P <= 1 << 20;
    for (int64_t k = 0; k < P && alike; k++)
        alike = averaging->weights[k] * (double)P == 1.0;
    return alike;
}

static int64_t FN(average_changed)(const fl_averaging *averaging, int64_t first, int64_t last, int64_t *n_floats)
{
    const int halves = FN(in_halves)(averaging);
    const int64_t intercept = averaging->intercept;
    int64_t bad = -1;
    for (int64_t block = first; block < last; block += BLOCK) {
        uint16_t any[WORDS];
        *n_floats += FN(take_bits)(averaging, block, any);
        const int64_t words = (last - block < BLOCK ? last - block : BLOCK) / 16;
        for (int64_t word = 0; word < words; word++) {
            if (word % 4 == 0 && !averaging->everything) {
                uint64_t four;
                memcpy(&four, any + word, sizeof four);
                if (!four) {
                    word += 3;
                    continue;
                }
            }
            const int64_t j = block + 16 * word;
            int64_t found = -1;
            if (averaging->everything || __builtin_popcount(any[word]) > FEW)
                found = FN(average_sixteen_of)(averaging, halves, (T *)averaging->W + j, averaging->owed + j);
            else
                for (unsigned bits = any[word]; bits; bits &= bits - 1) {
                    const int64_t its = FN(average_one)(averaging, j + __builtin_ctz(bits));
                    found = its >= 0 && (found < 0 || its < found) ? its : found;
                }
            if (found >= 0 && (bad < 0 || found < bad))
                bad = found;
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
#undef NV
#undef ND
#undef DOUBLES
#undef D_BITS
#undef D_LANES
#undef WIDEN
#undef V
#undef LANE_BITS
