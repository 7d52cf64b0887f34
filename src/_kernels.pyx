# The typed border over the compiled floors: addresses in, status out.
#
# Everything here is private to the package. Arguments have been checked by the
# Python above (data.py, problem.py, solver.py); this file only holds arrays alive,
# fills the C structures and releases the GIL. It includes no NumPy header: arrays
# come as memoryviews or, where the dtype varies, as addresses.
import os
from libc.stdint cimport int64_t, uint32_t, uint64_t, uintptr_t
from libc.math cimport fabs, INFINITY, NAN, sqrt
from libc.stdlib cimport free, malloc
from libc.string cimport memset

import numpy as np

# losses.py finds built-in losses by the position of their names here.
LOSSES = ("squared", "logistic")

PAD = FL_PAD
BF16_BLOCK = FL_BF16_BLOCK
FLUSH = FL_FLUSH
MAX_THREADS = FL_MAX_THREADS


# ---- instruction sets -----------------------------------------------------

cdef const fl_isa *current_isa = NULL


def isas():
    """Return the names of the instruction sets compiled in that this processor has, fastest last."""
    names = []
    cdef int i = 0
    while fl_isas[i] != NULL:
        if fl_supported(fl_isas[i]):
            names.append(fl_isas[i].name.decode())
        i += 1
    return names


def isa():
    """Return the name of the instruction set in use."""
    return current_isa.name.decode()


def use_isa(str name):
    """Use this instruction set from now on: for tests and benchmarks; it changes no bit."""
    global current_isa
    cdef int i = 0
    while fl_isas[i] != NULL:
        if fl_isas[i].name.decode() == name and fl_supported(fl_isas[i]):
            current_isa = fl_isas[i]
            return
        i += 1
    raise ValueError(f"instruction set must be one of {', '.join(isas())} on this processor, got {name!r}")


def use_whole_team(bint whole):
    """Have all threads that a run may use take part, even in rounds that fewer would have sooner done.

    Returns whether they did before.
    """
    return bool(fl_use_whole_team(whole))


def _choose_isa():
    wanted = os.environ.get("FASTLSGD_ISA", "")
    try:
        use_isa(wanted or isas().pop())
    except ValueError as error:
        raise ImportError(f"FASTLSGD_ISA: {error}") from None


_choose_isa()


def thread_limit():
    """Return the limit of threads that threadpoolctl has set, 0 for none."""
    return fastlsgd_get_num_threads()


# ---- scalar floor ---------------------------------------------------------

def philox(counter, key):
    """Return the four words of Philox4x32-10 at this counter (4 words) and key (2 words)."""
    cdef uint32_t c[4]
    for i in range(4):
        c[i] = counter[i]
    fl_philox(c, key[0], key[1])
    return [c[0], c[1], c[2], c[3]]


def draw(seed, k, t):
    """Return draw t (>= 1) of worker k: 64 random bits that depend on nothing else."""
    return fl_draw(seed, k, FL_PURPOSE_ROW, t - 1)


def exp(const double[::1] x, double[::1] out):
    """Write exp(x) to out, in the package's own arithmetic."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(x.shape[0]):
            out[i] = fl_exp(x[i])


def expf(const float[::1] x, float[::1] out):
    """Write exp(x) to out for |x| <= 87, in the package's own float32 arithmetic."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(x.shape[0]):
            out[i] = fl_expf(x[i])


def log(const double[::1] x, double[::1] out):
    """Write log(x) to out, in the package's own arithmetic."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(x.shape[0]):
            out[i] = fl_log(x[i])


def log1p(const double[::1] x, double[::1] out):
    """Write log(1 + x), x > -1 and finite, to out, in the package's own arithmetic."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(x.shape[0]):
            out[i] = fl_log1p(x[i])


def inverse_power(const int64_t[::1] t, double alpha, double[::1] out):
    """Write t^-alpha to out, in the package's own arithmetic."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(t.shape[0]):
            out[i] = fl_inverse_power(<double> t[i], alpha)


def loss(int which, const double[::1] z, const double[::1] y, double[::1] out):
    """Write the built-in loss of predictions z and targets y to out."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(z.shape[0]):
            out[i] = fl_loss(which, z[i], y[i])


def dloss(int which, const double[::1] z, const double[::1] y, double[::1] out):
    """Write the derivative in z of the built-in loss to out."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(z.shape[0]):
            out[i] = fl_dloss(which, z[i], y[i], 1.0)


def deal(uint32_t[::1] order, seed, int64_t rows_a_block=0):
    """Permute order by the seed, whole or (rows_a_block > 0) block by block: how rows are dealt to workers."""
    _shuffle(order, seed, 0, FL_PURPOSE_DEAL, rows_a_block)


def shuffle_shard(uint32_t[::1] order, seed, uint32_t k, int64_t epoch, int64_t rows_a_block=0):
    """Permute the rows of worker k as its epoch does."""
    _shuffle(order, seed, k, <uint32_t> (FL_PURPOSE_EPOCH + epoch), rows_a_block)


cdef _shuffle(uint32_t[::1] order, uint64_t seed, uint32_t k, uint32_t purpose, int64_t rows_a_block):
    cdef const uint32_t[::1] before
    cdef uint32_t[::1] ids
    if rows_a_block > 0:
        before, ids = np.array(order), np.empty(order.shape[0] // rows_a_block + 1, dtype=np.uint32)
    with nogil:
        if rows_a_block > 0:
            fl_shuffle_blocks(&before[0], 0, &order[0], order.shape[0], rows_a_block, &ids[0], seed, k, purpose)
        else:
            fl_shuffle(&order[0], order.shape[0], seed, k, purpose, 0)


# ---- rows -----------------------------------------------------------------

cdef void *address(object array):
    if array is None:
        return NULL
    return <void *> <uintptr_t> array.__array_interface__["data"][0]


cdef class Stream:
    """Fresh rows for n_workers workers, as the C structure fl_stream: what they are, and the blocks at hand.

    Entries are scale (z normal_part + r sign_part), z normal and r = -1 or 1; with kept (below 1) they are
    scale z normal_part with that probability, else 0. factor: lower triangle by columns, (d, d), or None.
    target: "linear", "logistic" or None; spectrum: the eigenvalues of a quadratic, whose rows are its noise, or None.
    X, y: rows and targets at hand, a block a worker.
    """

    cdef fl_stream c
    cdef int64_t n_features
    cdef object alive
    cdef readonly object X, y

    def __cinit__(self, dtype, int64_t n_workers, scale, *, w_star, target, double noise=0.0, double normal_part=1.0,
                  double sign_part=0.0, double kept=1.0, factor=None, spectrum=None):
        cdef int64_t d = len(scale), chunk = 2 * FL_HALF_CHUNK_BYTES // dtype.itemsize
        # Blocks of some 2,048 entries, and whole chunks of floats and of doubles.
        self.n_features = d
        self.c.stride = (d + 3) // 4 * 4 if d <= 128 else (d + 15) // 16 * 16
        self.c.rows_a_block = FL_MOST_STREAM_ROWS
        while self.c.rows_a_block > (16 if d <= 128 else 4) and self.c.rows_a_block * self.c.stride > 2048:
            self.c.rows_a_block //= 2
        self.c.target = {None: FL_TARGET_NONE, "linear": FL_TARGET_LINEAR, "logistic": FL_TARGET_LOGISTIC}[target]
        row = np.zeros(self.c.stride, dtype=dtype)
        row[:d] = scale
        scales = np.resize(row, self.c.stride + chunk)
        ones = np.ones(chunk, dtype=dtype)
        centre = aligned((d + FL_PAD - 1) // FL_PAD * FL_PAD * dtype.itemsize).view(dtype)
        centre[:d] = w_star
        triangle = None if factor is None else np.ascontiguousarray(np.asarray(factor).T, dtype=dtype)
        eigenvalues = None if spectrum is None else np.ascontiguousarray(spectrum, dtype=dtype)
        n_rows = n_workers * self.c.rows_a_block
        self.X = aligned(n_rows * self.c.stride * dtype.itemsize).view(dtype).reshape(n_rows, self.c.stride)
        self.y = aligned(n_rows * dtype.itemsize).view(dtype)
        ids = np.arange(n_rows, dtype=np.uint32)
        blocks = np.full(n_workers, -1, dtype=np.int64)
        self.c.scale, self.c.ones, self.c.w_star = address(scales), address(ones), address(centre)
        self.c.noise, self.c.normal_part, self.c.sign_part = noise, normal_part, sign_part
        self.c.thinned = kept < 1.0
        self.c.kept = <uint32_t> (min(kept, 1.0) * 4294967295.0)
        self.c.factor, self.c.spectrum = address(triangle), address(eigenvalues)
        self.c.X, self.c.y = address(self.X), address(self.y)
        self.c.row_ids, self.c.block = <uint32_t *> address(ids), <int64_t *> address(blocks)
        self.alive = (scales, ones, centre, triangle, eigenvalues, ids, blocks)


cdef class Rows:
    """Rows of (X, y, s) dealt to workers, as the C structure fl_shards.

    X is a C-contiguous array, or whatever has the arrays data, indices and indptr of a CSR matrix, and its shape, or
    bf16.RoundedRows; of a stream it is ``stream.X``.
    """

    cdef fl_shards c
    cdef object alive
    cdef Stream stream
    cdef readonly object dtype

    def __cinit__(self, X, y, s, *, bint intercept, const int64_t[::1] start, order, str sampling="reshuffle",
                  bint whole=False, seed=0, int64_t n_visits=0, int64_t rows_a_block=1, Stream stream=None):
        cdef int64_t n_workers = start.shape[0] - 1
        self.dtype = X.dtype
        self.c.dtype = FL_FLOAT32 if X.dtype == np.float32 else FL_FLOAT64
        self.c.sampling = {"reshuffle": FL_RESHUFFLE, "replacement": FL_REPLACEMENT, "blocks": FL_BLOCKS,
                           "stream": FL_STREAM}[sampling]
        self.c.whole = whole
        self.c.intercept = intercept
        self.c.n_samples, self.c.n_features = X.shape
        self.c.n_workers = n_workers
        self.c.y, self.c.s = address(y), address(s)
        self.c.x_stride = X.shape[1]
        parts = (X,)
        if hasattr(X, "indptr"):
            parts = (X.data, X.indices, X.indptr)
            self.c.indices, self.c.indptr = address(parts[1]), address(parts[2])
            self.c.wide = parts[1].itemsize == 8
            self.c.n_stored = min(len(parts[0]), len(parts[1]))
        elif hasattr(X, "words"):   # bf16.RoundedRows
            parts = (X.words,)
            self.c.bf16, self.c.x_stride = True, 2 * X.words.shape[1]
        self.c.X = address(parts[0])
        self.c.start = &start[0]
        self.c.order = <const uint32_t *> address(order)
        self.c.seed = seed
        self.c.n_visits = n_visits
        shortest = int(np.diff(start).min())
        visits = block_ids = None
        self.stream = stream
        if stream is not None:
            self.c.stream, self.c.n_features = &stream.c, stream.n_features
        elif self.c.sampling != FL_REPLACEMENT and n_visits > shortest:
            visits = np.empty(X.shape[0], dtype=np.uint32)
            if self.c.sampling == FL_BLOCKS:
                block_ids = np.empty(X.shape[0] // rows_a_block + n_workers + 1, dtype=np.uint32)
        visits_epoch = np.full(n_workers, -1, dtype=np.int64)
        ahead = np.empty((n_workers, FL_VISITS if n_visits else 0), dtype=np.uint32)
        ahead_first = np.zeros(n_workers, dtype=np.int64)
        ahead_n = np.zeros(n_workers, dtype=np.int64)
        self.c.visits = <uint32_t *> address(visits)
        self.c.rows_a_block, self.c.block_ids = rows_a_block, <uint32_t *> address(block_ids)
        self.c.visits_epoch = <int64_t *> address(visits_epoch)
        self.c.ahead = <uint32_t *> address(ahead)
        self.c.ahead_first = <int64_t *> address(ahead_first)
        self.c.ahead_n = <int64_t *> address(ahead_n)
        self.alive = (parts, y, s, start, order, visits, block_ids, visits_epoch, ahead, ahead_first, ahead_n)

    cdef void use_current_isa(self) noexcept:
        if self.stream is not None:
            self.stream.c.make_block = current_isa.make_block[self.c.dtype]

    def streamed(self, uint32_t k, int64_t first, int64_t n):
        """Return the rows and targets that worker k of a stream sees at visits first .. first + n - 1 (from 0)."""
        X, y = np.empty((n, self.c.n_features), dtype=self.dtype), np.empty(n, dtype=self.dtype)
        cdef int64_t at_hand = 0, known = 0, visit = first, some
        cdef const uint32_t *rows
        self.use_current_isa()
        while visit < first + n:
            rows = fl_rows_to_visit(&self.c, k, visit, &at_hand, &known)
            some = min(at_hand, first + n - visit)
            at, there = slice(visit - first, visit - first + some), slice(rows[0], rows[0] + some)
            X[at] = self.stream.X[there, :self.c.n_features]
            y[at] = self.stream.y[there]
            visit += some
        return X, y

    def make_blocks(self, int64_t n):
        """Make so many blocks of a stream's rows for worker 0 and do nothing with them; return their rows' number."""
        cdef int64_t i
        self.use_current_isa()
        with nogil:
            for i in range(n):
                self.stream.c.make_block(&self.c, 0, i)
        return n * self.stream.c.rows_a_block

    def visited(self, uint32_t k, int64_t first, int64_t n):
        """Return the rows (as X lies for the kernels) of visits first .. first + n - 1 (from 0) of worker k."""
        rows = []
        cdef int64_t at_hand = 0, known = 0, visit = first
        cdef const uint32_t *ahead
        while visit < min(first + n, self.c.n_visits):
            ahead = fl_rows_ahead(&self.c, k, visit, &at_hand, &known)
            rows.extend(ahead[i] for i in range(min(at_hand, first + n - visit)))
            visit += at_hand
        return np.array(rows, dtype=np.int64)


# ---- work that a team of threads can share --------------------------------

cdef class Slices:
    """The slices of one run, one after the other, and what they advance.

    W, sum and sum64 are (n_workers, ld) arrays, 128-byte aligned and padded with
    zeros; clock is int64 (t, n_rounds, steps done in the open round); ledger is float64 (seconds
    of wall, compute, wait, average; consensus). A slice, the clock and the ledger advance in
    one call, so an interrupt finds them whole. For CSR rows W holds v, sum64 u, scale s and A, owed (ld)
    what scales.h says; clock[3] counts the floats that a sparse exchange would have sent.
    core_s: seconds that the last slice's steps took, of all threads that were worth it; NaN if it was not timed.
    """

    cdef fl_slice c
    cdef fl_step step
    cdef fl_sparse sparse
    cdef Rows rows
    cdef object alive
    cdef int64_t n_threads, row_bytes, batch_bytes, next_slot
    cdef int64_t marked_upto   # the step up to which the masks hold what the open round has changed
    cdef bint busy
    cdef unsigned char[::1] scratch
    cdef unsigned char[::1] batches
    cdef int64_t[::1] clock
    cdef double[::1] ledger
    cdef double[::1] scale
    cdef readonly double core_s

    def __cinit__(self, Rows rows not None, *, str loss, double l2, int64_t batch_size,
                  W, sum, sum64, const double[::1] weights, int64_t[::1] clock, double[::1] ledger,
                  scale, owed, int64_t n_threads):
        self.rows = rows
        self.step.loss = LOSSES.index(loss)
        self.step.batch_size = batch_size
        self.step.l2 = l2
        self.step.n_params = rows.c.n_features + rows.c.intercept
        self.step.ld = W.shape[1]
        self.c.shards = &rows.c
        self.c.step = &self.step
        self.c.weights = &weights[0]
        self.c.W = address(W)
        self.c.sum, self.c.sum64 = address(sum), <double *> address(sum64)
        self.clock, self.ledger = clock, ledger
        self.n_threads = min(n_threads, FL_MAX_THREADS)
        self.row_bytes = self.step.ld * W.itemsize   # PAD entries: whole lines
        scratch = aligned(2 * self.n_threads * self.row_bytes)
        self.scratch = scratch
        spare = mean = None
        if rows.c.indices != NULL:
            self._prepare_sparse(scale, owed, weights)
        elif fl_sliced(rows.c.n_workers, self.row_bytes):
            mean = aligned(self.row_bytes)
        else:
            spare = aligned(rows.c.n_workers * self.row_bytes)
        self.c.spare, self.c.mean = address(spare), address(mean)
        groups = aligned(sizeof(fl_group) * fl_slice_groups(rows.c.n_workers, self.n_threads, 1))
        self.c.groups = <fl_group *> address(groups)
        self.c.seconds = <fl_seconds *> malloc(FL_MAX_THREADS * sizeof(fl_seconds))
        if self.c.seconds == NULL:
            raise MemoryError("no memory for the clocks of the threads")
        fl_gate_init(&self.c.gate)
        self.alive = (W, sum, sum64, weights, scratch, spare, mean, groups, self.alive)

    def __dealloc__(self):
        free(self.c.seconds)

    def _prepare_sparse(self, scale, owed, weights):
        cdef int64_t n_workers = self.rows.c.n_workers
        self.scale = scale
        self.c.sparse = &self.sparse
        self.marked_upto = -1
        changed = None
        if n_workers > 1:
            changed = aligned(4 * n_workers * fl_marked_ld(self.step.ld))
        self.sparse.changed = <uint32_t *> address(changed)
        self.sparse.owed = <double *> address(owed)
        self.sparse.sum_of_weights = float(np.asarray(weights).sum())
        # Slopes of 8 bytes and rows of 4, whole lines a thread.
        self.batch_bytes = (12 * self.step.batch_size + FL_LINE - 1) // FL_LINE * FL_LINE
        batches = aligned(self.n_threads * self.batch_bytes)
        self.batches = batches
        self.alive = (changed, batches, owed)

    def look_everywhere(self):
        """Have the next averaging look at every feature: others have written to W."""
        self.sparse.everything = True

    cdef void _mark_open_round(self) noexcept nogil:
        # After a restart, the masks of what the round has changed so far.
        cdef int64_t b = self.step.batch_size, ld = fl_marked_ld(self.step.ld), k
        cdef int64_t first = (self.clock[0] - self.clock[2]) * b, n = self.clock[2] * b
        cdef const fl_shards *shards = &self.rows.c
        if self.sparse.changed == NULL or self.marked_upto == self.clock[0]:
            return
        memset(self.sparse.changed, 0, 4 * shards.n_workers * ld)
        for k in range(shards.n_workers):
            current_isa.mark_visits[shards.dtype][shards.wide](shards, k, first, n, self.sparse.changed + k * ld)

    def run(self, const int64_t[::1] periods, const double[::1] eta, alpha, *, bint average, bint timing,
            bint want_consensus, share):
        """Do a slice of len(eta) steps; periods[0] is the whole length of the open round.

        average: whether the running sums take these steps, weighted by alpha unless it is None.
        share(self, n_helpers) is called once, to offer the slice to so many helpers. Returns the first
        worker whose iterate is not finite, or -1. Whatever share raises (an interrupt
        above all) is raised again after the slice is done and the clock advanced,
        unless the run has diverged, which is then the news.
        """
        cdef const double[::1] alpha_view
        cdef double start_s = fl_now_s()
        cdef int64_t covered = -self.clock[2], i = 0
        while i < periods.shape[0] and covered < eta.shape[0]:
            if periods[i] < 1:
                raise ValueError("round lengths must be >= 1")
            covered += periods[i]
            i += 1
        if eta.shape[0] < 1 or covered < eta.shape[0] or self.clock[2] < 0 or periods[0] <= self.clock[2]:
            raise ValueError("the round lengths do not cover the steps")
        if alpha is not None and len(alpha) != eta.shape[0]:
            raise ValueError("alpha must have one weight a step")
        if self.busy:
            raise RuntimeError("this run is being advanced by another thread; a Run belongs to one thread at a time")
        # Whatever can fail comes before the run is marked busy.
        if alpha is not None:
            alpha_view = alpha
        scales = np.empty(sizeof(fl_scale) // 8 * (eta.shape[0] + 1)) if self.c.sparse != NULL else None
        self.busy = True
        self.c.isa = current_isa
        self.rows.use_current_isa()
        self.c.t0, self.c.n, self.c.since = self.clock[0], eta.shape[0], self.clock[2]
        self.c.periods, self.c.eta = &periods[0], &eta[0]
        self.c.alpha = NULL
        if alpha is not None:
            self.c.alpha = &alpha_view[0]
        self.step.average = FL_AVERAGE_NONE
        if average:
            self.step.average = FL_AVERAGE_UNIFORM if alpha is None else FL_AVERAGE_WEIGHTED
        self.c.timing, self.c.want_consensus = timing, want_consensus
        if self.c.sparse != NULL:
            self.sparse.scales = <fl_scale *> address(scales)
            fl_make_scales(&self.step, self.c.n, self.c.eta, self.c.alpha, self.scale[0], self.scale[1],
                           <fl_scale *> address(scales))
            with nogil:
                self._mark_open_round()
        self.next_slot = 1
        fl_slice_open(&self.c, self.n_threads)
        interrupt = None
        try:
            share(self, self.c.n_threads - 1)
        except BaseException as raised:
            interrupt = raised
        with nogil:
            self._work(0)
            fl_slice_finish(&self.c, &self.scratch[0])
            self._advance(fl_now_s() - start_s)
        self.busy = False
        if self.c.sparse != NULL and self.sparse.broken:
            raise ValueError("the indices of X are no longer what they were when the Problem was made: rows or columns "
                             "are out of bounds; make a new Problem, and leave X alone while runs use it")
        if self.c.first_bad < 0 and (self.c.n_segments > 1 or self.c.closes):
            self.sparse.everything = False
        if interrupt is not None and self.c.first_bad < 0:
            raise interrupt
        return self.c.first_bad

    def help(self):
        """Take part in the slice that is open now, if one is; for helper threads."""
        cdef int64_t slot
        if not fl_enter(&self.c.gate):
            return
        slot = self.next_slot   # under the GIL: no two helpers get the same
        self.next_slot = slot + 1
        with nogil:   # leave before the GIL is asked for again: the owner waits for it
            if slot < self.c.n_threads:   # an offer for an earlier slice may be one too many now
                fl_spread(&self.c.cpus)
                self._work(slot)
            fl_leave(&self.c.gate)

    cdef void _work(self, int64_t slot) noexcept nogil:
        cdef fl_scratch scratch
        scratch.mean = &self.scratch[2 * slot * self.row_bytes]
        scratch.update = &self.scratch[(2 * slot + 1) * self.row_bytes]
        if self.c.sparse != NULL:
            scratch.slopes = &self.batches[slot * self.batch_bytes]
            scratch.rows = <uint32_t *> &self.batches[slot * self.batch_bytes + 8 * self.step.batch_size]
        fl_slice_work(&self.c, slot, &scratch)

    cdef void _advance(self, double wall_s) noexcept nogil:
        cdef double compute_s = 0.0, average_s = 0.0
        cdef int64_t i
        self.clock[0] += self.c.n
        self.clock[1] += self.c.n_segments - (0 if self.c.closes else 1)
        self.clock[2] = 0 if self.c.closes else self._since_last_end()
        if self.c.sparse != NULL:
            self.clock[3] += self.sparse.n_floats
            self.scale[0] = self.sparse.scales[self.c.n].before
            self.scale[1] = self.sparse.scales[self.c.n].mass
            self.marked_upto = self.clock[0]
        self.ledger[0] += wall_s
        self.ledger[4] = self.c.consensus
        self.core_s = NAN
        if self.c.timing:
            for i in range(self.c.n_threads):
                compute_s += self.c.seconds[i].compute_s / self.c.n_threads
                average_s += self.c.seconds[i].average_s / self.c.n_threads
            # Sampled rounds stand for the others: their sum may overshoot the wall.
            if compute_s + average_s > wall_s:
                compute_s *= wall_s / (compute_s + average_s)
                average_s = wall_s - compute_s
            # A slice that is sooner done by fewer has fewer threads than the run.
            self.core_s = self.c.n_threads * compute_s
            self.ledger[1] += compute_s
            self.ledger[2] += max(0.0, wall_s - compute_s - average_s)
            self.ledger[3] += average_s
        else:   # not measured: unknown from here on
            for i in range(1, 4):
                self.ledger[i] = NAN

    cdef int64_t _since_last_end(self) noexcept nogil:
        # Steps done in the open round: all of them if no round ended in this slice.
        cdef int64_t i, begin = -self.c.since
        for i in range(self.c.n_segments - 1):
            begin += self.c.periods[i]
        return self.c.n - begin


cdef class Pass:
    """A pass over the data in blocks of rows: open at once, work (helpers: help), close.

    w, float64 (m, n_params): the iterates of kinds "objective" (m sums of losses a block), "gradient" (the same, then
    m gradients) and "excess" (w[0] a reference, the others differences from it; sums of changes of the losses).
    """

    cdef fl_pass c
    cdef object alive
    cdef int64_t work_doubles
    cdef readonly object out

    def __cinit__(self, Rows rows not None, str kind, *, str loss="squared", w=None, copies=None):
        cdef int64_t n = rows.c.n_samples, p = rows.c.n_features + rows.c.intercept
        cdef bint sparse = rows.c.indices != NULL
        self.c.shards = &rows.c
        self.c.isa = current_isa
        self.c.loss = LOSSES.index(loss)
        iterates = None
        self.c.iterates.n = 0
        if w is not None:
            iterates = _laid_out(w, rows.c.n_features)
            self.c.iterates.n = len(w)
            self.c.iterates.w = <const double *> address(iterates[0])
            self.c.iterates.panels = <const double *> address(iterates[1])
            self.c.iterates.intercepts = <const double *> address(iterates[2])
        # Blocks depend on the data's size only, never on the threads: their
        # results are added in order, so sums are the same for any team.
        self.c.rows_per_block = 2048
        if kind == "objective" or kind == "excess":
            self.c.kind = FL_PASS_OBJECTIVE if kind == "objective" else FL_PASS_EXCESS
            self.c.out_ld = self.c.iterates.n
        elif kind == "gradient":
            self.c.kind, self.c.out_ld = FL_PASS_GRADIENT, self.c.iterates.n * (1 + p)
            # At most 64 sums of whole gradients, and of CSR rows no more than fit beside the data.
            most = max(4, min(64, (1 << 23) // self.c.out_ld)) if sparse else 64
            self.c.rows_per_block = max(2048, (n + most - 1) // most)
        elif kind == "scan":
            self.c.kind, self.c.out_ld = FL_PASS_SCAN, 4
        else:
            self.c.kind, self.c.out_ld = FL_PASS_COPY, 1
            rounded = hasattr(copies[0], "words")
            self.c.bf16_words = copies[0].words.shape[1] if rounded else 0
            self.c.to_X = address(copies[0].data if sparse else copies[0].words if rounded else copies[0])
            self.c.to_y, self.c.to_s = address(copies[1]), address(copies[2])
            if sparse:
                self.c.to_indices, self.c.to_indptr = address(copies[0].indices), address(copies[0].indptr)
        self.c.n_blocks = (n + self.c.rows_per_block - 1) // self.c.rows_per_block
        self.out = np.zeros((self.c.n_blocks, self.c.out_ld))
        self.c.out = <double *> address(self.out)
        self.work_doubles = max(fl_pass_doubles(self.c.iterates.n), p if sparse else 0)
        self.alive = (rows, iterates, copies)
        fl_gate_init(&self.c.gate)
        fl_pass_open(&self.c)

    def help(self):
        """Take part; for helper threads."""
        cdef double[::1] work = aligned(8 * self.work_doubles).view(np.float64)
        if fl_enter(&self.c.gate):
            with nogil:
                fl_spread(&self.c.cpus)
                fl_pass_work(&self.c, &work[0])
                fl_leave(&self.c.gate)

    def finish(self):
        """Work until no block is left and no helper is inside; return the blocks' results, a row each."""
        cdef double[::1] work = aligned(8 * self.work_doubles).view(np.float64)
        with nogil:
            fl_pass_work(&self.c, &work[0])
            fl_close_and_wait(&self.c.gate)
        return self.out


cdef class Replicates:
    """Replicates of one run with seeds seed, seed + 1, ...: open at once, work (helpers: help), close.

    rooms: the rows of a thread each, with buffers of their own. w0: (n_params,) in the dtype of the run. Results: w
    and w_bar, float64 (n_replicates, n_records, n_params); consensus, float64 (n_replicates, n_records).
    """

    cdef fl_replicates c
    cdef fl_step step
    cdef fl_room *rooms
    cdef int64_t n_rooms, next_room
    cdef object alive
    cdef readonly object w, w_bar, consensus

    def __cinit__(self, list rooms, int64_t n_replicates, *, str loss, double l2, int64_t batch_size, seed,
                  const int64_t[::1] periods, const double[::1] eta, alpha, bint average, int64_t begins_after,
                  const double[::1] weights, w0, const int64_t[::1] record, const double[::1] total):
        cdef Rows rows = rooms[0]
        cdef const double[::1] alpha_view
        cdef int64_t i, m = record.shape[0]
        self.step.loss, self.step.l2, self.step.batch_size = LOSSES.index(loss), l2, batch_size
        self.step.n_params = rows.c.n_features + rows.c.intercept
        self.step.ld = (self.step.n_params + FL_PAD - 1) // FL_PAD * FL_PAD
        self.step.average = FL_AVERAGE_NONE
        if average:
            self.step.average = FL_AVERAGE_UNIFORM if alpha is None else FL_AVERAGE_WEIGHTED
        covered = int(np.asarray(periods).sum())
        if n_replicates < 1 or eta.shape[0] < 1 or covered != eta.shape[0] or min(periods) < 1:
            raise ValueError("the round lengths do not cover the steps")
        if m and (record[0] < 1 or record[m - 1] > eta.shape[0]) or total.shape[0] != m:
            raise ValueError("records lie outside of the run")
        if weights.shape[0] != rows.c.n_workers or rows.c.indices != NULL:
            raise ValueError("replicates are of dense rows, with one weight a worker")
        self.w = np.empty((n_replicates, m, self.step.n_params))
        self.w_bar, self.consensus = np.empty_like(self.w), np.empty((n_replicates, m))
        row_bytes = self.step.ld * rows.dtype.itemsize
        start = aligned(row_bytes).view(rows.dtype)
        start[:self.step.n_params] = w0
        self.c.isa, self.c.step = current_isa, &self.step
        self.c.n_replicates, self.c.n_steps, self.c.seed = n_replicates, eta.shape[0], seed
        self.c.periods, self.c.eta, self.c.weights = &periods[0], &eta[0], &weights[0]
        self.c.alpha, self.c.begins_after = NULL, begins_after
        if alpha is not None:
            alpha_view = alpha
            self.c.alpha = &alpha_view[0]
        self.c.w0 = address(start)
        self.c.n_records = m
        if m:
            self.c.record, self.c.total = &record[0], &total[0]
        self.c.w, self.c.w_bar = <double *> address(self.w), <double *> address(self.w_bar)
        self.c.consensus = <double *> address(self.consensus)
        self.n_rooms = len(rooms)
        self.rooms = <fl_room *> malloc(self.n_rooms * sizeof(fl_room))
        if self.rooms == NULL:
            raise MemoryError("no memory for the threads' rooms")
        memories = []
        for i in range(self.n_rooms):
            rows = rooms[i]
            rows.use_current_isa()
            W, scratch = aligned(rows.c.n_workers * row_bytes), aligned(2 * row_bytes)
            sum64 = aligned(rows.c.n_workers * self.step.ld * 8)
            sums = sum64 if rows.dtype.itemsize == 8 else aligned(rows.c.n_workers * row_bytes)
            memset(&self.rooms[i], 0, sizeof(fl_room))
            self.rooms[i].shards = rows.c
            self.rooms[i].W, self.rooms[i].sum = address(W), address(sums)
            self.rooms[i].sum64 = <double *> address(sum64)
            self.rooms[i].scratch.mean = address(scratch)
            self.rooms[i].scratch.update = address(scratch[row_bytes:])
            memories.append((rows, W, scratch, sum64, sums))
        self.alive = (memories, start, periods, eta, alpha, weights, record, total)
        self.next_room = 1
        fl_gate_init(&self.c.gate)
        fl_replicates_open(&self.c)

    def __dealloc__(self):
        free(self.rooms)

    def help(self):
        """Take part; for helper threads."""
        if not fl_enter(&self.c.gate):
            return
        cdef int64_t room = self.next_room   # under the GIL: no two helpers get the same
        self.next_room = room + 1
        with nogil:
            if room < self.n_rooms:
                fl_spread(&self.c.cpus)
                fl_replicates_work(&self.c, &self.rooms[room], INFINITY)
            fl_leave(&self.c.gate)

    def work(self, double for_s):
        """Work, or wait for the helpers that do, for so many seconds; return whether there is more to do."""
        cdef int more
        cdef double until_s
        with nogil:
            until_s = fl_now_s() + for_s
            more = fl_replicates_work(&self.c, &self.rooms[0], until_s)
            if not more:
                more = fl_replicates_wait(&self.c, until_s)
        return bool(more)

    def close(self):
        """Leave what is not done, and wait until no helper is inside."""
        with nogil:
            fl_replicates_abandon(&self.c)
            fl_close_and_wait(&self.c.gate)


def _laid_out(w, int64_t n_features):
    """Return iterates w, (m, n_params), as fl_iterates has them: features, panels, intercepts."""
    m = len(w)
    padded = (m + FL_PANEL - 1) // FL_PANEL * FL_PANEL
    intercepts = np.zeros(padded)
    if w.shape[1] > n_features:
        intercepts[:m] = w[:, n_features]
    if m < FL_FEW_ITERATES:
        return np.ascontiguousarray(w[:, :n_features]), None, intercepts
    features = np.zeros((padded, n_features))
    features[:m] = w[:, :n_features]
    panels = aligned(features.nbytes).view(np.float64).reshape(-1, n_features, FL_PANEL)
    panels[:] = features.reshape(-1, FL_PANEL, n_features).transpose(0, 2, 1)
    return features, panels, intercepts


def add_blocks(const double[:, ::1] blocks, double[::1] out):
    """Add the rows of blocks to out, first to last."""
    cdef Py_ssize_t i, j
    with nogil:
        for i in range(blocks.shape[0]):
            for j in range(blocks.shape[1]):
                out[j] += blocks[i, j]


def mean_of_workers(W, const double[::1] weights, int64_t n_params, out):
    """Write the weighted mean of the rows of W (padded, float32 or float64) to out (ld entries)."""
    cdef void *rows = address(W)
    cdef void *mean = address(out)
    cdef int dtype = FL_FLOAT32 if W.dtype == np.float32 else FL_FLOAT64
    cdef int64_t n_workers = W.shape[0], ld = W.shape[1]
    current_isa.mean(rows, dtype, n_workers, ld, n_params, &weights[0], mean, NULL, 0)


# ---- bounds: the recursions of theory/bounds.py ---------------------------

def bound_additive(const double[::1] eta, const int64_t[::1] periods, double mu, double lipschitz, double noise,
                   double distance, double w2, double third, double g_one, double g_mean, double g_pair,
                   double[::1] last, double[::1] fourth):
    """Write bounds of E |w_t - w*|^2 after every step to last, and what the third derivative multiplies to fourth.

    third < 0 stands for unknown. fourth[t - 1] bounds the square root of the workers' mean fourth moment before step t.
    """
    cdef double R = distance * distance, R1 = R, a = R, a1 = R
    cdef double u, d, mean, second, W, Y, s, rho, e, f
    cdef int64_t i, _k, m = 0
    with nogil:
        for i in range(periods.shape[0]):
            # Of one worker since the averaging: variance u, its fourth moment's root for a pair d, its mean and
            # second moment given where the round began.
            u = d = 0.0
            mean, second = sqrt(R), a
            for _k in range(periods[i]):
                s = eta[m]
                rho = max(fabs(1.0 - s * mu), fabs(1.0 - s * lipschitz))
                W, Y = (1.0 - w2) * u, 0.5 * (1.0 - w2) * d
                fourth[m] = min(a + Y, a1)
                if third == 0.0:
                    e, f = rho * rho * R, rho * rho * a
                else:
                    e = (rho * sqrt(R) + s * lipschitz * sqrt(W)) ** 2
                    f = (rho * sqrt(a) + s * lipschitz * sqrt(Y)) ** 2
                    if 2.0 * s * lipschitz <= 1.0:
                        e = min(e, (1.0 - s * mu) * R + 2.0 * s * lipschitz * W)
                        f = min(f, (1.0 - s * mu) * a + 2.0 * s * lipschitz * Y)
                    if third > 0.0:
                        e = min(e, (rho * sqrt(R) + 0.5 * s * third * Y) ** 2)
                R1, a1 = rho * rho * R1 + s * s * noise, rho * rho * a1 + s * s * g_one
                R, a = min(e + s * s * w2 * noise, R1), min(f + s * s * g_mean, a1)
                u, d = rho * rho * u + s * s * noise, rho * rho * d + s * s * g_pair
                if third >= 0.0:
                    mean = rho * mean + 0.5 * s * third * second
                    second = rho * rho * second + s * s * noise
                    R = min(R, w2 * u + mean * mean)
                last[m] = R
                m += 1


def bound_multiplicative(const double[::1] eta, const int64_t[::1] periods, double mu, double lipschitz, double a,
                         double b, double distance, double w2, bint quadratic, double[::1] last):
    """Write bounds of E |w_t - w*|^2 after every step to last, for gradients with E |g|^2 <= a <F', w - w*> + b."""
    cdef double R = distance * distance, R1 = R, a_mean = lipschitz * (1.0 - w2) + a * w2
    cdef double W, s, rho, kept, lost
    cdef int64_t i, _k, m = 0
    with nogil:
        for i in range(periods.shape[0]):
            W = 0.0
            for _k in range(periods[i]):
                s = eta[m]
                rho = max(fabs(1.0 - s * mu), fabs(1.0 - s * lipschitz))
                kept = s * mu * (2.0 - s * a_mean)
                lost = s * s * a * lipschitz * w2 if quadratic else max(0.0, 2.0 * s * lipschitz - kept)
                lost = lost * W
                W = rho * rho * W + (1.0 - w2) * s * s * (a * lipschitz * min(R + W, R1) + b)
                R1 = (1.0 - s * mu * (2.0 - s * a)) * R1 + s * s * b
                R = min((1.0 - kept) * R + lost + s * s * b * w2, R1)
                last[m] = R
                m += 1


def aligned(n_bytes):
    """Return n_bytes zeros (uint8) that start at a multiple of 128 bytes."""
    raw = np.zeros(n_bytes + FL_LINE, dtype=np.uint8)
    offset = -raw.__array_interface__["data"][0] % FL_LINE
    return raw[offset:offset + n_bytes]


# ---- theory ---------------------------------------------------------------

def advance_moments(const double[::1] eigenvalues, const double[::1] fixed, shared, own, double w2,
                    double[::1] worker, double[::1] mean, double[::1] cross, double[::1] square,
                    const double[::1] eta, const unsigned char[::1] ends, bint averages):
    """Advance the moments of moments.h by len(eta) steps in place; return the worker's before the last averaging."""
    cdef fl_moments moments
    cdef const double[::1] shared_view, own_view
    cdef int64_t d = eigenvalues.shape[0]
    cdef double before
    if {fixed.shape[0], worker.shape[0], mean.shape[0], cross.shape[0], square.shape[0]} != {d}:
        raise ValueError("all arrays must have an entry a coordinate")
    if d == 0 or eta.shape[0] == 0 or ends.shape[0] != eta.shape[0]:
        raise ValueError("there must be a step, and ends must have an entry for each")
    moments.d, moments.w2 = d, w2
    moments.lambda_, moments.fixed, moments.shared, moments.own = &eigenvalues[0], &fixed[0], NULL, NULL
    if shared is not None:
        shared_view, own_view = shared, own
        if shared_view.shape[0] != d or own_view.shape[0] != d:
            raise ValueError("all arrays must have an entry a coordinate")
        moments.shared, moments.own = &shared_view[0], &own_view[0]
    moments.worker, moments.mean, moments.cross, moments.square = &worker[0], &mean[0], &cross[0], &square[0]
    with nogil:
        before = fl_moments_advance(&moments, eta.shape[0], &eta[0], &ends[0], averages)
    return before
