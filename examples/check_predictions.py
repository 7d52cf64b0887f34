"""Do predictions hold on real data? Tables of predicted over measured excess, and of what RiskPeriod's word is worth.

    python examples/check_predictions.py predict [--batch 16 ...] [--problems WORD ...]
    python examples/check_predictions.py shards [--problems WORD ...]
    python examples/check_predictions.py risk [--epsilon 0.1 ...] [--workers 16 ...] [--problems WORD ...]

Rows are printed as they are found, in Markdown. Seven problems: breast_cancer, digits (of scikit-learn), flights13,
flights13_late, diamonds, census, and census with its 568 columns hashed into 64, whose predictions take minutes less
(``fastlsgd data NAME`` fetches what is missing; what is not there is skipped).
At most 2,000,000 gradients a run; steps of half the stability limit and at the safe step, constant or c t^(-1/2).
With --batch of a quarter and of half the limit that so many rows a step have.
"""

import argparse
import itertools
import warnings

import numpy as np

import fastlsgd as fl
from fastlsgd import theory
from fastlsgd.experiments.predicted import Setting, best_fixed_period, check_risk_period, compare_prediction

GRADIENTS = 2_000_000


def standardised(X):
    spread = X.std(axis=0)
    kept = X[:, spread > 0]
    return np.ascontiguousarray((kept - kept.mean(axis=0)) / spread[spread > 0], dtype=np.float32)


def bundled(name):
    from sklearn import datasets

    if name == "breast_cancer":
        data = datasets.load_breast_cancer()
        return standardised(data.data), np.where(data.target > 0, 1.0, -1.0)
    data = datasets.load_digits()
    return standardised(data.data), np.where(data.target > 4, 1.0, -1.0)


PROBLEMS = {
    "breast_cancer": ("logistic", 1e-2),
    "digits": ("logistic", 1e-2),
    "flights13_late": ("logistic", 1e-4),
    "flights13": ("squared", 1e-3),
    "diamonds": ("squared", 1e-3),
    "census": ("logistic", 1e-3),
    "census_hashed": ("logistic", 1e-3),
}


def load(name):
    loss, l2 = PROBLEMS[name]
    if name in ("breast_cancer", "digits"):
        X, y = bundled(name)
    else:
        data = fl.datasets.load(name)
        X, y = data.X_train, data.y_train
    return fl.Problem(X, y, loss=loss, l2=l2, fit_intercept=True)


def settings(problem, limit, workers, samplings=("replacement", "reshuffle")):
    half, safe = 0.5 * limit, problem.safe_step()
    steps = {
        "half the limit": fl.Constant(half),
        "safe": fl.Constant(min(safe, half)),
        "t^-1/2 from half": fl.PolynomialDecay(half * np.sqrt(100.0), 0.5, eta_max=half),
    }
    for (words, step), n_workers, sampling in itertools.product(steps.items(), workers, samplings):
        yield words, Setting(problem, step, n_workers, GRADIENTS // n_workers, sampling)


def predict(names):
    table((name, around, settings(problem, limit, [16])) for name, problem, around, limit in loaded(names))


def batches(names, sizes):
    """The same with so many rows a step, of steps within the limit that so many have."""
    table((f"{name}, b = {b}", around, of_batches(around, b)) for name, _, around, _ in loaded(names) for b in sizes)


def of_batches(around, batch_size, n_workers=16):
    limit = theory.data_stability_limit(around, batch_size)
    n_steps = GRADIENTS // (n_workers * batch_size)
    for sampling, (words, share) in itertools.product(
        ("replacement", "reshuffle"), {"a quarter": 0.25, "half the limit": 0.5}.items()
    ):
        step = fl.Constant(share * limit)
        yield words, Setting(around.problem, step, n_workers, n_steps, sampling, batch_size=batch_size)


def table(problems):
    header("problem", "sampling", "step", "P", "period", "predicted", "measured", "ratio")
    for name, around, found_settings in problems:
        for words, setting in found_settings:
            for period in (1, 16, 256, setting.n_steps):
                row = f"| {name} | {setting.sampling} | {words} | {setting.n_workers} | {shown(period, setting)} | "
                try:
                    found = compare_prediction(setting, fl.FixedPeriod(period), around=around)
                except ValueError as refused:
                    print(f"{row}refused: {str(refused).split(':')[0]} | | |", flush=True)
                    continue
                error = found.standard_error / found.measured
                print(
                    f"{row}{found.predicted:.3g} | {found.measured:.3g} +- {error:.1%} | {found.ratio:.3f} |",
                    flush=True,
                )


def shards(names):
    """Rows in the order of their first feature, or of their target, dealt in blocks: workers whose shards differ."""
    header("problem", "rows in the order of", "period", "predicted", "measured", "ratio")
    for name, lying in installed(names):
        if lying.is_sparse:  # census: more than 200 parameters
            continue
        for words, key in (("a feature", lying.X[:, 0]), ("the target", lying.y)):
            order = np.argsort(key, kind="stable")
            X, y = lying.X[order], lying.y[order]
            problem = fl.Problem(X, y, loss=lying.loss, l2=lying.l2, fit_intercept=True)
            parts = [(X, y)]
            if lying.loss.name == "squared":  # the limit is that of the worst shard; logistic slopes are bounded
                parts = [(X[rows], y[rows]) for rows in np.array_split(np.arange(len(y)), 16)]
            limit = min(
                theory.data_stability_limit(fl.Problem(*part, loss=lying.loss, l2=lying.l2, fit_intercept=True))
                for part in parts
            )
            around, step = theory.Expansion(problem), fl.Constant(0.25 * limit)
            setting = Setting(problem, step, 16, GRADIENTS // 32, partition="contiguous")
            for period in (1, 16, 256, setting.n_steps):
                found = compare_prediction(setting, fl.FixedPeriod(period), around=around, most=40)
                error = found.standard_error / found.measured
                row = f"| {name} | {words} | {shown(period, setting)} | {found.predicted:.3g} | "
                print(f"{row}{found.measured:.3g} +- {error:.1%} | {found.ratio:.3f} |", flush=True)


def risk(names, epsilons, workers):
    header(
        "problem", "sampling", "step", "P", "epsilon", "RiskPeriod", "excess ratio [95%]", "kept", "mu rule",
        "mu_eff rule", "best by search",
    )  # fmt: skip
    for name, problem, around, limit in loaded(names, 10_000):
        constants = theory.estimate(problem)
        for epsilon, (words, setting) in itertools.product(epsilons, settings(problem, limit, workers)):
            if words == "safe":
                continue
            eta = float(setting.step_size(np.array([1]))[0])
            rules = [theory.adaptive_period(mu, setting.n_workers, eta) for mu in (constants.mu, constants.mu_eff)]
            row = f"| {name} | {setting.sampling} | {words} | {setting.n_workers} | {epsilon:g} | "
            try:
                found = check_risk_period(setting, epsilon, around=around, most=1000)
            except ValueError as refused:
                print(f"{row}refused: {str(refused).split(':')[0]} | | | | | |", flush=True)
                continue
            ladder = [2**j for j in range(20) if 2**j < setting.n_steps] + [setting.n_steps]
            best = best_fixed_period(setting, epsilon, ladder, most=50)
            print(
                f"{row}{shown(found.period, setting)} | {found.ratio:.3f} [{found.low:.3f}, {found.high:.3f}] | "
                f"{'yes' if found.low <= 1 + epsilon else 'NO'} | {rules[0]} | {rules[1]} | "
                f"{shown(best.period, setting)} ({best.ratio:.2f}) |",
                flush=True,
            )


def header(*names):
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))


def installed(names):
    for name in names:
        try:
            yield name, load(name)
        except fl.DatasetNotInstalled as missing:
            print(f"<!-- {name} is skipped: {missing} -->")


def loaded(names, n_rows=None):
    for name, problem in installed(names):
        yield name, problem, theory.Expansion(problem, n_rows), theory.data_stability_limit(problem)


def shown(period, setting):
    return "one-shot" if period >= setting.n_steps else str(period)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=["predict", "shards", "risk"])
    parser.add_argument("--problems", nargs="*", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--batch", nargs="*", type=int, default=[])
    parser.add_argument("--epsilon", nargs="*", type=float, default=[0.1])
    parser.add_argument("--workers", nargs="*", type=int, default=[16])
    given = parser.parse_args()
    warnings.simplefilter("ignore", RuntimeWarning)  # of steps near the limit, which is the point here
    if given.table == "predict" and given.batch:
        batches(given.problems, given.batch)
    elif given.table == "predict":
        predict(given.problems)
    elif given.table == "shards":
        shards(given.problems)
    else:
        risk(given.problems, given.epsilon, given.workers)


if __name__ == "__main__":
    main()
