/* Team floor, for many small runs: replicates of one run with seeds seed, seed + 1, ...,
 * each done from beginning to end by whichever thread is free. */
#ifndef FASTLSGD_REPLICATES_H
#define FASTLSGD_REPLICATES_H

#include "team.h"

/* What a thread works with. */
typedef struct fl_room {
    fl_shards shards;        /* with buffers of its own for the rows ahead; the seed is set here */
    void *W, *sum;           /* n_workers rows each, ld apart, padding zero */
    double *sum64;           /* for doubles the same as sum */
    fl_scratch scratch;
    /* The replicate in hand, which a call may leave and the next one go on with: */
    int in_hand;
    int64_t replicate, t, ends, round, which;
    int64_t since;           /* steps since the clock was last looked at */
} fl_room;

typedef struct fl_replicates {
    const fl_isa *isa;
    const fl_step *step;
    int64_t n_replicates, n_steps;
    uint64_t seed;
    const int64_t *periods;  /* lengths of all rounds */
    const double *eta;       /* n_steps */
    const double *alpha;     /* weights of the average, or NULL ... */
    int64_t begins_after;    /* ... which takes the steps after this one */
    const double *weights;   /* n_workers, of the averaging */
    const void *w0;          /* a padded row */
    int64_t n_records;
    const int64_t *record;   /* step numbers, ascending ... */
    const double *total;     /* ... and the weights of the average up to them */
    double *w, *w_bar;       /* (n_replicates, n_records, n_params) */
    double *consensus;       /* (n_replicates, n_records): before the averaging, if there is one */
    fl_cpus cpus;
    char apart[FL_LINE];
    atomic_int_fast64_t next, n_done;
    atomic_int abandoned;
    fl_gate gate;
} fl_replicates;

void fl_replicates_open(fl_replicates *);
/* Work until none is left to begin (returns 0) or until then, if need be within a replicate (1): the owner and any
 * helper, each in a room of its own. */
int fl_replicates_work(fl_replicates *, fl_room *, double until_s);
/* The owner, when none is left to begin: wait until all are done (returns 0) or until then (1). */
int fl_replicates_wait(fl_replicates *, double until_s);
/* Nobody begins another one or goes on with what is in hand. */
void fl_replicates_abandon(fl_replicates *);

#endif
