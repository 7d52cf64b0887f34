import itertools
import math
import sys
import warnings

import numpy as np
import pytest

import fastlsgd as fl
from fastlsgd import theory
from fastlsgd.experiments import compare, replicates, tradeoff
from fastlsgd.experiments.lab import methods_of
from fastlsgd.experiments.metrics import TestPart, auc, auc_error, mean_interval, r2, r2_error, ratio_interval
from fastlsgd.experiments.stability import stable_steps
from fastlsgd.experiments.tuning import Grid, Ladder
from fastlsgd.theory import adaptive
from fastlsgd.trace import COLUMNS

SECONDS = ["wall_s", "compute_s", "wait_s", "average_s"]


def rows(loss, n, seed, d=4, dtype=np.float32):
    rng = np.random.default_rng(seed)
    X = (rng.standard_normal((n, d)) * np.linspace(1.0, 0.3, d)).astype(dtype)
    z = X @ np.linspace(-1, 2, d) + 0.5
    return X, (z + rng.standard_normal(n) if loss == "squared" else np.where(z + rng.logistic(size=n) > 0, 1.0, -1.0))


def a_problem(loss="logistic", n=600, **options):
    return fl.Problem(*rows(loss, n, 0), loss=loss, l2=1e-2, fit_intercept=True, **options)


# ---- tradeoff ----


def test_tradeoff_returns_a_row_per_run_and_record():
    problem = a_problem()
    table = tradeoff(
        problem,
        n_workers=[2, 3],
        schedules=[fl.MiniBatch(), fl.FixedPeriod(4)],
        step_sizes=[fl.Constant(0.1), fl.PolynomialDecay(0.3)],
        replicates=2,
        n_steps=64,
        record=[8, 64],
        seed=5,
        sampling="replacement",
    )
    assert list(table.columns) == [
        "n_workers", "schedule", "step_size", "replicate", "seed", *COLUMNS, "excess_w", "excess_w_bar"
    ]  # fmt: skip
    keys = ["n_workers", "schedule", "step_size", "replicate"]
    assert len(table) == 2 * 2 * 2 * 2 * 2 and not table.duplicated([*keys, "t"]).any()
    assert (table.seed == 5 + table.replicate).all()
    assert set(table.step_size) == {repr(fl.Constant(0.1)), repr(fl.PolynomialDecay(0.3))}
    one = table[(table.n_workers == 3) & (table.schedule == "FixedPeriod(period=4)") & (table.replicate == 1)]
    one = one[one.step_size == "Constant(eta=0.1)"]
    run = fl.local_sgd(
        problem,
        n_workers=3,
        schedule=fl.FixedPeriod(4),
        step_size=fl.Constant(0.1),
        n_steps=64,
        record=[8, 64],
        seed=6,
        sampling="replacement",
    )
    for name in set(COLUMNS) - set(SECONDS):
        np.testing.assert_array_equal(one[name], run.trace[name])
    f_star = problem.objective(problem.optimum())
    np.testing.assert_allclose(table.excess_w_bar, table.objective_w_bar - f_star, rtol=0, atol=1e-14 * f_star)
    assert (table.excess_w > 0).all()


def test_tradeoff_is_the_same_table_whatever_the_threads():
    tables = [tradeoff(a_problem(), replicates=3, n_threads=n, record=5) for n in (1, 4)]
    one, four = (table.drop(columns=SECONDS) for table in tables)
    assert one.equals(four)


def test_tradeoff_takes_single_settings_and_tells_its_progress():
    seen = []
    table = tradeoff(
        a_problem(), n_workers=2, schedules=fl.OneShot(), replicates=3, record=1, progress=lambda *n: seen.append(n)
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert table.n_rounds.tolist() == [1, 1, 1]
    assert table.step_size[0] == f"Constant(eta={a_problem().safe_step()!r})"


def test_tradeoff_binds_a_schedule_once_for_all_replicates(monkeypatch):
    asked = []
    monkeypatch.setattr(adaptive, "estimate", lambda problem: asked.append(problem) or theory.estimate(problem))
    problem = a_problem("squared", n=100)
    table = tradeoff(problem, schedules=[fl.AdaptivePeriod("auto")], n_workers=[2, 4], replicates=3, record=1)
    assert len(asked) == 2
    assert table.schedule.nunique() == 1 and "mu=0." in table.schedule[0]
    assert len(table) == 6


def test_tradeoff_shows_a_run_that_diverged():
    problem = a_problem("squared")
    with pytest.warns(RuntimeWarning, match="beyond"):
        table = tradeoff(
            problem,
            schedules=fl.FixedPeriod(2),
            step_size=fl.Constant(50.0),
            n_workers=2,
            n_steps=500,
            replicates=1,
            record=[1, 500],
        )
    assert table.t.tolist()[0] == 1 and table.t.iloc[-1] < 500
    last = table.iloc[-1]
    assert last.objective_w == last.objective_w_bar == last.excess_w_bar == math.inf
    assert last.n_bytes == last.n_rounds * 2 * 2 * problem.n_params * 4
    assert math.isnan(last.wall_s)


def test_tradeoff_knows_no_excess_where_there_is_no_optimum():
    X = np.array([[1.0], [-1.0]])
    table = tradeoff(fl.Problem(X, X[:, 0], loss="logistic"), n_workers=2, replicates=1, record=1)
    assert table.excess_w_bar.isna().all() and table.objective_w_bar.notna().all()


def test_without_pandas_the_message_has_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "fastlsgd\[cli\]"'):
        tradeoff(a_problem())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replicates": 0}, "replicates must be an int >= 1, got 0"),
        ({"schedules": []}, "must each name at least one"),
        ({"step_sizes": []}, "must each name at least one"),
        ({"step_sizes": ["auto"], "step_size": fl.Constant(0.1)}, "give step_sizes or step_size, not both"),
    ],
)
def test_tradeoff_refuses_nothing_to_do(options, message):
    with pytest.raises(ValueError, match=message):
        tradeoff(a_problem(), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replicate": 2}, r"tradeoff\(\) got an unexpected keyword argument 'replicate'; did you mean 'replicates'"),
        ({"batchsize": 2}, r"tradeoff\(\) got .* 'batchsize'; did you mean 'batch_size'"),
        ({"schedule": fl.OneShot()}, r"tradeoff\(\) chooses its own 'schedule'; did you mean 'schedules'"),
        ({"replicates": 2.0}, "replicates must be an int, got 2.0"),
        ({"n_workers": 2.5}, "n_workers must be an int, got 2.5"),
        ({"n_workers": None}, "n_workers must be an int, got None"),
        ({"schedules": "period 16"}, "schedule must have a method next_periods, got 'period 16'"),
        ({"step_sizes": 0.1}, "step_size must be a StepSize such as .*, got 0.1"),
        ({"seed": "a"}, "seed must be an int, got 'a'"),
        ({"progress": 3}, "progress must be a function of .done, total. or None, got 3"),
    ],
)
def test_tradeoff_names_what_it_does_not_take(options, message):
    with pytest.raises(TypeError, match="^" + message):
        tradeoff(a_problem(), **{"replicates": 1, **options})


@pytest.mark.parametrize(
    "use",
    [
        tradeoff, compare, fl.local_sgd, fl.Run, theory.estimate, theory.Expansion, theory.data_stability_limit,
        fl.baselines.lbfgs,
        lambda X: fl.baselines.newton_step(X, np.zeros(2)),
        lambda X: replicates(X, n_replicates=2, n_steps=3, step_size="auto"),
        lambda X: theory.predict(X, 4, fl.Constant(0.1), 2, 10),
        lambda X: fl.RiskPeriod(0.1).bind(X, fl.Constant(0.1), 2, 10),
        lambda X: fl.AdaptivePeriod("auto").bind(X, fl.Constant(0.1), 2, 10),
    ],
)  # fmt: skip
def test_what_is_no_problem_is_refused(use):
    message = r"problem must be a fastlsgd.Problem, got ndarray; pass Problem\(X, y\)"
    with pytest.raises(TypeError, match=message):
        use(np.zeros((3, 2)))


# ---- compare ----

METHODS = [
    "mini-batch averaging",
    "period 16",
    "period 256",
    "adaptive (mu)",
    "adaptive (mu_eff)",
    "one-shot",
    "large mini-batch, rounds of period 16",
    "large mini-batch, rounds of period 256",
    "one worker",
    "one-shot, Richardson",
    "one-shot + one Newton step",
    "L-BFGS",
]


@pytest.fixture(scope="module", params=["logistic", "squared"])
def comparison(request):
    problem = a_problem(request.param, n=800)
    return compare(
        problem, test=rows(request.param, 500, 1), replicates=5, n_workers=4, n_passes=3, seed=7, name="made"
    )


def test_compare_has_every_method_at_both_steps(comparison):
    assert list(dict.fromkeys(row.method for row in comparison.rows)) == METHODS
    for method in METHODS[:-1]:
        assert [row.step for row in comparison.rows if row.method == method] == ["common", "own"]
    kinds = {row.method: row.kind for row in comparison.rows}
    assert [kinds[method] for method in METHODS] == ["schedule"] * 6 + ["baseline"] * 6
    assert comparison.row("L-BFGS").step == "none"
    assert comparison.row("period 16", "common").eta == comparison.facts["safe_step"]
    with pytest.raises(KeyError, match=r"no row 'period 17' at the step 'own'; methods are 'mini-batch averaging'"):
        comparison.row("period 17")


def test_compare_excess_is_that_of_the_runs_it_names(comparison):
    facts = comparison.facts
    problem = a_problem(facts["loss"], n=800)
    f_star = problem.objective(problem.optimum())
    assert facts["f_star"] == f_star and facts["n_steps"] == 600
    options = {"sampling": "replacement", "record": 0, "n_workers": 4, "n_steps": 600}
    adaptive = fl.AdaptivePeriod("effective")
    for method, schedule in (("period 16", fl.FixedPeriod(16)), ("adaptive (mu_eff)", adaptive)):
        for step in ("common", "own"):
            row = comparison.row(method, step)
            for replicate, excess in enumerate(row.excess):
                size = fl.Constant(row.eta)
                run = fl.local_sgd(problem, schedule=schedule, step_size=size, seed=7 + replicate, **options)
                assert excess == problem.excess(run.w_bar)


def test_compare_counts_rounds_gradients_and_bytes(comparison):
    d, n = comparison.facts["n_features"] + 1, comparison.facts["n_samples"]
    message = 2 * 4 * d * 4
    wanted = {
        "mini-batch averaging": (600, 2400, 600 * message),
        "period 16": (38, 2400, 38 * message),
        "period 256": (3, 2400, 3 * message),
        "one-shot": (1, 2400, message),
        "large mini-batch, rounds of period 16": (37, 37 * 16 * 4, 37 * message),
        "large mini-batch, rounds of period 256": (2, 2 * 256 * 4, 2 * message),
        "one worker": (0, 2400, 0),
        "one-shot, Richardson": (1, 4800, 2 * message),
        "one-shot + one Newton step": (2, 2400 + n, message + 2 * 4 * (d * d + d) * 8),
    }
    for (method, counts), step in itertools.product(wanted.items(), ("common", "own")):
        row = comparison.row(method, step)
        assert (row.n_rounds, row.n_gradients, row.n_bytes) == counts, method
        assert row.gradients_per_s == pytest.approx(row.n_gradients / row.wall_s)
        assert min(row.compute_s, row.wait_s, row.average_s) >= 0


def test_compare_ratios_and_intervals_belong_to_the_excess(comparison):
    for row in comparison.rows:
        reference = comparison.row("mini-batch averaging", "common" if row.step == "common" else "own")
        assert row.excess_mean == pytest.approx(np.mean(row.excess))
        assert row.ratio == pytest.approx(row.excess_mean / reference.excess_mean)
        assert row.excess_low <= row.excess_mean <= row.excess_high
        assert row.ratio_low <= row.ratio <= row.ratio_high
        assert len(row.excess) == (1 if row.step == "none" else 5)
    assert comparison.row("mini-batch averaging").ratio_low == comparison.row("mini-batch averaging").ratio_high == 1


def test_compare_curves_end_where_the_first_replicate_ends(comparison):
    for row in comparison.rows:
        gradients, excess = zip(*row.curve, strict=True)
        assert gradients[-1] == row.n_gradients and list(gradients) == sorted(gradients)
        if row.method == "one-shot + one Newton step":  # its replicates are computed on one thread
            assert excess[-1] == pytest.approx(row.excess[0], rel=1e-6, abs=1e-15)
        elif row.method != "L-BFGS":
            assert excess[-1] == row.excess[0]


def test_compare_own_steps_are_the_best_on_the_tuning_seeds(comparison):
    tuning, facts = comparison.facts["tuning"], comparison.facts
    assert set(tuning) == set(METHODS) - {"L-BFGS"}
    problem = a_problem(facts["loss"], n=800)
    constants, common = theory.estimate(problem), fl.Constant(problem.safe_step())
    methods = {m.name: m for m in methods_of(None, constants, common, facts["n_workers"], facts["n_steps"])}
    stable = stable_steps(problem, constants, common) or (lambda *_: True)

    def is_stable(method, eta):
        # Where all average at every step, a step follows the rows of all workers.
        bound = math.inf if facts["loss"] == "squared" else problem.step_bound(methods[method].rows_a_step)
        return eta <= bound and stable(methods[method], eta / common.eta)

    for method, scores in tuning.items():
        scores, own = dict(scores), comparison.row(method).eta
        assert scores[own] == pytest.approx(min(scores.values()), rel=0.3)
        at_common = scores.get(facts["safe_step"])
        assert at_common is None or scores[own] <= at_common
        if method == "one-shot + one Newton step":  # chooses among the steps of one-shot, at the edge or not
            assert scores[own] == min(scores.values()) and set(scores) <= set(dict(tuning["one-shot"]))
            continue
        # Nowhere at the edge of its grid, unless the next step may not be tried.
        assert own > min(scores)
        largest = max(scores) * (2 if method == "one-shot, Richardson" else 1)
        assert own < max(scores) or not is_stable(method, 2 * largest)
        assert is_stable(method, largest)


def test_compare_newton_and_lbfgs_reach_the_optimum(comparison):
    floor = comparison.facts["floor"]
    one_shot, newton = comparison.row("one-shot", "common"), comparison.row("one-shot + one Newton step", "common")
    assert newton.excess_mean < (1e-9 if comparison.facts["loss"] == "squared" else 0.05 * one_shot.excess_mean)
    by_lbfgs, to_floor = comparison.row("L-BFGS"), comparison.facts["rounds_lbfgs_to_floor"]
    assert by_lbfgs.excess_mean <= 0.01 * floor
    excess = [value for _, value in by_lbfgs.curve]
    assert excess[to_floor - 1] <= floor < min(excess[: to_floor - 1])
    assert len(excess) == by_lbfgs.n_rounds


def test_compare_metric_is_that_of_the_answers(comparison):
    facts = comparison.facts
    problem = a_problem(facts["loss"], n=800)
    tested = TestPart(problem, *rows(facts["loss"], 500, 1))
    assert facts["n_test"] == 500
    assert facts["metric"] == ("AUC" if facts["loss"] == "logistic" else "R2")
    assert facts["test_metric_at_optimum"] == tested.value_and_error(problem.optimum())[0]
    assert 0.005 < facts["test_metric_se"] < 0.05
    options = {"sampling": "replacement", "n_workers": 4, "n_steps": 600, "schedule": fl.OneShot(), "record": 0}
    row = comparison.row("one-shot", "common")
    answers = [
        fl.local_sgd(problem, step_size=fl.Constant(row.eta), seed=7 + r, **options).w_bar.astype(float)
        for r in range(5)
    ]
    assert row.test_metric == pytest.approx(tested.mean(answers), rel=1e-12)


def test_compare_table_has_a_row_per_replicate(comparison):
    table = comparison.to_frame()
    assert len(table) == 22 * 5 + 1
    assert table.name.unique().tolist() == ["made"]
    row = comparison.row("period 16")
    mine = table[(table.method == "period 16") & (table.step == "own")]
    assert tuple(mine.excess) == row.excess and mine.replicate.tolist() == [0, 1, 2, 3, 4]
    assert mine.seed.tolist() == [7, 8, 9, 10, 11] and (mine.excess_mean == row.excess_mean).all()
    assert not {"curve"} & set(table.columns)


def test_compare_has_columns_without_pandas(comparison, monkeypatch):
    table = comparison.to_frame()
    monkeypatch.setitem(sys.modules, "pandas", None)
    columns = comparison.to_columns()
    assert list(columns) == list(table.columns)
    for name, values in columns.items():
        np.testing.assert_array_equal(values, table[name])
        assert {type(value) for value in values} <= {str, int, float}
    with pytest.raises(ModuleNotFoundError, match=r'pip install "fastlsgd\[cli\]"'):
        comparison.to_frame()


def test_a_newton_step_that_is_exact_takes_the_step_of_one_shot():
    problem = fl.Problem(*rows("squared", 300, 0, dtype=np.float64), loss="squared", l2=1e-2)
    found = compare(problem, replicates=2, n_passes=2, schedules=["one-shot"])
    newton, one_shot = found.row("one-shot + one Newton step"), found.row("one-shot")
    assert max(newton.excess) < 10 * 2.0**-52 * found.facts["f_star"]
    assert newton.eta == one_shot.eta


def test_a_newton_step_has_a_step_of_its_own():
    found = compare(a_problem(n=300), replicates=1, n_passes=2, grid=[0.25, 1.0, 4.0, 16.0], schedules=["one-shot"])
    scores = dict(found.facts["tuning"]["one-shot + one Newton step"])
    own = found.row("one-shot + one Newton step").eta
    assert scores[own] == min(scores.values()) < scores[found.row("one-shot").eta]
    assert own != found.row("one-shot").eta


@pytest.mark.parametrize("sampling", ["replacement", "reshuffle"])
def test_threads_change_no_bit_of_a_comparison(sampling):
    def excesses(n_threads):
        found = compare(a_problem(n=300), replicates=3, n_passes=2, sampling=sampling, n_threads=n_threads)
        return [(row.method, row.step, row.eta, row.n_rounds, row.excess) for row in found.rows]

    assert excesses(1) == excesses(3)


def test_compare_takes_schedules_by_name_and_object():
    found = compare(
        a_problem(n=300),
        schedules=["period 8", fl.FixedPeriod(4), fl.GrowingPeriod(2), "adaptive (mu_eff)"],
        replicates=2,
        n_passes=1,
    )
    methods = list(dict.fromkeys(row.method for row in found.rows))
    assert methods == [
        "mini-batch averaging",
        "period 8",
        "period 4",
        repr(fl.GrowingPeriod(2)),
        "adaptive (mu_eff)",
        "large mini-batch, rounds of period 8",
        "large mini-batch, rounds of period 4",
        "one worker",
        "one-shot, Richardson",
        "one-shot + one Newton step",
        "L-BFGS",
    ]
    assert found.facts["metric"] == "" and found.facts["n_test"] == 0
    assert math.isnan(found.row("period 8").test_metric)
    assert "one-shot" in found.facts["tuning"]  # among whose steps the Newton step chooses


@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_a_rule_that_asks_the_run_is_bound_once_a_step(loss, monkeypatch):
    rule, asked = fl.RiskPeriod(0.1), []
    bind = fl.RiskPeriod.bind

    def counted(self, problem, step_size, *sizes, **run):
        asked.append(step_size.eta)
        return bind(self, problem, step_size, *sizes, **run)

    monkeypatch.setattr(fl.RiskPeriod, "bind", counted)
    problem = a_problem(loss, n=300)
    found = compare(problem, schedules=[rule], replicates=3, n_passes=2, n_workers=4)
    assert len(asked) == len(set(asked)) >= len(found.facts["tuning"][repr(rule)])
    row = found.row(repr(rule))
    options = {"n_workers": 4, "n_steps": 150, "sampling": "replacement", "record": 0, "seed": 2}
    alone = fl.local_sgd(problem, schedule=rule, step_size=fl.Constant(row.eta), **options)
    assert row.n_rounds == alone.state.n_rounds
    assert row.excess[2] == pytest.approx(problem.excess(alone.w_bar), rel=1e-9)


@pytest.mark.parametrize("step_size", [0.02, fl.Constant(0.02), fl.PolynomialDecay(0.02, alpha=0.6)])
def test_a_step_of_the_users_is_the_common_one(step_size):
    problem = a_problem(n=300)
    found = compare(problem, step_size=step_size, schedules=["one-shot"], replicates=2, n_passes=2)
    common, own = found.row("one-shot", "common"), found.row("one-shot")
    assert common.eta == 0.02
    assert math.log2(own.eta / 0.02) == round(math.log2(own.eta / 0.02))
    size = step_size if callable(step_size) else fl.Constant(step_size)

    def scaled(t):
        return own.eta / 0.02 * size(t)

    options = {"n_steps": 75, "schedule": fl.OneShot(), "sampling": "replacement", "record": 0}
    assert common.excess[1] == problem.excess(fl.local_sgd(problem, step_size=size, seed=1, **options).w_bar)
    run = fl.local_sgd(problem, step_size=scaled, seed=1, **options)
    assert own.excess[1] == pytest.approx(problem.excess(run.w_bar), rel=1e-6)


def test_a_grid_that_is_given_is_the_grid():
    found = compare(a_problem(n=300), grid=[0.5, 3.0], schedules=["one-shot"], replicates=2, n_passes=1)
    safe = found.facts["safe_step"]
    assert [eta / safe for eta, _ in found.facts["tuning"]["one-shot"]] == pytest.approx([0.5, 3.0])


def test_a_common_step_that_diverges_is_shown_not_hidden():
    with pytest.warns(RuntimeWarning, match="common step 40 is beyond"):
        found = compare(
            a_problem("squared", n=300),
            test=rows("squared", 50, 1),
            step_size=40.0,
            schedules=["one-shot"],
            replicates=2,
            n_passes=8,
        )
    for method in ("mini-batch averaging", "one-shot", "one-shot, Richardson", "one-shot + one Newton step"):
        row = found.row(method, "common")
        assert row.excess == (math.inf, math.inf) and row.excess_mean == math.inf
        assert math.isnan(row.ratio) and math.isnan(row.excess_low) and math.isnan(row.test_metric)
        assert math.isnan(row.wall_s) and row.curve == ()
        own = found.row(method)
        assert own.eta < 1.0 and math.isfinite(own.excess_mean) and math.isfinite(own.ratio)


def test_compare_chooses_steps_without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare(a_problem("squared", n=300), replicates=2, n_passes=2)


def test_compare_tells_its_progress_to_the_end():
    seen = []
    compare(a_problem(n=300), replicates=2, n_passes=1, progress=lambda *n: seen.append(n))
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert seen[-1] == (len(seen), len(seen)) and all(done <= total for done, total in seen)


def test_an_interrupted_comparison_keeps_the_replicates_that_are_whole():
    def interrupting(done, total):
        if done > 0.6 * total:  # steps are chosen in the first tenth
            raise KeyboardInterrupt

    options = {"replicates": 20, "schedules": ["one-shot"], "grid": [1.0, 2.0], "n_passes": 1, "n_threads": 1}
    whole = compare(a_problem(n=300), **options)
    with pytest.raises(KeyboardInterrupt) as interrupt:
        compare(a_problem(n=300), progress=interrupting, **options)
    found = interrupt.value.result
    assert 1 <= found.facts["replicates"] < 20
    for mine, theirs in zip(found.rows, whole.rows, strict=True):
        assert set(mine.excess) <= set(theirs.excess) and mine.excess[0] == theirs.excess[0]
        assert len(mine.excess) == (1 if mine.step == "none" else found.facts["replicates"])


@pytest.mark.parametrize("where", ["the last run", "the rows"])
def test_a_comparison_interrupted_after_its_last_run_has_every_replicate(where, monkeypatch):
    def at_the_last_run(done, total):
        if where == "the last run" and done == total:
            raise KeyboardInterrupt

    mean, calls = TestPart.mean, []

    def mean_interrupted_once(self, answers):
        calls.append(len(answers))
        if where == "the rows" and len(calls) == 1:
            raise KeyboardInterrupt
        return mean(self, answers)

    monkeypatch.setattr(TestPart, "mean", mean_interrupted_once)
    options = {"replicates": 3, "schedules": ["one-shot"], "grid": [1.0, 2.0], "n_passes": 1, "n_threads": 1}
    options["test"] = rows("logistic", 50, 1)
    with pytest.raises(KeyboardInterrupt) as interrupt:
        compare(a_problem(n=300), progress=at_the_last_run, **options)
    found = interrupt.value.result
    whole = compare(a_problem(n=300), **options)
    assert found.facts["replicates"] == 3
    assert [row.excess for row in found.rows] == [row.excess for row in whole.rows]
    assert [row.test_metric for row in found.rows] == [row.test_metric for row in whole.rows]


def test_a_comparison_interrupted_before_its_steps_are_chosen_has_no_result():
    def interrupting(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as interrupt:
        compare(a_problem(n=300), progress=interrupting)
    assert not hasattr(interrupt.value, "result")


def test_compare_knows_how_exact_an_excess_can_be(comparison):
    least = comparison.facts["excess_resolution"]
    assert 0.0 < least < 1e-20 * comparison.facts["f_star"]
    assert min(min(row.excess) for row in comparison.rows) >= least
    if comparison.facts["loss"] == "squared":  # where a Newton step is exact
        assert comparison.row("one-shot + one Newton step").excess_mean < 1e-20 * comparison.facts["f_star"]


def test_compare_of_one_worker_and_one_replicate():
    found = compare(a_problem(n=300), n_workers=1, replicates=1, n_passes=1)
    row = found.row("period 16")
    assert row.n_rounds == 0 and row.n_bytes == 0
    assert math.isnan(row.excess_low) and row.ratio > 0 and math.isnan(row.ratio_low)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replicates": 0}, "replicates must be an int >= 1, got 0"),
        ({"n_workers": 10**6}, r"n_passes=\S+ of \d+ rows are fewer gradients than n_workers=1000000"),
        ({"n_passes": 0}, r"n_passes must be above 0 and at most 1e\+09, got 0"),
        ({"schedules": ["period x"]}, "or 'period N', got 'period x'"),
        ({"grid": [1.0, -2.0]}, "grid must hold positive multiples"),
        ({"test": (np.zeros((3, 2)), np.ones(3))}, r"shapes \(m, 4\) and \(m,\), got \(3, 2\) and \(3,\)"),
        ({"test": (np.zeros((3, 4)), np.zeros(3))}, "labels -1 and"),
        ({"sampling": "rows"}, "sampling must be"),
        ({"step_size": -1.0}, "eta must be positive"),
        ({"step_size": lambda t: 0.1}, r"must return one eta a step, shape \(1,\), got \(\)"),
        ({"seed": 2**64 - 5}, r"seed must be below 2\^64 - 1002, got 18446744073709551611"),
    ],
)
def test_compare_refuses_wrong_values(options, message):
    with pytest.raises(ValueError, match=message):
        compare(a_problem(n=100), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replicates": 1.5}, "replicates must be an int, got 1.5"),
        ({"schedules": [3]}, "schedules must be Schedule objects or names"),
        ({"schedules": 3}, "schedules must be Schedule objects or names"),
        ({"seed": "a"}, "seed must be an int, got 'a'"),
        ({"progress": 3}, "progress must be a function"),
        ({"test": 3}, r"test must be a pair \(X, y\) or None, got int"),
        ({"grid": ["a"]}, "grid must hold real numbers"),
        ({"step_size": "large"}, "step_size must be a number or a StepSize"),
    ],
)
def test_compare_refuses_wrong_types(options, message):
    with pytest.raises(TypeError, match=message):
        compare(a_problem(n=100), **options)


# ---- choosing a step ----


def climb(ladder, score):
    """Score what the ladder wants until it wants nothing; return how many it took."""
    n = 0
    while wanted := ladder.wanted():
        assert len(set(wanted)) == len(wanted)
        for j, seed in wanted:
            assert seed not in ladder.scores.get(j, {})
            ladder.tell(j, seed, score(ladder.multiple(j), seed))
            n += 1
    return n


@pytest.mark.parametrize("best", range(-9, 10))
@pytest.mark.parametrize("start", [0, 3])
def test_the_ladder_finds_the_best_rung_wherever_it_is(best, start):
    ladder = Ladder([0, 1], lambda _: True, start)
    taken = climb(ladder, lambda x, _: 1.0 + abs(math.log2(x) - best))
    assert ladder.best == best
    assert min(ladder.scores) < best < max(ladder.scores) - 1
    assert taken <= abs(best - start) + 6


def test_the_ladder_passes_over_one_bad_rung():
    ladder = Ladder([0], lambda _: True)
    climb(ladder, lambda x, _: {0: 2.0, 1: 3.0, 2: 1.0}.get(round(math.log2(x)), 9.0))
    assert ladder.best == 2


# Mean excesses on the rungs -10, -9, ... of period 16 on pure noise: a plateau whose best part lies far below.
PLATEAU = [4.15, 3.64, 2.84, 1.89, 1.18, 1.00, 1.10, 1.22, 1.29, 1.325, 1.323, 1.32, 1.37, 1.61, 9e9]


@pytest.mark.parametrize("start", [-5, 0, 1])
def test_the_ladder_goes_on_over_rungs_that_are_a_little_worse(start):
    ladder = Ladder([0, 1], lambda x: x <= 16, start)
    climb(ladder, lambda x, _: PLATEAU[round(math.log2(x)) + 10])
    assert ladder.best == -5


def test_the_ladder_stops_below_at_one_rung_clearly_worse_or_many_a_little_worse():
    def lowest(just_below):
        ladder = Ladder([0], lambda _: True)
        climb(ladder, lambda x, _: 1.0 if x == 1 else just_below if x < 1 else 9.0)
        assert ladder.best == 0
        return min(ladder.scores)

    assert lowest(1.01 * Ladder.CLOSE) == -1
    assert lowest(0.99 * Ladder.CLOSE) == -Ladder.PATIENCE


def test_the_ladder_lets_the_second_seed_decide_between_close_rungs():
    scores = {0: (1.0, 1.5), 1: (1.2, 1.1), 2: (3.0, 0.1)}
    ladder = Ladder([4, 5], lambda _: True)
    climb(ladder, lambda x, seed: scores.get(round(math.log2(x)), (9.0, 0.0))[seed - 4])
    assert ladder.best == 1
    assert set(ladder.scores[0]) == set(ladder.scores[1]) == {4, 5}
    assert set(ladder.scores[2]) == {4}  # three times as bad: no second seed would help


def test_the_ladder_extends_where_the_second_seed_moves_the_best_to_its_edge():
    scores = {-2: (9.0, 9.0), -1: (1.1, 0.5), 0: (1.0, 1.0)}
    ladder = Ladder([0, 1], lambda _: True)
    climb(ladder, lambda x, seed: scores.get(round(math.log2(x)), (9.0, 9.0))[seed])
    assert ladder.best == -1 and min(ladder.scores) == -2


def test_the_ladder_stops_at_divergence_and_at_what_is_allowed():
    diverging = Ladder([0], lambda _: True)
    climb(diverging, lambda x, _: 1 / x if x <= 4 else math.inf)
    assert diverging.best == 2 and max(diverging.scores) == 3
    capped = Ladder([0], lambda x: x <= 4, start=5)
    climb(capped, lambda x, _: 1 / x)
    assert capped.best == 2 and max(capped.scores) == 2


def test_the_ladder_ends_where_every_run_diverges():
    ladder = Ladder([0, 1], lambda _: True)
    climb(ladder, lambda *_: math.inf)
    assert min(ladder.scores) == -Ladder.HIGHEST


def test_a_grid_is_scored_whole_on_all_seeds():
    grid = Grid([0, 1], [4.0, 1.0, 2.0, 1.0])
    assert climb(grid, lambda x, seed: abs(x - 2.2) + seed) == 6
    assert grid.multiple(grid.best) == 2.0
    assert [x for x, _ in grid.mean_scores()] == [1.0, 2.0, 4.0]


def test_the_preferred_multiple_of_a_grid_wins_ties_only():
    def chosen(score, **options):
        grid = Grid([0], [1.0, 2.0, 4.0], **options)
        climb(grid, lambda x, _: score(x))
        return grid.multiple(grid.best)

    assert chosen(lambda _: 1.0) == 1.0 and chosen(lambda _: 1.0, preferred=4.0) == 4.0
    assert chosen(lambda x: x, preferred=4.0) == 1.0


# ---- intervals and metrics ----


def test_the_interval_of_a_mean_is_students():
    from scipy import stats

    values = [1.0, 2.0, 4.0, 8.0]
    low, high = stats.t.interval(0.95, 3, loc=3.75, scale=stats.sem(values))
    assert mean_interval(values) == pytest.approx((3.75, low, high))
    assert mean_interval([1.0])[0] == 1.0 and math.isnan(mean_interval([1.0])[1])
    assert mean_interval([1.0, math.inf])[0] == math.inf and math.isnan(mean_interval([1.0, math.inf])[2])


def test_the_interval_of_a_ratio_covers_it_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        shared = rng.gamma(20.0, size=10)
        _, low, high = ratio_interval(3.0 * shared * rng.gamma(100.0, size=10) / 100, shared)
        covered += low <= 3.0 <= high
    # Pairing takes the shared part out: unpaired, the interval would be three times as wide and cover all.
    assert 0.92 < covered / 1000 < 0.98


def test_the_ratio_of_a_deterministic_method_has_the_interval_of_the_reference():
    ratio, low, high = ratio_interval([2.0], [1.0, 1.1, 0.9])
    assert ratio == pytest.approx(2.0) and low < 2.0 < high
    assert all(math.isnan(value) for value in ratio_interval([1.0, 1.0], [0.0, 0.0]))
    assert all(math.isnan(value) for value in ratio_interval([1.0, 1.0], [1.0, math.inf]))
    assert ratio_interval([1.0, math.inf], [1.0, 1.0])[0] == math.inf


def test_auc_counts_the_pairs():
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 6, 60).astype(float), np.where(rng.random(60) < 0.3, 1.0, -1.0)
    pairs = itertools.product(scores[labels > 0], scores[labels < 0])
    assert auc(scores, labels) == pytest.approx(np.mean([(a > b) + 0.5 * (a == b) for a, b in pairs]))
    assert math.isnan(auc(scores, np.ones(60)))


def test_r2_is_one_minus_the_unexplained_part():
    rng = np.random.default_rng(0)
    y = rng.standard_normal(50)
    z = y + 0.3 * rng.standard_normal(50)
    assert r2(z, y) == pytest.approx(1 - ((y - z) ** 2).sum() / ((y - y.mean()) ** 2).sum())
    assert r2(y, y) == 1.0 and math.isnan(r2(z, np.ones(50)))


@pytest.mark.parametrize(("value", "error"), [(auc, auc_error), (r2, r2_error)])
def test_the_standard_error_is_that_of_resampled_rows(value, error):
    rng = np.random.default_rng(0)
    y = rng.standard_normal(400) if value is r2 else np.where(rng.random(400) < 0.3, 1.0, -1.0)
    # Of unlike spread in the two classes, which have shares of their own in the error.
    scores = y + (0.7 if value is r2 else np.where(y > 0, 3.0, 0.5)) * rng.standard_normal(400)
    samples = [rng.integers(400, size=400) for _ in range(600)]
    wanted = np.std([value(scores[rows], y[rows]) for rows in samples])
    assert error(scores, y) == pytest.approx(wanted, rel=0.15)


def test_the_longest_period_within_a_loss_is_found_by_bisection(monkeypatch):
    from fastlsgd.experiments import predicted

    asked = []

    def measured(setting, period, half_width, most):
        asked.append(period)
        return predicted.Kept(period, 1.0 + period / 1000.0, 0.0, 9.0, 1, period)

    monkeypatch.setattr(predicted, "paired_ratio", measured)
    ladder = [2**j for j in range(17)]
    for epsilon, longest in [(0.1, 64), (0.0011, 1), (0.002, 2), (1e9, 2**16)]:
        asked.clear()
        assert predicted.best_fixed_period(None, epsilon, ladder).period == longest
        assert len(asked) <= 6
