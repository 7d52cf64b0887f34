/* Margins and losses of many iterates over a block of FL_BLOCK_ROWS rows, in float64, on
 * one instruction set. Included by isa_body.h once.
 *
 * The same bits on every set, and for an iterate alone or among others: a margin is the
 * intercept, then chunk after chunk of FL_CHUNK features; a chunk runs in 4 lanes (lane j
 * mod 4 takes feature j), added as (0 + 2) + (1 + 3). Rows are summed in 4 lanes likewise.
 */

typedef struct fl_block {
    double target[FL_BLOCK_ROWS], weight[FL_BLOCK_ROWS];   /* weight 0 beyond the last row */
} fl_block;

/* Margins that changes of the losses are counted from, and what the losses need of them. */
typedef struct fl_reference {
    double margin[FL_BLOCK_ROWS], p[FL_BLOCK_ROWS], loss[FL_BLOCK_ROWS];
} fl_reference;

/* Iterates, FL_TILE_COLS of a panel, that stay in registers with FL_TILE_ROWS rows. */
#define FL_TILE_ROWS (FL_VBYTES == 64 ? 8 : 4)
#define FL_TILE_VECS 2
#define FL_TILE_COLS (FL_TILE_VECS * FL_VBYTES / 8)

typedef double FLN(vec8) __attribute__((vector_size(FL_VBYTES), aligned(8), may_alias));
#define DV FLN(vec8)

/* z += <x, w> over n features: FL_TILE_ROWS rows of x, FL_CHUNK apart, FL_TILE_COLS
 * columns of a panel w and of z, FL_PANEL apart. */
static inline __attribute__((always_inline)) void FLN(tile)(const double *x, int64_t n, const double *w, double *z)
{
    DV half[2][FL_TILE_ROWS][FL_TILE_VECS] = {{{{0}}}};
    for (int lane = 0; lane < 4; lane++) {
        DV acc[FL_TILE_ROWS][FL_TILE_VECS] = {{{0}}};
        for (int64_t j = lane; j < n; j += 4)
#pragma GCC unroll 8
            for (int r = 0; r < FL_TILE_ROWS; r++)
#pragma GCC unroll 2
                for (int c = 0; c < FL_TILE_VECS; c++)
                    acc[r][c] += x[r * FL_CHUNK + j] * ((const DV *)(w + j * FL_PANEL))[c];
#pragma GCC unroll 8
        for (int r = 0; r < FL_TILE_ROWS; r++)
#pragma GCC unroll 2
            for (int c = 0; c < FL_TILE_VECS; c++)
                half[lane % 2][r][c] += acc[r][c];
    }
    for (int r = 0; r < FL_TILE_ROWS; r++)
        for (int c = 0; c < FL_TILE_VECS; c++)
            ((DV *)(z + r * FL_PANEL))[c] += half[0][r][c] + half[1][r][c];
}

/* z += <x, w> of a chunk: all rows of the block, the first n_iterates columns of a panel. */
static void FLN(panel_margins)(const double *x, int64_t n, const double *w, int64_t n_iterates, double *z)
{
    for (int64_t c = 0; c < n_iterates && c < FL_PANEL; c += FL_TILE_COLS)
        for (int r = 0; r < FL_BLOCK_ROWS; r += FL_TILE_ROWS)
            FLN(tile)(x + r * FL_CHUNK, n, w + c, z + r * FL_PANEL + c);
}

/* Fill in p and loss from the margins. */
static void FLN(complete)(int loss, const fl_block *block, fl_reference *reference)
{
    for (int r = 0; r < FL_BLOCK_ROWS; r++) {
        reference->p[r] = loss == FL_SQUARED ? 0.0 : fl_logistic_p(reference->margin[r], block->target[r]);
        reference->loss[r] = fl_loss(loss, reference->margin[r], block->target[r]);
    }
}

/* What one sample contributes: its loss, or with a reference margin the change of its loss
 * from there by z. */
static inline __attribute__((always_inline)) double FLN(term)(int loss, const fl_reference *reference, int r, double z,
                                                              double y)
{
    if (!reference)
        return fl_loss(loss, z, y);
    return loss == FL_SQUARED ? fl_squared_change(reference->margin[r], z, y)
                              : fl_logistic_change(reference->margin[r], reference->p[r], reference->loss[r], z, y);
}

/* Return sum_r weight[r] term(z[r]), and slope[r] = weight[r] loss'(z[r]) unless it is NULL. */
static inline __attribute__((always_inline)) double FLN(row_terms)(int loss, const double *restrict z,
                                                                   const fl_block *restrict block,
                                                                   const fl_reference *restrict reference,
                                                                   double *restrict slope)
{
    double value[FL_BLOCK_ROWS], lanes[4] = {0};
    for (int r = 0; r < FL_BLOCK_ROWS; r++)
        value[r] = block->weight[r] * FLN(term)(loss, reference, r, z[r], block->target[r]);
    if (slope)
        for (int r = 0; r < FL_BLOCK_ROWS; r++)
            slope[r] = block->weight[r] * fl_dloss(loss, z[r], block->target[r]);
    for (int r = 0; r < FL_BLOCK_ROWS; r += 4)
        for (int e = 0; e < 4; e++)
            lanes[e] += value[r + e];
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

/* The same for FL_TILE_COLS iterates at once, whose margins are columns of z: sums[c] +=.
 * slope may be z. */
static inline __attribute__((always_inline)) void FLN(column_terms)(int loss, const double *z,
                                                                    const fl_block *restrict block,
                                                                    const fl_reference *restrict reference,
                                                                    double *slope, double *restrict sums)
{
    double lanes[4][FL_TILE_COLS] = {{0}};
    for (int r = 0; r < FL_BLOCK_ROWS; r += 4)
        for (int e = 0; e < 4; e++) {
            const double weight = block->weight[r + e], y = block->target[r + e];
            for (int c = 0; c < FL_TILE_COLS; c++) {
                const double at = z[(r + e) * FL_PANEL + c];
                lanes[e][c] += weight * FLN(term)(loss, reference, r + e, at, y);
            }
            if (slope)
                for (int c = 0; c < FL_TILE_COLS; c++)
                    slope[(r + e) * FL_PANEL + c] = weight * fl_dloss(loss, z[(r + e) * FL_PANEL + c], y);
        }
    for (int c = 0; c < FL_TILE_COLS; c++)
        sums[c] += (lanes[0][c] + lanes[2][c]) + (lanes[1][c] + lanes[3][c]);
}

/* One compiled loop for each loss and each kind of term. */
#define FL_EACH_KIND(terms, loss, z, block, reference, slope, ...)         \
    (reference ? terms(loss, z, block, reference, NULL __VA_ARGS__)       \
     : slope   ? terms(loss, z, block, NULL, slope __VA_ARGS__)           \
               : terms(loss, z, block, NULL, NULL __VA_ARGS__))
static double FLN(sum_rows)(int loss, const double *z, const fl_block *block, const fl_reference *reference,
                            double *slope)
{
    return loss == FL_SQUARED ? FL_EACH_KIND(FLN(row_terms), FL_SQUARED, z, block, reference, slope)
                              : FL_EACH_KIND(FLN(row_terms), FL_LOGISTIC, z, block, reference, slope);
}
static void FLN(sum_columns)(int loss, const double *z, const fl_block *block, const fl_reference *reference,
                             double *slope, double *sums)
{
    if (loss == FL_SQUARED)
        FL_EACH_KIND(FLN(column_terms), FL_SQUARED, z, block, reference, slope, , sums);
    else
        FL_EACH_KIND(FLN(column_terms), FL_LOGISTIC, z, block, reference, slope, , sums);
}
#undef FL_EACH_KIND
#undef DV
