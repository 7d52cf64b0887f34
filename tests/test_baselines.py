import numpy as np
import pytest

import fastlsgd as fl
from fastlsgd import baselines


def a_problem(loss="logistic", n=400, d=4, dtype=np.float64, l2=1e-2, **options):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((n, d)).astype(dtype)
    z = X @ np.linspace(-1, 1.5, d)
    y = z + rng.standard_normal(n) if loss == "squared" else np.where(z + rng.logistic(size=n) > 0, 1.0, -1.0)
    return fl.Problem(X, y, loss=loss, l2=l2, **options)


# ---- L-BFGS ----


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_lbfgs_finds_the_optimum_and_counts_its_passes(loss, monkeypatch):
    problem = a_problem(loss, fit_intercept=True)
    calls = []
    evaluate = problem.objective_and_gradient
    monkeypatch.setattr(problem, "objective_and_gradient", lambda w: calls.append(w) or evaluate(w))
    found = baselines.lbfgs(problem, n_workers=3, tolerance=1e-9)
    monkeypatch.undo()
    np.testing.assert_allclose(found.w, problem.optimum(), atol=1e-7)
    assert found.n_rounds == found.n_passes == len(found.objectives) == len(calls)
    assert found.n_gradients == len(calls) * problem.n_samples
    # Gradient and value, float64, to and from each of three workers.
    assert found.n_bytes == len(calls) * 2 * 3 * (problem.n_params + 1) * 8
    assert found.objectives[0] == problem.objective(np.zeros(problem.n_params))
    assert min(found.objectives) == problem.objective(found.w)


def test_lbfgs_stops_at_the_first_evaluation_within_the_target():
    problem = a_problem()
    f_star = problem.objective(problem.optimum())
    whole = baselines.lbfgs(problem, tolerance=1e-9)
    found = baselines.lbfgs(problem, target=1e-3)
    excess = np.array(found.objectives) - f_star
    assert excess[-1] <= 1e-3 < excess[:-1].min()
    assert found.objectives == whole.objectives[: len(found.objectives)]
    assert problem.objective(found.w) == found.objectives[-1]
    assert baselines.lbfgs(problem, target=1e-3, f_star=f_star - 1.0).n_passes > found.n_passes


@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize(
    ("of_rows", "of_weights", "of_targets"),
    [(2.0**-40, 1, 1), (2.0**40, 1, 1), (1, 2.0**-60, 1), (1, 2.0**60, 1), (1, 1, 2.0**-30)],
)
def test_lbfgs_takes_the_same_steps_whatever_the_units(loss, of_rows, of_weights, of_targets):
    plain = a_problem(loss, l2=0.0)
    whole = baselines.lbfgs(plain, tolerance=1e-8)
    of_targets = of_targets if loss == "squared" else 1.0
    scaled = fl.Problem(plain.X * of_rows, plain.y * of_targets, loss=loss, sample_weight=np.full(400, of_weights))
    found = baselines.lbfgs(scaled, tolerance=1e-8)
    assert found.n_rounds == whole.n_rounds > 5
    np.testing.assert_allclose(found.w * of_rows / of_targets, whole.w, rtol=1e-6)
    np.testing.assert_allclose(whole.w, plain.optimum(), rtol=1e-6)


def test_lbfgs_of_targets_that_are_zero_stays_at_zero():
    assert not baselines.lbfgs(fl.Problem(np.eye(3), np.zeros(3))).w.any()


@pytest.mark.parametrize(
    "run",
    [
        lambda p: baselines.lbfgs(p, n_workers=1),
        lambda p: baselines.newton_step(p, np.zeros(4), n_workers=1),
        lambda p: baselines.large_minibatch(p, period=2, n_steps=8, n_workers=1),
        lambda p: baselines.one_worker(p, n_steps=8),
        lambda p: baselines.richardson(p, eta=0.01, n_steps=8, n_workers=1),
    ],
)
def test_one_worker_talks_to_nobody(run):
    found = run(a_problem())
    assert found.n_rounds == found.n_bytes == 0 < found.n_gradients


def test_richardson_counts_what_its_runs_did():
    found = baselines.richardson(a_problem(), eta=0.01, n_steps=10**9, n_workers=2, batch_size=3, max_time_s=0.05)
    # A run that time stops goes on from its last record to where it is stopped.
    recorded = sum(trace.records[-1].n_gradients for trace in found.traces)
    assert 0 < recorded <= found.n_gradients < 10**9
    assert found.n_gradients % (2 * 3) == 0
    assert found.n_passes == found.n_gradients / 400


def test_lbfgs_refuses_a_target_that_cannot_be_reached():
    with pytest.raises(ValueError, match="target must be positive and finite, got 0; it is an excess"):
        baselines.lbfgs(a_problem(), target=0)


# ---- a Newton step ----


def test_a_newton_step_is_exact_on_a_quadratic():
    problem = a_problem("squared", fit_intercept=True)
    found = baselines.newton_step(problem, np.full(problem.n_params, 7.0), n_workers=4)
    np.testing.assert_allclose(found.w, problem.optimum(), rtol=1e-10)
    d = problem.n_params
    assert (found.n_rounds, found.n_passes, found.n_gradients) == (1, 1, problem.n_samples)
    assert found.n_bytes == 2 * 4 * (d * d + d) * 8


def test_a_newton_step_from_near_the_optimum_squares_the_distance():
    problem = a_problem("logistic")
    far = np.linalg.norm(baselines.newton_step(problem, problem.optimum() + 2e-2).w - problem.optimum())
    near = np.linalg.norm(baselines.newton_step(problem, problem.optimum() + 1e-2).w - problem.optimum())
    assert far / near == pytest.approx(4.0, rel=0.1)


# ---- large mini-batches ----


@pytest.mark.parametrize("sampling", ["replacement", "reshuffle"])
def test_a_large_mini_batch_has_the_rounds_and_gradients_of_its_period(sampling):
    problem = a_problem()
    options = {"n_workers": 4, "step_size": fl.Constant(0.1), "sampling": sampling, "seed": 3}
    local = fl.local_sgd(problem, n_steps=160, schedule=fl.FixedPeriod(16), **options)
    large = baselines.large_minibatch(problem, period=16, n_steps=160, **options)
    last = local.trace.records[-1]
    assert (large.n_rounds, large.n_gradients, large.n_bytes) == (last.n_rounds, last.n_gradients, last.n_bytes)
    assert large.n_passes == 4 * 160 / problem.n_samples
    by_hand = fl.local_sgd(problem, n_steps=10, batch_size=16, schedule=fl.MiniBatch(), **options)
    np.testing.assert_array_equal(large.w, by_hand.w_bar)
    assert large.traces[0].n_gradients[-1] == last.n_gradients


@pytest.mark.parametrize(
    ("period", "n_steps", "batch", "steps"), [(16, 160, 16, 10), (16, 175, 16, 10), (256, 100, 100, 1), (1, 7, 1, 7)]
)
def test_a_period_that_does_not_divide_the_steps_is_rounded_down(period, n_steps, batch, steps):
    assert baselines.large_minibatch_options(period, n_steps) == {
        "schedule": fl.MiniBatch(),
        "batch_size": batch,
        "n_steps": steps,
    }


def test_the_batch_of_the_local_steps_is_multiplied():
    assert baselines.large_minibatch_options(16, 160, batch_size=3)["batch_size"] == 48


@pytest.mark.parametrize("period", [0, 2.0, True])
def test_a_wrong_period_is_refused(period):
    with pytest.raises((TypeError, ValueError), match=r"period must be an int( >= 1)?, got"):
        baselines.large_minibatch_options(period, 100)


# ---- one worker ----


def test_one_worker_takes_all_steps_and_never_communicates():
    problem = a_problem(dtype=np.float32)
    options = {"step_size": fl.Constant(0.05), "sampling": "replacement", "seed": 5, "batch_size": 2}
    alone = baselines.one_worker(problem, n_workers=8, n_steps=50, **options)
    assert (alone.n_rounds, alone.n_bytes, alone.n_gradients) == (0, 0, 800)
    by_hand = fl.local_sgd(problem, n_workers=1, n_steps=400, **options)
    np.testing.assert_array_equal(alone.w, by_hand.w_bar)


# ---- Richardson ----


def test_richardson_extrapolates_two_runs_on_the_same_samples():
    problem = a_problem(dtype=np.float32)
    options = {"n_workers": 4, "n_steps": 60, "seed": 2, "sampling": "replacement"}
    found = baselines.richardson(problem, eta=0.1, **options)
    runs = [fl.local_sgd(problem, schedule=fl.OneShot(), step_size=fl.Constant(eta), **options) for eta in (0.1, 0.2)]
    w, w_twice = (run.w_bar.astype(np.float64) for run in runs)
    np.testing.assert_array_equal(found.w, 2 * w - w_twice)
    assert (found.n_rounds, found.n_gradients) == (1, 2 * 4 * 60)
    # Both vectors, float32, in one message to and from each of four workers.
    assert found.n_bytes == 2 * 4 * (2 * problem.n_params) * 4


def test_richardson_removes_the_bias_of_one_shot_averaging():
    problem = a_problem(n=300, d=2)
    optimum, f_star = problem.optimum(), problem.objective(problem.optimum())
    # From the optimum, so that all there is to see is the bias of the step size.
    options = {"n_workers": 64, "n_steps": 8000, "sampling": "replacement", "record": 0, "w0": optimum}
    plain, extrapolated = [], []
    for seed in range(4):
        one_shot = fl.local_sgd(problem, schedule=fl.OneShot(), step_size=fl.Constant(0.1), seed=seed, **options)
        plain.append(one_shot.w_bar)
        extrapolated.append(baselines.richardson(problem, eta=0.1, seed=seed, **options).w)
    bias = np.linalg.norm(np.mean(plain, axis=0) - optimum)
    assert np.linalg.norm(np.mean(extrapolated, axis=0) - optimum) < 0.25 * bias
    excess, excess_plain = (problem.objective(np.array(W)).mean() - f_star for W in (extrapolated, plain))
    assert excess < 0.1 * excess_plain


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda p: fl.baselines.one_worker(p, n_steps=9, step=3), r"one_worker\(\) got .* 'step'; did you mean"),
        (lambda p: fl.baselines.richardson(p, eta=0.01, n_steps=9, schedule=fl.MiniBatch()),
         r"richardson\(\) chooses its own 'schedule'$"),
        (lambda p: fl.baselines.richardson(p, eta=0.01, n_steps=9, step_size=fl.Constant(1.0)),
         r"richardson\(\) chooses its own 'step_size'"),
        (lambda p: fl.baselines.large_minibatch(p, period=4, n_steps=9, schedule=fl.OneShot()),
         r"large_minibatch\(\) chooses its own 'schedule'"),
    ],
)  # fmt: skip
def test_an_option_that_a_baseline_does_not_hand_on_is_named(run, message):
    with pytest.raises(TypeError, match="^" + message):
        run(fl.Problem(np.eye(3), np.ones(3)))


def test_richardson_says_when_twice_the_step_diverges():
    problem = a_problem("squared")
    with pytest.warns(RuntimeWarning, match="beyond"), pytest.raises(fl.Diverged):
        baselines.richardson(problem, eta=5.0, n_steps=5000, n_workers=2)


# ---- on a stream ----


@pytest.mark.parametrize(
    ("run", "n_gradients"),
    [
        (lambda stream: baselines.richardson(stream, eta=0.02, n_steps=60, n_workers=3), 360),
        (lambda stream: baselines.large_minibatch(stream, period=5, n_steps=60, n_workers=3), 180),
        (lambda stream: baselines.one_worker(stream, n_steps=60, n_workers=3), 180),
    ],
)
def test_a_baseline_on_a_stream_counts_gradients_and_no_passes(run, n_gradients):
    found = run(fl.Problem(fl.GaussianStream(4, dtype="float64")))
    assert found.n_gradients == n_gradients
    assert np.isnan(found.n_passes)
    assert np.isfinite(found.w).all()


@pytest.mark.parametrize("run", [baselines.lbfgs, lambda stream: baselines.newton_step(stream, np.zeros(4))])
def test_what_goes_over_all_rows_is_refused_on_a_stream_before_it_begins(run, monkeypatch):
    stream = fl.Problem(fl.GaussianStream(4))
    monkeypatch.setattr(stream, "objective_and_gradient", None)
    monkeypatch.setattr(stream, "newton_step", None)
    with pytest.raises(ValueError, match="a stream has no rows to count"):
        run(stream)
