/* Scalar floor, part 2: random draws that depend on (seed, worker, number)
 * and on nothing else.
 *
 * Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as
 * easy as 1, 2, 3", SC 2011 (constants and the known answers of the tests
 * recalled from there). The counter is (number / 2, worker, purpose) and one
 * call yields two 64-bit draws; there is no state to save or to share.
 */
#ifndef FASTLSGD_DRAW_H
#define FASTLSGD_DRAW_H

#include <stdint.h>

/* What the draw is for: distinct purposes never share a stream. */
enum fl_purpose {
    FL_PURPOSE_ROW = 0,   /* rows drawn with replacement; number = visit */
    FL_PURPOSE_DEAL = 1,  /* the permutation that deals rows to workers */
    FL_PURPOSE_EPOCH = 2  /* worker's permutation; purpose + epoch, see fl_shuffle */
    /* streams have the last ones: see stream.h */
};

static inline void fl_philox(uint32_t c[4], uint32_t k0, uint32_t k1)
{
    for (int round = 0; round < 10; round++) {
        const uint64_t a = (uint64_t)0xD2511F53u * c[0];
        const uint64_t b = (uint64_t)0xCD9E8D57u * c[2];
        const uint32_t x0 = (uint32_t)(b >> 32) ^ c[1] ^ k0;
        const uint32_t x2 = (uint32_t)(a >> 32) ^ c[3] ^ k1;
        c[1] = (uint32_t)b;
        c[3] = (uint32_t)a;
        c[0] = x0;
        c[2] = x2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

/* The two draws numbered 2 * pair and 2 * pair + 1. */
static inline void fl_draw_pair(uint64_t seed, uint32_t worker, uint32_t purpose, uint64_t pair, uint64_t out[2])
{
    uint32_t c[4] = {(uint32_t)pair, (uint32_t)(pair >> 32), worker, purpose};
    fl_philox(c, (uint32_t)seed, (uint32_t)(seed >> 32));
    out[0] = ((uint64_t)c[1] << 32) | c[0];
    out[1] = ((uint64_t)c[3] << 32) | c[2];
}

static inline uint64_t fl_draw(uint64_t seed, uint32_t worker, uint32_t purpose, uint64_t number)
{
    uint64_t both[2];
    fl_draw_pair(seed, worker, purpose, number >> 1, both);
    return both[number & 1];
}

/* Uniform on 0 .. n-1 (n < 2^32): the high half of draw * n. Its bias is below
 * n / 2^64. Split in 32-bit halves, as not every compiler has 128-bit integers. */
static inline uint32_t fl_below(uint64_t draw, uint32_t n)
{
    const uint64_t low = (draw & 0xffffffffu) * n;
    return (uint32_t)(((draw >> 32) * n + (low >> 32)) >> 32);
}

/* The 2 FL_PAIRS draws from number 2 * pair on: side by side, which compilers turn
 * into vector code. */
#define FL_PAIRS 16

static inline void fl_draws(uint64_t seed, uint32_t worker, uint32_t purpose, uint64_t pair,
                            uint64_t out[2 * FL_PAIRS])
{
    uint32_t c0[FL_PAIRS], c1[FL_PAIRS], c2[FL_PAIRS], c3[FL_PAIRS];
    for (int i = 0; i < FL_PAIRS; i++) {
        c0[i] = (uint32_t)(pair + (uint64_t)i);
        c1[i] = (uint32_t)((pair + (uint64_t)i) >> 32);
        c2[i] = worker;
        c3[i] = purpose;
    }
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
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
    for (int i = 0; i < FL_PAIRS; i++) {
        out[2 * i] = ((uint64_t)c1[i] << 32) | c0[i];
        out[2 * i + 1] = ((uint64_t)c3[i] << 32) | c2[i];
    }
}

/* Shuffle the n entries (Fisher-Yates, Durstenfeld's form, from the end); entry i
 * takes draw first + i. */
static inline void fl_shuffle(uint32_t *entries, int64_t n, uint64_t seed, uint32_t worker, uint32_t purpose,
                              uint64_t first)
{
    for (int64_t i = n - 1; i > 0;) {
        uint64_t draws[2 * FL_PAIRS];
        uint32_t with[2 * FL_PAIRS];
        const int64_t in_block = (int64_t)((first + (uint64_t)i) % (2 * FL_PAIRS));
        const int64_t last = i > in_block ? i - in_block : 1;
        fl_draws(seed, worker, purpose, (first + (uint64_t)(i - in_block)) >> 1, draws);
        /* All partners first: large arrays miss the cache at each. */
        for (int64_t e = i; e >= last; e--) {
            with[e - last] = fl_below(draws[(first + (uint64_t)e) % (2 * FL_PAIRS)], (uint32_t)(e + 1));
            __builtin_prefetch(entries + with[e - last], 1, 3);
        }
        for (; i >= last; i--) {
            const uint32_t kept = entries[i];
            entries[i] = entries[with[i - last]];
            entries[with[i - last]] = kept;
        }
    }
}

/* Entries in blocks of `rows`: the blocks in a new order, shuffled within. `to` takes
 * from[i], or base + i where from is NULL; ids is room for as many as there are blocks. */
#define FL_BLOCK_DRAWS ((uint64_t)1 << 40)   /* the blocks' own draws come behind those of the entries */

static inline void fl_shuffle_blocks(const uint32_t *from, uint32_t base, uint32_t *to, int64_t n, int64_t rows,
                                     uint32_t *ids, uint64_t seed, uint32_t worker, uint32_t purpose)
{
    const int64_t n_blocks = (n + rows - 1) / rows;
    for (int64_t i = 0; i < n_blocks; i++)
        ids[i] = (uint32_t)i;
    fl_shuffle(ids, n_blocks, seed, worker, purpose, FL_BLOCK_DRAWS);
    for (int64_t b = 0; b < n_blocks; b++) {
        const int64_t first = (int64_t)ids[b] * rows;
        const int64_t some = rows < n - first ? rows : n - first;
        for (int64_t i = 0; i < some; i++)
            to[i] = from ? from[first + i] : base + (uint32_t)(first + i);
        fl_shuffle(to, some, seed, worker, purpose, (uint64_t)first);
        to += some;
    }
}

#endif
