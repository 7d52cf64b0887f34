/* Scalar floor, part 4, on whole vectors: normal numbers that depend on (seed, worker,
 * number) and on nothing else. Included by isa_body.h behind words.h, for each type.
 *
 * Box and Muller's transform of Philox words, in our own arithmetic: IEEE operations and
 * integers, one rounding each, so every instruction set gives the same bits. A chunk is what
 * FL_CALLS calls of Philox give: 64 floats or 32 doubles. Of a call the words w0 .. w3 are pairs
 * of a radius and an angle: for floats (w0, w2) and (w1, w3), for doubles one pair of 64 bits
 * ((w1, w0), (w3, w2)). The first half of a chunk are the radii times one function of the
 * angle, the second half those times the other; within a half, calls stand in order.
 *
 * tests/test_streams.py repeats it in NumPy and tests moments, tails and independence. The
 * largest normal is 6.7 in float (radius words of 32 bits), 8.5 in double (52 bits).
 */

#if FL_IS_FLOAT
#ifdef FL_SQRT_FLOAT
#define FL_SQRT(v) ((V)FL_SQRT_FLOAT(v))
#endif
typedef int32_t FN(signed_lanes) __attribute__((vector_size(FL_VBYTES), may_alias));
typedef uint32_t FN(unsigned_lanes) __attribute__((vector_size(FL_VBYTES), may_alias));
#else
#ifdef FL_SQRT_DOUBLE
#define FL_SQRT(v) ((V)FL_SQRT_DOUBLE(v))
#endif
typedef int64_t FN(signed_lanes) __attribute__((vector_size(FL_VBYTES), may_alias));
typedef uint64_t FN(unsigned_lanes) __attribute__((vector_size(FL_VBYTES), may_alias));
#endif
#define S FN(signed_lanes)
#define U FN(unsigned_lanes)
#define ALL(x) ((x) - (V){0})

static inline __attribute__((always_inline)) V FN(square_root)(V v)
{
#ifdef FL_SQRT
    return FL_SQRT(v);
#else
    for (int e = 0; e < (int)(FL_VBYTES / sizeof(T)); e++)
        v[e] = (T)sqrt((double)v[e]);
    return v;
#endif
}

/* sqrt(-2 log(u)), u uniform from the words. */
static inline __attribute__((always_inline)) V FN(radius)(U words)
{
#if FL_IS_FLOAT
    /* The nearest float to the 32 bits: small ones keep all of theirs. */
    const V u = ((__builtin_convertvector((S)(words >> 16), V) * 65536.0f +
                  __builtin_convertvector((S)(words & 0xffff), V)) +
                 0.5f) *
                0x1p-32f;
    /* From the bits of sqrt(1/2) on the exponent counts from a mantissa in [sqrt(1/2), sqrt(2)). */
    const S k = ((S)u - 0x3f3504f3) >> 23;
    const V m = (V)((S)u - (k << 23));
    const V s = (m - 1.0f) / (m + 1.0f), z = s * s;
    /* -2 log m = -4 (s + s^3 / 3 + ...) */
    const V p = ALL(-4.0f / 7) + z * (-4.0f / 9);
    const V q = ALL(-4.0f) + z * ((-4.0f / 3) + z * ((-4.0f / 5) + z * p));
    return FN(square_root)(s * q + __builtin_convertvector(k, V) * (float)(-2 * 0.693147180559945309));
#else
    const V u = (V)((words >> 12) | 0x3ff0000000000000) - (1.0 - 0x1p-53);
    const S offset = (S)u - 0x3fe6a09e667f3bcd;
    /* Shifts of signed 64-bit lanes are slow before AVX-512: add 2048 to the exponent meanwhile. */
    const S exponent = (S)(((U)offset + ((uint64_t)1 << 63)) >> 52) - 2048;
    const V m = (V)((S)u - (exponent << 52));
    /* As a double: the low bits of 2^52 + 2^51 hold it, whatever its sign. */
    const V kd = (V)(exponent + 0x4338000000000000) - 6755399441055744.0;
    const V s = (m - 1.0) / (m + 1.0), z = s * s;
    V p = ALL(-4.0 / 19) + z * (-4.0 / 21);
    p = -4.0 / 17 + z * p;
    p = -4.0 / 15 + z * p;
    p = -4.0 / 13 + z * p;
    p = -4.0 / 11 + z * p;
    p = -4.0 / 9 + z * p;
    p = -4.0 / 7 + z * p;
    p = -4.0 / 5 + z * p;
    p = -4.0 / 3 + z * p;
    p = -4.0 + z * p;
    return FN(square_root)(s * p + kd * (-2 * 0.693147180559945309));
#endif
}

/* Cosine and sine of an angle: within an eighth of a turn of an axis that two bits choose. */
static inline __attribute__((always_inline)) void FN(directions)(U words, V *first, V *second)
{
#if FL_IS_FLOAT
    const V angle = __builtin_convertvector((S)(words << 2), V) * (float)(0.785398163397448310 * 0x1p-31);
    const V z = angle * angle;
    const V sine = angle + angle * (z * (-1.0f / 6 + z * (1.0f / 120 + z * (-1.0f / 5040 + z * (1.0f / 362880)))));
    const V cosine = 1.0f + z * (-0.5f + z * (1.0f / 24 + z * (-1.0f / 720 + z * (1.0f / 40320))));
    const S swap = (S)(words << 1) >> 31;
    const U sign = words & 0x80000000u;
#else
    const V angle = ((V)(((words << 2) >> 12) | 0x3ff0000000000000) - 1.5) * 1.57079632679489662;
    const V z = angle * angle;
    V p = ALL(-1.0 / 1307674368000) + z * (1.0 / 355687428096000);
    p = 1.0 / 6227020800 + z * p;
    p = -1.0 / 39916800 + z * p;
    p = 1.0 / 362880 + z * p;
    p = -1.0 / 5040 + z * p;
    p = 1.0 / 120 + z * p;
    p = -1.0 / 6 + z * p;
    const V sine = angle + angle * (z * p);
    V q = ALL(-1.0 / 87178291200) + z * (1.0 / 20922789888000);
    q = 1.0 / 479001600 + z * q;
    q = -1.0 / 3628800 + z * q;
    q = 1.0 / 40320 + z * q;
    q = -1.0 / 720 + z * q;
    q = 1.0 / 24 + z * q;
    q = -0.5 + z * q;
    const V cosine = 1.0 + z * q;
    const S swap = -(S)((words >> 62) & 1);
    const U sign = words & ((uint64_t)1 << 63);
#endif
    const S differ = ((S)sine ^ (S)cosine) & swap;
    *first = (V)((U)((S)cosine ^ differ) ^ sign);
    *second = (V)((U)((S)sine ^ differ) ^ sign);
}

/* The chunk of this number times scale: out and scale hold as many entries. */
static inline __attribute__((always_inline)) void FN(chunk_of_normals)(uint64_t seed, uint32_t worker, uint32_t purpose,
                                                                       uint64_t chunk, const T *scale, T *out)
{
    FLN(words) radii[FL_CHUNK_VECTORS], angles[FL_CHUNK_VECTORS];
    FLN(chunk_of_words)(seed, worker, purpose, chunk, radii, angles);
#pragma GCC unroll 8
    for (int v = 0; v < FL_CHUNK_VECTORS; v++) {
        V first, second;
        const V r = FN(radius)((U)radii[v]);
        FN(directions)((U)angles[v], &first, &second);
        const int at = v * (int)(FL_VBYTES / sizeof(T)), half = FL_HALF_CHUNK_BYTES / (int)sizeof(T);
        *(FN(uvec) *)(out + at) = (FN(uvec))(r * first * (V) * (const FN(uvec) *)(scale + at));
        *(FN(uvec) *)(out + half + at) = (FN(uvec))(r * second * (V) * (const FN(uvec) *)(scale + half + at));
    }
}

#undef S
#undef U
#undef ALL
#undef FL_SQRT
