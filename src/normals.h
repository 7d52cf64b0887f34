/* Scalar floor, part 4, on whole vectors: normal numbers that depend on (seed, worker,
 * number) and on nothing else. Included by isa_body.h behind words.h, for each type.
 *
 * Box and Muller's transform of Philox words, in our own arithmetic: IEEE operations and
 * integers, one rounding each, so every instruction set gives the same bits. A chunk is what
 * FL_CALLS calls of Philox give: 64 floats or 32 doubles. Of a call the words w0 .. w3 are pairs
 * of a radius and an angle: for floats (w0, w2) and (w1, w3), for doubles one pair of 64 bits
 * ((w1, w0), (w3, w2)). The first half of a chunk are the radii times the cosine, the second
 * half those times the sine; within a half, calls stand in order.
 *
 * tests/test_streams.py repeats it in NumPy and tests moments, tails and independence. The
 * largest normal is 6.5 in float (radii of 30 bits: 4,001 of them beyond 5), 8.5 in double (52 bits).
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

/* sqrt(-2 log(u)), u uniform from the words. The polynomials here and below interpolate between Chebyshev's
 * points: relative errors of 1.2e-7 or less for floats, 1e-17 for doubles. */
static inline __attribute__((always_inline)) V FN(radius)(U words)
{
#if FL_IS_FLOAT
    /* u = (2 j + 1) / 2^31, rounded: small ones keep all of their bits. */
    const V odd = __builtin_convertvector((S)((words & 0x7fffffff) | 1), V);
    /* From the bits of sqrt(1/2) on the exponent counts from a mantissa in [sqrt(1/2), sqrt(2)). */
    const S offset = (S)odd - (0x3f3504f3 + (31 << 23));
    const V m = (V)((offset & 0x7fffff) + 0x3f3504f3);
    const V k = __builtin_convertvector(offset >> 23, V);
    const V s = (m - 1.0f) / (m + 1.0f), z = s * s;
    /* -2 log m = -4 (s + s^3 / 3 + ...) */
    const V p = -0x1.000002p+2f + z * (-0x1.554276p+0f + z * -0x1.a6dc2p-1f);
    return FN(square_root)(s * p + k * (float)(-2 * 0.693147180559945309));
#else
    const V u = (V)((words >> 12) | 0x3ff0000000000000) - (1.0 - 0x1p-53);
    /* The same, and 2048 more: shifts of signed 64-bit lanes are slow before AVX-512. */
    const U offset = (U)u - (0x3fe6a09e667f3bcd - ((uint64_t)1 << 63));
    const V m = (V)((offset & 0xfffffffffffff) + 0x3fe6a09e667f3bcd);
    const V k = (V)((offset >> 52) | 0x4330000000000000) - (0x1p52 + 2048.0);
    const V s = (m - 1.0) / (m + 1.0), z = s * s;
    V p = -0x1.3999bf614de60p-2 + z * -0x1.2f4d88c4fad06p-2;
    p = -0x1.7466994f20a7cp-2 + z * p;
    p = -0x1.c71c50004ffddp-2 + z * p;
    p = -0x1.2492494513f76p-1 + z * p;
    p = -0x1.999999997aeaap-1 + z * p;
    p = -0x1.55555555555aep+0 + z * p;
    p = -4.0 + z * p;
    return FN(square_root)(s * p + k * (-2 * 0.693147180559945309));
#endif
}

/* Cosine and sine of an angle: of a + pi/4, |a| <= pi/4, as (cos a -+ sin a) / sqrt(2), each with a sign of its
 * own: for floats the upper bit of the radius and of the angle, for doubles two of the angle. */
static inline __attribute__((always_inline)) void FN(directions)(U radii, U angles, V *first, V *second)
{
#if FL_IS_FLOAT
    const V a = __builtin_convertvector((S)(angles << 1), V) * (float)(0.785398163397448310 * 0x1p-31);
    const V z = a * a;
    const V sine = a * (0x1.6a09e6p-1f + z * (-0x1.e2b7cp-4f + z * (0x1.821d4cp-8f + z * -0x1.2139b6p-13f)));
    const V cosine = 0x1.6a09e6p-1f + z * (-0x1.6a09a2p-2f + z * (0x1.e2955p-6f + z * -0x1.f7a98ep-11f));
    const U sign = 0x80000000u - (U){0}, other = radii;
#else
    const V a = ((V)(((angles << 2) >> 12) | 0x3ff0000000000000) - 1.5) * 1.57079632679489662;
    const V z = a * a;
    V p = -0x1.3050efdaf0abfp-26 + z * 0x1.ee4effb2bc007p-34;
    p = 0x1.0589427541c7ap-19 + z * p;
    p = -0x1.263a6ed84000ep-13 + z * p;
    p = 0x1.822cb17ff056ap-8 + z * p;
    p = -0x1.e2b7dddfefa4dp-4 + z * p;
    p = 0x1.6a09e667f3bcdp-1 + z * p;
    const V sine = a * p;
    V q = -0x1.a26d21b271eefp-23 + z * 0x1.90fd75fe8dc8cp-30;
    q = 0x1.263a680b4282ep-16 + z * q;
    q = -0x1.017320fa15c6fp-10 + z * q;
    q = 0x1.e2b7dddfe5fa9p-6 + z * q;
    q = -0x1.6a09e667f3b6dp-2 + z * q;
    const V cosine = 0x1.6a09e667f3bccp-1 + z * q;
    const U sign = ((uint64_t)1 << 63) - (U){0}, other = angles << 1;
    (void)radii;
#endif
    *first = (V)((U)(cosine - sine) ^ (other & sign));
    *second = (V)((U)(cosine + sine) ^ (angles & sign));
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
        FN(directions)((U)radii[v], (U)angles[v], &first, &second);
        const int at = v * (int)(FL_VBYTES / sizeof(T)), half = FL_HALF_CHUNK_BYTES / (int)sizeof(T);
        *(FN(uvec) *)(out + at) = (FN(uvec))(r * first * (V) * (const FN(uvec) *)(scale + at));
        *(FN(uvec) *)(out + half + at) = (FN(uvec))(r * second * (V) * (const FN(uvec) *)(scale + half + at));
    }
}

#undef S
#undef U
#undef FL_SQRT
