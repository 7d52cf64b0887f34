"""Whatever a user gives for a number, a count, a name or a switch: one line says what was wrong, and nothing is taken
for what it is not."""

import math
from fractions import Fraction

import numpy as np
import pytest

import fastlsgd as fl
from fastlsgd import arguments, scalars, theory

X, Y = np.random.default_rng(0).standard_normal((40, 3)), np.ones(40)
STREAM = fl.Problem(fl.GaussianStream(3))


def run(problem=None, **options):
    problem = problem or fl.Problem(X, Y)
    return fl.local_sgd(problem, **{"n_workers": 2, "n_steps": 8, "step_size": fl.Constant(0.01), **options})


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int64(2), np.array(2.0), Fraction(2)])
def test_a_number_is_a_number_however_it_is_written(value):
    found = scalars.number("x", value, least=0.0)
    assert found == 2.0
    assert type(found) is float


def test_bounds_hold_with_or_without_themselves():
    for bounds, inside, outside in (
        ({"above": 0.0}, [5e-324, 1e308], [0.0, -1.0, math.inf, math.nan, 10**400, -(10**400)]),
        ({"least": 0.0}, [0.0, 1e308], [-5e-324, math.inf, math.nan]),
        ({"least": 0.0, "most": 1.0}, [0.0, 1.0], [-1e-9, 1.1, math.inf, math.nan]),
        ({"above": 0.0, "below": 1.0}, [0.5], [0.0, 1.0, math.nan]),
        ({"above": 0.0, "infinite": True}, [1.0, math.inf], [0.0, -math.inf, math.nan]),
        ({}, [-1e308, 0.0], [math.inf, -math.inf, math.nan]),
    ):
        assert [scalars.number("x", value, **bounds) for value in inside] == inside
        for value in outside:
            with pytest.raises(ValueError, match=r"^x must be .*, got "):
                scalars.number("x", value, **bounds)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fl.PolynomialDecay(1.0, "a"), "PolynomialDecay: alpha must be a number, got 'a'"),
        (lambda: fl.GrowingPeriod(1, "2"), "GrowingPeriod: power must be a number, got '2'"),
        (lambda: fl.FixedPeriod("2"), r"FixedPeriod: period must be an int, got '2'; use OneShot\(\)"),
        (lambda: fl.FixedPeriod(True), "FixedPeriod: period must be an int, got True"),
        (lambda: fl.InverseTime(0.1, 2.0), "InverseTime: t0 must be an int, got 2.0"),
        (lambda: fl.Constant(np.array([0.1])), r"Constant: eta must be a number, got array\(\[0.1\]\)"),
        (lambda: fl.GaussianStream(3, noise="1"), "noise must be a number, got '1'"),
        (lambda: fl.GaussianStream(3, noise=np.ones(3)), r"noise must be a number, got array\("),
        (lambda: fl.GaussianStream(3, dtype=None), "dtype must be float32 or float64, got None"),
        (lambda: fl.GaussianStream(3, dtype="abc"), "dtype must be float32 or float64, got 'abc'"),
        (lambda: fl.GaussianStream(3, kurtosis="3"), "kurtosis must be a number, got '3'"),
        (lambda: fl.GaussianStream(3, w_star="abc"), "w_star must hold real numbers, got 'abc'"),
        (lambda: fl.GaussianStream(2, spectrum=["a", "b"]), "spectrum must hold real numbers, got"),
        (lambda: fl.QuadraticStream([1.0], "a"), "noise_cov must hold real numbers, got 'a'"),
        (lambda: fl.QuadraticStream(["a"]), "spectrum must hold real numbers"),
        (lambda: STREAM.sample(2, seed="a"), "seed must be an int, got 'a'"),
        (lambda: STREAM.sample(2.5), "n_rows must be an int, got 2.5"),
        (lambda: run(max_time_s=[1]), r"max_time_s must be a number, got \[1\]; None is no limit"),
        (lambda: theory.bounds(fl.Constant(0.1), 9, schedule=4, n_workers=2, mu=1, lipschitz=1, noise=1, distance=1,
                               weights=["a", "b"]), r"weights must hold real numbers, got \['a', 'b'\]"),
        (lambda: run(weights=["a", "b"]), r"weights must hold real numbers, got \['a', 'b'\]"),
        (lambda: run(w0=["a", "b", "c"]), "w0 must hold real numbers"),
        (lambda: run(n_threads="2"), "n_threads must be an int, got '2'; None is all cores"),
        (lambda: fl.Problem(X, Y, fit_intercept="no"), "fit_intercept must be True or False, got 'no'"),
        (lambda: fl.Problem(X, Y, l2=True), "l2 must be a number, got True"),
        (lambda: fl.Problem(X, Y).objective("abc"), "w must hold real numbers, got 'abc'"),
        (lambda: fl.Problem(X, Y).step_bound("2"), "batch_size must be an int, got '2'"),
        (lambda: theory.bounds_multiplicative(fl.Constant(0.1), 9, schedule=4, n_workers=2, mu=1, lipschitz=1, a=1,
                                              b=1, distance=1, quadratic="no"),
         "quadratic must be True or False, got 'no'"),
        (lambda: fl.LocalSGDClassifier(standardize="no").fit(X, np.sign(X[:, 0])), "standardize must be True or Fal"),
        (lambda: theory.stationary_worker([1.0], "a", 1.0), "eta must be a number, got 'a'"),
        (lambda: fl.RiskPeriod("0.1"), "RiskPeriod: epsilon must be a number, got '0.1'"),
        (lambda: fl.RiskPeriod(None), "RiskPeriod: epsilon must be a number, got None"),
        (lambda: fl.RiskPeriod(np.ones(2)), r"RiskPeriod: epsilon must be a number, got array\("),
        (lambda: fl.AdaptivePeriod(None), "AdaptivePeriod: mu must be a number, got None; or 'auto' or 'effective'"),
        (lambda: theory.bounds(fl.Constant(0.1), 9, schedule=4, n_workers=2, mu=None, lipschitz=1,
                               noise=1, distance=1),
         "mu must be a number, got None"),
        (lambda: theory.adaptive_period(np.array([0.1, 0.2]), 4, 0.1), "AdaptivePeriod: mu must be a number"),
        (lambda: theory.adaptive_period(0.1, 4, "a"), "eta must hold real numbers, got 'a'"),
        (lambda: theory.exponential_round_time(4, 4, "1"), "step_s must be a number, got '1'"),
        (lambda: theory.round_time(4, 4, 1.0, None), "jitter_s must be a number, got None"),
        (lambda: theory.constant_step_moments([1.0], 1.0, "a", 10, 2, noise_cov=1.0), "eta must be a number"),
        (lambda: theory.interpolation("4", 0.1, 0.5), "period must be a number, got '4'"),
        (lambda: theory.estimate(fl.Problem(X, Y), confidence="0.9"), "confidence must be a number, got '0.9'"),
        (lambda: fl.baselines.richardson(fl.Problem(X, Y), eta="a", n_steps=3), "eta must be a number, got 'a'"),
        (lambda: fl.baselines.one_worker(fl.Problem(X, Y), n_steps=2.0), "n_steps must be an int, got 2.0"),
        (lambda: fl.Shards(X, Y, n_workers=2.0), "n_workers must be an int, got 2.0"),
    ],
)  # fmt: skip
def test_what_is_no_number_is_named(make, message):
    with pytest.raises(TypeError, match="^" + message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: STREAM.sample(2, worker=-1), "worker must be an int >= 0, got -1"),
        (lambda: STREAM.sample(-1), "n_rows must be an int >= 1, got -1"),
        (lambda: STREAM.sample(2, seed=2**64), "seed must be below"),
        (lambda: fl.GaussianStream(3, spectrum="1/k^1.2.3"), r"spectrum must be '1/k', .*, got '1/k\^1.2.3'"),
        (lambda: fl.GaussianStream(3, target=np.array(["linear", "logistic"])), "target must be"),
        (lambda: run(sampling=np.array(["reshuffle", "replacement"])), "sampling must be 'reshuffle' or"),
        (lambda: run(record=[[1, 2], [3, 4]]), "record must be an int >= 0 or step numbers from 1 to 8"),
        (lambda: theory.round_lengths(3, 0, [0.1]), "n_workers must be an int >= 1, got 0"),
        (lambda: run(sampling=""), "sampling must be 'reshuffle' or 'replacement' or 'blocks', got ''"),
        (lambda: run(STREAM, layout="packed"), "a stream has no rows to copy: layout must be"),
        (lambda: run(fl.Problem(X.astype(np.float32), Y.astype(np.float32)), w0=np.full(3, 1e39)),
         "w0 must be finite, in float32 as the run computes"),
        (lambda: run(weights=[np.inf, -np.inf]), "weights must be finite, >= 0 and sum to 1"),
        (lambda: run(weights=[np.nan, 1.0]), "weights must be finite, >= 0 and sum to 1"),
        (lambda: theory.round_time(4, 2, -1.0, -3), "step_s must be >= 0 and finite, got -1.0"),
        (lambda: theory.round_time(4, 2, 1.0, math.nan), "jitter_s must be >= 0 and finite, got nan"),
        (lambda: theory.interpolation(4, 0.1, 5.0), "w2 must be above 0 and at most 1, got 5.0"),
        (lambda: theory.stationary_worker([1.0], 0.1, -1.0), "target_variance must be >= 0 and finite, got -1.0"),
        (lambda: fl.RiskPeriod(0.0), "RiskPeriod: epsilon must be positive and finite, got 0.0"),
        (lambda: fl.RiskPeriod(0.1, np.array(["a", "b"])), "RiskPeriod: sampling must be 'reshuffle' or 'replac"),
        (lambda: theory.exact_moments([1.0], 1.0, 1, [0.1], 2, weights="rows", noise_cov=1.0),
         "weights must be None or an array, got 'rows'"),
        (lambda: fl.baselines.richardson(fl.Problem(X, Y), eta=-1, n_steps=3), "eta must be positive and finite"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_what_is_out_of_range_is_named(make, message):
    with pytest.raises(ValueError, match="^" + message):
        make()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_what_is_masked_is_refused_and_not_taken_for_data(loss):
    X, y = np.eye(4), np.array([1.0, -1.0, 1.0, -1.0])
    masked = np.ma.masked_greater(y, 0.0)
    with pytest.raises(TypeError, match=r"y must be a plain array, got a masked one.*y.filled"):
        fl.Problem(X, masked, loss=loss)
    with pytest.raises(TypeError, match="sample_weight must be a plain array"):
        fl.Problem(X, y, loss=loss, sample_weight=np.ma.masked_greater(np.ones(4), 2.0))
    with pytest.raises(TypeError, match="w must be a plain array"):
        fl.Problem(X, y, loss=loss).objective(masked)


@pytest.mark.parametrize(
    "problem", [fl.Problem(np.eye(3), np.ones(3)), fl.Problem(fl.GaussianStream(3))], ids=["rows", "stream"]
)
def test_where_one_iterate_is_asked_for_several_are_refused(problem):
    many = np.zeros((2, 3))
    calls = [problem.hessian, lambda w: problem.excess(np.zeros(3), w)]
    if isinstance(problem.X, np.ndarray):
        calls += [problem.newton_step, problem.hessian_product]
    for call in calls:
        with pytest.raises(ValueError, match=r"must be one iterate, shape \(3,\), got shape \(2, 3\)"):
            call(many)


def test_targets_of_dtype_object_are_told_how_to_be_numbers():
    with pytest.raises(TypeError, match=r"y must hold numbers, got dtype object; pass y.astype\(float\)"):
        fl.Problem(np.eye(2), np.array([1.0, 2.0], dtype=object))


def test_a_clock_beyond_64_bits_is_refused():
    with pytest.raises(ValueError, match="t0 must be at most 2"):
        fl.InverseTime(1.0, t0=2**63)


def test_local_iterates_that_are_no_numbers_of_the_run_are_refused():
    moved = fl.Run(fl.Problem(X.astype(np.float32), Y.astype(np.float32)), n_workers=2, n_steps=8)
    with pytest.raises(ValueError, match="W must be finite"):
        moved.set_W(np.full((2, 3), 1e39))
    with pytest.raises(TypeError, match="W must hold real numbers"):
        moved.set_W([["a"] * 3] * 2)
    assert not moved.W.any()


@pytest.mark.filterwarnings("error")
def test_lengths_beyond_64_bits_are_cut_where_the_run_ends():
    for schedule, lengths in (
        (fl.FixedPeriod(2**63), [8]),
        (fl.PostLocal(2, 2**70), [1, 1, 6]),
        (fl.PostLocal(2**70, 2), [1] * 8),
        (fl.Periods([1, 2**63]), [1, 7]),
        (fl.Periods([3, 2**70, 1]), [3, 5]),
        (fl.GrowingPeriod(1, 300.0), [1, 7]),
        (fl.GrowingPeriod(10**400, 2.0), [8]),
    ):
        assert theory.round_lengths(schedule, 2, np.full(8, 0.1)).tolist() == lengths
        result = run(schedule=schedule)
        assert [n for length, n in result.trace.periods for n in [length] * n] == lengths


def test_more_records_than_there_are_steps_are_one_a_step():
    for n_steps in (1, 2, 8, 100):
        every = list(range(1, n_steps + 1))
        assert arguments.record_steps(10**12, n_steps).tolist() == every
        last = int(n_steps * math.log(n_steps)) + 2  # the most that are still log-spaced
        assert arguments.record_steps(max(2, last), n_steps).tolist() == every


@pytest.mark.filterwarnings("error")
def test_a_period_beyond_all_numbers_is_the_longest_there_is():
    assert theory.adaptive_period(1e-300, 4, 1e-10) == theory.adaptive_period(1e-200, 4, 1e-10) > 10**18
