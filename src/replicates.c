#include "replicates.h"

#include <string.h>

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

static void one_replicate(const fl_replicates *all, fl_room *room, int64_t replicate)
{
    const int64_t n_workers = room->shards.n_workers;
    const size_t row_bytes = (size_t)all->step->ld * fl_entry_bytes(&room->shards);
    int64_t t = 0, ends = all->periods[0], round = 0, which = 0;
    start(all, room, replicate);
    while (t < all->n_steps) {
        int64_t upto = ends < all->n_steps ? ends : all->n_steps;
        if (which < all->n_records && all->record[which] < upto)
            upto = all->record[which];
        if (t < all->begins_after && all->begins_after < upto)
            upto = all->begins_after;
        steps(all, room, t, upto);
        t = upto;
        const int averages = t == ends || t == all->n_steps;
        const int records = which < all->n_records && all->record[which] == t;
        if (averages || records)
            all->isa->mean(room->W, room->shards.dtype, n_workers, all->step->ld, all->step->n_params, all->weights,
                           room->scratch.mean, NULL, 0);
        if (records)
            take_record(all, room, replicate, which++, room->scratch.mean, averages);
        if (averages)
            for (int64_t k = 0; k < n_workers; k++)
                memcpy(row_of(all, room, room->W, k), room->scratch.mean, row_bytes);
        if (averages && t < all->n_steps)
            ends += all->periods[++round];
    }
}

void fl_replicates_open(fl_replicates *all)
{
    atomic_init(&all->next, 0);
    fl_take_own_cpu(&all->cpus);
    fl_open(&all->gate);
}

int fl_replicates_work(fl_replicates *all, fl_room *room, double until_s)
{
    do {
        const int64_t replicate = atomic_fetch_add_explicit(&all->next, 1, memory_order_relaxed);
        if (replicate >= all->n_replicates)
            return 0;
        one_replicate(all, room, replicate);
    } while (fl_now_s() < until_s);
    return 1;
}

void fl_replicates_abandon(fl_replicates *all)
{
    atomic_store_explicit(&all->next, all->n_replicates, memory_order_relaxed);
}
