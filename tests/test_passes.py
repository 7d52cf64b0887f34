"""Passes over the data: many iterates at once, exact bits, gradients, and excesses against mpmath."""

import mpmath
import numpy as np
import pytest

import fastlsgd as fl
from fastlsgd import _kernels

# Rows, features, iterates: no multiples of a block, of lanes, of a chunk, of a panel; few iterates and many.
SHAPES = [(1000, 20, 64), (33, 3, 5), (2049, 130, 17), (5000, 257, 8), (31, 1, 70), (1, 100, 2), (64, 15, 7)]


def a_problem(loss, dtype, n, d, *, plain=False, seed=0, l2=0.1):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)).astype(dtype)
    y = np.where(X.sum(axis=1) + np.sqrt(d) * rng.standard_normal(n) > 0, 1.0, -1.0)
    weights = None if plain else rng.uniform(0, 2, n)
    return fl.Problem(X, y, loss=loss, l2=l2, sample_weight=weights, fit_intercept=not plain)


def iterates_of(problem, m, seed=1):
    return np.random.default_rng(seed).standard_normal((m, problem.n_params)) / np.sqrt(problem.n_params)


def numpy_twin(problem, W):
    """F and its gradients in float64, in whatever order NumPy adds."""
    n, d = problem.X.shape
    A = np.ones((n, problem.n_params))
    A[:, :d] = problem.X
    y = problem.y.astype(np.float64)[:, None]
    s = np.ones((n, 1)) if problem.sample_weight is None else problem.sample_weight.astype(np.float64)[:, None]
    Z = A @ W.T
    if problem.loss.name == "squared":
        losses, slopes = (Z - y) ** 2 / 2, Z - y
    else:
        losses, slopes = np.logaddexp(0, -y * Z), -y / (1 + np.exp(y * Z))
    penalised = W.copy()
    penalised[:, d:] = 0.0
    F = (s * losses).sum(axis=0) / n + problem.l2 / 2 * (penalised**2).sum(axis=1)
    return F, (s * slopes).T @ A / n + problem.l2 * penalised


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_objectives_and_gradients_of_many_iterates_are_those_of_numpy(loss, dtype, plain, isa):
    for n, d, m in SHAPES:
        problem = a_problem(loss, dtype, n, d, plain=plain)
        W = iterates_of(problem, m)
        F, G = numpy_twin(problem, W)
        np.testing.assert_allclose(problem.objective(W), F, rtol=1e-14)
        values, gradients = problem.objective_and_gradient(W)
        np.testing.assert_allclose(values, F, rtol=1e-14)
        np.testing.assert_allclose(gradients, G, rtol=0, atol=1e-14 * np.abs(G).max() * np.sqrt(n))
        assert problem.gradient(W).tobytes() == gradients.tobytes()
        assert gradients.shape == W.shape and problem.gradient(W[0]).shape == (problem.n_params,)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("loss", "weighted"), [("squared", True), ("logistic", True), ("logistic", False)])
def test_an_iterate_alone_has_the_bits_it_has_among_others(loss, weighted, dtype, isa):
    for n, d, m in SHAPES:
        problem = a_problem(loss, dtype, n, d)
        if not weighted:
            problem = fl.Problem(problem.X, problem.y, loss=loss, l2=problem.l2, fit_intercept=problem.fit_intercept)
        W = iterates_of(problem, m)
        reference = iterates_of(problem, 1, seed=2)[0]
        together = problem.objective(W), problem.gradient(W), problem.excess(W, reference)
        for j, w in enumerate(W):
            alone = problem.objective(w), problem.gradient(w), problem.excess(w, reference)
            assert all(np.asarray(a).tobytes() == t[j].tobytes() for a, t in zip(alone, together, strict=True))
        assert problem.objective_and_gradient(W)[0].tobytes() == together[0].tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_passes_have_the_same_bits_on_every_instruction_set_and_for_any_threads(loss, dtype, monkeypatch):
    before, problem = _kernels.isa(), a_problem(loss, dtype, 20_011, 37)
    found = set()
    try:
        for name in _kernels.isas():
            _kernels.use_isa(name)
            for threads in ("1", "2", "5"):
                monkeypatch.setenv("FASTLSGD_NUM_THREADS", threads)
                for m in (1, 21):
                    W = iterates_of(problem, 21)[:m]
                    results = problem.objective(W), problem.gradient(W), problem.excess(W, np.ones(38))
                    found.add((m, *(result.tobytes() for result in results)))
    finally:
        _kernels.use_isa(before)
    assert len(found) == 2


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_gradients_of_many_iterates_agree_with_finite_differences(loss):
    problem = a_problem(loss, np.float64, 500, 11)
    W, direction, h = iterates_of(problem, 9), np.linspace(-1, 1, 12), 1e-5
    slopes = (problem.objective(W + h * direction) - problem.objective(W - h * direction)) / (2 * h)
    np.testing.assert_allclose(problem.gradient(W) @ direction, slopes, rtol=1e-6, atol=1e-8)


# ---- excess ----


def exact_objective(problem, w):
    """F(w) to 60 digits."""
    total, d = mpmath.mpf(0), problem.n_features
    w = [mpmath.mpf(float(entry)) for entry in w]
    for i in range(problem.n_samples):
        z = sum((mpmath.mpf(float(x)) * v for x, v in zip(problem.X[i], w[:d], strict=True)), mpmath.mpf(0))
        z += w[d] if problem.fit_intercept else 0
        y = mpmath.mpf(float(problem.y[i]))
        loss = (z - y) ** 2 / 2 if problem.loss.name == "squared" else mpmath.log1p(mpmath.exp(-y * z))
        total += loss * (1 if problem.sample_weight is None else mpmath.mpf(float(problem.sample_weight[i])))
    return total / problem.n_samples + mpmath.mpf(problem.l2) / 2 * sum(v * v for v in w[:d])


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_an_excess_has_digits_far_below_the_rounding_of_the_objective(loss, dtype, plain):
    problem = a_problem(loss, dtype, 150, 5, plain=plain, l2=0.01)
    optimum, direction = problem.optimum(), iterates_of(problem, 1)[0]
    f_star = problem.objective(optimum)
    with mpmath.workdps(60):
        least = exact_objective(problem, optimum)
        for distance, digits in ((30.0, 1e-13), (1.0, 1e-13), (1e-2, 1e-12), (1e-6, 1e-9), (1e-9, 1e-6)):
            w = optimum + distance * direction
            excess = exact_objective(problem, w) - least
            assert abs(problem.excess(w) - excess) <= digits * excess
        assert excess < 1e-17 * f_star  # where a difference of objectives has no digit


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_the_resolution_bounds_how_far_the_optimum_found_is_from_the_minimum(loss):
    problem = a_problem(loss, np.float64, 100, 4, l2=1e-4)
    optimum, resolution = problem.optimum(), problem.excess_resolution()
    with mpmath.workdps(60):
        at_optimum = exact_objective(problem, optimum)
        # Any point below it: a Newton step in float64, and its neighbours.
        rng = np.random.default_rng(0)
        near = [optimum + 2.0**-53 * rng.standard_normal(5) * np.abs(optimum) for _ in range(20)]
        lowest = min(exact_objective(problem, w) for w in (problem.newton_step(optimum), *near))
    assert 0.0 < resolution < 1e-25
    assert at_optimum - lowest < resolution


def test_changes_of_the_logistic_loss_are_exact_for_steps_of_any_size():
    rng = np.random.default_rng(0)
    X = np.array([[1.0]])
    for _ in range(300):
        z, step = rng.normal(0, 20), rng.choice([-1, 1]) * 10.0 ** rng.uniform(-18, 2)
        problem = fl.Problem(X, np.array([rng.choice([-1.0, 1.0])]), loss="logistic")
        w = np.array([z + step])
        with mpmath.workdps(80):
            want = exact_objective(problem, w) - exact_objective(problem, [z])
        got = problem.excess(w, np.array([z]))
        # Beyond steps of 1/2 it is a difference, right to the rounding of its larger side.
        scale = abs(want) if abs(w[0] - z) <= 0.5 else max(abs(want), problem.objective([z]), problem.objective(w))
        assert abs(got - want) <= 4e-15 * scale


@pytest.mark.parametrize("m", [1, 9])
@pytest.mark.parametrize("weighted", [False, True])
def test_objectives_keep_their_digits_where_every_loss_is_tiny_or_large(m, weighted, isa):
    # 1,000 rows at the same size of margin: among them losses far below the rounding of 1, which a
    # product of 1 + q would lose, and products that must not overflow.
    rng = np.random.default_rng(0)
    y = rng.choice([-1.0, 1.0], 1000)
    X = (y * rng.integers(900, 1100, 1000) / 1024)[:, None]  # margins are exact
    weights = rng.uniform(0.5, 2, 1000) if weighted else None
    problem = fl.Problem(X, y, loss="logistic", sample_weight=weights)
    for margin in (-1e4, -700.0, -30.0, -1.0, -1e-9, 0.0, 1e-9, 1.0, 30.0, 300.0):
        losses = np.logaddexp(np.longdouble(0), -np.longdouble(margin) * (X[:, 0] * y))
        want = np.average(losses) if weights is None else (weights.astype(np.longdouble) * losses).mean()
        got = np.atleast_1d(problem.objective(np.full((m, 1), margin)))
        assert np.abs(got - want).max() <= 1e-15 * want, (margin, got, want)


@pytest.mark.parametrize("m", [1, 9])
@pytest.mark.parametrize("weighted", [False, True])
def test_excesses_are_right_whatever_the_margin_and_the_step(m, weighted, isa):
    # Rows on either side of the margin 0, steps to either side; short, long, and among each other.
    rng = np.random.default_rng(0)
    n = 203
    y, X = rng.choice([-1.0, 1.0], n), rng.choice([-1.0, 1.0], (n, 2)) * rng.uniform(0.5, 1, (n, 2))
    weights = rng.uniform(0.5, 2, n) if weighted else None
    problem = fl.Problem(X, y, loss="logistic", sample_weight=weights)
    s = np.ones(n) if weights is None else weights
    for at in (1e-3, 1.0, 30.0):
        for step in (1e-12, 1e-3, 0.4, 1.0, 7.0, 9.0, 100.0):
            w, w_star = np.array([at, at + step]), np.array([at, at])
            with mpmath.workdps(50):
                want, scale = mpmath.mpf(0), mpmath.mpf(0)
                for i in range(n):
                    row = [mpmath.mpf(x) for x in X[i]]
                    low, high = (
                        mpmath.log1p(mpmath.exp(-y[i] * (row[0] * mpmath.mpf(v[0]) + row[1] * mpmath.mpf(v[1]))))
                        for v in (w_star, w)
                    )
                    want += s[i] * (high - low)
                    scale += s[i] * (abs(high - low) if abs(step) <= 0.5 else max(high, low))
            got = np.atleast_1d(problem.excess(np.tile(w, (m, 1)), w_star))
            assert np.abs(got - float(want / n)).max() <= 2e-15 * float(scale / n), (at, step, got, want / n)


@pytest.mark.parametrize("m", [1, 9])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_a_nan_in_an_iterate_reaches_its_own_results_and_no_other(loss, weighted, m, isa):
    problem = a_problem(loss, np.float32, 70, 9, plain=not weighted)
    clean, W = iterates_of(problem, m), iterates_of(problem, m)
    W[0, 4] = np.nan
    reference = np.zeros(problem.n_params)
    for method in (problem.objective, problem.gradient, lambda w: problem.excess(w, reference)):
        assert np.isnan(method(W)[0]).all()
        assert method(W)[1:].tobytes() == method(clean)[1:].tobytes()
    assert np.isnan(problem.excess(clean, W[0])).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_mapped_row_that_is_not_finite_is_named_by_whatever_meets_it(tmp_path, value):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((5000, 6))
    X[3456, 2] = value
    np.save(tmp_path / "X.npy", X)
    mapped, y = np.load(tmp_path / "X.npy", mmap_mode="r"), np.where(X[:, 0] > 0, 1.0, -1.0)
    for loss in ("squared", "logistic"):
        for meet in (
            lambda problem: problem.optimum(),
            lambda problem: problem.gradient(np.zeros(6)),
            lambda problem: problem.objective(np.ones((2, 6))) if np.isnan(value) else problem.gradient(np.ones(6)),
            lambda problem: problem.hessian(np.zeros(6)),
            lambda problem: problem.newton_step(np.zeros(6)),
        ):
            with pytest.raises(ValueError, match=f"X must be finite, got {value} at row 3456, column 2"):
                meet(fl.Problem(mapped, y, loss=loss))


def test_a_result_beyond_float64_is_no_fault_of_the_rows():
    problem = fl.Problem(np.full((10, 1), 1e200), np.zeros(10))
    assert problem.objective(np.array([1.0])) == np.inf


def test_the_excess_of_an_iterate_over_itself_is_zero():
    problem = a_problem("logistic", np.float32, 100, 3)
    w = iterates_of(problem, 1)[0]
    assert problem.excess(w, w) == 0.0
    assert problem.excess(np.array([w] * 9), w).tolist() == [0.0] * 9


def test_a_trace_gives_excesses_of_its_records():
    problem = a_problem("logistic", np.float64, 400, 3)
    trace = fl.local_sgd(problem, n_steps=200, record=5).trace
    w = np.array([record.w for record in trace.records])
    assert trace.excess("w").tobytes() == problem.excess(w).tobytes()
    np.testing.assert_allclose(
        trace.excess(), trace.objective_w_bar - problem.objective(problem.optimum()), rtol=1e-9
    )
    assert np.isnan(fl.local_sgd(problem, n_steps=20, record=3, average=None).trace.excess()).all()
    with pytest.raises(ValueError, match="of must be 'w' or 'w_bar', got 'v'"):
        trace.excess("v")
