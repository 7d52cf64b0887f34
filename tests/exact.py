"""The exact twin: the kernels' arithmetic in NumPy array operations, bit for bit.

The same draws, lanes, folding tree, exp and flushes, written a second time from the
formulas and not from the C. Slow on purpose; nothing here imports the package.
"""

from functools import partial

import numpy as np

LANES = {np.dtype(np.float32): 32, np.dtype(np.float64): 16}
ROW, DEAL, EPOCH = 0, 1, 2  # purposes of draws
M32 = 0xFFFFFFFF


def philox(counter, key, rounds=10):
    """Philox4x32 in Python integers."""
    c, k = list(counter), list(key)
    for _ in range(rounds):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & M32, (a >> 32) ^ c[3] ^ k[1], a & M32]
        k = [(k[0] + 0x9E3779B9) & M32, (k[1] + 0xBB67AE85) & M32]
    return c


def draw(seed, worker, purpose, number):
    """Draw `number` (from 0) of this worker and purpose: 64 bits."""
    pair = number >> 1
    c = philox((pair & M32, pair >> 32, worker, purpose), (seed & M32, seed >> 32))
    low, high = (c[2], c[3]) if number & 1 else (c[0], c[1])
    return (high << 32) | low


def shuffled(entries, seed, worker, purpose, first=0):
    """Fisher-Yates from the end; entry i takes draw first + i."""
    entries = list(entries)
    for i in range(len(entries) - 1, 0, -1):
        j = draw(seed, worker, purpose, first + i) * (i + 1) >> 64
        entries[i], entries[j] = entries[j], entries[i]
    return entries


def shuffled_blocks(entries, seed, worker, purpose, rows):
    """Blocks of so many rows in a new order, shuffled within."""
    firsts = shuffled(range(0, len(entries), rows), seed, worker, purpose, 1 << 40)
    blocks = [shuffled(entries[i : i + rows], seed, worker, purpose, i) for i in firsts]
    return [row for block in blocks for row in block]


def shards(n, n_workers, partition, seed, shuffled=shuffled):
    """Rows of each worker in the order of its first epoch."""
    order = list(range(n))
    if partition == "iid":
        order = shuffled(order, seed, 0, DEAL)
    sizes = [n // n_workers + (k < n % n_workers) for k in range(n_workers)]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    dealt = [order[starts[k] : starts[k + 1]] for k in range(n_workers)]
    if partition == "contiguous":
        dealt = [shuffled(rows, seed, k, EPOCH) for k, rows in enumerate(dealt)]
    return dealt


class Visits:
    """Row of visit v (from 0) of worker k."""

    def __init__(self, n, n_workers, *, sampling, partition, seed, rows_a_block=0):
        self.n, self.sampling, self.partition, self.seed = n, sampling, partition, seed
        self.whole = sampling == "replacement" and partition == "iid"
        self.shuffled = partial(shuffled_blocks, rows=rows_a_block) if sampling == "blocks" else shuffled
        self.shards = None if self.whole else shards(n, n_workers, partition, seed, self.shuffled)
        self.epochs = {}

    def __call__(self, k, v):
        if self.whole:
            return draw(self.seed, k, ROW, v) * self.n >> 64
        shard = self.shards[k]
        if self.sampling == "replacement":
            return shard[draw(self.seed, k, ROW, v) * len(shard) >> 64]
        epoch, at = divmod(v, len(shard))
        if epoch == 0:
            return shard[at]
        if (k, epoch) not in self.epochs:
            self.epochs[k, epoch] = self.shuffled(shard, self.seed, k, EPOCH + epoch)
        return self.epochs[k, epoch][at]


LOG2_E = np.float32(float.fromhex("0x1.715476p+0"))


def exp2_parts(t):
    """p and the bits of k (shifted by a rounding) with 2^t = p 2^k, float32."""
    f = np.float32
    shifted = t + f(12582912)
    r = t - (shifted - f(12582912))
    r2 = r * r
    c = [f(float.fromhex(h)) for h in ("0x1.62e430p-1", "0x1.ebfbe0p-3", "0x1.c6afeep-5",
                                       "0x1.3b2a80p-7", "0x1.5ec866p-10", "0x1.43e716p-13")]  # fmt: skip
    low, high = c[1] + c[2] * r, c[3] + c[4] * r
    p = ((f(1) + c[0] * r) + r2 * low) + (r2 * r2) * (high + r2 * c[5])
    return p, shifted.view(np.uint32)


def power_of_two(k):
    return ((k + np.uint32(127)) << np.uint32(23)).view(np.float32)


def exp(x):
    """The kernels' exp of a one-element array, float32 or float64."""
    if x.dtype == np.float32:
        p, k = exp2_parts(np.minimum(np.maximum(x, np.float32(-87)), np.float32(87)) * LOG2_E)
        return p * power_of_two(k)
    x = np.minimum(np.maximum(x, -708.0), 708.0)
    shifted = x * float.fromhex("0x1.71547652b82fep+0") + 6755399441055744.0
    k = shifted - 6755399441055744.0
    r = (x - k * float.fromhex("0x1.62e42feep-1")) - k * float.fromhex("0x1.a39ef35793c76p-33")
    r2 = r * r
    r4 = r2 * r2
    factorial = [float(np.prod(np.arange(1, i + 1, dtype=np.float64))) for i in range(14)]
    c = {i: 1.0 / factorial[i] + r * (1.0 / factorial[i + 1]) for i in range(2, 13, 2)}
    tail = (c[8] + r2 * c[10]) + r4 * c[12]
    p = (1.0 + r) + r2 * (c[2] + r2 * ((c[4] + r2 * c[6]) + r4 * tail))
    return p * ((shifted.view(np.uint64) + np.uint64(1023)) << np.uint64(52)).view(np.float64)


def dloss(loss, z, y, scale):
    """Derivative of the loss times scale, one-element arrays of the run's dtype."""
    if loss == "squared":
        return scale * (z - y)
    if z.dtype == np.float64:
        return (scale * -y) / (1.0 + exp(y * z))
    t = np.minimum(np.maximum(z * (y * LOG2_E), np.float32(-46)), np.float32(125))
    p, k = exp2_parts(t)
    q = power_of_two(-k)
    return (scale * -y) * q / (q + p)


def dot(x, w):
    """<x, w> in lanes, folded in halves; the intercept's 1 is already in x."""
    lanes = LANES[x.dtype]
    padded = -(-x.size // lanes) * lanes
    xs, ws = np.zeros(padded, x.dtype), np.zeros(padded, x.dtype)
    xs[: x.size], ws[: w.size] = x, w
    acc = np.zeros(lanes, x.dtype)
    for at in range(0, padded, lanes):
        acc = acc + xs[at : at + lanes] * ws[at : at + lanes]
    while acc.size > 1:
        half = acc.size // 2
        acc = acc[:half] + acc[half:]
    return acc


def mean(W, weights):
    """Worker 0 first, in float64, rounded once."""
    total = np.zeros(W.shape[1])
    for k in range(W.shape[0]):
        total = total + weights[k] * W[k].astype(np.float64)
    return total.astype(W.dtype)


class Twin:
    """A run of the exact twin; `step()` advances all workers, `average()` ends a round."""

    def __init__(self, X, y, *, loss, l2=0.0, sample_weight=None, intercept=False, n_workers, seed=0,
                 batch_size=1, sampling="reshuffle", partition="iid", weights=None, w0=None,
                 rows_a_block=0):  # fmt: skip
        ones = np.ones((X.shape[0], int(intercept)), X.dtype)
        self.X = np.concatenate([X, ones], axis=1)
        self.y, self.s = y.astype(X.dtype), sample_weight
        self.loss, self.l2, self.b = loss, l2, batch_size
        self.visits = Visits(X.shape[0], n_workers, sampling=sampling, partition=partition, seed=seed,
                             rows_a_block=rows_a_block)  # fmt: skip
        self.weights = np.full(n_workers, 1.0 / n_workers) if weights is None else np.asarray(weights)
        self.penalised = np.ones(self.X.shape[1], X.dtype)
        if intercept:
            self.penalised[-1] = 0
        self.W = np.zeros((n_workers, self.X.shape[1]), X.dtype)
        if w0 is not None:
            self.W[:] = w0
        self.sum = np.zeros_like(self.W)
        self.sum64 = np.zeros(self.W.shape)
        self.t = 0

    def step(self, eta, alpha=None):
        T = self.X.dtype.type
        each = T(eta / self.b) if self.b > 1 else T(eta)
        for k, w in enumerate(self.W):
            update = (T(eta * self.l2) * self.penalised) * w
            for j in range(self.b):
                row = self.visits(k, self.t * self.b + j)
                scale = each if self.s is None else each * self.s[row]
                c = dloss(self.loss, dot(self.X[row], w), self.y[row : row + 1], scale)
                update = update + c * self.X[row]
            self.W[k] = w - update
        self.t += 1
        self.sum += self.W if alpha is None else T(alpha) * self.W
        if self.X.dtype == np.float64:
            self.sum64[:] = self.sum
        elif self.t % 1024 == 0:
            self.sum64 += self.sum
            self.sum[:] = 0

    def average(self):
        self.W[:] = mean(self.W, self.weights)

    def run(self, etas, periods):
        """Steps with these etas, an averaging after each of the periods (cut at the end)."""
        ends = set(np.cumsum(periods).tolist()) | {self.t + len(etas)}
        for eta in etas:
            self.step(float(eta))
            if self.t in ends:
                self.average()
        return self

    @property
    def w_bar(self):
        sums = self.sum64 + self.sum if self.X.dtype == np.float32 else self.sum64
        total = np.zeros(self.W.shape[1])
        for k in range(self.W.shape[0]):
            total = total + self.weights[k] * sums[k]
        return (total / self.t).astype(self.X.dtype)


def half_sum(a, b):
    """Half of a + b (a where they agree), and half of what rounding took from the sum: float32, Knuth's two-sum."""

    def two_sum(a, b):
        total = a + b
        most_of_b = total - a
        return total, (a - (total - most_of_b)) + (b - most_of_b)

    half = np.float32(0.5)
    with np.errstate(over="ignore", invalid="ignore"):
        total, lost = two_sum(a, b)
        total_of_halves, lost_of_halves = two_sum(half * a, half * b)
    fits = np.isfinite(lost)  # else the sum is beyond the largest float
    m = np.where(fits, half * total, total_of_halves)
    return np.where(a == b, a, m), np.where(fits, half * lost, lost_of_halves)


class SparseTwin:
    """The same for CSR rows: `rows` is a list of (columns, values), in stored order, a column perhaps twice."""

    FOLD = 2.0**10

    def __init__(self, rows, n_features, y, *, loss, l2=0.0, sample_weight=None, intercept=False, n_workers, seed=0,
                 batch_size=1, sampling="reshuffle", partition="iid", weights=None, w0=None):  # fmt: skip
        self.rows, self.d, self.y, self.s_i = rows, n_features, y, sample_weight
        self.T = y.dtype.type
        self.loss, self.l2, self.b, self.intercept = loss, l2, batch_size, intercept
        self.visits = Visits(len(rows), n_workers, sampling=sampling, partition=partition, seed=seed)
        self.weights = np.full(n_workers, 1.0 / n_workers) if weights is None else np.asarray(weights)
        self.v = np.zeros((n_workers, n_features + intercept), self.T)
        if w0 is not None:
            self.v[:] = w0
        self.u, self.owed = np.zeros(self.v.shape), np.zeros(self.v.shape[1])
        self.s, self.A, self.t, self.n_folds, self.total = 1.0, 0.0, 0, 0, 0.0
        self.changed = [set() for _ in range(n_workers)]
        self.n_sparse_floats = 0

    def dot(self, row, v):
        lanes = np.zeros(8, self.T)
        for i, (j, x) in enumerate(zip(*row, strict=True)):
            lanes[i % 8] += x * v[j]
        for half in (4, 2, 1):
            lanes = lanes[:half] + lanes[half:]
        return lanes

    def step(self, eta, alpha=1.0):
        T, after, fold = self.T, self.s * (1.0 - eta * self.l2), None
        if not 1 / self.FOLD <= abs(after) <= self.FOLD:
            after, fold = 1.0, after
            self.n_folds += 1
        for k, v in enumerate(self.v):
            visited = [self.visits(k, self.t * self.b + j) for j in range(self.b)]
            slopes = []
            for i in visited:
                z = T(self.s) * self.dot(self.rows[i], v) + (v[self.d] if self.intercept else T(0))
                slopes.append(dloss(self.loss, z, self.y[i : i + 1], T(1) if self.s_i is None else self.s_i[i])[0])
            mass = self.A
            if fold is not None:
                self.u[k, : self.d] += mass * v[: self.d].astype(np.float64)
                v[: self.d] *= T(fold)
                mass = 0.0
            lost = T(0)
            for i, slope in zip(visited, slopes, strict=True):
                c = T(eta / (self.b * after)) * slope
                for j, x in zip(*self.rows[i], strict=True):
                    old = v[j]
                    v[j] = old - c * x
                    self.u[k, j] += mass * (float(old) - float(v[j]))
                    self.changed[k].add(int(j))
                lost += T(eta / self.b) * slope
            if self.intercept:
                v[self.d] -= lost
                self.u[k, self.d] += alpha * float(v[self.d])
                self.changed[k].add(self.d)
        self.A = (self.A if fold is None else 0.0) + alpha * after
        self.s, self.t, self.total = after, self.t + 1, self.total + alpha

    def average(self):
        if self.T == np.float32 and self.weights.tolist() == [0.5, 0.5]:
            m, lost = half_sum(*self.v)
            self.owed[: self.d] += self.A * lost[: self.d].astype(np.float64)
        elif len(self.v) > 1:
            total = np.zeros(self.v.shape[1])
            for weight, v in zip(self.weights, self.v, strict=True):
                total = total + weight * v.astype(np.float64)
            differs = (self.v != self.v[0]).any(axis=0)
            m = np.where(differs, total.astype(self.T), self.v[0])
            rest = self.A * np.where(differs, total - self.weights.sum() * m.astype(np.float64), 0.0)
            self.owed[: self.d] += rest[: self.d]
        if len(self.v) > 1:
            self.v[:] = m
            self.n_sparse_floats += sum(map(len, self.changed)) + len(self.v) * len(set().union(*self.changed))
        self.changed = [set() for _ in self.v]

    run = Twin.run

    @property
    def W(self):
        W = self.v.copy()
        W[:, : self.d] *= self.T(self.s)
        return W

    @property
    def w_bar(self):
        sums = self.u + self.owed
        sums[:, : self.d] += np.float64(self.A) * self.v[:, : self.d]
        total = np.zeros(self.v.shape[1])
        for weight, row in zip(self.weights, sums, strict=True):
            total = total + weight * row
        return (total / self.total).astype(self.T)


# ---- streams of fresh rows ----

STREAM, KURTOSIS, NOISE, LABEL = 0xFFFFFFF0, 0xFFFFFFF1, 0xFFFFFFF2, 0xFFFFFFF3
CALLS = 16


def words(seed, worker, purpose, chunk):
    """Words 0 .. 3 of the calls of one chunk, uint32, shape (CALLS, 4)."""
    calls = range(CALLS * chunk, CALLS * (chunk + 1))
    key = (seed & M32, seed >> 32)
    return np.array([philox((c & M32, c >> 32, worker, purpose), key, 8) for c in calls], dtype=np.uint32)


def normals(seed, worker, purpose, chunk, dtype):
    """One chunk by Box and Muller's transform: 64 float32 or 32 float64."""
    T, w = np.dtype(dtype).type, words(seed, worker, purpose, chunk)
    if T is np.float32:
        radii, angles = w[:, :2].ravel(), w[:, 2:].ravel()
        bits = (radii % 2**31 | 1).astype(T).view(np.int32) - (31 << 23)
        k = (bits - 0x3F3504F3) >> 23
        m = (bits - (k << 23)).view(T)
        a = (angles << 1).view(np.int32).astype(T) * T(0.785398163397448310 * 2.0**-31)
        signs = radii >> 31, angles >> 31
    else:
        w = w.astype(np.uint64)
        radii, angles = w[:, 0] | w[:, 1] << 32, w[:, 2] | w[:, 3] << 32
        one = np.uint64(0x3FF0000000000000)
        u = (radii >> 12 | one).view(T) - (1 - 2.0**-53)
        bits = u.view(np.int64)
        k = (bits - 0x3FE6A09E667F3BCD) >> 52
        m = (bits - (k << 52)).view(T)
        a = ((((angles << 2) >> 12) | one).view(T) - 1.5) * 1.57079632679489662
        signs = (angles >> 62) & 1, angles >> 63

    def series(name, z):
        """In Horner's way."""
        coefficients = [T(float.fromhex(c)) for c in SERIES[T][name].split()]
        value = coefficients[-1]
        for c in coefficients[-2::-1]:
            value = c + z * value
        return value

    s = (m - T(1)) / (m + T(1))
    radius = np.sqrt(s * series("log", s * s) + k.astype(T) * T(-2 * np.log(2)))
    sine, cosine = a * series("sine", a * a), series("cosine", a * a)
    return np.concatenate(
        [
            radius * (np.where(signs[0], T(-1), T(1)) * (cosine - sine)),
            radius * (np.where(signs[1], T(-1), T(1)) * (cosine + sine)),
        ]
    )


# -4 atanh(s) / s, sin(a) / a / sqrt(2) and cos(a) / sqrt(2) in powers of s^2 and of a^2.
SERIES = {
    np.float32: {
        "log": "-0x1.000002p+2 -0x1.554276p+0 -0x1.a6dc2p-1",
        "sine": "0x1.6a09e6p-1 -0x1.e2b7cp-4 0x1.821d4cp-8 -0x1.2139b6p-13",
        "cosine": "0x1.6a09e6p-1 -0x1.6a09a2p-2 0x1.e2955p-6 -0x1.f7a98ep-11",
    },
    np.float64: {
        "log": "-4.0 -0x1.55555555555aep+0 -0x1.999999997aeaap-1 -0x1.2492494513f76p-1 -0x1.c71c50004ffddp-2 "
        "-0x1.7466994f20a7cp-2 -0x1.3999bf614de60p-2 -0x1.2f4d88c4fad06p-2",
        "sine": "0x1.6a09e667f3bcdp-1 -0x1.e2b7dddfefa4dp-4 0x1.822cb17ff056ap-8 -0x1.263a6ed84000ep-13 "
        "0x1.0589427541c7ap-19 -0x1.3050efdaf0abfp-26 0x1.ee4effb2bc007p-34",
        "cosine": "0x1.6a09e667f3bccp-1 -0x1.6a09e667f3b6dp-2 0x1.e2b7dddfe5fa9p-6 -0x1.017320fa15c6fp-10 "
        "0x1.263a680b4282ep-16 -0x1.a26d21b271eefp-23 0x1.90fd75fe8dc8cp-30",
    },
}


def stream_rows(n, d, dtype, *, scale, w_star, target, noise=0.0, seed=0, worker=0, parts=(1.0, 0.0), kept=None):
    """The first n rows and targets of a worker."""
    T, chunk = np.dtype(dtype).type, 2 * CALLS * 8 // np.dtype(dtype).itemsize
    stride = -(-d // 4) * 4 if d <= 128 else -(-d // 16) * 16
    rows = 64
    while rows > (16 if d <= 128 else 4) and rows * stride > 2048:
        rows //= 2
    padded = np.zeros(stride, T)
    padded[:d] = scale
    X, y = np.empty((0, d), T), np.empty(0, T)
    for block in range(-(-n // rows)):
        per_block = rows * stride // chunk
        scales = np.resize(padded, rows * stride)
        x = np.empty(rows * stride, T)
        for c in range(per_block):
            at = slice(c * chunk, (c + 1) * chunk)
            x[at] = normals(seed, worker, STREAM, block * per_block + c, T) * scales[at]
            if kept is not None or parts[1]:
                w = words(seed, worker, KURTOSIS, block * per_block + c)
                w = w.reshape(CALLS, 2, 2)
                halves = w[:, :, :] if T is np.float32 else w[:, :, 1:]
                word = np.concatenate([halves[:, 0].ravel(), halves[:, 1].ravel()])
                if kept is not None:
                    x[at] = np.where(word < np.uint32(kept * 4294967295.0), T(parts[0]) * x[at], T(0))
                else:
                    x[at] = T(parts[0]) * x[at] + np.where(word >> 31, -T(parts[1]), T(parts[1])) * scales[at]
        x = x.reshape(rows, stride)[:, :d]
        margins = np.array([dot(row, np.asarray(w_star, T))[0] for row in x])
        if target == "linear":
            chunks = -(-rows // chunk)
            made = np.concatenate([normals(seed, worker, NOISE, block * chunks + c, T) for c in range(chunks)])[:rows]
            t = margins + T(noise) * made
        else:
            chunks = -(-rows // (2 * CALLS))
            w = [words(seed, worker, LABEL, block * chunks + c).astype(np.uint64) for c in range(chunks)]
            draws = np.concatenate([part[:, i] | part[:, i + 1] << 32 for part in w for i in (0, 2)])[:rows]
            u = (draws >> 12 | np.uint64(0x3FF0000000000000)).view(np.float64) - (1 - 2.0**-53)
            t = np.where(u * (1.0 + exp(-margins.astype(np.float64))) - 1.0 < 0.0, T(1), T(-1))
        X, y = np.concatenate([X, x]), np.concatenate([y, t.astype(T)])
    return X[:n], y[:n]
