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

/* Shuffle the n entries (Fisher-Yates, Durstenfeld's form, from the end). */
static inline void fl_shuffle(uint32_t *entries, int64_t n, uint64_t seed, uint32_t worker, uint32_t purpose)
{
    uint64_t both[2] = {0, 0};
    int64_t pair = -1;
    for (int64_t i = n - 1; i > 0; i--) {
        if (i >> 1 != pair) {
            pair = i >> 1;
            fl_draw_pair(seed, worker, purpose, (uint64_t)pair, both);
        }
        const uint32_t j = fl_below(both[i & 1], (uint32_t)(i + 1));
        const uint32_t kept = entries[i];
        entries[i] = entries[j];
        entries[j] = kept;
    }
}

#endif
