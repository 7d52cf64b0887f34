/* Scalar floor, part 2 on whole vectors: FL_CALLS calls of Philox4x32 (draw.h) side by side, as
 * many as hide the chain of one. Included by isa_body.h.
 *
 * Eight rounds, where draws of rows have ten: the authors' header (Random123, philox.h) knows of no
 * statistical flaw from eight rounds on, calls ten a considerable margin, and leaves a doubt about seven,
 * with which the paper has them pass BigCrush. Words are about half the cost of a normal number.
 *
 * A call keeps to a 64-bit lane, whose upper half holds rubbish that the multiplication of
 * lower halves does not look at. Where the instruction set has such a multiplication,
 * isa_*.c defines FL_MULTIPLY_LOW(a, b).
 */

#define FL_CHUNK_VECTORS (FL_HALF_CHUNK_BYTES / FL_VBYTES)

typedef uint64_t FLN(words) __attribute__((vector_size(FL_VBYTES), may_alias));

static const uint64_t FLN(call_numbers)[FL_CALLS]
    __attribute__((aligned(64))) = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static inline __attribute__((always_inline)) FLN(words) FLN(multiply_low)(FLN(words) a, uint64_t b)
{
#ifdef FL_MULTIPLY_LOW
    return (FLN(words))FL_MULTIPLY_LOW(a, b - (FLN(words)){0});
#else
    return (a & 0xffffffffu) * b;
#endif
}

/* Words 0 and 1, and words 2 and 3, of the calls from number FL_CALLS chunk on. */
static inline __attribute__((always_inline)) void FLN(chunk_of_words)(uint64_t seed, uint32_t worker, uint32_t purpose,
                                                                      uint64_t chunk, FLN(words) *low, FLN(words) *high)
{
    typedef FLN(words) W;
    const W zero = {0};
    W c0[FL_CHUNK_VECTORS], c1[FL_CHUNK_VECTORS], c2[FL_CHUNK_VECTORS], c3[FL_CHUNK_VECTORS];
#pragma GCC unroll 8
    for (int v = 0; v < FL_CHUNK_VECTORS; v++) {
        c0[v] = *(const W *)(FLN(call_numbers) + v * (FL_VBYTES / 8)) + FL_CALLS * chunk;
        c1[v] = c0[v] >> 32;
        c2[v] = zero + worker;
        c3[v] = zero + purpose;
    }
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
#pragma GCC unroll 8
    for (int round = 0; round < FL_STREAM_ROUNDS; round++) {
#pragma GCC unroll 8
        for (int v = 0; v < FL_CHUNK_VECTORS; v++) {
            const W a = FLN(multiply_low)(c0[v], 0xD2511F53u), b = FLN(multiply_low)(c2[v], 0xCD9E8D57u);
            c0[v] = (b >> 32) ^ c1[v] ^ k0;
            c2[v] = (a >> 32) ^ c3[v] ^ k1;
            c1[v] = b;
            c3[v] = a;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
#pragma GCC unroll 8
    for (int v = 0; v < FL_CHUNK_VECTORS; v++) {
        low[v] = (c0[v] & 0xffffffffu) | (c1[v] << 32);
        high[v] = (c2[v] & 0xffffffffu) | (c3[v] << 32);
    }
}
