/* Worker floor: which rows a worker visits, numbered over the whole run.
 *
 * Visit v (from 0) of worker k under reshuffle is entry v mod n_k of epoch
 * v div n_k. Epoch 0 is the shard's own order; epoch e shuffles that order with
 * the stream (seed, k, e). Nothing is remembered but the epoch at hand, which can
 * be made again at any time: a run may be cut anywhere.
 */
#ifndef FASTLSGD_VISITS_H
#define FASTLSGD_VISITS_H

#include <string.h>

#include "draw.h"
#include "kernels.h"

static inline void fl_make_epoch(const fl_shards *shards, int64_t k, int64_t epoch)
{
    const int64_t start = shards->start[k], n = shards->start[k + 1] - start;
    uint32_t *visits = shards->visits + start;
    if (shards->order)
        memcpy(visits, shards->order + start, (size_t)n * sizeof *visits);
    else
        for (int64_t i = 0; i < n; i++)
            visits[i] = (uint32_t)(start + i);
    fl_shuffle(visits, n, shards->seed, (uint32_t)k, (uint32_t)(FL_PURPOSE_EPOCH + epoch));
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

/* The same with replacement: visit v is draw v of worker k. Pairs of draws are
 * made side by side in arrays, which compilers turn into vector code. */
#define FL_PAIRS 16

static inline void fl_drawn_rows(const fl_shards *shards, int64_t k, int64_t first, int64_t n, uint32_t *rows)
{
    const int64_t start = shards->whole ? 0 : shards->start[k];
    const uint32_t among =
        (uint32_t)(shards->whole ? shards->n_samples : shards->start[k + 1] - shards->start[k]);
    const uint32_t *order = shards->whole ? NULL : shards->order;
    int64_t number = first;
    while (number < first + n) {
        const uint64_t pair0 = (uint64_t)number >> 1;
        uint32_t c0[FL_PAIRS], c1[FL_PAIRS], c2[FL_PAIRS], c3[FL_PAIRS];
        for (int i = 0; i < FL_PAIRS; i++) {
            const uint64_t pair = pair0 + (uint64_t)i;
            c0[i] = (uint32_t)pair;
            c1[i] = (uint32_t)(pair >> 32);
            c2[i] = (uint32_t)k;
            c3[i] = FL_PURPOSE_ROW;
        }
        uint32_t k0 = (uint32_t)shards->seed, k1 = (uint32_t)(shards->seed >> 32);
        for (int round = 0; round < 10; round++) {
            for (int i = 0; i < FL_PAIRS; i++) {
                const uint64_t a = (uint64_t)0xD2511F53u * c0[i];
                const uint64_t b = (uint64_t)0xCD9E8D57u * c2[i];
                const uint32_t x0 = (uint32_t)(b >> 32) ^ c1[i] ^ k0;
                const uint32_t x2 = (uint32_t)(a >> 32) ^ c3[i] ^ k1;
                c1[i] = (uint32_t)b;
                c3[i] = (uint32_t)a;
                c0[i] = x0;
                c2[i] = x2;
            }
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        uint32_t drawn[2 * FL_PAIRS];
        for (int i = 0; i < FL_PAIRS; i++) {
            drawn[2 * i] = fl_below(((uint64_t)c1[i] << 32) | c0[i], among);
            drawn[2 * i + 1] = fl_below(((uint64_t)c3[i] << 32) | c2[i], among);
        }
        int64_t skip = number & 1;
        for (; skip < 2 * FL_PAIRS && number < first + n; skip++, number++) {
            const uint32_t at = (uint32_t)start + drawn[skip];
            rows[number - first] = order ? order[at] : at;
        }
    }
}

/* The rows of worker k from this visit on; *n says how many are at hand (>= 1).
 * They are looked up FL_VISITS at a time, so that rounds of one step do not pay
 * for it and rows can be prefetched. */
static inline const uint32_t *fl_rows_ahead(const fl_shards *shards, int64_t k, int64_t visit, int64_t *n)
{
    uint32_t *ahead = shards->ahead + k * FL_VISITS;
    int64_t at = visit - shards->ahead_first[k];
    if (at < 0 || at >= shards->ahead_n[k]) {
        const int64_t left = shards->n_visits - visit;
        const int64_t some = left < FL_VISITS ? left : FL_VISITS;
        if (shards->sampling == FL_RESHUFFLE)
            fl_reshuffled_rows(shards, k, visit, some, ahead);
        else
            fl_drawn_rows(shards, k, visit, some, ahead);
        shards->ahead_first[k] = visit;
        shards->ahead_n[k] = some;
        at = 0;
    }
    *n = shards->ahead_n[k] - at;
    return ahead + at;
}

#endif
