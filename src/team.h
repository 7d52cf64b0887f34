/* Team floor: several threads share one piece of work.
 *
 * Two kinds of work: a slice (local steps of all workers, with averagings) and a
 * pass over the data (objective, gradient, scan, copy). Either may be joined by
 * any number of threads at any time before it is closed, and is finished by
 * whoever is there: no thread is waited for that has not come.
 */
#ifndef FASTLSGD_TEAM_H
#define FASTLSGD_TEAM_H

#include <stdatomic.h>

#include "kernels.h"
#include "scales.h"

/* Two lines, as processors may fetch them in pairs. */
#define FL_LINE 128
#define FL_MAX_THREADS 256

/* What threads write often stands a line apart from what they read. Padded and not
 * aligned: these structures live in Python objects, which are aligned to 16 bytes. */

/* Who is inside: the work's memory outlives the last one who leaves. */
typedef struct fl_gate {
    char apart[FL_LINE];
    atomic_int inside;
} fl_gate;

void fl_gate_init(fl_gate *);      /* closed, nobody inside; once in its life */
void fl_open(fl_gate *);           /* by the owner, when the work is laid out */
int fl_enter(fl_gate *);           /* 0 while closed */
void fl_leave(fl_gate *);
void fl_close_and_wait(fl_gate *); /* by the owner, when all is done */

/* The processors that members of a team run on, one bit each. */
#define FL_MAX_CPUS 1024
typedef struct fl_cpus {
    atomic_uint_fast64_t taken[FL_MAX_CPUS / 64];
} fl_cpus;

void fl_take_own_cpu(fl_cpus *);   /* by the owner, when the work is opened */
void fl_spread(fl_cpus *);         /* by a helper, before it works */

double fl_now_s(void);

/* The limit that threadpoolctl sets (team.py), for the whole process; 0 is none.
 * Exported by these names: it finds them in the shared library. */
int fastlsgd_get_num_threads(void);
void fastlsgd_set_num_threads(int);

/* Seconds of one thread in one slice. */
typedef struct fl_seconds {
    double compute_s, average_s;
} fl_seconds;

/* What threads say of a group of workers. Claims are the owner's line, which others
 * read only to steal; progress is the line that others wait for. */
typedef struct fl_group {
    atomic_int_fast64_t claimed;    /* steps of this slice that some thread has taken on */
    char apart[FL_LINE - sizeof(atomic_int_fast64_t)];
    atomic_int_fast64_t done;       /* steps of this slice that are done ... */
    atomic_int_fast64_t by;         /* ... the last of them by this thread */
    char apart2[FL_LINE - 2 * sizeof(atomic_int_fast64_t)];
} fl_group;

/* What a slice of a CSR run has besides. */
typedef struct fl_sparse {
    const fl_scale *scales;         /* n + 1, of the steps: see scales.h */
    uint32_t *changed;              /* masks, fl_marked_ld words a worker; NULL for one worker */
    int everything;                 /* averagings look at every feature */
    double sum_of_weights;
    double *owed;                   /* ld: what rounding took from means, as w_bar misses it: see scales.h */
    char apart[FL_LINE];
    atomic_int broken;              /* X is not what it was when it was checked */
    atomic_int_fast64_t n_floats;   /* that exchanges of changed coordinates alone would have sent */
    atomic_int_fast64_t bad;        /* first worker that an averaging found not finite, or INT64_MAX */
} fl_sparse;

/* A slice: n local steps of every worker from t0 on. The open round has periods[0]
 * steps in all, since of them done; the following rounds have periods[1], ... */
typedef struct fl_slice {
    const fl_isa *isa;
    const fl_shards *shards;
    const fl_step *step;
    int64_t t0, n, since;
    const int64_t *periods;
    const double *eta, *alpha;      /* n each; alpha NULL unless FL_AVERAGE_WEIGHTED */
    const double *weights;          /* n_workers, of the averaging */
    void *W, *spare;                /* two buffers of iterates, or one; W holds them before and after */
    void *mean;                     /* of all workers, where averaging is shared out by features */
    void *sum;
    double *sum64;
    int timing, want_consensus;
    fl_sparse *sparse;              /* NULL for dense rows */

    /* set by fl_slice_open */
    int64_t n_segments, n_groups, chunk;
    int64_t width;                  /* workers in lockstep */
    int closes;                     /* the last round ends with the slice */
    int64_t time_every;             /* segments between two timed ones */
    fl_seconds *seconds;            /* FL_MAX_THREADS */
    int64_t n_threads;
    int sliced;                     /* averagings are shared out by features */
    int64_t n_features_a_task, n_tasks_an_averaging;
    fl_group *groups;               /* n_groups */
    fl_cpus cpus;
    char apart[FL_LINE];
    atomic_uint_fast64_t averaging; /* segment << 32 | tasks of its averaging taken, from either end */
    atomic_int_fast64_t n_averaged; /* its tasks that are done */
    fl_gate gate;

    /* set by fl_slice_finish */
    int64_t first_bad;              /* first worker that is not finite, or -1 */
    double consensus;
} fl_slice;

/* Of an iterate, a target, and of rows but for bfloat16s. */
static inline size_t fl_entry_bytes(const fl_shards *shards)
{
    return shards->dtype == FL_FLOAT32 ? sizeof(float) : sizeof(double);
}

/* Row k of iterates, or of their sums. */
static inline void *fl_row_of(const fl_shards *shards, const fl_step *step, void *rows, int64_t k)
{
    return (char *)rows + (size_t)(k * step->ld) * fl_entry_bytes(shards);
}

/* Workers that one thread advances in lockstep. */
int64_t fl_lockstep_width(const fl_shards *, const fl_step *);
/* Groups of workers that threads claim; at most 8 a thread. */
int64_t fl_slice_groups(int64_t n_workers, int64_t n_threads, int64_t width);
/* Whether averagings of so many iterates (of dense rows) are shared out by features, in
 * place: the slice then needs mean and no spare. Depends on the sizes alone. */
int fl_sliced(int64_t n_workers, int64_t row_bytes);
/* n_threads: how many may come. slice->n_threads: how many are worth it, after which to offer. */
void fl_slice_open(fl_slice *, int64_t n_threads);
/* For tests and benchmarks: all that may come are worth it. Returns what held before. */
int fl_use_whole_team(int whole);
/* Work until the slice is done; the owner and any helper. slot < FL_MAX_THREADS. */
void fl_slice_work(fl_slice *, int64_t slot, const fl_scratch *);
/* The owner, after its own fl_slice_work: waits for the helpers inside, brings
 * the iterates back to W and averages them if a round ends here. */
void fl_slice_finish(fl_slice *, void *mean);

/* A pass: blocks of rows, each done once by whichever thread is free. Results of
 * blocks are added in the order of the blocks. */
enum fl_pass_kind { FL_PASS_OBJECTIVE, FL_PASS_EXCESS, FL_PASS_GRADIENT, FL_PASS_SCAN, FL_PASS_COPY };

typedef struct fl_pass {
    int kind;
    const fl_isa *isa;
    const fl_shards *shards;
    int loss;
    fl_iterates iterates;           /* excess: the reference first, then differences from it */
    double *out;                    /* n_blocks rows of out_ld */
    int64_t out_ld, rows_per_block, n_blocks;
    void *to_X, *to_y, *to_s;       /* copy: rows in the order of the positions ... */
    int64_t bf16_words;             /* ... rounded to blocks of bfloat16, so many words a row; or 0 ... */
    void *to_indices;               /* ... CSR: beside to_X ... */
    const void *to_indptr;          /* ... as this has been laid out */
    fl_cpus cpus;
    char apart[FL_LINE];
    atomic_int_fast64_t next;
    fl_gate gate;
} fl_pass;

void fl_pass_open(fl_pass *);
/* Work until no block is left; work: fl_pass_doubles(n_iterates) entries a thread. */
void fl_pass_work(fl_pass *, double *work);

#endif
