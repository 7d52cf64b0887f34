#if !defined(_POSIX_C_SOURCE)
#define _POSIX_C_SOURCE 200809L
#endif
#include "team.h"

#include <math.h>
#include <sched.h>
#include <string.h>
#include <time.h>

/* ---- waiting ---- */

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Spin for some microseconds, then give the processor away, then sleep: on a
 * shared machine the thread that is waited for may not be running at all. */
static inline void wait_a_little(int *turns)
{
    const int turn = (*turns)++;
    if (turn < 4000)
        relax();
    else if (turn < 8000)
        sched_yield();
    else {
        const struct timespec pause = {0, 50000};
        nanosleep(&pause, NULL);
    }
}

double fl_now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- the limit of threads ---- */

static atomic_int thread_limit;

__attribute__((visibility("default"))) int fastlsgd_get_num_threads(void)
{
    return atomic_load_explicit(&thread_limit, memory_order_relaxed);
}

__attribute__((visibility("default"))) void fastlsgd_set_num_threads(int limit)
{
    atomic_store_explicit(&thread_limit, limit, memory_order_relaxed);
}

/* ---- the gate ---- */

/* A latecomer may knock at a gate that has been closed, or closed and opened for
 * the next piece of work; so the count is only ever added to, never reset. */
#define CLOSED (1 << 30)

void fl_gate_init(fl_gate *gate)
{
    atomic_init(&gate->inside, CLOSED);
}

void fl_open(fl_gate *gate)
{
    atomic_fetch_sub_explicit(&gate->inside, CLOSED, memory_order_release);
}

int fl_enter(fl_gate *gate)
{
    if (atomic_fetch_add_explicit(&gate->inside, 1, memory_order_acquire) < CLOSED)
        return 1;
    atomic_fetch_sub_explicit(&gate->inside, 1, memory_order_relaxed);
    return 0;
}

void fl_leave(fl_gate *gate)
{
    atomic_fetch_sub_explicit(&gate->inside, 1, memory_order_release);
}

void fl_close_and_wait(fl_gate *gate)
{
    int turns = 0;
    atomic_fetch_add_explicit(&gate->inside, CLOSED, memory_order_relaxed);
    while (atomic_load_explicit(&gate->inside, memory_order_acquire) != CLOSED)
        wait_a_little(&turns);
}

/* ---- a slice ----
 *
 * A slice is cut at the ends of rounds into segments. Within a segment workers
 * form groups, and a group's steps are done in chunks, so that three workers on
 * two threads keep both busy. A task is (chunk, group); tasks are claimed in
 * order from one ticket that also names the segment. The thread that finishes a
 * segment's last task moves the ticket on: the one barrier of a round.
 *
 * Averaging needs no barrier of its own: iterates of segment i live in buffer i
 * mod 2, and each thread computes the mean of the segment before for itself,
 * always after its first claim in a segment, which keeps that segment, and so
 * the buffer it reads, alive. */

#define TASK_BITS 32
#define TASK_MASK (((uint64_t)1 << TASK_BITS) - 1)

static size_t entry_bytes(const fl_shards *shards)
{
    return shards->dtype == FL_FLOAT32 ? sizeof(float) : sizeof(double);
}

static void *row_of(const fl_slice *slice, void *buffer, int64_t k)
{
    return (char *)buffer + (size_t)(k * slice->step->ld) * entry_bytes(slice->shards);
}

static void *buffer_of(const fl_slice *slice, int64_t segment)
{
    return segment & 1 ? slice->spare : slice->W;
}

/* Steps of a segment that starts `begin` steps into the slice. */
static int64_t segment_length(const fl_slice *slice, int64_t segment, int64_t begin)
{
    const int64_t round = slice->periods[segment] - (segment == 0 ? slice->since : 0);
    const int64_t left = slice->n - begin;
    return round < left ? round : left;
}

int64_t fl_slice_groups(int64_t n_workers, int64_t n_threads, int64_t width)
{
    /* Groups as wide as the lockstep, as long as every thread has one; more than
     * eight groups a thread would only cost claims. */
    const int64_t most = n_threads > 1 ? 8 * n_threads : 1;
    int64_t groups = n_workers / width;
    groups = groups > n_threads ? groups : n_threads;
    groups = groups < most ? groups : most;
    return groups < n_workers ? groups : n_workers;
}

/* Lockstep pays where a step is short and its iterates stay in the first-level
 * cache; a batch hides its latency by itself. */
static int64_t lockstep_width(const fl_slice *slice)
{
    const size_t row_bytes = (size_t)slice->step->n_params * entry_bytes(slice->shards);
    return slice->step->batch_size == 1 && row_bytes <= 1024 ? 4 : 1;
}

void fl_slice_open(fl_slice *slice, int64_t n_threads)
{
    const int64_t n_workers = slice->shards->n_workers;
    /* A guess of nanoseconds a step, to size chunks and to space the clocks. */
    const int64_t step_ns = slice->step->batch_size * (10 + slice->step->n_params / 4);
    int64_t begin = 0;
    slice->n_segments = 0;
    while (begin < slice->n)
        begin += segment_length(slice, slice->n_segments++, begin);
    const int64_t last = slice->n_segments - 1;
    const int64_t last_length = slice->periods[last] - (last == 0 ? slice->since : 0);
    int64_t before = 0;
    for (int64_t i = 0; i < last; i++)
        before += segment_length(slice, i, before);
    slice->closes = slice->n - before == last_length;
    slice->width = lockstep_width(slice);
    slice->n_groups = fl_slice_groups(n_workers, n_threads, slice->width);
    slice->chunk = slice->n;
    if (n_threads > 1 && n_workers > 1) {
        const int64_t workers_a_group = (n_workers + slice->n_groups - 1) / slice->n_groups;
        slice->chunk = 1 + 200000 / (step_ns * workers_a_group);
    }
    /* Three clock readings, 100 ns, on at most one nanosecond in a hundred. */
    slice->time_every = 1 + 10000 * slice->n_segments / (1 + step_ns * slice->n);
    memset(slice->seconds, 0, FL_MAX_THREADS * sizeof *slice->seconds);
    for (int64_t g = 0; g < slice->n_groups; g++)
        atomic_init(slice->progress + g * (FL_LINE / (int64_t)sizeof *slice->progress), 0);
    atomic_init(&slice->ticket, 0);
    atomic_init(&slice->done, 0);
    slice->first_bad = -1;
    slice->consensus = NAN;
    fl_open(&slice->gate);
}

void fl_slice_work(fl_slice *slice, int64_t slot, const fl_scratch *scratch)
{
    const int64_t n_workers = slice->shards->n_workers, groups = slice->n_groups;
    const int64_t ld = slice->step->ld;
    const size_t bytes = entry_bytes(slice->shards), row_bytes = (size_t)ld * bytes;
    int64_t segment = 0, begin = 0, length = segment_length(slice, 0, 0);
    int64_t mean_of = 0;  /* the segment for which scratch->mean stands */
    int64_t steps = 0, timed_steps = 0, means = 0, timed_means = 0;
    double compute_s = 0.0, average_s = 0.0;

    for (;;) {
        const uint64_t ticket = atomic_fetch_add_explicit(&slice->ticket, 1, memory_order_acquire);
        const int64_t at = (int64_t)(ticket >> TASK_BITS), task = (int64_t)(ticket & TASK_MASK);
        if (at >= slice->n_segments)
            break;
        while (segment < at) {
            begin += length;
            segment++;
            length = segment_length(slice, segment, begin);
        }
        const int64_t chunks = (length + slice->chunk - 1) / slice->chunk;
        if (task >= chunks * groups) {
            int turns = 0;
            while ((int64_t)(atomic_load_explicit(&slice->ticket, memory_order_acquire) >> TASK_BITS) == at)
                wait_a_little(&turns);
            continue;
        }
        const int64_t chunk = task / groups, group = task % groups;
        const int64_t from = begin + chunk * slice->chunk;
        const int64_t to = from + slice->chunk < begin + length ? from + slice->chunk : begin + length;
        atomic_int_fast64_t *progress =
            slice->progress + group * (FL_LINE / (int64_t)sizeof *slice->progress);
        const int timed = slice->timing && segment % slice->time_every == 0;
        int turns = 0;
        while (atomic_load_explicit(progress, memory_order_acquire) != from)
            wait_a_little(&turns);

        double clock_s = timed ? fl_now_s() : 0.0;
        if (segment > 0 && chunk == 0 && mean_of != segment) {
            slice->isa->mean(buffer_of(slice, segment - 1), slice->shards->dtype, n_workers, ld,
                             slice->step->n_params, slice->weights, scratch->mean);
            mean_of = segment;
            means++;
            if (timed) {
                const double now_s = fl_now_s();
                average_s += now_s - clock_s;
                clock_s = now_s;
                timed_means++;
            }
        }
        const int64_t first = group * n_workers / groups, last = (group + 1) * n_workers / groups;
        if (segment > 0 && chunk == 0)
            for (int64_t k = first; k < last; k++)
                memcpy(row_of(slice, buffer_of(slice, segment), k), scratch->mean, row_bytes);
        for (int64_t k = first; k < last; k += slice->width)
            slice->isa->local_steps[slice->shards->dtype](
                slice->shards, slice->step, k, last - k < slice->width ? last - k : slice->width,
                slice->t0 + from, to - from, slice->eta + from, slice->alpha ? slice->alpha + from : NULL,
                row_of(slice, buffer_of(slice, segment), k), row_of(slice, slice->sum, k),
                slice->sum64 + k * ld, scratch);
        steps += (last - first) * (to - from);
        if (timed) {
            compute_s += fl_now_s() - clock_s;
            timed_steps += (last - first) * (to - from);
        }
        atomic_store_explicit(progress, to, memory_order_release);
        if (atomic_fetch_add_explicit(&slice->done, 1, memory_order_acq_rel) == chunks * groups - 1) {
            atomic_store_explicit(&slice->done, 0, memory_order_relaxed);
            atomic_store_explicit(&slice->ticket, (uint64_t)(segment + 1) << TASK_BITS, memory_order_release);
        }
    }
    if (timed_steps > 0)
        slice->seconds[slot].compute_s = compute_s * (double)steps / (double)timed_steps;
    if (timed_means > 0)
        slice->seconds[slot].average_s = average_s * (double)means / (double)timed_means;
}

static double squared_distance(const void *a, const void *b, int dtype, int64_t n)
{
    double sum = 0.0;
    for (int64_t j = 0; j < n; j++) {
        const double difference = dtype == FL_FLOAT32
                                      ? (double)((const float *)a)[j] - (double)((const float *)b)[j]
                                      : ((const double *)a)[j] - ((const double *)b)[j];
        sum += difference * difference;
    }
    return sum;
}

static int is_finite_row(const void *w, int dtype, int64_t n)
{
    double zero = 0.0;
    for (int64_t j = 0; j < n; j++)
        zero += (dtype == FL_FLOAT32 ? (double)((const float *)w)[j] : ((const double *)w)[j]) * 0.0;
    return zero == 0.0;
}

void fl_slice_finish(fl_slice *slice, void *mean)
{
    const int64_t n_workers = slice->shards->n_workers, n_params = slice->step->n_params;
    const int dtype = slice->shards->dtype;
    const size_t row_bytes = (size_t)slice->step->ld * entry_bytes(slice->shards);
    fl_close_and_wait(&slice->gate);
    const double start_s = slice->timing ? fl_now_s() : 0.0;
    if ((slice->n_segments - 1) & 1)
        memcpy(slice->W, slice->spare, (size_t)n_workers * row_bytes);
    for (int64_t k = 0; k < n_workers && slice->first_bad < 0; k++)
        if (!is_finite_row(row_of(slice, slice->W, k), dtype, n_params))
            slice->first_bad = k;
    if (slice->closes || slice->want_consensus)
        slice->isa->mean(slice->W, dtype, n_workers, slice->step->ld, n_params, slice->weights, mean);
    if (slice->want_consensus) {
        double sum = 0.0;
        for (int64_t k = 0; k < n_workers; k++)
            sum += squared_distance(row_of(slice, slice->W, k), mean, dtype, n_params);
        slice->consensus = sum / (double)n_workers;
    }
    if (slice->closes)
        for (int64_t k = 0; k < n_workers; k++)
            memcpy(row_of(slice, slice->W, k), mean, row_bytes);
    if (slice->timing)
        slice->seconds[0].average_s += fl_now_s() - start_s;
}

/* ---- a pass over the data ---- */

static void copy_rows(const fl_pass *pass, int64_t first, int64_t last)
{
    const fl_shards *shards = pass->shards;
    const size_t bytes = entry_bytes(shards), row_bytes = (size_t)shards->n_features * bytes;
    for (int64_t i = first; i < last; i++) {
        const int64_t row = shards->order ? (int64_t)shards->order[i] : i;
        if (i + 8 < last && shards->order)
            __builtin_prefetch((const char *)shards->X + (size_t)((int64_t)shards->order[i + 8] * shards->x_stride) * bytes);
        memcpy((char *)pass->to_X + (size_t)i * row_bytes,
               (const char *)shards->X + (size_t)(row * shards->x_stride) * bytes, row_bytes);
        memcpy((char *)pass->to_y + (size_t)i * bytes, (const char *)shards->y + (size_t)row * bytes, bytes);
        if (shards->s)
            memcpy((char *)pass->to_s + (size_t)i * bytes, (const char *)shards->s + (size_t)row * bytes, bytes);
    }
}

void fl_pass_open(fl_pass *pass)
{
    atomic_init(&pass->next, 0);
    fl_open(&pass->gate);
}

void fl_pass_work(fl_pass *pass, double *work)
{
    const fl_shards *shards = pass->shards;
    for (;;) {
        const int64_t block = atomic_fetch_add_explicit(&pass->next, 1, memory_order_relaxed);
        if (block >= pass->n_blocks)
            return;
        const int64_t first = block * pass->rows_per_block;
        const int64_t end = first + pass->rows_per_block;
        const int64_t last = end < shards->n_samples ? end : shards->n_samples;
        double *out = pass->out + block * pass->out_ld;
        switch (pass->kind) {
        case FL_PASS_OBJECTIVE:
            pass->isa->objective[shards->dtype](shards, pass->loss, first, last, pass->w, pass->ldw,
                                                pass->n_iterates, out, work);
            break;
        case FL_PASS_GRADIENT:
            out[pass->out_ld - 1] =
                pass->isa->gradient[shards->dtype](shards, pass->loss, first, last, pass->w, out, work);
            break;
        case FL_PASS_SCAN:
            pass->isa->scan[shards->dtype](shards, first, last, out);
            break;
        default:
            copy_rows(pass, first, last);
        }
    }
}
