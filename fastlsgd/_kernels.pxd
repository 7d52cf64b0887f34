# Declarations of the compiled floors in C (kernels.h, team.h). Private.
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t


cdef extern from "kernels.h" nogil:
    enum:
        FL_FLOAT32
        FL_FLOAT64
        FL_RESHUFFLE
        FL_REPLACEMENT
        FL_BLOCKS
        FL_STREAM
        FL_AVERAGE_NONE
        FL_AVERAGE_UNIFORM
        FL_AVERAGE_WEIGHTED
        FL_VISITS
        FL_FLUSH
        FL_PAD
        FL_BF16_BLOCK

    ctypedef struct fl_stream:
        int target
        int64_t rows_a_block
        int64_t stride
        const void *scale
        const void *ones
        const void *w_star
        double noise
        double normal_part
        double sign_part
        bint thinned
        uint32_t kept
        const void *factor
        const void *spectrum
        void *X
        void *y
        const uint32_t *row_ids
        int64_t *block
        void (*make_block)(const fl_shards *, int64_t k, int64_t block) noexcept nogil

    ctypedef struct fl_shards:
        int dtype
        int sampling
        int whole
        int intercept
        int64_t n_samples, n_features, n_workers
        bint bf16
        const void *X
        Py_ssize_t x_stride
        const void *indices
        const void *indptr
        bint wide
        int64_t n_stored
        const void *y
        const void *s
        const int64_t *start
        const uint32_t *order
        uint32_t *visits
        int64_t *visits_epoch
        int64_t rows_a_block
        uint32_t *block_ids
        uint32_t *ahead
        int64_t *ahead_first
        int64_t *ahead_n
        int64_t n_visits
        uint64_t seed
        const fl_stream *stream

    ctypedef struct fl_step:
        int loss
        int average
        int64_t batch_size
        double l2
        int64_t n_params
        int64_t ld

    ctypedef struct fl_scratch:
        void *mean
        void *update
        void *slopes
        uint32_t *rows

    ctypedef struct fl_scale:
        double before, mass

    ctypedef struct fl_isa:
        const char *name
        void (*make_block[2])(const fl_shards *, int64_t k, int64_t block) noexcept nogil
        void (*mark_visits[2][2])(const fl_shards *, int64_t k, int64_t first, int64_t n, uint32_t *changed) noexcept nogil
        void (*mean)(const void *W, int dtype, int64_t n_workers, int64_t ld, int64_t n_params,
                     const double *weights, void *out, void *copies, int64_t n_copies) noexcept

    int64_t fl_marked_ld(int64_t ld)
    enum:
        FL_PANEL
        FL_FEW_ITERATES

    ctypedef struct fl_iterates:
        int64_t n
        const double *w
        const double *panels
        const double *intercepts

    int64_t fl_pass_doubles(int64_t n_iterates)
    const fl_isa *fl_isas[]
    bint fl_supported(const fl_isa *)


cdef extern from "draw.h" nogil:
    enum:
        FL_PURPOSE_ROW
        FL_PURPOSE_DEAL
        FL_PURPOSE_EPOCH
    void fl_philox(uint32_t *counter, uint32_t k0, uint32_t k1)
    uint64_t fl_draw(uint64_t seed, uint32_t worker, uint32_t purpose, uint64_t number)
    void fl_shuffle(uint32_t *entries, int64_t n, uint64_t seed, uint32_t worker, uint32_t purpose, uint64_t first)
    void fl_shuffle_blocks(const uint32_t *order, uint32_t base, uint32_t *to, int64_t n, int64_t rows,
                           uint32_t *ids, uint64_t seed, uint32_t worker, uint32_t purpose)


cdef extern from "visits.h" nogil:
    const uint32_t *fl_rows_ahead(const fl_shards *, int64_t k, int64_t visit, int64_t *n, int64_t *known)


cdef extern from "stream.h" nogil:
    enum:
        FL_TARGET_NONE
        FL_TARGET_LINEAR
        FL_TARGET_LOGISTIC
        FL_HALF_CHUNK_BYTES
        FL_MOST_STREAM_ROWS
    const uint32_t *fl_rows_to_visit(const fl_shards *, int64_t k, int64_t visit, int64_t *n, int64_t *known)


cdef extern from "scales.h" nogil:
    void fl_make_scales(const fl_step *, int64_t n, const double *eta, const double *alpha, double s, double mass,
                        fl_scale *out)


cdef extern from "losses.h" nogil:
    double fl_exp(double)
    float fl_expf(float)
    double fl_log(double)
    double fl_log1p(double)
    double fl_inverse_power(double t, double alpha)
    double fl_loss(int loss, double z, double y)
    double fl_dloss(int loss, double z, double y, double scale)


cdef extern from "team.h" nogil:
    enum:
        FL_LINE
        FL_MAX_THREADS

    ctypedef struct fl_gate:
        pass
    void fl_gate_init(fl_gate *)
    bint fl_enter(fl_gate *)
    void fl_leave(fl_gate *)
    void fl_close_and_wait(fl_gate *)
    ctypedef struct fl_cpus:
        pass
    void fl_spread(fl_cpus *)
    double fl_now_s()
    int fastlsgd_get_num_threads()

    ctypedef struct fl_seconds:
        double compute_s, average_s

    ctypedef struct fl_group:
        pass

    ctypedef struct fl_sparse:
        const fl_scale *scales
        uint32_t *changed
        bint everything
        double sum_of_weights
        double *owed
        int broken
        int64_t n_floats

    ctypedef struct fl_slice:
        const fl_isa *isa
        const fl_shards *shards
        const fl_step *step
        int64_t t0, n, since
        const int64_t *periods
        const double *eta
        const double *alpha
        const double *weights
        void *W
        void *spare
        void *mean
        void *sum
        double *sum64
        bint timing, want_consensus
        fl_sparse *sparse
        int64_t n_segments, n_groups, n_threads
        bint closes
        fl_seconds *seconds
        fl_group *groups
        fl_cpus cpus
        fl_gate gate
        int64_t first_bad
        double consensus

    int64_t fl_slice_groups(int64_t n_workers, int64_t n_threads, int64_t width)
    bint fl_sliced(int64_t n_workers, int64_t row_bytes)
    void fl_slice_open(fl_slice *, int64_t n_threads)
    int fl_use_whole_team(int whole)
    void fl_slice_work(fl_slice *, int64_t slot, const fl_scratch *)
    void fl_slice_finish(fl_slice *, void *mean)

    enum:
        FL_PASS_OBJECTIVE
        FL_PASS_EXCESS
        FL_PASS_GRADIENT
        FL_PASS_SCAN
        FL_PASS_COPY

    ctypedef struct fl_pass:
        int kind
        const fl_isa *isa
        const fl_shards *shards
        int loss
        fl_iterates iterates
        double *out
        int64_t out_ld, rows_per_block, n_blocks
        void *to_X
        void *to_y
        void *to_s
        int64_t bf16_words
        void *to_indices
        const void *to_indptr
        fl_cpus cpus
        fl_gate gate

    void fl_pass_open(fl_pass *)
    void fl_pass_work(fl_pass *, double *work)


cdef extern from "replicates.h" nogil:
    ctypedef struct fl_room:
        fl_shards shards
        void *W
        void *sum
        double *sum64
        fl_scratch scratch

    ctypedef struct fl_replicates:
        const fl_isa *isa
        const fl_step *step
        int64_t n_replicates, n_steps
        uint64_t seed
        const int64_t *periods
        const double *eta
        const double *alpha
        int64_t begins_after
        const double *weights
        const void *w0
        int64_t n_records
        const int64_t *record
        const double *total
        double *w
        double *w_bar
        double *consensus
        fl_cpus cpus
        fl_gate gate

    void fl_replicates_open(fl_replicates *)
    int fl_replicates_work(fl_replicates *, fl_room *, double until_s)
    int fl_replicates_wait(fl_replicates *, double until_s)
    void fl_replicates_abandon(fl_replicates *)


cdef extern from "moments.h" nogil:
    ctypedef struct fl_moments:
        int64_t d
        const double *lambda_ "lambda"
        const double *fixed
        const double *shared
        const double *own
        double w2
        double *worker
        double *mean
        double *cross
        double *square

    double fl_moments_advance(const fl_moments *, int64_t n, const double *eta, const unsigned char *ends,
                              int averages)
