#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE   /* nanosleep */
#endif
#include "replicates.h"

#include <string.h>
#include <time.h>

#include "stream.h"

static void *row_of(const fl_replicates *all, const fl_room *room, void *rows, int64_t k)
{
    return fl_row_of(&room->shards, all->step, rows, k);
}

static void start(const fl_replicates *all, fl_room *room, int64_t replicate)
{
    const int64_t n_workers = room->shards.n_workers, ld = all->step->ld;
    const size_t row_bytes = (size_t)ld * fl_entry_bytes(&room->shards);
    room->shards.seed = all->seed + (uint64_t)replicate;
    for (int64_t k = 0; k < n_workers; k++) {
        memcpy(row_of(all, room, room->W, k), all->w0, row_bytes);
        room->shards.ahead_n[k] = 0;
        if (room->shards.stream)
            room->shards.stream->block[k] = -1;
    }
    memset(room->sum, 0, (size_t)n_workers * row_bytes);
    memset(room->sum64, 0, (size_t)(n_workers * ld) * sizeof(double));
    room->t = room->round = room->which = 0;
    room->ends = all->periods[0];
}

static void steps(const fl_replicates *all, const fl_room *room, int64_t from, int64_t to)
{
    const int64_t n_workers = room->shards.n_workers;
    const int64_t width = fl_lockstep_width(&room->shards, all->step);
    fl_step step = *all->step;
    if (from < all->begins_after)
        step.average = FL_AVERAGE_NONE;
    for (int64_t k = 0; k < n_workers; k += width)
        all->isa->local_steps[fl_storage(&room->shards)](
            &room->shards, &step, k, n_workers - k < width ? n_workers - k : width, from, to - from, all->eta + from,
            all->alpha ? all->alpha + from : NULL, row_of(all, room, room->W, k), row_of(all, room, room->sum, k),
            room->sum64 + k * step.ld, &room->scratch);
}

static double entry(const fl_room *room, const void *row, int64_t j)
{
    return room->shards.dtype == FL_FLOAT32 ? (double)((const float *)row)[j] : ((const double *)row)[j];
}

/* The numbers of a record, as Run gives them: the mean where an averaging has just been made or
 * where workers differ, and the weighted mean of the sums in the dtype of the run. */
static void take_record(const fl_replicates *all, const fl_room *room, int64_t replicate, int64_t which,
                        const void *mean, int averaged)
{
    const int64_t n_workers = room->shards.n_workers, p = all->step->n_params;
    const int64_t at = replicate * all->n_records + which;
    double *w = all->w + at * p, *w_bar = all->w_bar + at * p, sum = 0.0;
    for (int64_t k = 0; k < n_workers; k++)
        for (int64_t j = 0; j < p; j++) {
            const double difference = entry(room, row_of(all, room, room->W, k), j) - entry(room, mean, j);
            sum += difference * difference;
        }
    all->consensus[at] = sum / (double)n_workers;
    int equal = 1;
    for (int64_t k = 1; k < n_workers && equal; k++)
        equal = memcmp(row_of(all, room, room->W, k), room->W, (size_t)p * fl_entry_bytes(&room->shards)) == 0;
    for (int64_t j = 0; j < p; j++)
        w[j] = entry(room, equal && !averaged ? room->W : mean, j);
    for (int64_t j = 0; j < p; j++) {
        double total = 0.0;
        for (int64_t k = 0; k < n_workers; k++) {
            double part = room->sum64[k * all->step->ld + j];
            if (room->shards.dtype == FL_FLOAT32)
                part += entry(room, row_of(all, room, room->sum, k), j);
            total += all->weights[k] * part;
        }
        total /= all->total[which];
        w_bar[j] = all->total[which] == 0.0 ? w[j]
                   : room->shards.dtype == FL_FLOAT32 ? (double)(float)total : total;
    }
}

/* Entries of rows between two looks at the clock: about a millisecond. */
#define A_LOOK_ENTRIES (1 << 20)

static int64_t steps_a_look(const fl_replicates *all, const fl_room *room)
{
    return 1 + A_LOOK_ENTRIES / (room->shards.n_workers * all->step->batch_size * (all->step->n_params + 16));
}

/* Goes on to the next step where something is due, or which is so many further on. */
static void go_on(const fl_replicates *all, fl_room *room, int64_t most)
{
    const int64_t n_workers = room->shards.n_workers, t = room->t;
    const size_t row_bytes = (size_t)all->step->ld * fl_entry_bytes(&room->shards);
    int64_t upto = room->ends < all->n_steps ? room->ends : all->n_steps;
    if (room->which < all->n_records && all->record[room->which] < upto)
        upto = all->record[room->which];
    if (t < all->begins_after && all->begins_after < upto)
        upto = all->begins_after;
    if (t + most < upto)
        upto = t + most;
    steps(all, room, t, upto);
    room->t = upto;
    const int averages = upto == room->ends || upto == all->n_steps;
    const int records = room->which < all->n_records && all->record[room->which] == upto;
    if (averages || records)
        all->isa->mean(room->W, room->shards.dtype, n_workers, all->step->ld, all->step->n_params, all->weights,
                       room->scratch.mean, NULL, 0);
    if (records)
        take_record(all, room, room->replicate, room->which++, room->scratch.mean, averages);
    if (averages)
        for (int64_t k = 0; k < n_workers; k++)
            memcpy(row_of(all, room, room->W, k), room->scratch.mean, row_bytes);
    if (averages && upto < all->n_steps)
        room->ends += all->periods[++room->round];
}

void fl_replicates_open(fl_replicates *all)
{
    atomic_init(&all->next, 0);
    atomic_init(&all->n_done, 0);
    atomic_init(&all->abandoned, 0);
    fl_take_own_cpu(&all->cpus);
    fl_open(&all->gate);
}

int fl_replicates_work(fl_replicates *all, fl_room *room, double until_s)
{
    const int64_t most = steps_a_look(all, room);
    for (;;) {
        if (!room->in_hand) {
            room->replicate = atomic_fetch_add_explicit(&all->next, 1, memory_order_relaxed);
            if (room->replicate >= all->n_replicates)
                return 0;
            start(all, room, room->replicate);
            room->in_hand = 1;
        }
        while (room->t < all->n_steps) {
            const int64_t from = room->t;
            go_on(all, room, most);
            room->since += room->t - from;
            if (room->since >= most) {
                room->since = 0;
                if (fl_now_s() >= until_s || atomic_load_explicit(&all->abandoned, memory_order_relaxed))
                    return 1;
            }
        }
        room->in_hand = 0;
        atomic_fetch_add_explicit(&all->n_done, 1, memory_order_release);
    }
}

int fl_replicates_wait(fl_replicates *all, double until_s)
{
    const struct timespec pause = {0, 50000};
    for (int turn = 0; atomic_load_explicit(&all->n_done, memory_order_acquire) < all->n_replicates; turn++)
        if (turn >= 20000) {   /* some ten microseconds: the others may be long at it */
            if (fl_now_s() >= until_s)
                return 1;
            nanosleep(&pause, NULL);
        }
    return 0;
}

void fl_replicates_abandon(fl_replicates *all)
{
    atomic_store_explicit(&all->next, all->n_replicates, memory_order_relaxed);
    atomic_store_explicit(&all->abandoned, 1, memory_order_relaxed);
}
