/* Averaging of CSR runs for one type T: in place, and only where a worker's bits say
 * that it has changed something since the last one. Included by isa_body.h. */

#define BLOCK FL_MARKED_BLOCK
#define WORDS (BLOCK / 64)
/* Changed features of a block that are averaged one by one. */
#define FEW 56
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

/* The first worker that is not finite at one of n features, or -1. */
static __attribute__((noinline)) int64_t FN(not_finite)(const fl_averaging *averaging, const T *W, int n)
{
    for (int64_t k = 0; k < averaging->n_workers; k++)
        for (int j = 0; j < n; j++)
            if ((double)W[k * averaging->ld + j] * 0.0 != 0.0)
                return k;
    return -1;
}

/* The lower of two workers, -1 for none. */
static inline int64_t FN(first_of)(int64_t k, int64_t other)
{
    return other >= 0 && (k < 0 || other < k) ? other : k;
}

/* Features [from, to), whole sixteens: their mean goes to every worker; what rounding took
 * from it is owed, gain times. Where all workers agree nothing changes: three thirds
 * of a number need not be that number. Returns the first worker with an entry that is not finite, or -1.
 *
 * halves says that floats are averaged with weights of 2^-m that add up to one. Then floats weighted
 * last have the sum of floats weighted first, P times a float over P is that float, so that nothing is owed
 * where all agree, and a mean is finite if and only if its sum is. P is a constant where it can be. */
static inline __attribute__((always_inline)) int64_t FN(average_in)(const fl_averaging *averaging, const int64_t P,
                                                                     const int halves, int64_t from, int64_t to)
{
    const int64_t ld = averaging->ld;
    const double gain = averaging->gain, sum_of_weights = averaging->sum_of_weights, *weights = averaging->weights;
    const double weight0 = weights[0];
    double *owed = averaging->owed;
    int64_t bad = -1;
    for (int64_t j = from; j < to; j += 16) {
        T *W = (T *)averaging->W + j;
        DOUBLES sum[ND], first[ND];
        D_BITS differ[ND];
        LANE_BITS changes[NV];
        V mean[NV];
#pragma GCC unroll 8
        for (int e = 0; e < ND; e++) {
            first[e] = WIDEN(W + e * D_LANES);
            sum[e] = first[e];
            if (!halves)
                sum[e] *= weight0;
            differ[e] = (D_BITS){0};
        }
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++)
            changes[v] = (LANE_BITS){0};
        for (int64_t k = 1; k < P; k++) {
            const T *row = W + k * ld;
#pragma GCC unroll 8
            for (int e = 0; e < ND; e++) {
                const DOUBLES its = WIDEN(row + e * D_LANES);
                if (halves) {
                    sum[e] += its;
                } else {
                    sum[e] += weights[k] * its;
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
                sum[e] *= weight0;
#if FL_IS_FLOAT
        FL_NARROW(sum, (FLN(bytes) *)mean);
#else
        memcpy(mean, sum, sizeof mean);
#endif
        int finite;
        if (halves) {
            LANE_BITS rest = {0};
#pragma GCC unroll 8
            for (int v = 0; v < NV; v++)
                rest |= (LANE_BITS)(mean[v] - mean[v]);
            finite = !FLN(any_bit)((FLN(bytes))rest);
        } else {
            DOUBLES rest = {0};
#pragma GCC unroll 8
            for (int e = 0; e < ND; e++)
                rest += sum[e] * 0.0;
            rest = (DOUBLES)(D_BITS)(rest != 0.0);
            finite = !FLN(any_of)(&rest, sizeof rest);
        }
        if (!finite) {
            const int64_t its = FN(not_finite)(averaging, W, 16);
            bad = FN(first_of)(bad, its < 0 ? 0 : its);
            continue;
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
                *(DOUBLES *)(owed + j + e * D_LANES) += gain * lost;
            }
    }
    return bad;
}

/* The same of n features of a block, each so far behind `from`. All are read before one is written, and no branch
 * asks how many a word has or whether workers differ (period 16, P = 2: 5 ns a feature; with such branches 11). */
static inline __attribute__((always_inline)) int64_t FN(average_at)(const fl_averaging *averaging, const int64_t P,
                                                                    int64_t from, const uint32_t *behind, int64_t n)
{
    const int64_t ld = averaging->ld;
    const double gain = averaging->gain, sum_of_weights = averaging->sum_of_weights, *weights = averaging->weights;
    T *W = (T *)averaging->W + from, mean[FEW];
    double *owed = averaging->owed + from, lost[FEW], rest = 0.0;
    int64_t bad = -1;
    for (int64_t i = 0; i < n; i++) {
        const T *its = W + behind[i], first = its[0];
        double sum = weights[0] * (double)first;
        int differ = 0;
        for (int64_t k = 1; k < P; k++) {
            sum += weights[k] * (double)its[k * ld];
            differ |= its[k * ld] != first;
        }
        rest += sum * 0.0;
        mean[i] = differ ? (T)sum : first;
        lost[i] = differ ? gain * (sum - sum_of_weights * (double)(T)sum) : 0.0;
    }
    if (rest != 0.0) {
        for (int64_t i = 0; i < n; i++)
            bad = FN(first_of)(bad, FN(not_finite)(averaging, W + behind[i], 1));
        return bad < 0 ? 0 : bad;
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < P; k++)
            W[behind[i] + k * ld] = mean[i];
        owed[behind[i]] += lost[i];
    }
    return bad;
}

#if FL_IS_FLOAT
/* What rounding took from sum = a + b (Knuth's two-sum, exact), of one float and of a vector of them; not finite if
 * and only if sum is not. */
#define DEFINE_TAKEN(NAME, F)                                                          \
    static inline __attribute__((always_inline)) F NAME(F a, F b, F sum)               \
    {                                                                                  \
        const F most_of_b = sum - a;                                                   \
        return (a - (sum - most_of_b)) + (b - most_of_b);                              \
    }
DEFINE_TAKEN(FN(taken), T)
DEFINE_TAKEN(FN(taken_each), V)
#undef DEFINE_TAKEN

/* Two workers of equal weights, in floats: the mean is half of the rounded sum, and half of what rounding took from
 * it is owed; where both are zero, the first one's sign stays. Conversions to doubles and
 * back are what averagings wait for, and this has the fewest (AVX-512, sixteen features in cache: 3.4, not 6.1 ns).
 * Returns 0, with nothing written, if a sum is not finite. */
static inline __attribute__((always_inline)) int FN(average_two)(T *W, T *other, double gain, double *owed)
{
    V mean[NV], lost[NV];
    LANE_BITS rest = {0};
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++) {
        const V a = ((const V *)W)[v], b = ((const V *)other)[v], sum = a + b;
        const LANE_BITS differ = (LANE_BITS)(a != b);
        mean[v] = (V)(((LANE_BITS)(0.5f * sum) & differ) | ((LANE_BITS)a & ~differ));
        lost[v] = 0.5f * FN(taken_each)(a, b, sum);
        rest |= (LANE_BITS)(lost[v] - lost[v]);
    }
    if (FLN(any_bit)((FLN(bytes))rest))
        return 0;
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++)
        ((V *)W)[v] = ((V *)other)[v] = mean[v];
    if (gain != 0.0)
#pragma GCC unroll 8
        for (int e = 0; e < ND; e++)
            *(DOUBLES *)(owed + e * D_LANES) += gain * WIDEN((const T *)lost + e * D_LANES);
    return 1;
}

/* The same of one feature whose sum need not be finite: where it is beyond the largest float, of halves. Returns the
 * first worker that is not finite, or -1. */
static __attribute__((noinline)) int64_t FN(average_far_two)(const fl_averaging *averaging, int64_t j)
{
    T *W = (T *)averaging->W + j, *other = W + averaging->ld, a = *W, b = *other;
    if (a - a != 0 || b - b != 0)
        return a - a != 0 ? 0 : 1;
    T half = 0.5f, sum = a + b, lost = FN(taken)(a, b, sum);
    if (lost - lost != 0) {
        a *= half;
        b *= half;
        half = 1;
        sum = a + b;
        lost = FN(taken)(a, b, sum);
    }
    *W = *other = *W != *other ? half * sum : *W;
    averaging->owed[j] += averaging->gain * (double)(half * lost);
    return -1;
}

static int64_t FN(average_two_in)(const fl_averaging *averaging, int64_t from, int64_t to)
{
    T *W = averaging->W;
    const int64_t ld = averaging->ld;
    const double gain = averaging->gain;
    double *owed = averaging->owed;
    int64_t bad = -1;
    for (int64_t j = from; j < to; j += 16)
        if (!FN(average_two)(W + j, W + ld + j, gain, owed + j))
            for (int64_t i = j; i < j + 16; i++)
                bad = FN(first_of)(bad, FN(average_far_two)(averaging, i));
    return bad;
}

static int64_t FN(average_two_at)(const fl_averaging *averaging, int64_t from, const uint32_t *behind, int64_t n)
{
    T *W = (T *)averaging->W + from, *other = W + averaging->ld, mean[FEW], lost[FEW], rest = 0;
    const double gain = averaging->gain;
    double *owed = averaging->owed + from;
    int64_t bad = -1;
    for (int64_t i = 0; i < n; i++) {
        const T a = W[behind[i]], b = other[behind[i]], sum = a + b;
        mean[i] = a != b ? 0.5f * sum : a;
        lost[i] = 0.5f * FN(taken)(a, b, sum);
        rest += lost[i] - lost[i];
    }
    if (rest != 0) {
        for (int64_t i = 0; i < n; i++)
            bad = FN(first_of)(bad, FN(average_far_two)(averaging, from + behind[i]));
        return bad;
    }
    for (int64_t i = 0; i < n; i++) {
        W[behind[i]] = other[behind[i]] = mean[i];
        owed[behind[i]] += gain * (double)lost[i];
    }
    return bad;
}
#endif

/* What the workers have changed in a block: their bits are gathered, counted, cleared. Returns how many. */
static inline int64_t FN(take_bits)(const fl_averaging *averaging, int64_t block, uint64_t any[WORDS],
                                    int64_t *n_floats)
{
    uint32_t *bits = averaging->changed + block / 32;
    const int64_t P = averaging->n_workers, apart = averaging->marked_ld;
    int64_t n_up = 0, n_down = 0;
    for (int i = 0; i < WORDS; i++) {
        uint64_t all = 0;
        for (int64_t k = 0; k < P; k++) {
            uint64_t its;
            memcpy(&its, bits + k * apart + 2 * i, sizeof its);
            all |= its;
            n_up += __builtin_popcountll(its);
        }
        any[i] = all;
        n_down += __builtin_popcountll(all);
    }
    for (int64_t k = 0; k < P; k++)
        memset(bits + k * apart, 0, 8 * WORDS);
    *n_floats += n_up + P * n_down;
    return n_down;
}

/* Where in a block the bits are set, and up to 7 numbers more: eight are taken at a time, set or not, for how many a
 * word has is hard to foresee. */
static inline void FN(list)(const uint64_t any[WORDS], uint32_t *behind)
{
    for (int i = 0; i < WORDS; i++) {
        uint32_t *at = behind;
        behind += __builtin_popcountll(any[i]);
        for (uint64_t bits = any[i]; bits; at += 8)
#pragma GCC unroll 8
            for (int e = 0; e < 8; e++) {
                at[e] = 64 * (uint32_t)i + (uint32_t)__builtin_ctzll(bits | (uint64_t)1 << 63);
                bits &= bits - 1;
            }
    }
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
    const int64_t intercept = averaging->intercept, P = averaging->n_workers;
    int64_t bad = -1, floats = 0;
    for (int64_t block = first; block < last; block += BLOCK) {
        uint64_t any[WORDS];
        uint32_t behind[FEW + 7];
        const int64_t n = FN(take_bits)(averaging, block, any, &floats);
        const int64_t end = last - block < BLOCK ? last : block + BLOCK;
        const int in_order = averaging->everything || n > FEW;
        int64_t its;
        if (n == 0 && !in_order)
            continue;
        if (!in_order)
            FN(list)(any, behind);
#if FL_IS_FLOAT
        if (halves && P == 2)
            its = in_order ? FN(average_two_in)(averaging, block, end)
                           : FN(average_two_at)(averaging, block, behind, n);
        else
#endif
        if (!in_order)
            its = P == 2 ? FN(average_at)(averaging, 2, block, behind, n)
                         : FN(average_at)(averaging, P, block, behind, n);
        else
            its = halves ? FN(average_in)(averaging, P, 1, block, end) : FN(average_in)(averaging, P, 0, block, end);
        bad = FN(first_of)(bad, its);
    }
    *n_floats += floats;
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
