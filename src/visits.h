/* Worker floor: which rows a worker visits, numbered over the whole run.
 *
 * Visit v (from 0) of worker k under reshuffle is entry v mod n_k of epoch
 * v div n_k. Epoch 0 is the shard's own order; epoch e shuffles that order with the
 * stream (seed, k, e), whole or (sampling in blocks) block by block. Nothing is
 * remembered but the epoch at hand, which can be made again at any time: a run may be
 * cut anywhere.
 */
#ifndef FASTLSGD_VISITS_H
#define FASTLSGD_VISITS_H

#include <string.h>

#include "draw.h"
#include "kernels.h"

static inline void fl_make_epoch(const fl_shards *shards, int64_t k, int64_t epoch)
{
    const int64_t start = shards->start[k], n = shards->start[k + 1] - start;
    const uint32_t *order = shards->order ? shards->order + start : NULL;
    const uint32_t purpose = (uint32_t)(FL_PURPOSE_EPOCH + epoch);
    uint32_t *visits = shards->visits + start;
    if (shards->sampling == FL_BLOCKS)
        fl_shuffle_blocks(order, (uint32_t)start, visits, n, shards->rows_a_block,
                          shards->block_ids + start / shards->rows_a_block + k, shards->seed, (uint32_t)k, purpose);
    else {
        for (int64_t i = 0; i < n; i++)
            visits[i] = order ? order[i] : (uint32_t)(start + i);
        fl_shuffle(visits, n, shards->seed, (uint32_t)k, purpose, 0);
    }
    shards->visits_epoch[k] = epoch;
}

/* rows[i] = the row of visit first + i, i < n. */
static inline void fl_reshuffled_rows(const fl_shards *shards, int64_t k, int64_t first, int64_t n, uint32_t *rows)
{
    const int64_t start = shards->start[k], shard = shards->start[k + 1] - start;
    while (n > 0) {
        const int64_t epoch = first / shard, at = first % shard;
        const int64_t some = n < shard - at ? n : shard - at;
        if (epoch == 0 && !shards->order) {
            for (int64_t i = 0; i < some; i++)
                rows[i] = (uint32_t)(start + at + i);
        } else {
            if (epoch > 0 && shards->visits_epoch[k] != epoch)
                fl_make_epoch(shards, k, epoch);
            const uint32_t *from = epoch > 0 ? shards->visits : shards->order;
            memcpy(rows, from + start + at, (size_t)some * sizeof *rows);
        }
        rows += some;
        first += some;
        n -= some;
    }
}

/* The same with replacement: visit v is draw v of worker k. */
static inline void fl_drawn_rows(const fl_shards *shards, int64_t k, int64_t first, int64_t n, uint32_t *rows)
{
    const int64_t start = shards->whole ? 0 : shards->start[k];
    const uint32_t among =
        (uint32_t)(shards->whole ? shards->n_samples : shards->start[k + 1] - shards->start[k]);
    const uint32_t *order = shards->whole ? NULL : shards->order;
    int64_t number = first;
    while (number < first + n) {
        uint64_t draws[2 * FL_PAIRS];
        uint32_t drawn[2 * FL_PAIRS];
        fl_draws(shards->seed, (uint32_t)k, FL_PURPOSE_ROW, (uint64_t)number >> 1, draws);
        for (int i = 0; i < 2 * FL_PAIRS; i++)
            drawn[i] = fl_below(draws[i], among);
        int64_t skip = number & 1;
        for (; skip < 2 * FL_PAIRS && number < first + n; skip++, number++) {
            const uint32_t at = (uint32_t)start + drawn[skip];
            rows[number - first] = order ? order[at] : at;
        }
    }
}

/* The rows of worker k from this visit on. They are looked up FL_VISITS at a time, so
 * that rounds of one step do not pay for it; *known says how many stand there, to be
 * fetched, and *n how many of them (>= 1) to visit before asking again: the last ones
 * are kept back, so that none is visited that could not be fetched in time, and not looked
 * up again. */
static inline const uint32_t *fl_rows_ahead(const fl_shards *shards, int64_t k, int64_t visit, int64_t *n,
                                            int64_t *known)
{
    uint32_t *ahead = shards->ahead + k * FL_VISITS;
    int64_t at = visit - shards->ahead_first[k];
    /* The run's last rows are visited to the end. */
    const int64_t last = shards->ahead_first[k] + shards->ahead_n[k];
    int64_t usable = shards->ahead_n[k] - (last < shards->n_visits ? FL_KEPT_BACK : 0);
    if (at < 0 || at >= usable) {
        const int64_t left = shards->n_visits - visit;
        const int64_t some = left < FL_VISITS ? left : FL_VISITS;
        const int64_t kept = at >= 0 && at < shards->ahead_n[k] ? shards->ahead_n[k] - at : 0;
        memmove(ahead, ahead + (kept ? at : 0), (size_t)kept * sizeof *ahead);
        if (shards->sampling != FL_REPLACEMENT)
            fl_reshuffled_rows(shards, k, visit + kept, some - kept, ahead + kept);
        else
            fl_drawn_rows(shards, k, visit + kept, some - kept, ahead + kept);
        shards->ahead_first[k] = visit;
        shards->ahead_n[k] = some;
        usable = some - (some < left ? FL_KEPT_BACK : 0);
        at = 0;
    }
    *n = usable - at;
    *known = shards->ahead_n[k] - at;
    return ahead + at;
}

/* Whether this visit and the next ones go through X in order. */
static inline int fl_in_order(const fl_shards *shards, int64_t k, int64_t visit)
{
    return !shards->order && shards->sampling != FL_REPLACEMENT && visit < shards->start[k + 1] - shards->start[k];
}

/* Bytes of rows that are fetched far ahead, of all workers together: half of a second cache. */
#define FL_FAR_BYTES (512 * 1024)

/* The rows of worker k that are to be fetched while this visit and the next ones are made, where sampling goes in
 * blocks: a block ahead of them, *n of them; none (*n = 0) near the end of an epoch, and where so many workers take
 * turns that what has been fetched would not stay. A block's rows come all at once where they are fetched a few rows
 * ahead: memory is waited for at its start, and idle at its end (d = 20, two threads: 13.4 ns a gradient against
 * 17). */
static inline const uint32_t *fl_rows_far_ahead(const fl_shards *shards, int64_t k, int64_t visit, int64_t row_bytes,
                                                int64_t *n)
{
    *n = 0;
    if (shards->sampling != FL_BLOCKS)
        return NULL;
    const int64_t start = shards->start[k], shard = shards->start[k + 1] - start;
    const int64_t most = FL_FAR_BYTES / (shards->n_workers * row_bytes);
    const int64_t far = shards->rows_a_block < most ? shards->rows_a_block : most;
    const int64_t epoch = visit / shard, at = visit % shard + far;
    const uint32_t *from = epoch == 0 ? shards->order : shards->visits_epoch[k] == epoch ? shards->visits : NULL;
    if (!from || far <= FL_KEPT_BACK || at >= shard)
        return NULL;
    *n = shard - at;
    return from + start + at;
}

#endif
