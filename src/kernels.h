/* The compiled floors: what the team (team.c, passes.c) and the typed border
 * (_kernels.pyx) call. No Python.h: a C program can use these with threads of
 * its own.
 *
 *   scalar  arith.h, draw.h, losses.h     one number, one draw, one loss
 *           parts.h                       losses of passes, many numbers at a time
 *           words.h, normals.h            draws and normal numbers, a vector of them
 *   row     row_body.h                    one row of X: its margin, its update
 *           sparse_body.h                 the same for a CSR row, and its worker floor: sparse_steps
 *   worker  worker_body.h, visits.h       local steps of a worker: serial, no lock
 *           batch_body.h                  the same with many rows a step
 *           stream.h, stream_body.h       fresh rows, made block by block
 *           scales.h, sparse_average.h    what only CSR runs have: their scales, the mean of changed coordinates
 *           mean_body.h                   the mean of all workers
 *           pass_body.h, margins.h        objectives and gradients, many rows at a time
 *           sparse_pass.h                 the same on CSR rows
 *   team    team.c                        many workers, threads, averaging
 *           passes.c                      passes over the data, shared out by blocks of rows
 *           replicates.c                  many small runs, one thread each
 */
#ifndef FASTLSGD_KERNELS_H
#define FASTLSGD_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum fl_dtype { FL_FLOAT32 = 0, FL_FLOAT64 = 1, FL_BF16 = 2 /* of X alone: the rest is float32 */ };
enum fl_sampling { FL_RESHUFFLE = 0, FL_REPLACEMENT = 1, FL_BLOCKS = 2, FL_STREAM = 3 };
enum fl_average { FL_AVERAGE_NONE = 0, FL_AVERAGE_UNIFORM = 1, FL_AVERAGE_WEIGHTED = 2 };

/* Largest number of visits looked up ahead of the steps that make them, and how many of
 * them are kept back: as many as rows are fetched ahead at most. */
#define FL_VISITS 256
#define FL_KEPT_BACK 48
/* Most workers that one thread advances in lockstep. */
#define FL_LOCKSTEP 4
/* float32 running sums flush into float64 where t is a multiple of this. */
#define FL_FLUSH 1024

/* Rows of W and of its sums are padded with zeros to this many entries, so that
 * whole vectors may be read and written on every instruction set, and that workers never
 * meet in two lines side by side: processors that fetch lines in pairs would send them
 * back and forth between two cores at every step (d = 100, two threads: 43 against 25 ns
 * a gradient). */
#define FL_PAD 32
/* Rows of bfloat16 lie in blocks of so many entries, lines of the cache, the last one filled up with
 * zeros. Its words hold entry i in their lower half and entry i + 16 in their upper one. */
#define FL_BF16_BLOCK 32

typedef struct fl_stream fl_stream;   /* stream.h */

/* Rows of X dealt to workers. "Position" numbers the dealt rows: worker k owns
 * positions start[k] .. start[k+1]-1, in the order of its first epoch. */
typedef struct fl_shards {
    int dtype;
    int sampling;
    int whole;               /* draw with replacement from all rows, not from the shard */
    int intercept;           /* an implicit last coordinate equal to 1, not penalised */
    int64_t n_samples, n_features, n_workers;
    int bf16;                /* X holds bfloat16: rows of blocks, see FL_BF16_BLOCK */
    const void *X;           /* rows of n_features entries; of a CSR matrix its data ... */
    ptrdiff_t x_stride;      /* ... this many entries apart */
    const void *indices;     /* CSR: the column of each stored entry; NULL for dense rows ... */
    const void *indptr;      /* ... n_samples + 1: where rows begin in X and indices */
    int wide;                /* indices and indptr are int64, else int32 */
    int64_t n_stored;        /* entries of X and of indices */
    const void *y;           /* same dtype as X */
    const void *s;           /* sample weights, or NULL for 1 */
    const int64_t *start;    /* n_workers + 1 */
    const uint32_t *order;   /* position -> row; NULL where they are the same */
    uint32_t *visits;        /* position -> row for the epoch below; NULL if one epoch is all */
    int64_t *visits_epoch;   /* per worker: the epoch that visits holds */
    int64_t rows_a_block;    /* FL_BLOCKS: rows of a block ... */
    uint32_t *block_ids;     /* ... and room for their numbers: worker k's from start[k] / rows_a_block + k on */
    uint32_t *ahead;         /* per worker: FL_VISITS rows to come ... */
    int64_t *ahead_first;    /* ... from this visit on ... */
    int64_t *ahead_n;        /* ... so many; 0 at first */
    int64_t n_visits;        /* of every worker in the whole run: none is looked up beyond */
    uint64_t seed;
    const fl_stream *stream;   /* FL_STREAM: X and y are its block at hand; else NULL */
} fl_shards;

/* How entries of X are stored: enum fl_dtype. */
static inline int fl_storage(const fl_shards *shards)
{
    return shards->bf16 ? FL_BF16 : shards->dtype;
}

/* What one local step does. */
typedef struct fl_step {
    int loss;                /* index into the table of losses.h */
    int average;             /* enum fl_average */
    int64_t batch_size;
    double l2;
    int64_t n_params;        /* n_features + intercept */
    int64_t ld;              /* entries between rows of W and of its sums, a multiple of FL_PAD */
} fl_step;

/* Buffers of one thread, ld entries each, 64-byte aligned. */
typedef struct fl_scratch {
    void *mean;              /* of all workers, at the end of the last round */
    void *update;            /* the sum over a batch */
    void *slopes;            /* CSR: batch_size entries ... */
    uint32_t *rows;          /* ... and as many rows */
} fl_scratch;

/* Features whose bits fill a cache line of a mask: the smallest task of an averaging
 * of a CSR run. */
#define FL_MARKED_BLOCK 512
static inline int64_t fl_marked_ld(int64_t ld)   /* words between the masks of two workers */
{
    return (ld + FL_MARKED_BLOCK - 1) / FL_MARKED_BLOCK * (FL_MARKED_BLOCK / 32);
}

/* The averaging of a CSR run: see sparse_average.h. */
typedef struct fl_averaging {
    void *W;
    int64_t n_workers, ld;
    const double *weights;
    double sum_of_weights;
    uint32_t *changed;       /* bit j & 31 of word j >> 5, marked_ld words a worker; cleared */
    int64_t marked_ld;
    int everything;          /* others may have written to W: look at every feature */
    double *owed;            /* takes what rounding took from the mean ... */
    double gain;             /* ... this many times */
    int64_t intercept;       /* its coordinate, or -1 */
} fl_averaging;

struct fl_scale;             /* scales.h */

/* Passes over the data take so many rows ... */
#define FL_BLOCK_ROWS 32
/* ... and so many features at a time; iterates lie in panels of so many, ... */
#define FL_CHUNK 128
#define FL_PANEL 16
/* ... unless they are fewer than this. */
#define FL_FEW_ITERATES 8

/* Iterates, float64, to be evaluated in one pass. */
typedef struct fl_iterates {
    int64_t n;
    const double *w;            /* n rows of n_features; and again: */
    const double *panels;       /* w_j's entry e at [(j / FL_PANEL * n_features + e) * FL_PANEL + j % FL_PANEL] */
    const double *intercepts;   /* n, zeros up to a multiple of FL_PANEL */
} fl_iterates;

/* Doubles of work that one thread needs: a chunk of the rows, and their margins. */
static inline int64_t fl_pass_doubles(int64_t n_iterates)
{
    return FL_BLOCK_ROWS * (FL_CHUNK + (n_iterates + FL_PANEL - 1) / FL_PANEL * FL_PANEL);
}

/* The functions that are compiled once per instruction set; [dtype] picks, [fl_storage] local_steps. */
typedef struct fl_isa {
    const char *name;
    /* Advance workers k .. k + width - 1 (width <= FL_LOCKSTEP) from t0 by n local
     * steps: w, their running sums (float32 sums flush into sum64; for float64 sum
     * is sum64), rows ld apart. eta[0] belongs to step t0 + 1; alpha, the weights of
     * the average, likewise. */
    void (*local_steps[3])(const fl_shards *, const fl_step *, int64_t k, int64_t width, int64_t t0, int64_t n,
                           const double *eta, const double *alpha, void *w, void *sum, double *sum64,
                           const fl_scratch *);
    /* The same for one worker of a CSR run, [dtype][wide]: v and u of scales.h, and the
     * worker's bits, or NULL. Returns 1 if X is not what it was when it was checked. */
    int (*sparse_steps[2][2])(const fl_shards *, const fl_step *, int64_t k, int64_t t0, int64_t n,
                              const struct fl_scale *, void *v, double *u, uint32_t *changed, const fl_scratch *);
    /* Make a block of a stream's rows for worker k. */
    void (*make_block[2])(const fl_shards *, int64_t k, int64_t block);
    /* Set the bits of what visits first .. first + n - 1 of worker k have changed. */
    void (*mark_visits[2][2])(const fl_shards *, int64_t k, int64_t first, int64_t n, uint32_t *changed);
    /* Average features [first, last), whole blocks; adds to n_floats what workers that
     * send only changed coordinates would have sent. Returns the first worker with an
     * entry that is not finite, or -1. */
    int64_t (*average_changed[2])(const fl_averaging *, int64_t first, int64_t last, int64_t *n_floats);
    /* out = sum_k weights[k] W[k], in float64, worker 0 first, rounded once; written to
     * n_copies rows (ld apart, none of them in W) as well. */
    void (*mean)(const void *W, int dtype, int64_t n_workers, int64_t ld, int64_t n_params,
                 const double *weights, void *out, void *copies, int64_t n_copies);
    /* Over rows [first, last), for every iterate j: sums[j] += sum_i s_i loss(z_ij, y_i) and,
     * unless gradients is NULL, gradients[j] += sum_i s_i loss'(z_ij, y_i) x_i, n_params
     * apart. With changes (and no gradients) iterate 0 is a reference whose sum is left
     * alone, the others are differences from it, and their sums those of
     * s_i (loss(z_i0 + z_ij, y_i) - loss(z_i0, y_i)). work: fl_pass_doubles entries. */
    void (*evaluate[2])(const fl_shards *, int loss, int64_t first, int64_t last, const fl_iterates *, int changes,
                        double *sums, double *gradients, double *work);
    /* Over rows [first, last): out = {largest |x|^2, sum |x|^2, sum |x|^4, a sum
     * that is finite if and only if X, y and s are}. */
    void (*scan[2])(const fl_shards *, int64_t first, int64_t last, double out[4]);
    /* The same for CSR rows. */
    void (*sparse_evaluate[2][2])(const fl_shards *, int loss, int64_t first, int64_t last, const fl_iterates *,
                                  int changes, double *sums, double *gradients, double *work);
    void (*sparse_scan[2][2])(const fl_shards *, int64_t first, int64_t last, double out[4], double *work);
    int (*sparse_copy[2][2])(const fl_shards *, int64_t first, int64_t last, void *to_x, void *to_indices,
                             const void *to_indptr);
} fl_isa;

/* NULL-terminated, fastest last; the ones that this processor lacks are skipped
 * by fl_supported. */
extern const fl_isa *const fl_isas[];
int fl_supported(const fl_isa *);

#endif
