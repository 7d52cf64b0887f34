/* A stream of fresh rows: what it is (Python fills it in), and where its rows lie while they
 * are at hand. stream_body.h makes them. */
#ifndef FASTLSGD_STREAM_H
#define FASTLSGD_STREAM_H

#include "draw.h"
#include "kernels.h"
#include "visits.h"

/* Purposes of draws: far above those of the epochs (draw.h). */
#define FL_PURPOSE_STREAM 0xFFFFFFF0u    /* normals of the features; number = block * entries + entry */
#define FL_PURPOSE_KURTOSIS 0xFFFFFFF1u  /* words beside them, numbered alike */
#define FL_PURPOSE_NOISE 0xFFFFFFF2u     /* the targets' normals */
#define FL_PURPOSE_LABEL 0xFFFFFFF3u     /* the labels' words */

/* Calls of Philox side by side (words.h), and the bytes of half of what they give. */
#define FL_CALLS 16
#define FL_HALF_CHUNK_BYTES (8 * FL_CALLS)
#define FL_STREAM_ROUNDS 8   /* of Philox; words.h says why */

#define FL_MOST_STREAM_ROWS 64

enum fl_target { FL_TARGET_NONE = 0, FL_TARGET_LINEAR = 1, FL_TARGET_LOGISTIC = 2 };

struct fl_stream {
    int target;
    int64_t rows_a_block;    /* at most FL_MOST_STREAM_ROWS; blocks are whole chunks ... */
    int64_t stride;          /* ... of rows so many entries apart */
    const void *scale;       /* what a normal is multiplied by: stride entries, and again up to a chunk beyond */
    const void *ones;        /* as many entries as a chunk has */
    const void *w_star;      /* padded with zeros as rows of W are */
    double noise;            /* standard deviation of a linear target */
    /* Entries are normal_part z + sign_part r, r = -1 or 1; or, thinned, normal_part z where a
     * word of 32 bits is below kept, and 0 elsewhere. */
    double normal_part, sign_part;
    int thinned;
    uint32_t kept;
    const void *factor;      /* columns of a lower triangle that multiplies rows; NULL for none */
    const void *spectrum;    /* of a quadratic, whose rows are the noise; NULL for none */
    void *X, *y;             /* per worker: a block of rows, and their targets ... */
    const uint32_t *row_ids; /* ... whose numbers are these ... */
    int64_t *block;          /* ... and which one, or -1 */
    /* Makes a block: of the instruction set in use, whichever runs the steps. */
    void (*make_block)(const fl_shards *, int64_t k, int64_t block);
};

/* As fl_rows_ahead: the rows of worker k from this visit on, *n of them at hand. None need be
 * fetched, as they have just been made. */
static inline const uint32_t *fl_stream_rows(const fl_shards *shards, int64_t k, int64_t visit, int64_t *n,
                                             int64_t *known)
{
    const fl_stream *stream = shards->stream;
    const int64_t block = visit / stream->rows_a_block, at = visit % stream->rows_a_block;
    if (stream->block[k] != block)
        stream->make_block(shards, k, block);
    *n = stream->rows_a_block - at;
    *known = 0;
    return stream->row_ids + k * stream->rows_a_block + at;
}

static inline const uint32_t *fl_rows_to_visit(const fl_shards *shards, int64_t k, int64_t visit, int64_t *n,
                                               int64_t *known)
{
    return shards->stream ? fl_stream_rows(shards, k, visit, n, known) : fl_rows_ahead(shards, k, visit, n, known);
}

#endif
