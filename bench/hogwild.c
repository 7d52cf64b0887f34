/* Hogwild: threads step on one shared float32 iterate, and nobody waits for anybody (Niu, Recht, Re and Wright,
 * "Hogwild: a lock-free approach to parallelizing stochastic gradient descent", NIPS 2011; recalled, not read).
 *
 * Averaging's rival in shared memory, for the benchmarks only: what it returns depends on who came when. Its
 * loads and stores of w race on purpose (compiled with -ffast-math: there are no bits to keep); a vector store may be seen in part, as the method allows.
 */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "losses.h"

#define MOST_THREADS 64
#define MOST_FEATURES 8192

typedef struct walk {
    const float *X, *y;
    int64_t d, first, last;
    float eta, el2;
    float *w;     /* shared */
    double *sum;  /* this thread's running sum of what it saw after its own steps */
    atomic_int *arrived;
    int n_threads;
    double begin_s, end_s;
} walk;

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void *steps(void *item)
{
    walk *me = item;
    const int64_t d = me->d;
    float *restrict w = me->w, sum[MOST_FEATURES];
    for (int64_t j = 0; j < d; j++)
        sum[j] = 0.0f;
    atomic_fetch_add(me->arrived, 1);
    while (atomic_load(me->arrived) < me->n_threads)
        ;
    me->begin_s = now_s();
    for (int64_t i = me->first; i < me->last; i++) {
        const float *x = me->X + i * d;
        float z = 0.0f;
        for (int64_t j = 0; j < d; j++)
            z += x[j] * w[j];
        const float c = fl_dlossf(FL_LOGISTIC, z, me->y[i], me->eta);
        for (int64_t j = 0; j < d; j++) {
            const float new = w[j] - (me->el2 * w[j] + c * x[j]);
            w[j] = new;
            sum[j] += new;
        }
        if ((i & 1023) == 0 || i + 1 == me->last)
            for (int64_t j = 0; j < d; j++) {
                me->sum[j] += (double)sum[j];
                sum[j] = 0.0f;
            }
        __asm__ volatile("" ::: "memory"); /* the others' steps are to be seen */
    }
    me->end_s = now_s();
    return NULL;
}

/* One pass over n rows (d <= MOST_FEATURES), each thread its own part; sums: n_threads rows of d. Seconds, or -1. */
double hogwild(const float *X, const float *y, int64_t n, int64_t d, int n_threads, float eta, float el2, float *w,
               double *sums)
{
    walk walks[MOST_THREADS];
    pthread_t threads[MOST_THREADS];
    atomic_int arrived = 0;
    if (n_threads < 1 || n_threads > MOST_THREADS || d > MOST_FEATURES)
        return -1.0;
    for (int k = 0; k < n_threads; k++)
        walks[k] = (walk){
            .X = X,
            .y = y,
            .d = d,
            .first = n * k / n_threads,
            .last = n * (k + 1) / n_threads,
            .eta = eta,
            .el2 = el2,
            .w = w,
            .sum = sums + k * d,
            .arrived = &arrived,
            .n_threads = n_threads,
        };
    int started = 1;
    for (; started < n_threads; started++)
        if (pthread_create(&threads[started], NULL, steps, &walks[started]) != 0)
            break;
    const int all = started == n_threads;
    if (all)
        steps(&walks[0]);
    else
        atomic_store(&arrived, n_threads);
    for (int k = 1; k < started; k++)
        pthread_join(threads[k], NULL);
    double begin_s = walks[0].begin_s, end_s = walks[0].end_s;
    for (int k = 1; k < n_threads; k++) {
        begin_s = walks[k].begin_s < begin_s ? walks[k].begin_s : begin_s;
        end_s = walks[k].end_s > end_s ? walks[k].end_s : end_s;
    }
    return all ? end_s - begin_s : -1.0;
}
