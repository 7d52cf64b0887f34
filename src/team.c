#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE   /* POSIX, and where Linux runs a thread */
#endif
#include "team.h"

#include <math.h>
#include <sched.h>
#include <string.h>
#include <time.h>
#ifdef FL_SEEDED_FAULTS /* faults that the sanitizers must find (.ci/sanitizers); in no module that is used */
#include <stdlib.h>
#endif

/* ---- waiting ---- */

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* __builtin_prefetch asks for ownership only where the compiler is told of a processor that
 * can; where it cannot, the instruction does nothing. */
static inline void prefetch_to_write(const char *line)
{
#if defined(__x86_64__)
    __asm__ volatile("prefetchw %0" : : "m"(*line));
#else
    __builtin_prefetch(line, 1, 3);
#endif
}

/* Look again at once for some hundred nanoseconds (a pause can cost more than a whole
 * barrier: 244 against 58 ns between two cores of a virtual machine), then with pauses
 * for some ten microseconds, then give the processor away, then sleep: on a shared
 * machine the thread that is waited for may not be running at all. */
#define AT_ONCE 256

static inline void wait_a_little(int *turns)
{
    const int turn = (*turns)++;
    if (turn < AT_ONCE)
        return;
    if (turn < 1000)
        relax();
    else if (turn < 4000)
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

/* ---- where threads run ----
 *
 * A helper may be woken on the processor of the thread that wakes it, and short runs are over
 * before a scheduler parts the two. So a helper that finds itself on a processor of its team moves
 * to one of its own, if it may use another; where it may run stays as it was. It is for the
 * slowest runs (d = 100, 2,000 steps of two workers; of 60 runs in each of three processes the slowest took
 * 1.3 to 1.5 times what one thread takes, without this 1.8 to 2.9; medians are the same). */

static int take_cpu(fl_cpus *cpus, int cpu)
{
    const uint_fast64_t bit = (uint_fast64_t)1 << (cpu % 64);
    return !(atomic_fetch_or_explicit(&cpus->taken[cpu / 64], bit, memory_order_relaxed) & bit);
}

void fl_take_own_cpu(fl_cpus *cpus)
{
    for (int i = 0; i < FL_MAX_CPUS / 64; i++)
        atomic_init(&cpus->taken[i], 0);
#if defined(__linux__)
    const int here = sched_getcpu();
    if (here >= 0 && here < FL_MAX_CPUS)
        take_cpu(cpus, here);
#else
    (void)take_cpu;
#endif
}

void fl_spread(fl_cpus *cpus)
{
#if defined(__linux__)
    cpu_set_t allowed, one;
    const int here = sched_getcpu();
    if (here < 0 || here >= FL_MAX_CPUS || take_cpu(cpus, here) ||
        sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return;
    for (int cpu = 0; cpu < FL_MAX_CPUS && cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && take_cpu(cpus, cpu)) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            if (sched_setaffinity(0, sizeof one, &one) == 0)
                sched_setaffinity(0, sizeof allowed, &allowed);
            return;
        }
#else
    (void)cpus;
#endif
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
 * A slice is cut at the ends of rounds into segments. Workers form groups, and a
 * group's steps are done in chunks, so that three workers on two threads keep both
 * busy. Each thread first claims chunks of the groups that are at home with it, so
 * that iterates stay in its cache, and then what others have not begun: nobody is
 * waited for that has not claimed anything. A segment ends when every group has
 * done its steps: the one barrier of a round, each thread writing one line a group
 * and reading the others'.
 *
 * Averaging needs no barrier of its own while all iterates fit in the cache: those
 * of segment i live in buffer i mod 2, and each thread computes the mean of the
 * segment before for itself, always after its first claim in a segment, which keeps
 * that segment, and so the buffer it reads, alive. Beyond that, averaging is shared
 * out by features, between two barriers. */

/* Turns that a thread waits before it takes a group from its home: at rounds of one
 * step the owner is only just behind. */
#define PATIENCE AT_ONCE

/* Bytes of iterates from which averaging is shared out. */
#define SLICED_BYTES (64 * 1024)

#define TASK_BITS 32
/* Tasks of an averaging are taken from both ends, and a thread keeps to its end, so that what
 * only averagings touch (owed, the mean) may stay in its cache from one to the next. */
#define END_BITS (TASK_BITS / 2)
#define END_MASK (((uint64_t)1 << END_BITS) - 1)

static void *row_of(const fl_slice *slice, void *buffer, int64_t k)
{
    return fl_row_of(slice->shards, slice->step, buffer, k);
}

static void *buffer_of(const fl_slice *slice, int64_t segment)
{
    return (segment & 1) && slice->spare ? slice->spare : slice->W;
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

/* A guess of nanoseconds that workers in lockstep take to a step, to size chunks, to space the
 * clocks and to choose how many threads come: a chain that one of them waits for, and what each
 * adds to it. */
static int64_t guessed_step_ns(const fl_slice *slice, int64_t width)
{
    const fl_shards *shards = slice->shards;
    const int64_t p = slice->step->n_params;
    const int64_t row_ns = slice->sparse ? 30 + 3 * shards->n_stored / shards->n_samples
                                         : 4 + p / 8 + (shards->stream ? p : 0);
    return 25 + width * slice->step->batch_size * row_ns;
}

/* Lockstep pays while the workers' iterates, sums and rows (with the next ones) keep to a
 * third of the first-level cache; a batch hides its latency by itself. */
int64_t fl_lockstep_width(const fl_shards *shards, const fl_step *step)
{
    const size_t row_bytes = (size_t)step->n_params * fl_entry_bytes(shards);
    if (shards->indices || step->batch_size > 1 || row_bytes > 2048)
        return 1;
    return row_bytes > 1024 ? 2 : FL_LOCKSTEP;
}

int fl_sliced(int64_t n_workers, int64_t row_bytes)
{
    return n_workers > 1 && n_workers * row_bytes > SLICED_BYTES;
}

/* Guessed nanoseconds of a round beyond its steps, for one thread alone: its start and its end, and
 * each line of the iterates that is averaged; and for one of several: until all have met, and
 * for each line that comes from another's cache. And of a slice: until helpers have been woken
 * and have left again. Of two cores of Zen 4. */
#define ROUND_NS 40
#define OWN_LINE_NS 3
#define MEETING_NS 100
#define LINE_NS 18
#define WAKING_NS 40000
#define A_HELPER_NS 10000

static atomic_int whole_team;

int fl_use_whole_team(int whole)
{
    return atomic_exchange_explicit(&whole_team, whole, memory_order_relaxed);
}

/* Where rounds are so short that threads would rather wait for each other than work, fewer are
 * sooner done: two workers on one thread take half the time of two threads at rounds of one
 * step (d = 20: 99 against 184 ns a round; d = 100: 145 against 287). So they are where the
 * whole slice is done before a helper comes. */
static int64_t threads_worth(const fl_slice *slice, int64_t n_threads)
{
    const int64_t n_workers = slice->shards->n_workers;
    const int64_t row_bytes = slice->step->ld * (int64_t)fl_entry_bytes(slice->shards);
    if (slice->sparse || fl_sliced(n_workers, row_bytes) || atomic_load_explicit(&whole_team, memory_order_relaxed))
        return n_threads;
    const int64_t width = fl_lockstep_width(slice->shards, slice->step);
    int64_t best = 0, least_ns = 0;
    for (int64_t n = 1; n <= n_threads && n <= n_workers; n++) {
        const int64_t its = (n_workers + n - 1) / n;
        int64_t ns = slice->n * (its / width * guessed_step_ns(slice, width) +
                                 (its % width ? guessed_step_ns(slice, its % width) : 0));
        const int64_t lines = row_bytes / 64;
        ns += slice->n_segments * (n == 1 ? ROUND_NS + OWN_LINE_NS * n_workers * lines
                                          : MEETING_NS + LINE_NS * ((n_workers - its) * lines + n - 1));
        ns += n == 1 ? 0 : WAKING_NS + A_HELPER_NS * (n - 1);
        /* Others may have better use for a thread that saves little. */
        if (best == 0 || ns + ns / 16 < least_ns) {
            least_ns = ns;
            best = n;
        }
    }
    return best;
}

void fl_slice_open(fl_slice *slice, int64_t n_threads)
{
    const int64_t n_workers = slice->shards->n_workers;
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
    slice->n_threads = threads_worth(slice, n_threads);
    slice->width = fl_lockstep_width(slice->shards, slice->step);
    slice->n_groups = fl_slice_groups(n_workers, slice->n_threads, slice->width);
    slice->chunk = slice->n;
    const int64_t step_ns = guessed_step_ns(slice, slice->width) / slice->width;
    if (slice->n_threads > 1 && n_workers > 1) {
        const int64_t workers_a_group = (n_workers + slice->n_groups - 1) / slice->n_groups;
        slice->chunk = 1 + 200000 / (step_ns * workers_a_group);
    }
    /* Three clock readings, 100 ns, on at most one nanosecond in a hundred. */
    slice->time_every = 1 + 10000 * slice->n_segments / (1 + step_ns * slice->n);
    memset(slice->seconds, 0, FL_MAX_THREADS * sizeof *slice->seconds);
    for (int64_t g = 0; g < slice->n_groups; g++) {
        atomic_init(&slice->groups[g].claimed, 0);
        atomic_init(&slice->groups[g].done, 0);
        atomic_init(&slice->groups[g].by, -1);
    }
    slice->sliced = slice->sparse ? n_workers > 1
                                  : fl_sliced(n_workers, slice->step->ld * (int64_t)fl_entry_bytes(slice->shards));
    /* Whole lines (of masks too), at most sixteen tasks as long as they are short. */
    const int64_t line = slice->sparse ? FL_MARKED_BLOCK : FL_PAD;
    const int64_t sixteenth = (slice->step->ld / 16 + line - 1) / line * line;
    slice->n_features_a_task = sixteenth < line ? line : sixteenth > 4096 ? 4096 : sixteenth;
    /* Each end has END_BITS to count its tasks with. */
    while (slice->step->ld / slice->n_features_a_task >= (int64_t)END_MASK)
        slice->n_features_a_task *= 2;
    slice->n_tasks_an_averaging = (slice->step->ld + slice->n_features_a_task - 1) / slice->n_features_a_task;
    atomic_init(&slice->averaging, 0);
    atomic_init(&slice->n_averaged, 0);
    if (slice->sparse) {
        atomic_init(&slice->sparse->broken, 0);
        atomic_init(&slice->sparse->n_floats, 0);
        atomic_init(&slice->sparse->bad, INT64_MAX);
    }
    slice->first_bad = -1;
    slice->consensus = NAN;
    fl_take_own_cpu(&slice->cpus);
    fl_open(&slice->gate);
}

/* What one thread knows while it works on a slice. */
typedef struct at_work {
    fl_slice *slice;
    const fl_scratch *scratch;
    int64_t slot;
    int64_t segment, begin, end;    /* the segment at hand: its steps in the slice */
    int64_t mean_of;                /* the segment before which scratch->mean stands; 0 is none */
    int timed;
    int64_t steps, timed_steps, means, timed_means;
    double compute_s, average_s;
} at_work;

/* The n rows of W that a round starts with: all at the mean of the segment before. */
static void start_at_the_mean(at_work *me, void *rows, int64_t n, double *clock_s)
{
    const fl_slice *slice = me->slice;
    const size_t row_bytes = (size_t)slice->step->ld * fl_entry_bytes(slice->shards);
    if (slice->sliced || me->mean_of == me->segment) {
        for (int64_t k = 0; k < n; k++)
            memcpy((char *)rows + (size_t)k * row_bytes, slice->sliced ? slice->mean : me->scratch->mean, row_bytes);
        return;
    }
    slice->isa->mean(buffer_of(slice, me->segment - 1), slice->shards->dtype, slice->shards->n_workers,
                     slice->step->ld, slice->step->n_params, slice->weights, me->scratch->mean, rows, n);
    me->mean_of = me->segment;
    me->means++;
    if (me->timed) {
        const double now_s = fl_now_s();
        me->average_s += now_s - *clock_s;
        *clock_s = now_s;
        me->timed_means++;
    }
}

static void sparse_chunk_of_steps(const at_work *me, int64_t k, int64_t from, int64_t to)
{
    const fl_slice *slice = me->slice;
    const fl_shards *shards = slice->shards;
    const int64_t ld = slice->step->ld;
    uint32_t *changed = slice->sparse->changed;
    if (slice->isa->sparse_steps[shards->dtype][shards->wide](
            shards, slice->step, k, slice->t0 + from, to - from, slice->sparse->scales + from,
            row_of(slice, slice->W, k), slice->sum64 + k * ld, changed ? changed + k * fl_marked_ld(ld) : NULL,
            me->scratch))
        atomic_store_explicit(&slice->sparse->broken, 1, memory_order_relaxed);
}

/* Averages features [first, last) of a CSR run after `end` steps of the slice, in place. */
static void sparse_average(fl_slice *slice, int64_t end, int64_t first, int64_t last)
{
    const int64_t ld = slice->step->ld;
    int64_t n_floats = 0;
    const fl_averaging averaging = {
        .W = slice->W, .n_workers = slice->shards->n_workers, .ld = ld, .weights = slice->weights,
        .sum_of_weights = slice->sparse->sum_of_weights, .changed = slice->sparse->changed,
        .marked_ld = fl_marked_ld(ld), .everything = slice->sparse->everything, .owed = slice->sparse->owed,
        .gain = slice->sparse->scales[end].mass,
        .intercept = slice->shards->intercept ? slice->shards->n_features : -1,
    };
    const int64_t bad = slice->isa->average_changed[slice->shards->dtype](&averaging, first, last < ld ? last : ld,
                                                                                   &n_floats);
    atomic_fetch_add_explicit(&slice->sparse->n_floats, n_floats, memory_order_relaxed);
    int_fast64_t seen = atomic_load_explicit(&slice->sparse->bad, memory_order_relaxed);
    while (bad >= 0 && bad < seen &&
           !atomic_compare_exchange_weak_explicit(&slice->sparse->bad, &seen, bad, memory_order_relaxed,
                                                  memory_order_relaxed))
        ;
}

/* One chunk of one group, which this thread has claimed. */
static void chunk_of_steps(at_work *me, int64_t group, int64_t from, int64_t to)
{
    const fl_slice *slice = me->slice;
    const int64_t n_workers = slice->shards->n_workers, ld = slice->step->ld;
    const int64_t first = group * n_workers / slice->n_groups, last = (group + 1) * n_workers / slice->n_groups;
    void *W = buffer_of(slice, me->segment);
    double clock_s = me->timed ? fl_now_s() : 0.0;
    if (from == me->begin && me->segment > 0 && !slice->sparse)
        start_at_the_mean(me, row_of(slice, W, first), last - first, &clock_s);
    for (int64_t k = first; slice->sparse && k < last; k++)
        sparse_chunk_of_steps(me, k, from, to);
    for (int64_t k = first; !slice->sparse && k < last; k += slice->width)
        slice->isa->local_steps[fl_storage(slice->shards)](
            slice->shards, slice->step, k, last - k < slice->width ? last - k : slice->width, slice->t0 + from,
            to - from, slice->eta + from, slice->alpha ? slice->alpha + from : NULL, row_of(slice, W, k),
            row_of(slice, slice->sum, k), slice->sum64 + k * ld, me->scratch);
    me->steps += (last - first) * (to - from);
    if (me->timed) {
        me->compute_s += fl_now_s() - clock_s;
        me->timed_steps += (last - first) * (to - from);
    }
}

/* What the threads of the next segment wait for: the group's steps up to here are done. */
static void hand_over(const fl_slice *slice, fl_group *group, int64_t done)
{
#ifdef FL_SEEDED_FAULTS
    const char *seeded = getenv("FASTLSGD_SEEDED_FAULT");
    volatile double beyond = 0.0;
    volatile int64_t largest = INT64_MAX;
    if (seeded && strcmp(seeded, "overflow") == 0)
        beyond = slice->weights[slice->shards->n_workers];
    if (seeded && strcmp(seeded, "undefined") == 0)
        largest += slice->n_groups;
    if (seeded && strcmp(seeded, "race") == 0) {
        atomic_store_explicit(&group->done, done, memory_order_relaxed);
        return;
    }
    (void)beyond;
#endif
    (void)slice;
    atomic_store_explicit(&group->done, done, memory_order_release);
}

/* Bytes of a group's rows that are asked for before they are written. */
#define ASKED_BYTES 4096

/* The next segment's rows of a group that is done with this one: other threads have read
 * them two segments ago, and each line must be theirs no more before it is written. Asked
 * for now, all at once and while the others are waited for, they need not come one after
 * the other when the mean goes there (period 16, d = 20 and 100: 7% of a gradient). */
static void ask_for_next_rows(const at_work *me, int64_t group)
{
    const fl_slice *slice = me->slice;
    const int64_t n_workers = slice->shards->n_workers;
    const int64_t first = group * n_workers / slice->n_groups, last = (group + 1) * n_workers / slice->n_groups;
    const int64_t bytes = (last - first) * slice->step->ld * (int64_t)fl_entry_bytes(slice->shards);
    if (slice->n_threads == 1 || !slice->spare || bytes > ASKED_BYTES || me->segment + 1 >= slice->n_segments)
        return;
    const char *rows = row_of(slice, buffer_of(slice, me->segment + 1), first);
    for (int64_t at = 0; at < bytes; at += 64)
        prefetch_to_write(rows + at);
}

/* The steps of the segment at hand: returns when all groups have done theirs. */
static void steps_of_segment(at_work *me)
{
    fl_slice *slice = me->slice;
    const int64_t n_groups = slice->n_groups;
    const int64_t home = me->slot * n_groups / slice->n_threads;
    const int64_t n_home = (me->slot + 1) * n_groups / slice->n_threads - home;
    int turns = 0;
    for (;;) {
        int all_done = 1, worked = 0;
        for (int64_t i = 0; i < n_groups; i++) {
            const int64_t g = home + i < n_groups ? home + i : home + i - n_groups;
            fl_group *group = slice->groups + g;
            int_fast64_t from = atomic_load_explicit(&group->done, memory_order_acquire);
            if (from >= me->end)
                continue;
            all_done = 0;
            if (i >= n_home && turns < PATIENCE &&
                atomic_load_explicit(&group->by, memory_order_relaxed) != me->slot)
                continue;
            const int64_t to = from + slice->chunk < me->end ? from + slice->chunk : me->end;
            const int64_t was = from;
            /* A thread left behind in an earlier segment fails here: claims only grow. */
            if (!atomic_compare_exchange_strong_explicit(&group->claimed, &from, to, memory_order_acquire,
                                                         memory_order_relaxed))
                continue;
            chunk_of_steps(me, g, was, to);
            worked = 1;
            atomic_store_explicit(&group->by, me->slot, memory_order_relaxed);
            hand_over(slice, group, to);
            if (to == me->end)
                ask_for_next_rows(me, g);
        }
        if (all_done)
            return;
        if (worked)
            turns = 0;
        else
            wait_a_little(&turns);
    }
}

/* The averaging behind the segment at hand, shared out by features: returns when it is done. */
static void average_by_features(at_work *me)
{
    fl_slice *slice = me->slice;
    const uint_fast64_t mine = (uint_fast64_t)me->segment << TASK_BITS;
    const size_t bytes = fl_entry_bytes(slice->shards);
    const double start_s = me->timed ? fl_now_s() : 0.0;
    const int from_behind = me->slot % 2 == 1;
    int turns = 0;
    uint_fast64_t at = atomic_load_explicit(&slice->averaging, memory_order_acquire);
    while (at >> TASK_BITS == (uint_fast64_t)me->segment) {
        const int64_t in_front = (int64_t)(at & END_MASK), behind = (int64_t)(at >> END_BITS & END_MASK);
        if (in_front + behind >= slice->n_tasks_an_averaging) {
            wait_a_little(&turns);
            at = atomic_load_explicit(&slice->averaging, memory_order_acquire);
            continue;
        }
        const uint_fast64_t taken = at + (from_behind ? (uint_fast64_t)1 << END_BITS : 1);
        if (!atomic_compare_exchange_weak_explicit(&slice->averaging, &at, taken, memory_order_acquire,
                                                   memory_order_acquire))
            continue;
        const int64_t task = from_behind ? slice->n_tasks_an_averaging - 1 - behind : in_front;
        const int64_t first = task * slice->n_features_a_task;
        const int64_t left = slice->step->n_params - first;
        if (slice->sparse)
            sparse_average(slice, me->end, first, first + slice->n_features_a_task);
        else if (left > 0)
            slice->isa->mean((const char *)slice->W + (size_t)first * bytes, slice->shards->dtype,
                             slice->shards->n_workers, slice->step->ld,
                             left < slice->n_features_a_task ? left : slice->n_features_a_task, slice->weights,
                             (char *)slice->mean + (size_t)first * bytes, NULL, 0);
        if (atomic_fetch_add_explicit(&slice->n_averaged, 1, memory_order_acq_rel) ==
            slice->n_tasks_an_averaging - 1) {
            atomic_store_explicit(&slice->n_averaged, 0, memory_order_relaxed);
            atomic_store_explicit(&slice->averaging, mine + ((uint_fast64_t)1 << TASK_BITS), memory_order_release);
        }
        at = atomic_load_explicit(&slice->averaging, memory_order_acquire);
    }
    me->means++;
    if (me->timed) {
        me->average_s += fl_now_s() - start_s;
        me->timed_means++;
    }
}

/* Whether the averaging behind the last segment is shared out, or left to fl_slice_finish. */
static int shares_last_averaging(const fl_slice *slice)
{
    return slice->sliced && slice->closes && !slice->want_consensus;
}

void fl_slice_work(fl_slice *slice, int64_t slot, const fl_scratch *scratch)
{
    at_work me = {.slice = slice, .scratch = scratch, .slot = slot};
    for (; me.segment < slice->n_segments; me.segment++, me.begin = me.end) {
        me.end = me.begin + segment_length(slice, me.segment, me.begin);
        me.timed = slice->timing && me.segment % slice->time_every == 0;
        steps_of_segment(&me);
        if (slice->sliced && (me.segment < slice->n_segments - 1 || shares_last_averaging(slice)))
            average_by_features(&me);
    }
    if (me.timed_steps > 0)
        slice->seconds[slot].compute_s = me.compute_s * (double)me.steps / (double)me.timed_steps;
    if (me.timed_means > 0)
        slice->seconds[slot].average_s = me.average_s * (double)me.means / (double)me.timed_means;
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

static int is_finite_row(const void *w, int dtype, int64_t n, double scale)
{
    double zero = 0.0;
    for (int64_t j = 0; j < n; j++)
        zero += dtype == FL_FLOAT32 ? (double)(((const float *)w)[j] * (float)scale) * 0.0
                                    : ((const double *)w)[j] * scale * 0.0;
    return zero == 0.0;
}

void fl_slice_finish(fl_slice *slice, void *mean)
{
    const int64_t n_workers = slice->shards->n_workers, n_params = slice->step->n_params;
    const int dtype = slice->shards->dtype;
    const size_t row_bytes = (size_t)slice->step->ld * fl_entry_bytes(slice->shards);
    /* Of a CSR run W is v: its features stand scaled by s, its intercept does not. */
    const double s = slice->sparse ? slice->sparse->scales[slice->n].before : 1.0;
    fl_close_and_wait(&slice->gate);
    const double start_s = slice->timing ? fl_now_s() : 0.0;
    if (buffer_of(slice, slice->n_segments - 1) != slice->W)
        memcpy(slice->W, slice->spare, (size_t)n_workers * row_bytes);
    if (slice->sparse && atomic_load_explicit(&slice->sparse->bad, memory_order_relaxed) < n_workers)
        slice->first_bad = (int64_t)atomic_load_explicit(&slice->sparse->bad, memory_order_relaxed);
    for (int64_t k = 0; k < n_workers && slice->first_bad < 0; k++)
        if (!is_finite_row(row_of(slice, slice->W, k), dtype, n_params, 1.0) ||
            !is_finite_row(row_of(slice, slice->W, k), dtype, slice->shards->n_features, s))
            slice->first_bad = k;
    if (shares_last_averaging(slice))
        mean = slice->mean;
    else if ((slice->closes && !slice->sparse) || slice->want_consensus)
        slice->isa->mean(slice->W, dtype, n_workers, slice->step->ld, n_params, slice->weights, mean, NULL, 0);
    if (slice->want_consensus) {
        const int64_t scaled = slice->sparse ? slice->shards->n_features : n_params;
        const size_t at = (size_t)scaled * fl_entry_bytes(slice->shards);
        double sum = 0.0, rest = 0.0;
        for (int64_t k = 0; k < n_workers; k++) {
            const char *row = row_of(slice, slice->W, k);
            sum += squared_distance(row, mean, dtype, scaled);
            rest += squared_distance(row + at, (const char *)mean + at, dtype, n_params - scaled);
        }
        slice->consensus = (s * s * sum + rest) / (double)n_workers;
    }
    if (slice->sparse && slice->closes && !shares_last_averaging(slice) && n_workers > 1)
        sparse_average(slice, slice->n, 0, slice->step->ld);
    if (slice->closes && !slice->sparse)
        for (int64_t k = 0; k < n_workers; k++)
            memcpy(row_of(slice, slice->W, k), mean, row_bytes);
    if (slice->timing)
        slice->seconds[0].average_s += fl_now_s() - start_s;
}
