"""Schedules and step sizes: the numbers they name, and what they refuse."""

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
from conftest import make_data

import fastlsgd as fl


def lengths(schedule, n_steps, n_workers=8, step_size=None):
    """The round lengths of a whole run, as the solver would ask for them."""
    X = np.ones((n_workers, 1))
    run = fl.Run(
        fl.Problem(X, np.zeros(n_workers)),
        n_workers=n_workers,
        n_steps=n_steps,
        schedule=schedule,
        step_size=step_size or fl.Constant(1e-3),
        record=0,
        n_threads=1,
    ).advance()
    periods = run.trace.periods
    assert sum(length * count for length, count in periods) == n_steps
    assert sum(count for _, count in periods) == run.n_rounds
    return periods


def test_the_three_families_are_one_algorithm_with_one_integer():
    assert lengths(fl.MiniBatch(), 10) == lengths(fl.FixedPeriod(1), 10) == [(1, 10)]
    assert lengths(fl.OneShot(), 10) == lengths(fl.FixedPeriod(10), 10) == [(10, 1)]
    assert lengths(fl.FixedPeriod(4), 10) == [(4, 2), (2, 1)]
    assert lengths(fl.FixedPeriod(100), 10) == [(10, 1)]


def test_growing_post_local_and_listed_periods():
    assert lengths(fl.GrowingPeriod(2), 20) == [(2, 1), (4, 1), (6, 1), (8, 1)]
    assert lengths(fl.GrowingPeriod(1, power=0.5), 9) == [(1, 1), (2, 4)]
    rounds = [length for length, count in lengths(fl.GrowingPeriod(3, 0.5), 40) for _ in range(count)]
    assert rounds[:-1] == [int(np.ceil(3 * j**0.5)) for j in range(1, len(rounds))]
    # 32^0.8 is 16, and 16.000000000000004 of a processor.
    rounds = [length for length, count in lengths(fl.GrowingPeriod(1, 0.8), 2000) for _ in range(count)]
    assert rounds[31] == 16
    assert lengths(fl.PostLocal(switch=3, period=4), 12) == [(1, 3), (4, 2), (1, 1)]
    assert lengths(fl.Periods([5, 1, 2]), 12) == [(5, 1), (1, 1), (2, 3)]


def test_long_runs_of_equal_rounds_are_named_many_at_a_time():
    assert lengths(fl.MiniBatch(), 200_000) == [(1, 200_000)]


@pytest.mark.parametrize(
    ("n", "alpha", "n_workers", "mu", "c", "rounds"),
    [(10**6, 0.5, 8, 0.1, 1.0, 1607), (10**6, 0.75, 16, 0.5, 1.0, 986), (10**6, 1.0, 16, 1.0, 1.0, 206),
     (10**4, 0.0, 4, 0.1, 0.01, 40)],
)  # fmt: skip
def test_row_19_rounds_of_the_adaptive_period(n, alpha, n_workers, mu, c, rounds):
    """docs/predictions.md, row 19, within one round."""
    step_size = fl.PolynomialDecay(c, alpha) if alpha else fl.Constant(c)
    got = sum(count for _, count in lengths(fl.AdaptivePeriod(mu), n, n_workers, step_size))
    assert abs(got - rounds) <= 1


@pytest.mark.parametrize(
    ("n", "n_workers", "factor"),
    [(10**4, 4, 250.0), (10**6, 4, 2500.0), (10**6, 16, 625.0), (10**6, 64, 155.98)],
)
def test_row_20_the_reduction_law(n, n_workers, factor):
    """docs/predictions.md, row 20: n / rounds = sqrt(T) / (mu eta_0 P^(3/2)), mu = 0.1, eta = n^(-1/2)."""
    got = n / sum(count for _, count in lengths(fl.AdaptivePeriod(0.1), n, n_workers, fl.Constant(n**-0.5)))
    assert got == pytest.approx(factor, rel=1e-4)
    assert got == pytest.approx(np.sqrt(n * n_workers) / (0.1 * n_workers**1.5), rel=0.01)


def test_adaptive_periods_avoid_the_floor_trap():
    """c / (mu P eta) is 3 but for rounding."""
    assert 1 / (0.1 * 7 * (1 / 2.1)) < 3
    assert lengths(fl.AdaptivePeriod(0.1), 30, 7, fl.Constant(1 / 2.1)) == [(3, 10)]


def test_adaptive_periods_are_clipped_before_the_cast_and_one_worker_has_one_round():
    assert lengths(fl.AdaptivePeriod(1e-300), 50) == [(50, 1)]
    assert lengths(fl.AdaptivePeriod(1.0), 50, n_workers=1) == [(50, 1)]
    assert lengths(fl.AdaptivePeriod(1.0, form="sharp"), 50, n_workers=1) == [(50, 1)]
    assert lengths(fl.AdaptivePeriod(1.0, form="sharp"), 50, 3, fl.Constant(0.1)) == [(6, 8), (2, 1)]


def test_adaptive_rounds_do_not_depend_on_where_they_are_asked():
    problem = fl.Problem(*make_data("squared", np.float64), loss="squared")
    options = {
        "n_workers": 4, "n_steps": 9000, "schedule": fl.AdaptivePeriod(0.05),
        "step_size": fl.PolynomialDecay(0.02, 0.75),
    }  # fmt: skip
    whole = fl.local_sgd(problem, **options)
    run = fl.Run(problem, **options)
    while not run.finished:
        run.advance(n_rounds=3)
    assert run.trace.periods == whole.trace.periods


# ---- adaptive periods by constants of the problem ----


@pytest.fixture(scope="module")
def skewed():
    """Logistic rows of different scales: mu, mu_eff and the largest eigenvalue lie far apart."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 4)) * [3.0, 1.0, 0.5, 0.2]
    return fl.Problem(X, np.where(X @ [0.3, -1.0, 1.0, 1.0] + rng.logistic(size=400) > 0, 1.0, -1.0), loss="logistic")


RUN = {"n_workers": 4, "n_steps": 2_000, "step_size": fl.PolynomialDecay(2.0, 0.5, eta_max=0.2)}


@pytest.mark.parametrize(("mu", "constant"), [("auto", "mu"), ("effective", "mu_eff")])
@pytest.mark.parametrize("form", ["mu", "sharp"])
def test_a_run_finds_the_constant_that_an_adaptive_period_asks_for(skewed, mu, constant, form):
    rule = fl.AdaptivePeriod(mu, 0.5, form)
    estimated = getattr(fl.theory.estimate(skewed), constant)
    run = fl.Run(skewed, schedule=rule, **RUN)
    assert run.schedule.mu == pytest.approx(estimated, rel=5e-6)
    assert (run.schedule.c, run.schedule.form) == (0.5, form)
    given = fl.local_sgd(skewed, schedule=fl.AdaptivePeriod(run.schedule.mu, 0.5, form), **RUN)
    assert run.advance().w.tobytes() == given.w.tobytes()
    assert run.trace.periods == given.trace.periods
    assert 1 < run.n_rounds < 2_000


def test_the_smallest_eigenvalue_averages_more_rarely_than_the_effective_constant(skewed):
    rounds = [
        fl.local_sgd(skewed, schedule=fl.AdaptivePeriod(mu), **RUN).state.n_rounds for mu in ("auto", "effective")
    ]
    assert 2 * rounds[0] < rounds[1]


def test_a_run_with_an_estimated_period_is_gone_on_with(skewed, tmp_path):
    options = {"schedule": fl.AdaptivePeriod("auto"), **RUN}
    stopped = fl.local_sgd(skewed, record=[700], callback=lambda record: True, **options)
    stopped.state.save(tmp_path / "state")
    rest = fl.local_sgd(skewed, state=fl.State.load(tmp_path / "state"), **options)
    assert rest.w.tobytes() == fl.local_sgd(skewed, **options).w.tobytes()
    with pytest.raises(
        fl.CheckpointError, match=r"schedule is .AdaptivePeriod\(mu=0.4.*, was .AdaptivePeriod\(mu=0.007"
    ):
        fl.local_sgd(skewed, state=stopped.state, **(options | {"schedule": fl.AdaptivePeriod("effective")}))


def test_an_estimated_period_binds_to_constants_and_needs_none_for_one_worker(skewed):
    rule, step = fl.AdaptivePeriod("effective"), fl.Constant(0.1)
    assert rule.bind(fl.theory.estimate(skewed), step, 4, 100) == rule.bind(skewed, step, 4, 100)
    assert rule.bind(None, step, 1, 100) == fl.OneShot()
    number = fl.AdaptivePeriod(0.1)
    assert number.bind(None, step, 4, 100) is number


def test_an_estimated_period_says_who_binds_it(skewed):
    rule = fl.AdaptivePeriod("auto")
    assert repr(rule) == "AdaptivePeriod(mu='auto', c=1.0, form='mu')"
    assert pickle.loads(pickle.dumps(rule)) == rule != fl.AdaptivePeriod("effective")
    for ask in (
        lambda: fl.theory.n_rounds(rule, fl.Constant(0.1), 4, 100),
        lambda: rule.period(1, 0.1, 100),
    ):
        with pytest.raises(
            ValueError, match=r"AdaptivePeriod\(mu='auto', .* must be bound to a problem: local_sgd does"
        ):
            ask()
    found = fl.theory.predict(skewed, rule, fl.Constant(0.1), 4, 1000)
    bound = rule.bind(skewed, fl.Constant(0.1), 4, 1000)
    assert found == fl.theory.predict(skewed, bound, fl.Constant(0.1), 4, 1000)


@dataclass(frozen=True)
class HalveWhenHalved:
    """A schedule of a user's own: twice the rounds each time the objective has halved."""

    first: int
    needs_objective = True

    def next_periods(self, view):
        assert len(view.objective) >= 1
        ratio = view.objective[-1] / view.objective[0]
        return max(1, int(self.first * ratio))


def test_a_users_own_schedule_sees_the_objective_and_recording_changes_nothing():
    problem = fl.Problem(*make_data("squared", np.float64), loss="squared")
    options = {"n_workers": 4, "n_steps": 300, "schedule": HalveWhenHalved(40), "step_size": fl.Constant(0.01)}
    bare = fl.local_sgd(problem, **options, record=0)
    recorded = fl.local_sgd(problem, **options, record=50)
    assert bare.trace.periods == recorded.trace.periods
    assert bare.trace.periods[0][0] == 40
    assert bare.trace.periods[-1][0] < 40
    stopped = fl.local_sgd(problem, **options, record=[101], callback=lambda record: True)
    rest = fl.local_sgd(problem, **options, state=stopped.state)
    assert rest.w.tobytes() == bare.w.tobytes()


class _Broken:
    def __init__(self, answer):
        self.answer = answer

    def next_periods(self, view):
        return self.answer


@pytest.mark.parametrize("answer", [0, -1, [], [3, 0], 2.5, "many", None])
def test_a_schedule_that_names_no_lengths_is_refused(answer):
    with pytest.raises(ValueError, match="next_periods must return an int >= 1"):
        lengths(_Broken(answer), 10)


def test_step_sizes():
    t = np.array([1, 2, 4, 100], dtype=np.int64)
    np.testing.assert_array_equal(fl.Constant(0.5)(t), [0.5] * 4)
    np.testing.assert_allclose(fl.PolynomialDecay(2.0, 0.75)(t), 2.0 * t**-0.75, rtol=1e-14)
    np.testing.assert_allclose(fl.PolynomialDecay(2.0, 0.75, eta_max=1.0)(t), np.minimum(1, 2.0 * t**-0.75))
    np.testing.assert_allclose(fl.InverseTime(0.1, t0=9)(t), 1 / (0.1 * (t + 9)), rtol=1e-14)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fl.FixedPeriod(0), r"period must be an int >= 1, got 0; use OneShot\(\) to average only once"),
        (lambda: fl.GrowingPeriod(0), "first must be an int >= 1"),
        (lambda: fl.GrowingPeriod(1, -1), "power must be >= 0"),
        (lambda: fl.PostLocal(-1, 4), "switch must be an int >= 0"),
        (lambda: fl.Periods([]), "lengths must not be empty"),
        (lambda: fl.Periods([1, 0]), r"lengths\[1\] must be an int >= 1, got 0"),
        (lambda: fl.AdaptivePeriod(0.0), "mu must be positive"),
        (lambda: fl.AdaptivePeriod(1.0, form="both"), "form must be 'mu' or 'sharp'"),
        (lambda: fl.Constant(-0.1), "eta must be positive and finite, got -0.1"),
        (lambda: fl.Constant(float("nan")), "eta must be positive"),
        (lambda: fl.PolynomialDecay(0.0), "c must be positive"),
        (lambda: fl.PolynomialDecay(1.0, 1.5), "alpha must be from 0 to 1, got 1.5"),
        (lambda: fl.InverseTime(0.1, -1), "t0 must be an int >= 0"),
    ],
)
def test_wrong_numbers_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_kinds_are_refused():
    with pytest.raises(TypeError, match="eta must be a number"):
        fl.Constant("0.1")
    for period in (2.5, True):
        with pytest.raises(TypeError, match=r"period must be an int, got .*; use OneShot\(\) to average only once"):
            fl.FixedPeriod(period)
    with pytest.raises(TypeError, match="mu must be a number, got 'automatic'; or 'auto' or 'effective'"):
        fl.AdaptivePeriod("automatic")
    with pytest.raises(TypeError, match="lengths must be a sequence"):
        fl.Periods(3)
