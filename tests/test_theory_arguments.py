"""What the theory refuses, and in which words."""

import numpy as np
import pytest
from scipy import sparse

import fastlsgd as fl
from fastlsgd import theory

STEP = fl.Constant(0.1)


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1000, 3))
    y = np.where(X[:, 0] + rng.logistic(size=1000) > 0, 1.0, -1.0)
    return fl.Problem(X, y, loss="logistic", l2=1e-2)


STREAM = fl.Problem(fl.GaussianStream(4))
SPARSE = sparse.csr_matrix(np.eye(2)), np.ones(2)


@pytest.mark.parametrize("seed", [28, 45])
def test_the_interval_of_a_small_sample_is_not_upside_down(seed):
    """The lower end of what the sample says of mu was above what two passes prove of all rows."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((2000, 3))
    labels = np.where(X[:, 0] + rng.logistic(size=2000) > 0, 1.0, -1.0)
    problem = fl.Problem(X, labels, loss="logistic")
    found = theory.estimate(problem, n_rows=100, seed=seed)
    low, high = found.interval("mu")
    assert low <= found.mu <= high
    assert low <= theory.estimate(problem).mu <= high


def test_a_number_for_step_sizes_is_refused():
    with pytest.raises(ValueError, match=r"for a constant step pass np.full\(n_steps, 0.1\)"):
        theory.exact_moments([1.0, 2.0], 1.0, 1, 0.1, 2, noise_cov=1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: theory.exact_moments([1.0], 1.0, 2.0, [0.1], 2, noise_cov=1), TypeError, "periods must be an int"),
        (lambda: theory.exact_moments([1.0], 1.0, 1, STEP, 2, noise_cov=1), TypeError, "etas must be an array"),
        (lambda: theory.exact_moments([1.0], 1.0, 1, "auto", 2, noise_cov=1), TypeError, "etas must be an array"),
        (
            lambda: theory.exact_moments([1.0], [1, 2], 1, [0.1], 2, noise_cov=1),
            ValueError,
            "delta0 must be a number",
        ),
        (lambda: theory.constant_step_moments([1.0], [1, 2], 0.1, 9, 2, 1), ValueError, "delta0 must be a number"),
        (lambda: theory.n_rounds(4, "auto", 2, 10), TypeError, "step_size must be a StepSize"),
        (lambda: theory.n_rounds_formula(0.0, 4, 0.1, 0.5, 10), ValueError, "mu must be positive"),
        (lambda: theory.n_rounds_formula(-1.0, 4, 0.1, 0.5, 10), ValueError, "mu must be positive"),
        (lambda: theory.n_rounds_formula(1.0, 4, np.nan, 0.5, 10), ValueError, "eta must be positive"),
        (lambda: theory.osa_threshold(-1, 1, 10, 0.1), ValueError, "noise must be >= 0"),
        (lambda: theory.osa_threshold(1, 1, 10, 0.0), ValueError, "eta must be positive"),
        (lambda: theory.osa_threshold(1, np.nan, 10, 0.1), ValueError, "bias must be >= 0"),
        (lambda: theory.interpolation(4, [3.0, -1.0], 0.5), ValueError, "contraction must be from 0 to 2"),
        (lambda: theory.interpolation(4, np.nan, 0.5), ValueError, "contraction must be from 0 to 2"),
        (lambda: theory.stability_limit([1.0], kurtosis=np.nan), ValueError, "kurtosis must be >= 1 and finite"),
        (lambda: theory.stability_limit([0.0], kurtosis=0.5), ValueError, "kurtosis must be >= 1 and finite"),
        (lambda: theory.stability_limit("a"), TypeError, "spectrum must hold real numbers, got 'a'"),
        (lambda: theory.stability_limit([1j]), TypeError, "spectrum must hold real numbers"),
        (lambda: theory.stationary_worker([1.0], 0.1, "a"), TypeError, "target_variance must be a number"),
        (lambda: theory.exact_moments([1.0], None, 1, [0.1], 2, noise_cov=1), TypeError, "delta0 must hold real"),
        (lambda: theory.exact_moments([1.0], 1, 1, [0.1], 2, noise_cov="a"), TypeError, "noise_cov must hold real"),
        (lambda: theory.exact_moments([1.0], 1, True, [0.1], 2, noise_cov=1), TypeError, "period must be an int"),
        (
            lambda: theory.exact_moments([1.0], 1, 1, [0.1], 2, noise="gaussian", target_variance=1, kurtosis="3"),
            TypeError,
            "kurtosis must be a number, got '3'",
        ),
        (
            lambda: theory.constant_step_moments([1.0], 1, 0.1, 9, 2, 1, batch_size=-1),
            ValueError,
            "batch_size must be an int >= 1, got -1",
        ),
        (lambda: theory.richardson(None, None), TypeError, "w_bar must hold real numbers, got None"),
        (lambda: theory.finite_moments(None, 0.0, 1, [0.1]), TypeError, "shards must be a sequence"),
        (lambda: theory.finite_moments((np.ones((9, 2)), np.ones(9)), 0.0, 1, [0.1]), TypeError, "shard 0 must be a"),
        (lambda: theory.finite_moments([SPARSE], 0.0, 1, [0.1]), TypeError, r"dense rows.*pass X.toarray\(\)"),
        (lambda: theory.finite_moments([(["a"], [1.0])], 0.0, 1, [0.1]), TypeError, "X of shard 0 must hold real"),
        (lambda: theory.finite_moments([([[1.0]], [1.0])], "a", 1, [0.1]), TypeError, "w0 must hold real numbers"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_no_record_is_asked_for_and_none_is_given():
    moments = theory.exact_moments([1.0], 1.0, 1, [0.1, 0.1], 2, noise_cov=1.0, record=0)
    assert moments.t.shape == moments.e1.shape == moments.worker.shape == (0,)


def test_products_of_numbers_far_apart_are_not_formed():
    assert theory.n_rounds_formula(1e200, 2, 1e200, 0.5, 10) == 10.0
    assert theory.n_rounds_formula(1e-200, 2, 1e-200, 0.5, 10) == 1.0
    assert theory.osa_threshold(1.0, 1e-300, 10, 1e-200, 0.5) == np.inf
    assert theory.osa_threshold(0.0, 1e-300, 10, 1e-200, 0.5) == 0.0


def test_one_worker_averages_once():
    formula = theory.n_rounds_formula(0.1, 1, 0.1, 0.0, 1000)
    assert formula == theory.n_rounds(fl.AdaptivePeriod(0.1), STEP, 1, 1000) == 1


def test_mapped_rows_with_nan_are_named(tmp_path):
    X = np.random.default_rng(0).standard_normal((100, 2))
    X[7, 1] = np.nan
    np.save(tmp_path / "x.npy", X)
    mapped = fl.Problem(np.load(tmp_path / "x.npy", mmap_mode="r"), np.ones(100), l2=1.0)
    for function in (theory.estimate, lambda problem: theory.predict(problem, 1, STEP, 2, 10)):
        with pytest.raises(ValueError, match="X must be finite, got nan at row 7, column 1"):
            function(mapped)


# ---- predict ----


def test_predict_takes_its_arguments_in_the_order_it_says(problem):
    w0, w_star = np.ones(3), problem.optimum()
    ordered = theory.predict(problem, 4, STEP, 4, 500, w0, w_star, "reshuffle", "population")
    assert ordered == theory.predict(problem, 4, STEP, 4, 500, w0, sampling="reshuffle", target="population")
    assert ordered != theory.predict(problem, 4, STEP, 4, 500, w0)
    assert ordered.excess > ordered.bias + ordered.variance


def test_a_known_optimum_is_looked_at_and_not_computed(problem):
    again = fl.Problem(problem.X, problem.y, loss="logistic", l2=1e-2)
    found = theory.predict(again, 4, STEP, 4, 500, w_star=problem.optimum())
    assert again.known_optimum is None
    assert found == theory.predict(problem, 4, STEP, 4, 500)
    with pytest.raises(ValueError, match="w_star must be the optimum, where the gradient is 0"):
        theory.predict(again, 4, STEP, 4, 500, w_star=problem.optimum() + 1e-3)
    with pytest.raises(ValueError, match=r"w_star must have shape \(3,\), got \(2,\)"):
        theory.predict(again, 4, STEP, 4, 500, w_star=np.ones(2))
    with pytest.raises(ValueError, match="w_star is not the optimum that the Expansion"):
        theory.predict(theory.Expansion(problem), 4, STEP, 4, 500, w_star=np.ones(3))


def test_predict_takes_the_automatic_step(problem):
    safe = theory.predict(problem, 4, fl.Constant(problem.safe_step()), 4, 500)
    assert theory.predict(problem, 4, "auto", 4, 500) == safe
    with pytest.raises(ValueError, match="step_size must be a StepSize or 'auto', got 'fast'"):
        theory.predict(problem, 4, "fast", 4, 500)
    with pytest.raises(TypeError, match="step_size must be a StepSize such as"):
        theory.predict(problem, 4, 0.1, 4, 500)


@pytest.mark.parametrize(
    "options",
    [
        {"target": "bogus"},
        {"target": "empirical"},
        {"sampling": "reshuffle"},
        {"partition": "contiguous"},
        {"w_star": np.full(4, 9.0)},
    ],
)
def test_what_means_nothing_of_a_stream_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        theory.predict(STREAM, 4, STEP, 4, 100, **options)
    whole = theory.predict(STREAM, 4, STEP, 4, 100, None, STREAM.optimum(), "stream", "population")
    assert whole == theory.predict(STREAM, 4, STEP, 4, 100)


def test_a_stream_whose_moments_overflow_is_refused():
    with pytest.raises(ValueError, match="step size 50 is beyond the stability limit"):
        theory.predict(STREAM, 4, fl.Constant(50.0), 4, 5000)


@pytest.mark.parametrize("n_steps", ["a", -1, 1.5])
def test_a_rule_looks_at_the_steps_of_one_worker_too(n_steps):
    with pytest.raises((TypeError, ValueError), match="n_steps must be"):
        fl.RiskPeriod(0.1).bind(STREAM, STEP, 1, n_steps)
