/* Margins and losses of many iterates over a block of FL_BLOCK_ROWS rows, in float64, on
 * one instruction set. Included by isa_body.h once.
 *
 * The same bits on every set, and for an iterate alone or among others: a margin is the
 * intercept, then chunk after chunk of FL_CHUNK features; a chunk runs in 4 lanes (lane j
 * mod 4 takes feature j), added as (0 + 2) + (1 + 3). Rows are summed in 4 lanes likewise;
 * of logistic losses without weights a lane multiplies factors and takes one logarithm.
 */

typedef struct fl_block {
    int n, weighted;                                       /* rows; the others of the block have weight 0 */
    double target[FL_BLOCK_ROWS], weight[FL_BLOCK_ROWS];
} fl_block;

/* Margins that changes of the losses are counted from, and what the losses need of them: see losses.h. */
typedef struct fl_reference {
    double margin[FL_BLOCK_ROWS], p[FL_BLOCK_ROWS], towards[FL_BLOCK_ROWS], share[FL_BLOCK_ROWS], loss[FL_BLOCK_ROWS];
} fl_reference;

/* What stays in registers of a product of FL_TILE_ROWS rows and FL_TILE_COLS iterates of a panel, FL_TILE_LANES
 * lanes at a time. AVX-512 multiplies by an entry where it lies, if each is used once; one that is first spread
 * over a register costs it an arithmetic slot (d = 100: 28 against 20 multiply-adds a nanosecond). */
#define FL_TILE_ROWS (FL_VBYTES == 64 ? 8 : 4)
#define FL_TILE_VECS (FL_VBYTES == 64 ? 1 : 2)
#define FL_TILE_LANES (FL_VBYTES == 64 ? 2 : 1)
#define FL_TILE_COLS (FL_TILE_VECS * FL_VBYTES / 8)

#define FL_VEC (FL_VBYTES / 8)
typedef double FLN(vec8) __attribute__((vector_size(FL_VBYTES), aligned(8), may_alias));
typedef uint64_t FLN(bits8) __attribute__((vector_size(FL_VBYTES), aligned(8), may_alias));
typedef double FLN(four8) __attribute__((vector_size(32), aligned(8), may_alias));
#define DV FLN(vec8)

#define D DV
#define U FLN(bits8)
#define PN(name) FLN(name)
#define BITS(x) ((FLN(bits8))(x))
#define DOUBLE(bits) ((DV)(bits))
#define WHERE(holds) ((FLN(bits8))(holds))
#include "parts.h"

/* acc += x_j w_j: one feature j of FL_TILE_ROWS rows of x, FL_CHUNK apart, FL_TILE_COLS columns of a panel w. */
static inline __attribute__((always_inline)) void FLN(tile_feature)(const double *x, const double *w, int64_t j,
                                                                    DV (*acc)[FL_TILE_VECS])
{
#pragma GCC unroll 8
    for (int r = 0; r < FL_TILE_ROWS; r++)
#pragma GCC unroll 2
        for (int c = 0; c < FL_TILE_VECS; c++)
            acc[r][c] += x[r * FL_CHUNK + j] * ((const DV *)(w + j * FL_PANEL))[c];
}

/* z += <x, w> over n features, z's rows FL_PANEL apart. */
static inline __attribute__((always_inline)) void FLN(tile)(const double *x, int64_t n, const double *w, double *z)
{
    DV half[FL_TILE_ROWS][FL_TILE_VECS];
#pragma GCC unroll 2
    for (int lane = 0; lane < 2; lane++) {   /* this one and the one two further */
        DV one[FL_TILE_ROWS][FL_TILE_VECS] = {{{0}}}, other[FL_TILE_ROWS][FL_TILE_VECS] = {{{0}}};
        int64_t j = lane;
        if (FL_TILE_LANES == 2)
            for (; j + 2 < n; j += 4) {
                FLN(tile_feature)(x, w, j, one);
                FLN(tile_feature)(x, w, j + 2, other);
            }
        else
            for (int64_t i = lane + 2; i < n; i += 4)
                FLN(tile_feature)(x, w, i, other);
        for (; j < n; j += 4)
            FLN(tile_feature)(x, w, j, one);
#pragma GCC unroll 8
        for (int r = 0; r < FL_TILE_ROWS; r++)
#pragma GCC unroll 2
            for (int c = 0; c < FL_TILE_VECS; c++)
                if (lane == 0)
                    half[r][c] = one[r][c] + other[r][c];
                else
                    ((DV *)(z + r * FL_PANEL))[c] += half[r][c] + (one[r][c] + other[r][c]);
    }
}

/* z += <x, w> of a chunk: all rows of the block, the first n_iterates columns of a panel. */
static void FLN(panel_margins)(const double *x, int64_t n, const double *w, int64_t n_iterates, double *z)
{
    for (int64_t c = 0; c < n_iterates && c < FL_PANEL; c += FL_TILE_COLS)
        for (int r = 0; r < FL_BLOCK_ROWS; r += FL_TILE_ROWS)
            FLN(tile)(x + r * FL_CHUNK, n, w + c, z + r * FL_PANEL + c);
}

/* Fill in what belongs to the margins. */
static void FLN(complete)(int loss, const fl_block *block, fl_reference *reference)
{
    for (int r = 0; r < FL_BLOCK_ROWS && loss == FL_LOGISTIC; r++) {
        const double y = block->target[r], m = y * reference->margin[r];
        double rest;
        const double q = fl_logistic_parts(m, &rest);
        reference->p[r] = q / (1.0 + q);
        reference->towards[r] = m < 0.0 ? y : -y;
        reference->share[r] = m < 0.0 ? -1.0 : 0.0 * m;   /* keeps a NaN */
        reference->loss[r] = fl_log1p_small(q) + rest;
    }
}

/* What is known of a row, spread over a vector, or of a vector of rows. */
typedef struct FLN(known) {
    DV target, weight, margin, p, towards, share;
} FLN(known);
static inline __attribute__((always_inline)) FLN(known) FLN(of_row)(const fl_block *block,
                                                                    const fl_reference *reference, int r)
{
    const DV zero = {0};
    FLN(known) row = {block->target[r] - zero, block->weight[r] - zero, zero, zero, zero, zero};
    if (reference) {
        row.margin = reference->margin[r] - zero;
        row.p = reference->p[r] - zero;
        row.towards = reference->towards[r] - zero;
        row.share = reference->share[r] - zero;
    }
    return row;
}
static inline __attribute__((always_inline)) FLN(known) FLN(of_rows)(const fl_block *block,
                                                                     const fl_reference *reference, int r)
{
    const DV zero = {0};
    FLN(known) rows = {*(const DV *)(block->target + r), *(const DV *)(block->weight + r), zero, zero, zero, zero};
    if (reference) {
        rows.margin = *(const DV *)(reference->margin + r);
        rows.p = *(const DV *)(reference->p + r);
        rows.towards = *(const DV *)(reference->towards + r);
        rows.share = *(const DV *)(reference->share + r);
    }
    return rows;
}

/* What a vector of samples contributes is log(1 + q) + rest; returns q. At margins z these are losses, and slope
 * becomes the weighted derivatives; with a reference they are changes of the losses from there by z. Steps too
 * long for that set bits of far and count 0 here: see far_terms. */
static inline __attribute__((always_inline)) DV FLN(parts)(int loss, int changes, FLN(known) known, DV z, DV *rest,
                                                           DV *slope, FLN(bits8) *far)
{
    const DV zero = {0};
    if (loss == FL_SQUARED) {
        const DV residual = (changes ? known.margin : z) - known.target;
        *rest = changes ? z * (residual + 0.5 * z) : 0.5 * residual * residual;
        if (slope)
            *slope = known.weight * residual;
        return zero;
    }
    if (changes) {
        const DV t = known.towards * z;
        const FLN(bits8) size = (FLN(bits8))t & 0x7fffffffffffffffull, is_near = (FLN(bits8))((DV)size <= FL_NEAR);
        *far |= ~is_near;
        return FLN(logistic_change_parts)(known.p, known.share, (DV)((FLN(bits8))t & is_near), rest);
    }
    const DV m = known.target * z, q = FLN(logistic_parts)(m, rest);
    if (slope)
        *slope = known.weight * FLN(logistic_slope)(m, q, known.target);
    return q;
}

/* What is left out above: the changes by long steps, z's rows apart. */
static double FLN(far_terms)(const fl_block *block, const fl_reference *reference, const double *z, int64_t apart)
{
    double sum = 0.0;
    for (int r = 0; r < block->n; r++) {
        const double u = z[r * apart];
        if (!(fabs(reference->towards[r] * u) <= FL_NEAR))
            sum += block->weight[r] *
                   (fl_logistic_loss(reference->margin[r] + u, block->target[r]) - reference->loss[r]);
    }
    return sum;
}
static inline int FLN(any)(FLN(bits8) far)
{
    uint64_t any = 0;
    for (int c = 0; c < FL_VEC; c++)
        any |= far[c];
    return any != 0;
}

/* The logarithm of the product of four lanes. Factors of losses are at most 2; those of changes lie between 1/2 and
 * exp(8), and all of a block together could come too near to 0 for their last digits. */
static inline DV FLN(log_of_lanes)(int changes, DV a, DV b, DV c, DV d)
{
    if (changes)
        return (FLN(log1p)(a) + FLN(log1p)(c)) + (FLN(log1p)(b) + FLN(log1p)(d));
    return FLN(log1p)(FLN(times)(FLN(times)(a, c), FLN(times)(b, d)));
}

/* sums[c] += what the rows of a block contribute at iterate c, for FL_VEC iterates whose margins are columns of z,
 * FL_PANEL apart. The weighted derivatives go to slope, unless that is NULL, in the same order; it may be z. */
static inline __attribute__((always_inline)) void FLN(column_terms)(int loss, int weighted, const double *z,
                                                                    const fl_block *block,
                                                                    const fl_reference *reference, double *slope,
                                                                    double *sums)
{
    const int products = loss == FL_LOGISTIC && !weighted, logarithms = loss == FL_LOGISTIC && weighted;
    const DV zero = {0};
    DV product[4], lanes[4], factor[FL_BLOCK_ROWS / 4], other[FL_BLOCK_ROWS / 4];
    FLN(bits8) far = {0};
    for (int e = 0; e < 4; e++) {
        DV by = zero, lane = zero;
        for (int r = e; r < block->n; r += 4) {
            const FLN(known) row = FLN(of_row)(block, reference, r);
            DV rest, slopes;
            const DV q = FLN(parts)(loss, reference != NULL, row, *(const DV *)(z + r * FL_PANEL), &rest,
                                    slope ? &slopes : NULL, &far);
            if (slope)
                *(DV *)(slope + r * FL_PANEL) = slopes;
            if (products)
                by = FLN(times)(by, q);
            else if (!logarithms)
                rest *= row.weight;
            factor[r / 4] = q;
            other[r / 4] = rest;
            if (!logarithms)
                lane += rest;
        }
        /* Logarithms by themselves: chains of half the length, of which the processor overlaps more (64 iterates,
         * AVX2: 1.16 instead of 1.28 times as long as without weights, excesses 1.27 instead of 1.39). */
        for (int r = e; logarithms && r < block->n; r += 4) {
            const DV q = factor[r / 4], rest = other[r / 4];
            lane += (rest + (reference ? FLN(log1p)(q) : FLN(log1p_small)(q))) * (block->weight[r] - zero);
        }
        product[e] = by;
        lanes[e] = lane;
    }
    *(DV *)sums += (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
    if (products)
        *(DV *)sums += FLN(log_of_lanes)(reference != NULL, product[0], product[1], product[2], product[3]);
    if (reference && FLN(any)(far))
        for (int c = 0; c < FL_VEC; c++)
            sums[c] += FLN(far_terms)(block, reference, z + c, FL_PANEL);
}

/* *sum += the same of one iterate, whose margins lie side by side, as do its derivatives. */
static inline __attribute__((always_inline)) void FLN(row_terms)(int loss, int weighted, const double *z,
                                                                 const fl_block *block, const fl_reference *reference,
                                                                 double *slope, double *sum)
{
    const int products = loss == FL_LOGISTIC && !weighted;
    double q[FL_BLOCK_ROWS], value[FL_BLOCK_ROWS];
    FLN(bits8) far = {0};
    FLN(four8) product = {0}, lane = {0};
    for (int r = 0; r < FL_BLOCK_ROWS; r += FL_VEC) {
        const FLN(known) rows = FLN(of_rows)(block, reference, r);
        DV rest;
        const DV its = FLN(parts)(loss, reference != NULL, rows, *(const DV *)(z + r), &rest,
                                  slope ? (DV *)(slope + r) : NULL, &far);
        *(DV *)(q + r) = its;
        if (loss == FL_LOGISTIC && weighted)
            rest += reference ? FLN(log1p)(its) : FLN(log1p_small)(its);
        if (!products)
            rest *= rows.weight;
        *(DV *)(value + r) = rest;
    }
    for (int r = block->n; r < FL_BLOCK_ROWS; r++)
        q[r] = value[r] = 0.0;
    for (int r = 0; r < FL_BLOCK_ROWS; r += 4) {
        const FLN(four8) by = *(const FLN(four8) *)(q + r);
        product = product + (by + product * by);
        lane += *(const FLN(four8) *)(value + r);
    }
    *sum += (lane[0] + lane[2]) + (lane[1] + lane[3]);
    if (products) {
        const DV zero = {0};
        *sum += FLN(log_of_lanes)(reference != NULL, product[0] - zero, product[1] - zero, product[2] - zero,
                                  product[3] - zero)[0];
    }
    if (reference && FLN(any)(far))
        *sum += FLN(far_terms)(block, reference, z, 1);
}

/* One compiled loop for each loss and each kind of term. */
#define FL_EACH_KIND(terms, loss, weighted)                                  \
    (reference ? terms(loss, weighted, z, block, reference, NULL, sums)      \
     : slope   ? terms(loss, weighted, z, block, NULL, slope, sums)          \
               : terms(loss, weighted, z, block, NULL, NULL, sums))
#define FL_DEFINE_SUM(name, terms)                                                                               \
    static void name(int loss, const double *z, const fl_block *block, const fl_reference *reference,            \
                     double *slope, double *sums)                                                                \
    {                                                                                                            \
        loss == FL_SQUARED ? FL_EACH_KIND(terms, FL_SQUARED, 1)                                                  \
        : block->weighted  ? FL_EACH_KIND(terms, FL_LOGISTIC, 1)                                                 \
                           : FL_EACH_KIND(terms, FL_LOGISTIC, 0);                                                \
    }
FL_DEFINE_SUM(FLN(sum_rows), FLN(row_terms))
FL_DEFINE_SUM(FLN(sum_columns), FLN(column_terms))
#undef FL_EACH_KIND
#undef FL_DEFINE_SUM
#undef DV
