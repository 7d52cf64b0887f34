/* Row floor for one type T on one instruction set: a row's margin, its update, its way
 * into the cache. Of all that steps, the only place that knows how dense rows lie.
 *
 * Included by isa_body.h with
 *   T            float or double: iterates, targets, arithmetic
 *   D            T, or uint16_t where rows hold bfloat16 (then T is float): an entry of a row as
 *                it is stored
 *   FL_IS_BF16   1 for the latter
 *   FN(name)     the name with type and instruction set appended
 *   FL_VBYTES    bytes of a hardware vector
 *   FL_IS_FLOAT  1 for float
 *
 * The same bits on every set: a row sum runs in 128 bytes of virtual lanes (of 32 floats
 * lane j mod 32 takes feature j) which are folded in halves, whatever the width of the
 * hardware's vectors. The intercept is one more feature equal to 1.
 */

#if FL_IS_FLOAT
#define VL (FL_VBYTES / 4)
#else
#define VL (FL_VBYTES / 8)
#endif
#define NACC (128 / FL_VBYTES)

typedef T FN(vec) __attribute__((vector_size(FL_VBYTES), aligned(FL_VBYTES), may_alias));
typedef T FN(uvec) __attribute__((vector_size(FL_VBYTES), aligned(sizeof(T)), may_alias));
#if FL_IS_FLOAT
typedef int32_t FN(bits) __attribute__((vector_size(FL_VBYTES), may_alias));
typedef int32_t FN(bits16) __attribute__((vector_size(16), may_alias));
#else
typedef int64_t FN(bits) __attribute__((vector_size(FL_VBYTES), may_alias));
typedef int64_t FN(bits16) __attribute__((vector_size(16), may_alias));
#endif
#define V FN(vec)
#define LANE_BITS FN(bits)
#define W_AT(p) (*(V *)(p))
#define ROW(i) ((const D *)shards->X + (int64_t)(i) * shards->x_stride)

/* LOAD(x, v): the entries of row x that vector v takes, as T. */
#if FL_IS_BF16
/* A bfloat16 is the upper half of a float. A block (kernels.h) has an entry for each
 * virtual lane; every vector of its words gives two of floats, by a shift and by a mask. Entries side
 * by side, each to be widened, cost twice the instructions (d = 1,000 in cache, AVX2: 258
 * against 150 ns a gradient; rows of float 162). */
typedef uint32_t FN(words) __attribute__((vector_size(FL_VBYTES), aligned(FL_VBYTES), may_alias));
static inline __attribute__((always_inline)) V FN(load)(const D *x, int64_t v)
{
    const int64_t at = v & (NACC - 1);
    const FN(words) words = *(const FN(words) *)(x + (v - at) * VL + 2 * (at & (NACC / 2 - 1)) * VL);
    if (at < NACC / 2)
        return (V)(words << 16);
    return (V)(words & 0xffff0000u);
}
#define LOAD(x, v) FN(load)(x, v)
#else
#define LOAD(x, v) ((V)(*(const FN(uvec) *)((x) + (v) * VL)))
#endif

/* How rows lie in vectors: `full` whole ones and then one, perhaps whole too, that
 * ends with m features and the intercept's 1. */
typedef struct FN(shape) {
    int64_t full, bytes;
    int m;
    V one;                   /* the intercept's 1, in its lane */
    V penalised;             /* all bits set where l2 acts */
} FN(shape);

static inline FN(shape) FN(shape_of_rows)(const fl_shards *shards)
{
    const int64_t d = shards->n_features;
    FN(shape) shape = {.full = (d + shards->intercept - 1) / VL, .bytes = d * (int64_t)sizeof(D), .one = {0}};
    shape.m = (int)(d - shape.full * VL);
    shape.penalised = (V)(shape.one == 0);
    if (shards->intercept) {
        T one[VL] __attribute__((aligned(FL_VBYTES))) = {0};
        one[shape.m] = 1;
        shape.one = W_AT(one);
        shape.penalised = (V)(shape.one == 0);
    }
    return shape;
}

/* The last vector of a row. Rows of bfloat16 end with zeros. */
static inline __attribute__((always_inline)) V FN(load_last)(const D *x, const FN(shape) *shape)
{
#if FL_IS_BF16
    const V v = shape->m ? LOAD(x, shape->full) : (V){0};
#elif defined(FL_MASKED_LOAD)
    const V v = FL_MASKED_LOAD(x + shape->full * VL, shape->m);
#else
    T lanes[VL] __attribute__((aligned(FL_VBYTES))) = {0};
    for (int e = 0; e < VL; e++)
        if (e < shape->m)
            lanes[e] = x[shape->full * VL + e];
    const V v = W_AT(lanes);
#endif
    return (V)((LANE_BITS)v | (LANE_BITS)shape->one);
}

/* Lanes of a and then of b, picked by number: as many as a has, or (PICK4) four. */
#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#define SHUFFLE16(v, ...) __builtin_shufflevector(v, v, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (LANE_BITS){__VA_ARGS__})
#define SHUFFLE16(v, ...) __builtin_shuffle(v, (FN(bits16)){__VA_ARGS__})
#endif
#define PICK4(v, i, j, k, l) ((FN(four)){v[i], v[j], v[k], v[l]})
typedef T FN(four) __attribute__((vector_size(4 * sizeof(T)), may_alias));

/* Fold the lanes of one vector in halves, no wider than they are: a step waits for this. */
#define HALVES_OF(type, v) (((const type *)&(v))[0] + ((const type *)&(v))[1])
typedef T FN(lanes32) __attribute__((vector_size(32), may_alias));
typedef T FN(lanes16) __attribute__((vector_size(16), may_alias));
static inline __attribute__((always_inline)) T FN(fold)(V v)
{
#if FL_VBYTES == 64
    const FN(lanes32) half = HALVES_OF(FN(lanes32), v);
    FN(lanes16) s = HALVES_OF(FN(lanes16), half);
#elif FL_VBYTES == 32
    FN(lanes16) s = HALVES_OF(FN(lanes16), v);
#else
    FN(lanes16) s = v;
#endif
#if FL_IS_FLOAT
    s += SHUFFLE16(s, 2, 3, 0, 1);
    s += SHUFFLE16(s, 1, 0, 3, 2);
#else
    s += SHUFFLE16(s, 1, 0);
#endif
    return s[0];
}

/* The same for four vectors at once: they are woven together as they shrink, so that
 * one addition serves several. */
static inline __attribute__((always_inline)) FN(four) FN(fold_four)(const V *v)
{
#if VL == 16
    const V ab = SHUFFLE(v[0], v[1], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
                 SHUFFLE(v[0], v[1], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    const V cd = SHUFFLE(v[2], v[3], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
                 SHUFFLE(v[2], v[3], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    V abcd = SHUFFLE(ab, cd, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
             SHUFFLE(ab, cd, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    abcd += SHUFFLE(abcd, abcd, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    return PICK4(abcd, 0, 4, 8, 12) + PICK4(abcd, 1, 5, 9, 13);
#elif VL == 8
    const V ab = SHUFFLE(v[0], v[1], 0, 1, 2, 3, 8, 9, 10, 11) + SHUFFLE(v[0], v[1], 4, 5, 6, 7, 12, 13, 14, 15);
    const V cd = SHUFFLE(v[2], v[3], 0, 1, 2, 3, 8, 9, 10, 11) + SHUFFLE(v[2], v[3], 4, 5, 6, 7, 12, 13, 14, 15);
    const V acbd = SHUFFLE(ab, cd, 0, 1, 8, 9, 4, 5, 12, 13) + SHUFFLE(ab, cd, 2, 3, 10, 11, 6, 7, 14, 15);
    return PICK4(acbd, 0, 4, 2, 6) + PICK4(acbd, 1, 5, 3, 7);
#elif VL == 4
    const V ab = SHUFFLE(v[0], v[1], 0, 1, 4, 5) + SHUFFLE(v[0], v[1], 2, 3, 6, 7);
    const V cd = SHUFFLE(v[2], v[3], 0, 1, 4, 5) + SHUFFLE(v[2], v[3], 2, 3, 6, 7);
    return SHUFFLE(ab, cd, 0, 2, 4, 6) + SHUFFLE(ab, cd, 1, 3, 5, 7);
#else
    const V ab = SHUFFLE(v[0], v[1], 0, 2) + SHUFFLE(v[0], v[1], 1, 3);
    const V cd = SHUFFLE(v[2], v[3], 0, 2) + SHUFFLE(v[2], v[3], 1, 3);
    return (FN(four)){ab[0], ab[1], cd[0], cd[1]};
#endif
}

/* The same for as many vectors as one has lanes: row e's sum comes to lane e. The rows that
 * stand in one place of each 128 bits are folded first (fold_rows): four registers wait, not VL. */
#define ROWS_APART ((int)(16 / sizeof(T)))
#if VL == 16
#define HALVES(a, b) (SHUFFLE(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) + \
                      SHUFFLE(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))
#define QUARTERS(a, b) (SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) + \
                        SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31))
#define TWOS(a, b) (SHUFFLE(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) + \
                    SHUFFLE(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
#define ONES(a, b) (SHUFFLE(a, b, 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30) + \
                    SHUFFLE(a, b, 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31))
#elif VL == 8 && FL_IS_FLOAT
#define HALVES(a, b) (SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11) + SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15))
#define TWOS(a, b) (SHUFFLE(a, b, 0, 1, 8, 9, 4, 5, 12, 13) + SHUFFLE(a, b, 2, 3, 10, 11, 6, 7, 14, 15))
#define ONES(a, b) (SHUFFLE(a, b, 0, 2, 8, 10, 4, 6, 12, 14) + SHUFFLE(a, b, 1, 3, 9, 11, 5, 7, 13, 15))
#elif VL == 8
#define HALVES(a, b) (SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11) + SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15))
#define QUARTERS(a, b) (SHUFFLE(a, b, 0, 1, 4, 5, 8, 9, 12, 13) + SHUFFLE(a, b, 2, 3, 6, 7, 10, 11, 14, 15))
#define ONES(a, b) (SHUFFLE(a, b, 0, 8, 2, 10, 4, 12, 6, 14) + SHUFFLE(a, b, 1, 9, 3, 11, 5, 13, 7, 15))
#elif VL == 4 && FL_IS_FLOAT
#define TWOS(a, b) (SHUFFLE(a, b, 0, 1, 4, 5) + SHUFFLE(a, b, 2, 3, 6, 7))
#define ONES(a, b) (SHUFFLE(a, b, 0, 2, 4, 6) + SHUFFLE(a, b, 1, 3, 5, 7))
#elif VL == 4
#define HALVES(a, b) (SHUFFLE(a, b, 0, 1, 4, 5) + SHUFFLE(a, b, 2, 3, 6, 7))
#define ONES(a, b) (SHUFFLE(a, b, 0, 4, 2, 6) + SHUFFLE(a, b, 1, 5, 3, 7))
#else
#define ONES(a, b) (SHUFFLE(a, b, 0, 2) + SHUFFLE(a, b, 1, 3))
#endif

/* Of rows 0, ROWS_APART, 2 ROWS_APART, ...: each keeps 128 bits. */
static inline __attribute__((always_inline)) V FN(fold_rows)(const V *v)
{
#if FL_VBYTES == 64
    return QUARTERS(HALVES(v[0], v[ROWS_APART]), HALVES(v[2 * ROWS_APART], v[3 * ROWS_APART]));
#elif FL_VBYTES == 32
    return HALVES(v[0], v[ROWS_APART]);
#else
    return v[0];
#endif
}

/* Of what fold_rows made of rows from 0 on, from 1 on, ...: one lane a row. */
static inline __attribute__((always_inline)) V FN(fold_all)(const V *v)
{
#if FL_IS_FLOAT
    return ONES(TWOS(v[0], v[1]), TWOS(v[2], v[3]));
#else
    return ONES(v[0], v[1]);
#endif
}

/* A row sum runs over NACC vectors s0, s1, ... in turn: scalars and not an array, which
 * compilers would keep in memory. TERM(v) is what vector v adds. */
#if NACC == 2
#define EACH_SUM(DO) DO(0) DO(1)
#define FOLDED_SUMS (s0 + s1)
#elif NACC == 4
#define EACH_SUM(DO) DO(0) DO(1) DO(2) DO(3)
#define FOLDED_SUMS ((s0 + s2) + (s1 + s3))
#else
#define EACH_SUM(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#define FOLDED_SUMS (((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7)))
#endif
#define START_SUM(a) V s##a = {0};
#define ADD_TERM(a) s##a += TERM(j + a);
#define ADD_REST(a) \
    if (a < rest)   \
        s##a += TERM(j + a);
#define ADD_LAST(a) \
    if (a == rest)  \
        s##a += last;

/* <x, w> in VL lanes, still to be folded; w is aligned, padded with zeros to whole vectors. */
static inline __attribute__((always_inline)) V FN(row_dot)(const D *x, const T *w, const FN(shape) *shape)
{
#define TERM(v) LOAD(x, v) * W_AT(w + (v) * VL)
    const int64_t full = shape->full;
    int64_t j = 0;
    EACH_SUM(START_SUM)
    for (; j + NACC <= full; j += NACC) {
        EACH_SUM(ADD_TERM)
    }
    const int rest = (int)(full - j);
    EACH_SUM(ADD_REST)
    const V last = FN(load_last)(x, shape) * W_AT(w + full * VL);
    EACH_SUM(ADD_LAST)
    return FOLDED_SUMS;
#undef TERM
}

/* w <- w - (el2 w + c x) in one vector, which is returned; the running sum takes it
 * (weighted by alpha). */
static inline __attribute__((always_inline)) V FN(update_vector)(V x, T *w, T *sum, T c, V el2, int average, T alpha)
{
    const V old = W_AT(w);
    const V new = old - (el2 * old + c * x);
    W_AT(w) = new;
    if (average == FL_AVERAGE_UNIFORM)
        W_AT(sum) += new;
    else if (average == FL_AVERAGE_WEIGHTED)
        W_AT(sum) += alpha * new;
    return new;
}

/* The update with row x and, while w is at hand, the margin of row `next`: returned
 * as row_dot does. The lines of a row to come (NULL: none) are asked for on the way. */
static inline __attribute__((always_inline)) V FN(update_and_dot)(const D *x, const D *next, const D *coming, T *w,
                                                                  T *sum, const FN(shape) *shape, T c, T el2,
                                                                  int average, T alpha)
{
#define TERM(v)                   \
    LOAD(next, v) *       \
        FN(update_vector)(LOAD(x, v), w + (v) * VL, sum + (v) * VL, c, shrink, average, alpha)
    const int64_t full = shape->full;
    const V shrink = el2 - (V){0};
    int64_t j = 0;
    EACH_SUM(START_SUM)
    if (coming) {
        for (; j + NACC <= full; j += NACC) {
            for (int at = 0; at < NACC * VL * (int)sizeof(D); at += 64)
                __builtin_prefetch((const char *)(coming + j * VL) + at, 0, 2);
            EACH_SUM(ADD_TERM)
        }
        for (int64_t at = j * VL * (int64_t)sizeof(D); at < shape->bytes; at += 64)
            __builtin_prefetch((const char *)coming + at, 0, 2);
        __builtin_prefetch((const char *)coming + shape->bytes - 1, 0, 2);
    }
    for (; j + NACC <= full; j += NACC) {
        EACH_SUM(ADD_TERM)
    }
    const int rest = (int)(full - j);
    EACH_SUM(ADD_REST)
    const int64_t at = full * VL;
    const V last = FN(load_last)(next, shape) *
                   FN(update_vector)(FN(load_last)(x, shape), w + at, sum + at, c,
                                     (V)((LANE_BITS)shrink & (LANE_BITS)shape->penalised), average, alpha);
    EACH_SUM(ADD_LAST)
    return FOLDED_SUMS;
#undef TERM
}

/* Rows of a batch, which meet the same w: so many have their margins made together, as each takes NACC registers
 * for its sum. */
#if FL_VBYTES == 64
#define ROWS_A_DOT 4
#elif FL_VBYTES == 32 || defined(__aarch64__)
#define ROWS_A_DOT 2
#else
#define ROWS_A_DOT 1
#endif

/* w comes from memory once for all of them: GCC would take it as an operand of each multiplication. */
#if defined(__x86_64__)
#define IN_A_REGISTER(v) __asm__("" : "+v"(v))
#elif defined(__aarch64__)
#define IN_A_REGISTER(v) __asm__("" : "+w"(v))
#else
#define IN_A_REGISTER(v) (void)(v)
#endif

#define ENTRIES_A_LINE (64 / (int)sizeof(D))

/* The lines of n rows to come (n and `some` constants) that hold entries [j, j + some). */
static inline __attribute__((always_inline)) void FN(ask_for)(const D *const *coming, const int n, int64_t j,
                                                              const int some)
{
#pragma GCC unroll 4
    for (int g = 0; g < n; g++)
#pragma GCC unroll 4
        for (int e = 0; e < some; e += ENTRIES_A_LINE)
            __builtin_prefetch(coming[g] + j + e, 0, 2);
}

/* All from entry j on. A row that starts within a line ends in one more. */
static inline __attribute__((always_inline)) void FN(ask_for_rest)(const D *const *coming, const int n, int64_t j,
                                                                   const FN(shape) *shape)
{
    const int64_t d = shape->bytes / (int64_t)sizeof(D);
#pragma GCC unroll 4
    for (int g = 0; g < n; g++) {
        for (int64_t e = j; e < d; e += ENTRIES_A_LINE)
            __builtin_prefetch(coming[g] + e, 0, 2);
        __builtin_prefetch(coming[g] + d - 1, 0, 2);
    }
}

/* lanes[g] = row_dot of x[g], n <= ROWS_A_DOT. On the way n_coming rows to come are asked for; both are constants. */
static inline __attribute__((always_inline)) void FN(dot_rows)(const D *const *x, const int n, const T *w,
                                                               const FN(shape) *shape, const D *const *coming,
                                                               const int n_coming, V *lanes)
{
    const int64_t full = shape->full;
    V sums[ROWS_A_DOT][NACC] = {{{0}}};
    int64_t j = 0;
    for (; j + NACC <= full; j += NACC) {
        FN(ask_for)(coming, n_coming, j * VL, NACC * VL);
#pragma GCC unroll 8
        for (int a = 0; a < NACC; a++) {
            V at = W_AT(w + (j + a) * VL);
            IN_A_REGISTER(at);
#pragma GCC unroll 4
            for (int g = 0; g < n; g++)
                sums[g][a] += LOAD(x[g], j + a) * at;
        }
    }
    if (n_coming > 0)
        FN(ask_for_rest)(coming, n_coming, j * VL, shape);
    const int rest = (int)(full - j);
#pragma GCC unroll 4
    for (int g = 0; g < n; g++) {
#define TERM(v) LOAD(x[g], v) * W_AT(w + (v) * VL)
#define TAKE_SUM(a) V s##a = sums[g][a];
        EACH_SUM(TAKE_SUM)
        EACH_SUM(ADD_REST)
        const V last = FN(load_last)(x[g], shape) * W_AT(w + full * VL);
        EACH_SUM(ADD_LAST)
        lanes[g] = FOLDED_SUMS;
#undef TAKE_SUM
#undef TERM
    }
}

/* What rows of a batch are added to: f times what stands at `from`, and where the sum goes. */
typedef struct FN(batch_sum) {
    const T *from;
    V f, f_last;             /* f_last: of the last vector */
    T *update;               /* up to the step's last rows, and then: */
    T *w, *sum;              /* the iterate, which loses it; the running sum, which takes the iterate */
    int average;
    T alpha;
} FN(batch_sum);

/* One vector of the sum; ends, a constant: of the step's last rows. */
static inline __attribute__((always_inline)) void FN(put_vector)(const FN(batch_sum) *to, int64_t at, V update,
                                                                 const int ends)
{
    if (!ends) {
        W_AT(to->update + at) = update;
        return;
    }
    const V new = W_AT(to->w + at) - update;
    W_AT(to->w + at) = new;
    if (to->average == FL_AVERAGE_UNIFORM)
        W_AT(to->sum + at) += new;
    else if (to->average == FL_AVERAGE_WEIGHTED)
        W_AT(to->sum + at) += to->alpha * new;
}

/* Adds c[0] x[0], then c[1] x[1], ...: n rows of a batch. On the way n_coming rows to come are asked for. n, n_coming
 * and ends are constants. */
static inline __attribute__((always_inline)) void FN(add_rows)(const D *const *x, const T *c, const int n,
                                                               const FN(batch_sum) *to, const int ends,
                                                               const FN(shape) *shape, const D *const *coming,
                                                               const int n_coming)
{
    const int64_t full = shape->full;
    const int step = ENTRIES_A_LINE / VL;
    int64_t j = 0;
#define ADD_VECTOR(load, at, f)                                  \
    do {                                                         \
        V sum = (f) * W_AT(to->from + (at) * VL);                \
        _Pragma("GCC unroll 4")                                  \
        for (int g = 0; g < n; g++)                              \
            sum += c[g] * (load);                                \
        FN(put_vector)(to, (at) * VL, sum, ends);                \
    } while (0)
    if (n_coming > 0) {
        for (; j + step <= full; j += step) {
            FN(ask_for)(coming, n_coming, j * VL, ENTRIES_A_LINE);
#pragma GCC unroll 8
            for (int a = 0; a < step; a++)
                ADD_VECTOR(LOAD(x[g], j + a), j + a, to->f);
        }
        FN(ask_for_rest)(coming, n_coming, j * VL, shape);
    }
    for (; j < full; j++)
        ADD_VECTOR(LOAD(x[g], j), j, to->f);
    ADD_VECTOR(FN(load_last)(x[g], shape), full, to->f_last);
#undef ADD_VECTOR
}

/* A row's lines, into the second cache or (near, a constant) the first. */
static inline __attribute__((always_inline)) void FN(prefetch_lines)(const fl_shards *shards, int64_t row, int64_t d,
                                                                     const int near)
{
    const char *x = (const char *)ROW(row);
    const int64_t bytes = d * (int64_t)sizeof(D);
#define INTO_CACHE(line) (near ? __builtin_prefetch(line, 0, 3) : __builtin_prefetch(line, 0, 2))
    for (int64_t at = 0; at < bytes; at += 64)
        INTO_CACHE(x + at);
    /* A row that starts within a line ends in one more. */
    INTO_CACHE(x + bytes - 1);
#undef INTO_CACHE
}

/* Into the second cache: the first has few lines under way at once, and waits for memory take
 * them all (d = 1,000, two threads, out of cache: 190 ns a gradient against 231). */
static inline __attribute__((always_inline)) void FN(prefetch_row)(const fl_shards *shards, int64_t row, int64_t d)
{
    FN(prefetch_lines)(shards, row, d, 0);
    __builtin_prefetch((const T *)shards->y + row, 0, 3);
}

/* The lines of a row of more than four are asked for one by one, while another is added (update_and_dot). All at
 * once they fill the places that a core has for lines under way, and what the step reads must wait (d = 1,000, out
 * of cache, Zen 4: 240 ns a gradient on one thread, 165 one by one; rows in no order, two threads: 225 and 157). Each
 * must be asked for: one left to the hardware in two rows costs a third of that. */
static inline int FN(comes_by_lines)(int64_t d) { return d * (int64_t)sizeof(D) > 256; }

/* From there into the first cache, which takes no line for long: no hardware does it for rows
 * that are not in order (d = 100, two threads, rows at random: 31 ns a gradient against 43). */
static inline __attribute__((always_inline)) void FN(prefetch_near)(const fl_shards *shards, int64_t row, int64_t d)
{
    FN(prefetch_lines)(shards, row, d, 1);
}

/* How many rows ahead they come from the second cache, of each of `width` workers; 0: longer ones than 1 KB,
 * which gain nothing, are left to their loads. */
static inline int64_t FN(rows_near)(int64_t d, int64_t width)
{
    return d * (int64_t)sizeof(D) > 1024 ? 0 : width == 1 ? 4 : 2;
}

/* How many rows ahead to fetch, of each of `width` workers: 32 KB in all, but sixteen rows
 * at most and four at least. A row is first read while the one before it is added, so less
 * comes too late (d = 250, four workers, out of cache: 62 ns a gradient at one row ahead, 42
 * at four). Rows in order are fetched as well: workers in lockstep are more streams than the
 * hardware follows (d = 20, four workers: 18 against 30 ns). */
static inline int64_t FN(rows_ahead)(int64_t d, int64_t width)
{
    const int64_t row_bytes = d * (int64_t)sizeof(D) + 1;
    const int64_t rows = (row_bytes <= 2048 ? 16 : 32768 / row_bytes) / width;
    return rows > 4 ? rows : 4;
}

/* The same of short rows in batches, which are done before sixteen of them have come (d = 32,
 * batches of 32, two threads: 3.4 ns a gradient at 48 rows ahead, 4.8 at sixteen). */
static inline int64_t FN(rows_of_batches_ahead)(int64_t d)
{
    const int64_t rows = 6144 / (d * (int64_t)sizeof(D) + 1), least = FN(rows_ahead)(d, 1);
    return rows > FL_KEPT_BACK ? FL_KEPT_BACK : rows > least ? rows : least;
}
