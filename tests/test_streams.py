"""Streams: their bits, their distribution, the runs on them, and the objective they stand for."""

import itertools
import pickle
import tracemalloc

import numpy as np
import pytest
from exact import Twin, normals, stream_rows
from scipy import integrate, stats

import fastlsgd as fl
from fastlsgd.theory.streamed import mu_eff_of

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
KINDS = {
    "normal": {},
    "signs": {"kurtosis": 1.0},
    "between": {"kurtosis": 2.0},
    "heavy": {"kurtosis": 9.0},
    "labels": {"target": "logistic"},
}


def made_by_twin(stream, n, seed, worker):
    kurtosis = stream.kurtosis
    signs = np.sqrt((3.0 - kurtosis) / 2.0) if kurtosis < 3 else 0.0
    parts = (np.sqrt(1.0 - signs), np.sqrt(signs)) if kurtosis <= 3 else (np.sqrt(kurtosis / 3.0), 0.0)
    return stream_rows(
        n, stream.n_features, stream.dtype, scale=np.sqrt(stream.eigenvalues), w_star=stream.w_star, seed=seed,
        target=stream.target, noise=stream.noise, worker=worker, parts=parts,
        kept=3.0 / kurtosis if kurtosis > 3 else None,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("d", [1, 3, 20, 70, 150])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_those_of_the_twin_on_every_instruction_set(isa, kind, d, dtype):
    noise = {} if kind == "labels" else {"noise": 0.5}
    stream = fl.GaussianStream(d, **noise, dtype=dtype, **KINDS[kind])
    X, y = fl.Problem(stream).sample(70, seed=2**40 + 7, worker=2)
    expected_X, expected_y = made_by_twin(stream, 70, 2**40 + 7, 2)
    assert np.array_equal(X, expected_X)
    assert np.array_equal(y, expected_y)
    assert X.dtype == y.dtype == dtype


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_normals_are_box_and_mullers_transform(dtype):
    """To rounding, of sine, cosine and logarithm from a library."""
    found = normals(5, 1, 9, 3, dtype).astype(np.float64).reshape(2, -1)
    radius = np.hypot(*found)
    assert np.array_equal(radius > 0, np.ones(radius.shape, bool))
    squares = np.sort(
        stats.chi2(2).sf(
            np.concatenate(
                [
                    np.hypot(*normals(s, 0, 9, c, dtype).astype(float).reshape(2, -1)) ** 2
                    for s in range(4)
                    for c in range(20)
                ]
            )
        )
    )
    assert stats.kstest(squares, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("kurtosis", [1.0, 2.0, 3.0, 6.0])
def test_entries_have_the_moments_and_the_law_that_was_asked_for(kurtosis, dtype):
    n, d = 200_000, 8
    stream = fl.GaussianStream(d, spectrum=np.arange(1.0, d + 1), kurtosis=kurtosis, dtype=dtype)
    X, _ = fl.Problem(stream).sample(n, seed=3)
    z = X.astype(np.float64) / np.sqrt(np.arange(1.0, d + 1))
    eighth = {1.0: 1.0, 2.0: 20.4, 3.0: 105.0, 6.0: 105.0 * 8}[kurtosis]
    assert np.abs(z.mean(0)).max() * np.sqrt(n) < 4
    assert np.abs((z**2).mean(0) - 1).max() < 1e-6 + 4 * np.sqrt((kurtosis - 1) / n)
    assert np.abs((z**4).mean(0) - kurtosis).max() < 1e-5 + 4 * np.sqrt(max(0.0, eighth - kurtosis**2) / n)
    correlation = np.corrcoef(z.T) - np.eye(d)
    assert np.abs(correlation).max() * np.sqrt(n) < 4.5
    # Of neighbours, and of squares: what a bad counter or a swapped word would show.
    flat = z.ravel()
    for lag in (1, 2, d, 16, 32, 64):
        assert abs((flat[lag:] * flat[:-lag]).mean()) * np.sqrt(n * d) < 4
        squares = flat**2 - 1
        if kurtosis > 1:
            assert abs((squares[lag:] * squares[:-lag]).mean()) * np.sqrt(n * d) < 4 * (kurtosis - 1)
    if kurtosis == 3.0:
        assert stats.kstest(flat[:400_000], "norm").pvalue > 1e-3
        tail = np.abs(flat) > 4.0
        expected = flat.size * 2 * stats.norm.sf(4.0)
        assert abs(tail.sum() - expected) < 4 * np.sqrt(expected)


def test_targets_are_those_of_the_model():
    n = 100_000
    w_star = np.array([1.0, -2.0, 0.5])
    X, y = fl.Problem(fl.GaussianStream(3, w_star=w_star, noise=0.3, dtype=F64)).sample(n)
    errors = (y - X @ w_star) / 0.3
    assert stats.kstest(errors, "norm").pvalue > 1e-3
    assert np.abs((errors[:, None] * X).mean(0)).max() * np.sqrt(n) < 4
    X, y = fl.Problem(fl.GaussianStream(3, w_star=w_star, target="logistic"), loss="logistic").sample(n)
    p = 1 / (1 + np.exp(-X.astype(np.float64) @ w_star))
    assert set(np.unique(y)) == {-1.0, 1.0}
    z = ((y > 0) - p) / np.sqrt(p * (1 - p))
    assert abs(z.mean()) * np.sqrt(n) < 4
    assert np.abs((z[:, None] * X).mean(0)).max() * np.sqrt(n) < 4


def test_workers_and_seeds_see_different_rows():
    problem = fl.Problem(fl.GaussianStream(5))
    rows = [problem.sample(40, seed=seed, worker=k)[0] for seed in (0, 1, 2**33) for k in (0, 1)]
    for i in range(len(rows)):
        for j in range(i):
            assert not np.isclose(rows[i], rows[j]).any(axis=1).any()


# ---- runs ----


def run(problem, **options):
    return fl.local_sgd(problem, **({"n_workers": 3, "n_steps": 150, "step_size": fl.Constant(0.05)} | options))


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize(("loss", "target"), [("squared", "linear"), ("logistic", "logistic")])
def test_a_run_is_the_exact_twins_on_those_rows(isa, loss, target, batch_size, dtype):
    problem = fl.Problem(fl.GaussianStream(7, target=target, dtype=dtype), loss=loss, l2=0.01)
    n = 60 * batch_size
    parts = [problem.sample(n, seed=4, worker=k) for k in range(3)]
    X, y = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    twin = Twin(X, y, loss=loss, l2=0.01, n_workers=3, batch_size=batch_size)
    twin.visits = lambda k, v: k * n + v
    twin.run(np.full(60, 0.05), [7] * 9)
    found = run(problem, n_steps=60, schedule=fl.FixedPeriod(7), seed=4, batch_size=batch_size)
    assert np.array_equal(found.w, twin.W[0])
    assert np.array_equal(found.w_bar, twin.w_bar)


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("covariance", [0.3, [0.1, 0.2, 0.3], [[1.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 0.5]]])
def test_a_quadratics_run_is_its_recursion_on_that_noise(isa, covariance, batch_size, dtype):
    stream = fl.QuadraticStream([1.0, 0.5, 0.2], covariance, w_star=[1.0, -1.0, 2.0], dtype=dtype)
    problem, T = fl.Problem(stream), dtype.type
    noise = [problem.sample(60 * batch_size, seed=4, worker=k)[0].reshape(60, batch_size, 3) for k in range(3)]
    spectrum, w_star = stream.eigenvalues.astype(T), stream.w_star.astype(T)
    W, total = np.zeros((3, 3), T), np.zeros(3)
    for t in range(60):
        for k in range(3):
            drawn = noise[k][t, 0]
            for row in noise[k][t, 1:]:
                drawn = drawn + row
            W[k] -= T(0.05) * (spectrum * (W[k] - w_star)) - T(0.05 / batch_size) * drawn
        total += W.astype(np.float64).mean(0)
        if (t + 1) % 7 == 0 or t == 59:
            W[:] = (
                (1 / 3) * W[0].astype(float) + (1 / 3) * W[1].astype(float) + (1 / 3) * W[2].astype(float)
            ).astype(T)
    found = run(problem, n_steps=60, schedule=fl.FixedPeriod(7), seed=4, batch_size=batch_size)
    assert np.array_equal(found.w, W[0])
    assert found.w_bar == pytest.approx(total / 60, rel=1e-5 if dtype == F32 else 1e-13)


def test_noise_has_the_covariance_that_was_asked_for():
    covariance = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 0.5]])
    xi, _ = fl.Problem(fl.QuadraticStream([1.0, 1.0, 1.0], covariance, dtype=F64)).sample(200_000)
    assert np.abs(np.cov(xi.T) - covariance).max() < 4 * np.sqrt(2 / 200_000)
    singular = np.outer([1.0, 2.0, 0.0], [1.0, 2.0, 0.0])
    xi, _ = fl.Problem(fl.QuadraticStream([1.0, 1.0, 1.0], singular, dtype=F64)).sample(100)
    assert np.allclose(xi[:, 1], 2 * xi[:, 0], rtol=1e-6, atol=1e-7)
    assert np.allclose(xi[:, 2], 0, atol=1e-7)


STREAMS = [
    fl.GaussianStream(20),
    fl.GaussianStream(150, target="logistic", dtype=F64),
    fl.QuadraticStream(np.ones(9), 0.1),
]


@pytest.mark.parametrize("stream", STREAMS, ids=lambda s: type(s).__name__ + str(s.n_features))
def test_schedules_threads_and_cuts_change_no_row(stream):
    problem = fl.Problem(stream)
    options = {"n_workers": 7, "seed": 3, "step_size": fl.Constant(problem.safe_step())}
    whole = run(problem, schedule=fl.FixedPeriod(11), n_threads=1, **options)
    for n_threads in (2, 8):
        other = run(problem, schedule=fl.FixedPeriod(11), n_threads=n_threads, record=0, **options)
        assert np.array_equal(whole.w, other.w)
        assert np.array_equal(whole.w_bar, other.w_bar)
    cut = fl.Run(problem, n_steps=150, schedule=fl.FixedPeriod(11), record=[5, 64, 70], **options)
    cut.advance(n_rounds=3)
    going_on = fl.Run(problem, n_steps=150, schedule=fl.FixedPeriod(11), state=cut.state, **options)
    assert np.array_equal(going_on.advance().w, whole.w)
    # One step from a common start, then an averaging, is the same under every schedule.
    first = [run(problem, n_steps=1, schedule=s, **options).w for s in (fl.MiniBatch(), fl.OneShot())]
    assert np.array_equal(*first)


def test_with_additive_noise_no_schedule_changes_the_mean():
    """Row 3 of the theory's table, on the noise that the kernels make: equal up to rounding."""
    problem = fl.Problem(fl.QuadraticStream([1.0, 0.5, 0.2, 0.05], 0.1, dtype=F64))
    options = {"n_workers": 8, "n_steps": 500, "step_size": fl.PolynomialDecay(0.5, 0.5)}
    often, once, growing = (
        run(problem, schedule=s, **options) for s in (fl.MiniBatch(), fl.OneShot(), fl.GrowingPeriod(3))
    )
    for other in (once, growing):
        assert other.w == pytest.approx(often.w, rel=1e-12)
        assert other.w_bar == pytest.approx(often.w_bar, rel=1e-12)


# ---- the objective ----


def test_a_quadratic_objective_is_the_mean_of_the_losses():
    for stream in (fl.GaussianStream(4, noise=0.7, dtype=F64), fl.GaussianStream(4, target="logistic", dtype=F64)):
        problem = fl.Problem(stream, l2=0.1)
        X, y = problem.sample(400_000)
        for w in (np.zeros(4), np.array([0.3, -0.2, 1.0, 0.5])):
            losses = 0.5 * (X @ w - y) ** 2
            expected = problem.objective(w) - 0.05 * w @ w
            assert abs(losses.mean() - expected) <= 1e-12 + 4 * losses.std() / np.sqrt(len(y))


@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_a_logistic_objective_agrees_with_samples_and_with_its_own_derivatives(scale, l2):
    w_star = scale * np.array([1.0, -1.0, 0.5])
    problem = fl.Problem(
        fl.GaussianStream(3, spectrum=[1.0, 0.5, 0.25], w_star=w_star, target="logistic", dtype=F64),
        loss="logistic",
        l2=l2,
    )
    w = np.array([0.3, 0.9, -0.4])
    X, y = problem.sample(400_000)
    losses = np.logaddexp(0.0, -y * (X @ w))
    assert abs(losses.mean() - problem.objective(w) + 0.5 * l2 * w @ w) < 4 * losses.std() / np.sqrt(len(y))
    h, eye = 1e-5, np.eye(3)
    numeric = [(problem.objective(w + h * e) - problem.objective(w - h * e)) / (2 * h) for e in eye]
    assert problem.gradient(w) == pytest.approx(numeric, rel=1e-7, abs=1e-10)
    numeric = [(problem.gradient(w + h * e) - problem.gradient(w - h * e)) / (2 * h) for e in eye]
    assert problem.hessian(w) == pytest.approx(np.array(numeric), rel=1e-6, abs=1e-9)
    optimum = problem.optimum()
    assert np.abs(problem.gradient(optimum)).max() < 1e-12
    if l2 == 0:
        assert np.array_equal(optimum, w_star)
    step = 1e-3 * np.array([1.0, 2.0, -1.0])
    assert problem.excess(optimum + step) == pytest.approx(0.5 * step @ problem.hessian(optimum) @ step, rel=1e-2)
    both = problem.objective(np.array([w, optimum]))
    assert both.shape == (2,)
    assert both[1] < both[0]


@pytest.mark.parametrize("size", [0.0, 1.0, 30.0, 1e4, 1e200])
def test_a_logistic_objective_of_any_size_is_right_and_takes_a_moments_memory(size):
    """It was a sum over a grid of (36 scale)^2 nodes: 180 GB for a run that had gone to |w| = 1,000."""
    spectrum, w_star = np.array([1.0, 0.5]), np.array([0.4, -1.0])
    stream = fl.GaussianStream(2, spectrum=spectrum, w_star=w_star, target="logistic", dtype=F64)
    problem, direction = fl.Problem(stream, loss="logistic"), np.array([0.6, -0.8])
    w = size * direction
    tracemalloc.start()
    found = problem.objective(w)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000
    slope = integrate.quad(lambda z: stats.norm.pdf(z) / (2 + 2 * np.cosh(z * np.sqrt(spectrum @ w_star**2))), -9, 9)[
        0
    ]
    shared = spectrum @ (direction * w_star) * slope
    scale = np.sqrt(spectrum @ direction**2)
    if size > 100:  # log(1 + e^-v) has mean s / sqrt(2 pi) + O(1 / s)
        assert found / size == pytest.approx(scale / np.sqrt(2 * np.pi) - shared, rel=1e-7)
    else:
        cost = integrate.quad(
            lambda z: stats.norm.pdf(z) * np.logaddexp(0.0, -size * scale * z), -9, 9, points=[0.0], epsabs=1e-13
        )[0]
        assert found == pytest.approx(cost - size * shared, rel=1e-11)


def test_the_objective_of_an_infinite_w_is_infinite():
    problem = fl.Problem(fl.GaussianStream(2, target="logistic"), loss="logistic")
    assert problem.objective(np.full(2, np.inf)) == np.inf
    assert np.isnan(problem.objective([np.nan, 1.0]))
    assert np.isnan(problem.gradient(np.full(2, np.inf))).all()


def test_optima_are_where_the_gradient_vanishes():
    for stream, loss, l2 in [
        (fl.GaussianStream(6), "squared", 0.0),
        (fl.GaussianStream(6), "squared", 0.5),
        (fl.GaussianStream(6, target="logistic"), "squared", 0.1),
        (fl.QuadraticStream(np.arange(1.0, 7), 0.1), "squared", 0.0),
    ]:
        problem = fl.Problem(stream, loss=loss, l2=l2)
        optimum = problem.optimum()
        assert np.abs(problem.gradient(optimum)).max() < 1e-15
        w = optimum + 0.1
        assert problem.excess(w) == pytest.approx(problem.objective(w) - problem.objective(optimum), rel=1e-10)
        assert problem.newton_step(w) == pytest.approx(optimum, rel=1e-12)


def test_a_run_goes_to_the_optimum_and_says_how_far_it_is():
    problem = fl.Problem(fl.GaussianStream(5, target="logistic", w_star=np.ones(5)), loss="logistic")
    problem.optimum()
    result = run(
        problem, n_workers=16, n_steps=20_000, step_size=fl.PolynomialDecay(2.0, 0.6), schedule=fl.FixedPeriod(16)
    )
    # H^-1 / T: five times the standard error of an efficient estimate at most.
    spread = np.sqrt(np.diag(np.linalg.inv(problem.hessian(problem.optimum()))) / (16 * 20_000))
    assert (np.abs(result.w_bar - 1.0) < 5 * spread).all()
    assert result.trace.excess()[-1] == pytest.approx(problem.excess(result.w_bar.astype(float)), rel=1e-9)
    assert result.trace.distance_w_bar[-1] == pytest.approx(np.linalg.norm(result.w_bar - 1.0), rel=1e-6)


def test_an_auto_step_is_stable():
    for stream in STREAMS:
        problem = fl.Problem(stream, loss="logistic" if getattr(stream, "target", "") == "logistic" else "squared")
        result = run(problem, step_size="auto", n_steps=4000, schedule=fl.OneShot())
        assert np.isfinite(result.trace.objective_w_bar).all()
        assert result.trace.objective_w_bar[-1] < 1.5 * problem.objective(np.zeros(problem.n_params))


@pytest.mark.parametrize(
    ("stream", "options"),
    [
        (fl.GaussianStream(4, noise=0.5, dtype=F64), {}),
        (fl.GaussianStream(4, noise=0.5, kurtosis=5.0, dtype=F64), {"l2": 0.5}),
        (fl.GaussianStream(4, noise=0.1, kurtosis=1.2, w_star=np.arange(4.0), dtype=F64), {"l2": 1.0}),
        (fl.GaussianStream(4, target="logistic", dtype=F64), {"loss": "logistic"}),
    ],
)
def test_an_adaptive_period_knows_the_constants_of_a_stream(stream, options):
    problem, step = fl.Problem(stream, **options), fl.Constant(0.01)
    X, y = problem.sample(200_000)
    drawn = fl.theory.estimate(fl.Problem(X, y, **options), problem.optimum())
    for word, estimated in (("auto", drawn.mu), ("effective", drawn.mu_eff)):
        assert fl.AdaptivePeriod(word).bind(problem, step, 4, 100).mu == pytest.approx(estimated, rel=0.03)
    result = run(problem, schedule=fl.AdaptivePeriod("effective"))
    assert result.state.t > 0


def test_the_effective_constant_of_rows_of_signs_is_that_of_all_their_rows():
    """Entries of kurtosis 1 are signs: of three there are eight rows, and with l2 every one pulls at the optimum."""
    stream = fl.GaussianStream(3, noise=0.1, kurtosis=1.0, w_star=[1.0, -2.0, 3.0], dtype=F64)
    problem = fl.Problem(stream, l2=0.5)
    delta = problem.optimum() - stream.w_star
    rows = np.array(list(itertools.product([-1.0, 1.0], repeat=3))) * np.sqrt(stream.eigenvalues)
    slopes = rows * (rows @ delta)[:, None]
    covariance = np.cov(slopes.T, bias=True) + stream.noise**2 * np.diag(stream.eigenvalues)
    expected = np.trace(covariance) / np.trace(np.linalg.solve(problem.hessian(delta), covariance))
    assert mu_eff_of(problem) == pytest.approx(expected, rel=1e-9)


def test_the_effective_constant_of_a_linear_stream_is_the_mean_eigenvalue():
    """What a run was told to pass instead was the smallest one: rounds as many times too long as they differ."""
    for stream in (
        fl.GaussianStream(3, dtype=F64),
        fl.QuadraticStream([1.0, 1 / 2, 1 / 3], np.diag([1.0, 1 / 2, 1 / 3])),
        fl.QuadraticStream([1.0, 1 / 2, 1 / 3], [1.0, 1 / 2, 1 / 3]),
    ):
        rule = fl.AdaptivePeriod("effective").bind(fl.Problem(stream), fl.Constant(0.01), 4, 100)
        assert rule.mu == float(f"{11 / 18:.6g}")
    silent = fl.AdaptivePeriod("effective").bind(fl.Problem(fl.GaussianStream(3, noise=0)), fl.Constant(0.01), 4, 9)
    assert silent.mu == 1.0


def test_a_checkpoint_of_another_stream_is_refused(tmp_path):
    problem = fl.Problem(fl.GaussianStream(4))
    halfway = fl.Run(problem, n_steps=100, n_workers=2, step_size=fl.Constant(0.1))
    halfway.advance(n_rounds=2).state.save(tmp_path / "state")
    state = fl.State.load(tmp_path / "state")
    same = pickle.loads(pickle.dumps(problem))
    assert fl.Run(same, n_steps=100, n_workers=2, step_size=fl.Constant(0.1), state=state).t == 32
    for other in (
        fl.GaussianStream(4, noise=2.0),
        fl.GaussianStream(4, kurtosis=1.0),
        fl.QuadraticStream(np.ones(4)),
    ):
        with pytest.raises(fl.CheckpointError, match="other data"):
            fl.Run(fl.Problem(other), n_steps=100, n_workers=2, step_size=fl.Constant(0.1), state=state)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fl.GaussianStream(0), "n_features must be an int >= 1"),
        (lambda: fl.GaussianStream(2.0), "n_features must be an int"),
        (lambda: fl.GaussianStream(3, spectrum="k"), "spectrum must be '1/k'"),
        (lambda: fl.GaussianStream(3, spectrum=[1.0, 2.0]), "spectrum must have shape"),
        (lambda: fl.GaussianStream(3, spectrum=-1.0), "spectrum must be finite and >= 0"),
        (lambda: fl.GaussianStream(3, noise=-1), "noise must be"),
        (lambda: fl.GaussianStream(3, target="poisson"), "target must be"),
        (lambda: fl.GaussianStream(3, target="logistic", noise=5.0), "labels have none, got 5.0: leave it out"),
        (lambda: fl.GaussianStream(3, kurtosis=0.9), "kurtosis must be"),
        (lambda: fl.GaussianStream(3, w_star=[1.0]), "w_star must be finite and have shape"),
        (lambda: fl.GaussianStream(3, dtype="int32"), "dtype must be float32 or float64"),
        (lambda: fl.QuadraticStream(1.0), "spectrum must be an array"),
        (lambda: fl.QuadraticStream([1.0, 1.0], [[1.0, 2.0], [2.0, 1.0]]), "positive semidefinite"),
        (lambda: fl.QuadraticStream([1.0, 1.0], [[1.0, 0.5], [0.0, 1.0]]), "symmetric"),
        (lambda: fl.QuadraticStream([1.0, 1.0], -1.0), "noise_cov must be >= 0"),
        (lambda: fl.Problem(fl.QuadraticStream([1.0]), l2=0.1), "objective of its own"),
        (lambda: fl.Problem(fl.GaussianStream(3), loss="logistic"), "needs labels"),
        (lambda: fl.Problem(fl.GaussianStream(3), np.ones(3)), "targets of its own"),
        (lambda: fl.Problem(fl.GaussianStream(3, target="logistic", kurtosis=1.0)), "needs normal rows"),
        (lambda: fl.Problem(np.ones((3, 2))), "y is missing"),
        (lambda: fl.local_sgd(fl.Problem(fl.GaussianStream(3))), "no rows to count; say n_steps"),
        (lambda: run(fl.Problem(fl.GaussianStream(3, target="logistic")), schedule=fl.RiskPeriod(0.1)),
         "predicted for QuadraticStream, and for the squared loss"),
        (lambda: run(fl.Problem(fl.GaussianStream(3, target="logistic"), l2=0.1),
                     schedule=fl.AdaptivePeriod("effective")),
         r"^AdaptivePeriod\(.* cannot find its period on a stream: the covariance .* bind the rule to rows drawn"),
        (lambda: fl.theory.estimate(fl.Problem(fl.GaussianStream(3))), r"to estimate from; draw an array"),
        (lambda: run(fl.Problem(fl.GaussianStream(3)), sampling="reshuffle"), "sampling must be 'stream'"),
        (lambda: run(fl.Problem(fl.GaussianStream(3)), partition="contiguous"), "partition must be 'iid'"),
        (lambda: run(fl.Problem(fl.GaussianStream(3)), weights="rows"), "weights must be None or an array"),
        (lambda: run(fl.Problem(np.ones((9, 2)), np.ones(9)), sampling="stream"), "sampling must be"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


# ---- predictions ----


# Where one worker's weight is 1 the others' spread is not what one and the mean differ by.
@pytest.mark.parametrize("weights", [None, [0.5, 0.3, 0.2], [1.0, 0.0, 0.0]])
@pytest.mark.parametrize(
    "stream",
    [
        fl.GaussianStream(4, dtype="float64", kurtosis=6.0),
        fl.QuadraticStream([1.0, 0.5, 0.2], [0.1, 0.2, 0.3], dtype="float64"),
    ],
    ids=lambda stream: type(stream).__name__,
)
def test_a_prediction_for_a_stream_is_exact(stream, weights):
    from fastlsgd.experiments import replicates
    from fastlsgd.theory import predict

    problem, step = fl.Problem(stream), fl.PolynomialDecay(0.15, 0.3)
    options = {"n_workers": 3, "n_steps": 100, "weights": weights, "batch_size": 2}
    expected = predict(problem, fl.FixedPeriod(9), step, w0=np.zeros(stream.n_features), **options)
    many = replicates(problem, schedule=fl.FixedPeriod(9), step_size=step, n_replicates=20_000, **options)
    for found, value in [
        (problem.excess(many.w_bar[:, 0]), expected.excess),
        (((stream.eigenvalues * (many.w_bar[:, 0] - stream.w_star)) ** 2).sum(1), expected.e2),
        (many.consensus[:, 0], expected.consensus),
    ]:
        assert abs(found.mean() - value) < 4 * found.std() / np.sqrt(len(found))
    mean = many.w_bar[:, 0].mean(axis=0)
    assert problem.excess(mean) == pytest.approx(expected.bias, rel=0.05)
    assert expected.low == expected.high == expected.excess == expected.bias + expected.variance
    assert expected.n_rounds == many.n_rounds


def test_a_stream_that_is_no_quadratic_is_not_predicted():
    from fastlsgd.theory import predict

    for problem in (
        fl.Problem(fl.GaussianStream(3, target="logistic"), loss="logistic"),
        fl.Problem(fl.GaussianStream(3), l2=0.1),
    ):
        with pytest.raises(ValueError, match="draw rows"):
            predict(problem, fl.MiniBatch(), fl.Constant(0.1), 2, 10)
