/* What the machine can do at best, measured by loops that do nothing else: read
 * memory, meet at a barrier, compute, step on sparse rows, wait for one step's chain
 * of operations, and draw the words of fresh rows.
 *
 * Compiled for this very machine when first asked for (limits.py) and never
 * shipped as a binary. Every loop hands back what it computed, so that
 * the caller can tell a measurement from an optimised-away loop.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define LINE 128 /* two lines: the hardware fetches their neighbour as well */
#define MOST_THREADS 64

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static inline void relax(int64_t *turns)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
    /* Whoever is waited for may not be running at all. */
    if (++*turns > 20000)
        sched_yield();
}

/* ---- threads that begin together ---- */

typedef struct team {
    atomic_int arrived;
    int n;
} team;

static void begin_together(team *all)
{
    int64_t turns = 0;
    atomic_fetch_add(&all->arrived, 1);
    while (atomic_load_explicit(&all->arrived, memory_order_acquire) < all->n)
        relax(&turns);
}

/* Keep the thread off the caller's processor: a scheduler may leave both there for longer
 * than is measured. */
static void place_elsewhere(pthread_t thread, int number)
{
#if defined(__linux__)
    cpu_set_t allowed, one;
    const int here = sched_getcpu();
    int others = 0;
    if (here < 0 || sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (cpu != here && CPU_ISSET(cpu, &allowed) && ++others == number) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            pthread_setaffinity_np(thread, sizeof one, &one);
            return;
        }
#else
    (void)thread;
    (void)number;
#endif
}

/* Run work(items + i * item_bytes) on n threads, the caller's included; 0 if all could be started. */
static int on_threads(void *(*work)(void *), void *items, size_t item_bytes, team *all)
{
    pthread_t threads[MOST_THREADS];
    const int n = all->n;
    int started = 1;
    for (; started < n; started++) {
        if (pthread_create(&threads[started], NULL, work, (char *)items + (size_t)started * item_bytes) != 0)
            break;
        place_elsewhere(threads[started], started);
    }
    if (started < n) /* those that wait must not wait for ever */
        atomic_fetch_add(&all->arrived, n - started);
    work(items);
    for (int i = 1; i < started; i++)
        pthread_join(threads[i], NULL);
    return started == n ? 0 : -1;
}

/* When one thread's part began and ended: the first member of its item. */
typedef struct span {
    double begin_s, end_s;
} span;

/* Seconds from the first begin to the last end of n items. */
static double seconds_of(const void *items, size_t item_bytes, int n)
{
    span all = *(const span *)items;
    for (int i = 1; i < n; i++) {
        const span *its = (const span *)((const char *)items + (size_t)i * item_bytes);
        all.begin_s = its->begin_s < all.begin_s ? its->begin_s : all.begin_s;
        all.end_s = its->end_s > all.end_s ? its->end_s : all.end_s;
    }
    return all.end_s - all.begin_s;
}

/* ---- reading memory ---- */

#if defined(__AVX512F__)
#define WIDEST 64
#elif defined(__AVX2__)
#define WIDEST 32
#else
#define WIDEST 16
#endif

typedef uint64_t words __attribute__((vector_size(WIDEST), aligned(8), may_alias));
#define WORDS (WIDEST / 8)

/* The sum of 64-bit words: exact, whatever the order. */
static uint64_t sum_of(const char *at, size_t n_bytes)
{
    words sums[8] = {{0}};
    const size_t stride = sizeof sums, whole = n_bytes / stride * stride;
    for (size_t i = 0; i < whole; i += stride)
#pragma GCC unroll 8
        for (int a = 0; a < 8; a++)
            sums[a] += *(const words *)(at + i + (size_t)a * WIDEST);
    uint64_t total = 0;
    for (int a = 0; a < 8; a++)
        for (int e = 0; e < WORDS; e++)
            total += sums[a][e];
    for (size_t i = whole; i + 8 <= n_bytes; i += 8) {
        uint64_t word;
        memcpy(&word, at + i, 8);
        total += word;
    }
    return total;
}

typedef struct reader {
    span took;
    team *all;
    const char *at;
    size_t n_bytes;
    int64_t repeats;
    uint64_t sum;
    char apart[LINE];
} reader;

static void *read_all(void *item)
{
    reader *mine = item;
    uint64_t sum = 0;
    begin_together(mine->all);
    mine->took.begin_s = now_s();
    for (int64_t r = 0; r < mine->repeats; r++) {
        sum += sum_of(mine->at, mine->n_bytes);
        __asm__ volatile("" ::: "memory"); /* read it again */
    }
    mine->took.end_s = now_s();
    mine->sum = sum;
    return NULL;
}

/* Read n_bytes (a multiple of 8) `repeats` times, each thread its own part; seconds, or -1. */
double limit_read(const void *at, size_t n_bytes, int n_threads, int64_t repeats, uint64_t *sum)
{
    if (n_threads < 1 || n_threads > MOST_THREADS)
        return -1.0;
    team all = {.n = n_threads};
    reader readers[MOST_THREADS];
    const size_t part = n_bytes / (size_t)n_threads / 64 * 64;
    for (int i = 0; i < n_threads; i++)
        readers[i] = (reader){
            .all = &all,
            .at = (const char *)at + (size_t)i * part,
            .n_bytes = i + 1 < n_threads ? part : n_bytes - (size_t)i * part,
            .repeats = repeats,
        };
    if (on_threads(read_all, readers, sizeof *readers, &all) != 0)
        return -1.0;
    *sum = 0;
    for (int i = 0; i < n_threads; i++)
        *sum += readers[i].sum;
    return seconds_of(readers, sizeof *readers, n_threads);
}

/* ---- the barrier of two threads ---- */

typedef struct flag {
    atomic_int_fast64_t at;
    char apart[LINE - sizeof(atomic_int_fast64_t)];
} flag;

typedef struct party {
    team *all;
    flag *mine, *other;
    volatile int64_t *note, *its_note;
    int64_t n, wrong;
    double seconds;
    char apart[LINE];
} party;

/* Store one's own number, wait for the other's: the least that two threads can do. No pause while
 * spinning: it is the bare limit. */
static inline void meet(party *me, int64_t i)
{
    int64_t turns = 0;
    atomic_store_explicit(&me->mine->at, i, memory_order_release);
    while (atomic_load_explicit(&me->other->at, memory_order_acquire) < i)
        if (++turns > 100000) /* the other does not run at all */
            sched_yield();
}

static void *meet_often(void *item)
{
    party *me = item;
    begin_together(me->all);
    /* First the proof: what the other wrote before the barrier is read behind it. */
    for (int64_t i = 1; i <= 100; i++) {
        *me->note = i;
        meet(me, i);
        const int64_t its = *me->its_note;
        me->wrong += its != i && its != i + 1;
    }
    const double begin_s = now_s();
    for (int64_t i = 101; i <= 100 + me->n; i++)
        meet(me, i);
    me->seconds = now_s() - begin_s;
    return NULL;
}

/* n barriers of two threads; seconds, or -1. wrong: how often a barrier let a thread through too soon, or
 * the number of barriers was not n. */
double limit_barrier(int64_t n, int64_t *wrong)
{
    team all = {.n = 2};
    static _Alignas(LINE) flag flags[2];
    static _Alignas(LINE) volatile int64_t notes[2][LINE / sizeof(int64_t)];
    party parties[2];
    for (int i = 0; i < 2; i++) {
        atomic_store(&flags[i].at, 0);
        notes[i][0] = 0;
        parties[i] = (party){
            .all = &all,
            .mine = &flags[i],
            .other = &flags[1 - i],
            .note = &notes[i][0],
            .its_note = &notes[1 - i][0],
            .n = n,
        };
    }
    if (on_threads(meet_often, parties, sizeof *parties, &all) != 0)
        return -1.0;
    *wrong = parties[0].wrong + parties[1].wrong;
    *wrong += atomic_load(&flags[0].at) != n + 100 || atomic_load(&flags[1].at) != n + 100;
    return parties[0].seconds;
}

/* ---- arithmetic: x <- a x + b in so many independent vectors that no result is waited for ---- */

#define CHAINS 14 /* with a and b: the sixteen registers that every set has */

#define PEAK(TYPE, BYTES)                                                                 \
    typedef TYPE TYPE##s##BYTES __attribute__((vector_size(BYTES)));                      \
    static double peak_##TYPE##BYTES(int64_t n, TYPE a, TYPE b, double *sum)              \
    {                                                                                     \
        const int entries = BYTES / (int)sizeof(TYPE);                                    \
        TYPE##s##BYTES x[CHAINS], va, vb;                                                 \
        for (int e = 0; e < entries; e++)                                                 \
            va[e] = a, vb[e] = b;                                                         \
        memset(x, 0, sizeof x);                                                           \
        const double begin_s = now_s();                                                   \
        for (int64_t i = 0; i < n; i++)                                                   \
            _Pragma("GCC unroll 14") for (int c = 0; c < CHAINS; c++) x[c] = x[c] * va + vb; \
        const double seconds = now_s() - begin_s;                                         \
        *sum = 0.0;                                                                       \
        for (int c = 0; c < CHAINS; c++)                                                  \
            for (int e = 0; e < entries; e++)                                             \
                *sum += (double)x[c][e];                                                  \
        return seconds;                                                                   \
    }

PEAK(float, 16)
PEAK(double, 16)
#if defined(__AVX2__)
PEAK(float, 32)
PEAK(double, 32)
#endif
#if defined(__AVX512F__)
PEAK(float, 64)
PEAK(double, 64)
#endif

/* n times 2 CHAINS operations an entry of a vector, of floats or doubles; sum over all entries; seconds, or -1 where
 * there are no such vectors. */
double limit_peak(int v_bytes, int of_floats, int64_t n, double a, double b, double *sum)
{
    if (v_bytes == 16)
        return of_floats ? peak_float16(n, (float)a, (float)b, sum) : peak_double16(n, a, b, sum);
#if defined(__AVX2__)
    if (v_bytes == 32)
        return of_floats ? peak_float32(n, (float)a, (float)b, sum) : peak_double32(n, a, b, sum);
#endif
#if defined(__AVX512F__)
    if (v_bytes == 64)
        return of_floats ? peak_float64(n, (float)a, (float)b, sum) : peak_double64(n, a, b, sum);
#endif
    return -1.0;
}

/* ---- a step on a sparse row: read v at its columns, add to v and to u there ---- */

#define LONGEST_ROW 1024
#define ROWS_AHEAD 4

typedef float eight __attribute__((vector_size(32), aligned(4), may_alias));

typedef struct sparse_part {
    span took;
    team *all;
    const int32_t *indptr, *indices; /* of its first row; of all */
    const float *x;
    int64_t n_rows;
    float *v;
    double *u, sum;
    char apart[LINE];
} sparse_part;

static void *step_on_sparse_rows(void *item)
{
    sparse_part *mine = item;
    float *restrict v = mine->v;
    double *restrict u = mine->u, sum = 0.0;
    begin_together(mine->all);
    mine->took.begin_s = now_s();
    for (int64_t row = 0; row < mine->n_rows; row++) {
        const int32_t *restrict at = mine->indices + mine->indptr[row];
        const float *restrict x = mine->x + mine->indptr[row];
        const int32_t n = mine->indptr[row + 1] - mine->indptr[row];
        for (int32_t e = 0; e < n; e += 16) { /* lines of a row to come; beyond the last one nothing is read */
            __builtin_prefetch(at + ROWS_AHEAD * n + e);
            __builtin_prefetch(x + ROWS_AHEAD * n + e);
        }
        eight z = {0};
        float new[LONGEST_ROW]; /* v is read once: no column comes twice */
        int32_t i = 0;
        for (; i + 8 <= n; i += 8) {
            const eight its = {v[at[i]],     v[at[i + 1]], v[at[i + 2]], v[at[i + 3]],
                               v[at[i + 4]], v[at[i + 5]], v[at[i + 6]], v[at[i + 7]]};
            z += *(const eight *)(x + i) * its;
            *(eight *)(new + i) = its + *(const eight *)(x + i);
        }
        for (; i < n; i++) {
            z[0] += x[i] * v[at[i]];
            new[i] = v[at[i]] + x[i];
        }
        for (i = 0; i < n; i++) {
            v[at[i]] = new[i];
            u[at[i]] += (double)x[i];
        }
        sum += (double)(((z[0] + z[4]) + (z[2] + z[6])) + ((z[1] + z[5]) + (z[3] + z[7])));
    }
    mine->took.end_s = now_s();
    mine->sum = sum;
    return NULL;
}

/* Steps on n_rows CSR rows, thread i those from n_rows i / n_threads on, with v and u of its own, d entries each, one
 * behind the other. sums[i]: of <x, v> before each step. Seconds, or -1, also where a row has too many entries. */
double limit_sparse(const int32_t *indptr, const int32_t *indices, const float *x, int64_t n_rows, int64_t d,
                    int n_threads, float *v, double *u, double *sums)
{
    if (n_threads < 1 || n_threads > MOST_THREADS)
        return -1.0;
    for (int64_t row = 0; row < n_rows; row++)
        if (indptr[row + 1] - indptr[row] > LONGEST_ROW)
            return -1.0;
    team all = {.n = n_threads};
    sparse_part parts[MOST_THREADS];
    for (int i = 0; i < n_threads; i++)
        parts[i] = (sparse_part){
            .all = &all,
            .indptr = indptr + n_rows * i / n_threads,
            .indices = indices,
            .x = x,
            .n_rows = n_rows * (i + 1) / n_threads - n_rows * i / n_threads,
            .v = v + i * d,
            .u = u + i * d,
        };
    if (on_threads(step_on_sparse_rows, parts, sizeof *parts, &all) != 0)
        return -1.0;
    for (int i = 0; i < n_threads; i++)
        sums[i] = parts[i].sum;
    return seconds_of(parts, sizeof *parts, n_threads);
}

/* ---- the chain of one step: reduction, sigmoid, broadcast, update; everything in registers ---- */

#if defined(WITH_SOURCES)
#include "losses.h"

#define LANES 32 /* the package's virtual lanes of float32: worker_body.h */

#define CHAIN(BYTES)                                                                                     \
    static inline __attribute__((always_inline)) double chain##BYTES(int64_t n, int width, const float *from, \
                                                                     float eta, float el2, float *to)    \
    {                                                                                                    \
        enum { VL = BYTES / 4, NACC = LANES / VL };                                                      \
        floats##BYTES x[NACC], w[8][NACC];                                                               \
        memcpy(x, from, sizeof x);                                                                       \
        memset(w, 0, sizeof w);                                                                          \
        const double begin_s = now_s();                                                                  \
        for (int64_t i = 0; i < n; i++)                                                                  \
            for (int g = 0; g < width; g++) {                                                            \
                floats##BYTES acc[NACC];                                                                 \
                _Pragma("GCC unroll 8") for (int a = 0; a < NACC; a++) acc[a] = 0.0f + x[a] * w[g][a];   \
                _Pragma("GCC unroll 8") for (int half = NACC / 2; half >= 1; half /= 2)                  \
                    _Pragma("GCC unroll 8") for (int a = 0; a < half; a++) acc[a] += acc[a + half];      \
                float lanes[VL] __attribute__((aligned(BYTES)));                                         \
                memcpy(lanes, acc, sizeof lanes);                                                        \
                _Pragma("GCC unroll 8") for (int half = VL / 2; half >= 1; half /= 2)                    \
                    _Pragma("GCC unroll 8") for (int e = 0; e < half; e++) lanes[e] += lanes[e + half];  \
                const float c = fl_dlossf(FL_LOGISTIC, lanes[0], 1.0f, eta);                             \
                _Pragma("GCC unroll 8") for (int a = 0; a < NACC; a++)                                   \
                    w[g][a] = w[g][a] - (el2 * w[g][a] + c * x[a]);                                      \
            }                                                                                            \
        const double seconds = now_s() - begin_s;                                                        \
        memcpy(to, w, (size_t)width * sizeof w[0]);                                                      \
        return seconds;                                                                                  \
    }                                                                                                    \
    static double chains##BYTES(int64_t n, int width, const float *from, float eta, float el2, float *to) \
    {                                                                                                    \
        return width == 1   ? chain##BYTES(n, 1, from, eta, el2, to)                                     \
               : width == 4 ? chain##BYTES(n, 4, from, eta, el2, to)                                     \
                            : -1.0;                                                                      \
    }

CHAIN(16)
#if defined(__AVX2__)
CHAIN(32)
#endif

/* n steps on the row `from` (32 features, label 1) of `width` (1 or 4) workers in lockstep, from w = 0;
 * their w go to `to`. Seconds, or -1. */
double limit_chain(int v_bytes, int64_t n, int width, const float *from, float eta, float el2, float *to)
{
    if (v_bytes == 16)
        return chains16(n, width, from, eta, el2, to);
#if defined(__AVX2__)
    if (v_bytes == 32)
        return chains32(n, width, from, eta, el2, to);
#endif
    return -1.0;
}

/* ---- the words of fresh rows: the package's own Philox, without the transform that makes normals of them ---- */

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include "stream.h"

#define GLUED(a, b) a##_##b
#define GLUE(a, b) GLUED(a, b)
#define FLN(name) GLUE(name, FL_VBYTES)
#define WORDS_SUM(BYTES)                                                                        \
    static double sum_of_words_##BYTES(int64_t n, uint64_t seed, uint64_t *sum)                 \
    {                                                                                           \
        words_##BYTES low[FL_CHUNK_VECTORS], high[FL_CHUNK_VECTORS], total = {0};               \
        const double begin_s = now_s();                                                         \
        for (int64_t i = 0; i < n; i++) {                                                       \
            chunk_of_words_##BYTES(seed, 0, FL_PURPOSE_STREAM, (uint64_t)i, low, high);         \
            _Pragma("GCC unroll 8") for (int v = 0; v < FL_CHUNK_VECTORS; v++) total += low[v] + high[v]; \
        }                                                                                       \
        const double seconds = now_s() - begin_s;                                               \
        *sum = 0;                                                                               \
        for (int e = 0; e < BYTES / 8; e++)                                                     \
            *sum += total[e];                                                                   \
        return seconds;                                                                         \
    }

#define FL_VBYTES 16
#if defined(__SSE2__)
#define FL_MULTIPLY_LOW(a, b) _mm_mul_epu32((__m128i)(a), (__m128i)(b))
#endif
#include "words.h"
WORDS_SUM(16)
#undef FL_VBYTES
#undef FL_MULTIPLY_LOW
#if defined(__AVX2__)
#define FL_VBYTES 32
#define FL_MULTIPLY_LOW(a, b) _mm256_mul_epu32((__m256i)(a), (__m256i)(b))
#include "words.h"
WORDS_SUM(32)
#undef FL_VBYTES
#undef FL_MULTIPLY_LOW
#endif
#if defined(__AVX512F__)
#define FL_VBYTES 64
#define FL_MULTIPLY_LOW(a, b) _mm512_mul_epu32((__m512i)(a), (__m512i)(b))
#include "words.h"
WORDS_SUM(64)
#undef FL_VBYTES
#undef FL_MULTIPLY_LOW
#endif

/* The first n chunks of 4 FL_CALLS words of 32 bits; sum of them as words of 64 bits, modulo 2^64. Seconds, or -1. */
double limit_words(int v_bytes, int64_t n, uint64_t seed, uint64_t *sum)
{
    if (v_bytes == 16)
        return sum_of_words_16(n, seed, sum);
#if defined(__AVX2__)
    if (v_bytes == 32)
        return sum_of_words_32(n, seed, sum);
#endif
#if defined(__AVX512F__)
    if (v_bytes == 64)
        return sum_of_words_64(n, seed, sum);
#endif
    return -1.0;
}
#endif
