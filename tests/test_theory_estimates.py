"""Constants that are estimated: from a sample of the rows, and by products with vectors."""

import numpy as np
import pytest
from conftest import load_or_skip
from scipy import linalg, sparse, stats
from scipy.sparse.linalg import eigsh

import fastlsgd as fl
from fastlsgd import experiments
from fastlsgd.problem import DENSE_HESSIAN
from fastlsgd.theory import estimate, matrix_free
from fastlsgd.theory.constants import ESTIMATED
from fastlsgd.theory.eigenbasis import constants_of
from fastlsgd.theory.rows import least_curvature
from fastlsgd.verdict import verdict


def rows_of_text(n, d, *, words=12, seed=0, loss="logistic", normalised=True, **options):
    """Rows of a few words out of many, by Zipf's law, and targets of a linear model."""
    rng = np.random.default_rng(seed)
    often = 1.0 / np.arange(1, d + 1)
    columns = rng.choice(d, (n, words), p=often / often.sum())
    X = sparse.csr_matrix(
        (rng.uniform(0.5, 1.5, n * words), (np.repeat(np.arange(n), words), columns.ravel())), (n, d)
    )
    if normalised:
        X = sparse.csr_matrix(sparse.diags(1.0 / np.sqrt(np.asarray(X.multiply(X).sum(axis=1)).ravel())) @ X)
    z = 4.0 * (X @ rng.standard_normal(d))
    y = z + rng.standard_normal(n) if loss == "squared" else np.where(z + rng.logistic(size=n) > 0, 1.0, -1.0)
    return fl.Problem(X, y, loss=loss, **{"l2": 1e-3, **options})


def fewest(n, probability=0.95, mistake=1e-4):
    """How often n intervals must cover, at the least: fewer with probability `mistake`."""
    return stats.binom.ppf(mistake, n, probability)


def covered(wanted, found, slack=1e-6):
    """By name, whether the interval holds what is wanted; float32 rows leave a slack."""
    bounds = {name: found.interval(name) for name in ESTIMATED}
    return {
        name: low * (1 - slack) <= getattr(wanted, name) <= high * (1 + slack) for name, (low, high) in bounds.items()
    }


# ---- from a sample of the rows ----


def population(loss, n=6000, **options):
    rng = np.random.default_rng(5)
    X = rng.standard_normal((n, 5)) * np.array([1.0, 0.8, 0.5, 0.3, 0.2])
    X[:, 0] += 0.5
    z = X @ np.array([1.0, -1.0, 2.0, 0.0, 1.0])
    y = z + rng.standard_normal(n) if loss == "squared" else np.where(z + rng.logistic(size=n) > 0, 1.0, -1.0)
    weights = rng.uniform(0.5, 1.5, n)
    return fl.Problem(X, y, loss=loss, sample_weight=weights, fit_intercept=True, **{"l2": 1e-3, **options})


@pytest.mark.parametrize(("loss", "l2", "n_rows"), [("logistic", 1e-3, 600), ("squared", 0.0, 3000)])
def test_intervals_of_a_sample_cover_as_often_as_they_say(loss, l2, n_rows):
    problem, n_seeds = population(loss, l2=l2), 200
    wanted = estimate(problem)
    found = [estimate(problem, n_rows=n_rows, seed=seed) for seed in range(n_seeds)]
    hits = {name: sum(covered(wanted, one)[name] for one in found) for name in ESTIMATED}
    # The means of rows are nearly normal at these sizes; what takes fourth powers of them less so.
    for name in ("noise", "floor", "mu_eff", "mu", "lipschitz"):
        assert hits[name] >= fewest(n_seeds), (name, hits)
    assert min(hits.values()) >= fewest(n_seeds, 0.9), hits
    for name in ("noise", "floor", "mu_eff"):
        values = np.array([getattr(one, name) for one in found])
        assert abs(values.mean() / getattr(wanted, name) - 1) < 4 * values.std() / values.mean() / np.sqrt(n_seeds)
        # Neither wider than need be: a half-width of two standard deviations.
        widths = [np.log(high / low) for low, high in (one.interval(name) for one in found)]
        assert np.mean(widths) == pytest.approx(2 * 1.96 * np.log(values).std(), rel=0.2)
    assert found[0].method == f"sample of {n_rows} rows" and found[0].safe_step == problem.safe_step()


def test_wider_confidence_is_a_wider_interval():
    problem = population("logistic")
    widths = []
    for confidence in (0.5, 0.95, 0.999):
        found = estimate(problem, n_rows=1000, confidence=confidence)
        low, high = found.interval("noise")
        widths.append(np.log(high / low))
        assert found.confidence == confidence
    assert widths[1] / widths[0] == pytest.approx(stats.norm.ppf(0.975) / stats.norm.ppf(0.75), rel=1e-6)
    assert widths[2] / widths[1] == pytest.approx(stats.norm.ppf(0.9995) / stats.norm.ppf(0.975), rel=1e-6)


def test_a_sample_of_all_rows_is_exact():
    problem = population("logistic")
    assert estimate(problem, n_rows=problem.n_samples) == estimate(problem)
    nearly = estimate(problem, n_rows=problem.n_samples - 1)
    for name in ("mu", "mu_eff", "noise", "floor"):
        assert getattr(nearly, name) == pytest.approx(getattr(estimate(problem), name), rel=2e-3)
        low, high = nearly.interval(name)
        assert high < 1.01 * low


def test_a_seed_is_a_sample():
    problem = population("logistic")
    assert estimate(problem, n_rows=500, seed=3) == estimate(problem, n_rows=500, seed=3)
    assert estimate(problem, n_rows=500, seed=3).noise != estimate(problem, n_rows=500, seed=4).noise


def test_a_rare_feature_that_the_sample_misses_is_within_the_interval_of_mu():
    problem = population("logistic")
    X = np.column_stack([problem.X, np.zeros(problem.n_samples)])
    X[:4, -1] = 3.0
    rare = fl.Problem(X, problem.y, loss="logistic", l2=1e-3)
    mu = estimate(rare).mu
    assert 1.1e-3 < mu < 3e-3
    for seed in range(10):
        low, high = estimate(rare, n_rows=200, seed=seed).interval("mu")
        assert 1e-3 <= low <= mu <= high


def test_few_rows_that_decide_widen_the_stability_limit():
    problem = population("squared")
    X = problem.X.copy()
    X[:3] *= 100.0
    heavy = fl.Problem(X, problem.y, l2=1e-3)
    limit = estimate(heavy).stability_limit
    for seed in range(10):
        low, high = estimate(heavy, n_rows=600, seed=seed).interval("stability_limit")
        assert low <= limit <= high


def test_samples_that_say_too_little_are_refused():
    problem = population("logistic")
    with pytest.raises(ValueError, match=r"at least 20 for each of the 6 parameters, 120, got 119"):
        estimate(problem, n_rows=119)
    flat = fl.Problem(np.column_stack([problem.X, problem.X[:, 0]]), problem.y)
    with pytest.raises(ValueError, match="span 5 of 6 directions, and all rows may span more"):
        estimate(flat, n_rows=200)


# ---- by products with vectors ----


def by_products(problem, seed=0):
    return matrix_free.constants_by_products(problem, problem.optimum(), seed, 0.95)


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("logistic", {"fit_intercept": True}),
        ("logistic", {"normalised": False, "sample_weight": np.random.default_rng(9).uniform(0.1, 3.0, 1500)}),
        ("squared", {"l2": 1e-4}),
    ],
)
def test_products_find_what_all_eigenvalues_give(loss, options):
    problem, n_seeds = rows_of_text(1500, 200, loss=loss, **options), 15
    wanted = constants_of(problem, problem.optimum())
    found = [by_products(problem, seed) for seed in range(n_seeds)]
    hits = {name: sum(covered(wanted, one)[name] for one in found) for name in ESTIMATED}
    assert min(hits.values()) >= fewest(n_seeds), hits
    for one in found:
        assert one.method == "products with vectors"
        assert one.noise == pytest.approx(wanted.noise, rel=1e-9) and "noise" not in one.intervals
        assert one.lipschitz == pytest.approx(wanted.lipschitz, rel=1e-5)
        assert one.mu == pytest.approx(wanted.mu, rel=0.1)
        for name, within in (("floor", 0.06), ("mu_eff", 0.06), ("bias", 0.15), ("stability_limit", 0.3)):
            assert getattr(one, name) == pytest.approx(getattr(wanted, name), rel=within), name
        low, high = one.interval("floor")
        assert high < 1.1 * low
    mean = np.mean([one.floor for one in found])
    spread = np.std([one.floor for one in found]) / np.sqrt(n_seeds)
    assert abs(mean - wanted.floor) < 4 * spread + 1e-3 * wanted.floor


def test_products_read_dense_rows_and_float32_alike():
    csr = rows_of_text(400, 60, words=6, fit_intercept=True)
    options = {"loss": "logistic", "l2": csr.l2, "fit_intercept": True}
    dense = fl.Problem(csr.X.toarray(), csr.y, **options)
    single = fl.Problem(csr.X.astype(np.float32), csr.y.astype(np.float32), **options)
    for other, digits in ((dense, 1e-8), (single, 1e-4)):
        for name in ("mu", "lipschitz", "noise", "floor", "mu_eff", "bias", "stability_limit"):
            wanted = getattr(by_products(csr), name)
            assert getattr(by_products(other), name) == pytest.approx(wanted, rel=digits), name


def test_a_column_that_a_row_holds_twice_is_summed_and_left_as_it_is():
    csr = rows_of_text(300, 40, words=5)
    halves = sparse.csr_matrix(
        (np.repeat(csr.X.data, 2) / 2, np.repeat(csr.X.indices, 2), 2 * csr.X.indptr), csr.X.shape
    )
    before = halves.data.copy(), halves.indices.copy(), halves.indptr.copy()
    wanted = by_products(csr)
    found = by_products(fl.Problem(halves, csr.y, loss="logistic", l2=csr.l2))
    for name in ESTIMATED:
        assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=1e-8), name
    for old, new in zip(before, (halves.data, halves.indices, halves.indptr), strict=True):
        np.testing.assert_array_equal(old, new)


def test_least_curvature_is_a_lower_bound():
    rng = np.random.default_rng(0)
    for _ in range(200):
        n, d = int(rng.integers(2, 12)), int(rng.integers(1, 5))
        X = rng.standard_normal((n, d)) * 10 ** rng.uniform(-2, 2, d) + 10 ** rng.uniform(-2, 2)
        problem = fl.Problem(X, rng.standard_normal(n), l2=10 ** rng.uniform(-6, 1), fit_intercept=bool(n % 2))
        w = np.zeros(problem.n_params)
        eigenvalues = np.linalg.eigvalsh(problem.hessian(w))
        low = least_curvature(problem, problem.hessian_product(w))
        assert 0 < low <= eigenvalues[0] * (1 + 1e-6) + 1e-13 * eigenvalues[-1]


def test_the_product_is_that_of_the_hessian():
    problem = rows_of_text(300, 30, fit_intercept=True, sample_weight=np.linspace(0.1, 2.0, 300))
    w, V = np.linspace(-1, 1, 31), np.random.default_rng(0).standard_normal((4, 31))
    product = problem.hessian_product(w)
    np.testing.assert_allclose(product(V), V @ problem.hessian(w), rtol=1e-11, atol=1e-14)
    assert product(V[0]).shape == (31,)
    with pytest.raises(ValueError, match="must have shape"):
        product(np.zeros(30))


def test_without_noise_the_estimates_say_so():
    csr = rows_of_text(300, 40)
    found = by_products(fl.Problem(csr.X, csr.X @ np.zeros(40), l2=1e-3))
    assert (found.noise, found.floor, found.bias) == (0.0, 0.0, 0.0)
    assert found.mu_eff == found.lipschitz


@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_rows_of_low_rank_have_the_constants_that_all_eigenvalues_give(loss, fit_intercept):
    """The recursions have nothing left after a few products, of whatever number; more would be made of rounding."""
    rng = np.random.default_rng(0)
    for rank in (2, *range(9, 17)):
        X = rng.standard_normal((300, rank)) @ rng.standard_normal((rank, 40)) / 6
        z = X[:, 0] + rng.standard_normal(300)
        y = z if loss == "squared" else np.where(z > 0, 1.0, -1.0)
        problem = fl.Problem(X, y, loss=loss, l2=0.1, fit_intercept=fit_intercept)
        wanted, found = constants_of(problem, problem.optimum()), by_products(problem)
        for name in ("mu", "lipschitz", "noise"):
            assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=1e-9), (rank, name)
        for name, within in (("floor", 0.12), ("mu_eff", 0.12), ("bias", 0.25)):
            assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=within), (rank, name)


def test_a_krylov_space_ends_where_only_rounding_is_left():
    """Of simple eigenvalues beside a multiple one as many products as there are different ones, between looks too."""
    rng = np.random.default_rng(1)
    turn = linalg.qr(rng.standard_normal((40, 40)))[0]
    values = np.r_[1e6, 5.0, 4.0, 3.0, 2.0, np.full(35, 0.1)]
    H = (turn * values) @ turn.T
    for norm, without, wanted in (
        (0.0, None, [0.1, 2.0, 3.0, 4.0, 5.0, 1e6]),
        (1e6, turn[:, :1], [0.1, 2.0, 3.0, 4.0, 5.0]),
    ):
        found = matrix_free.lanczos(
            H.__matmul__, rng.standard_normal(40), 40, lambda _: False, without=without, norm=norm
        )
        np.testing.assert_allclose(found.values, wanted, rtol=1e-8)
        np.testing.assert_allclose(found.basis @ found.basis.T, np.eye(len(wanted)), atol=1e-9)
        assert without is None or abs(found.basis @ without).max() < 1e-9


def test_what_cannot_be_told_is_refused():
    narrow = rows_of_text(100, 300, loss="squared", l2=0.0)
    with pytest.raises(ValueError, match=r"(do not resolve its smallest|not resolved by).*add l2"):
        matrix_free.constants_by_products(narrow, np.zeros(300), 0, 0.95)
    zeros = fl.Problem(sparse.csr_matrix((3, 5)), np.zeros(3))
    with pytest.raises(ValueError, match="the Hessian is zero"):
        matrix_free.constants_by_products(zeros, np.zeros(5), 0, 0.95)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 600)) * np.geomspace(1e4, 1e-3, 600)
    steep = fl.Problem(X, rng.standard_normal(3000), l2=1e-9)
    with pytest.raises(ValueError, match=r"not resolved by 400 products.*scale the columns of X alike"):
        matrix_free.constants_by_products(steep, np.zeros(600), 0, 0.95)


# ---- beyond 2,000 parameters ----


@pytest.fixture(scope="module")
def wide():
    problem = rows_of_text(1200, 2300, words=60, fit_intercept=True)
    empty = np.setdiff1d(np.arange(2300), problem.X.indices)
    assert 0 < len(empty) < 250
    return problem


def test_a_wide_sparse_problem_has_constants(wide):
    found, w = estimate(wide), wide.optimum()
    assert found.method == "products with vectors"
    # Row by row, with the obvious formulas and a factored Hessian.
    X = np.column_stack([wide.X.toarray(), np.ones(wide.n_samples)])
    p = 1 / (1 + np.exp(-X @ w))
    H = (X * (p * (1 - p))[:, None]).T @ X / len(X) + wide.l2 * np.diag(np.r_[np.ones(2300), 0.0])
    gradients = X * (p - (wide.y + 1) / 2)[:, None]
    gradients -= gradients.mean(axis=0)
    spread = np.einsum("ij,ji->", gradients, linalg.solve(H, gradients.T, assume_a="pos")) / len(X)
    noise = (gradients**2).sum() / len(X)
    assert found.noise == pytest.approx(noise, rel=1e-9)
    low, high = found.interval("floor")
    assert low <= spread / (2 * len(X)) <= high < 1.1 * low
    low, high = found.interval("mu_eff")
    assert low <= noise / spread <= high
    assert found.lipschitz == pytest.approx(float(eigsh(H, 1, return_eigenvectors=False)[0]), rel=1e-5)
    low, high = found.interval("mu")
    assert 0 < low <= found.mu == high <= wide.l2  # a column that no row holds has eigenvalue l2
    with pytest.raises(ValueError, match="n_rows is for at most 2000 parameters, got 2301"):
        estimate(wide, n_rows=1000)


def test_columns_that_no_row_holds_change_nothing_but_mu():
    narrow = rows_of_text(300, 50, fit_intercept=True)
    spread = sparse.csr_matrix((narrow.X.data, 97 * narrow.X.indices, narrow.X.indptr), (300, 5000))
    options = {"loss": "logistic", "fit_intercept": True}
    for l2 in (1e-3, 1.0):
        wanted = estimate(fl.Problem(narrow.X, narrow.y, l2=l2, **options))
        found = estimate(fl.Problem(spread, narrow.y, l2=l2, **options))
        assert found.mu == pytest.approx(min(wanted.mu, l2), rel=1e-9)
        for name in ESTIMATED[1:]:
            assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=1e-6), name


def test_a_seed_is_an_estimate(wide):
    assert estimate(wide, seed=1) == estimate(wide, seed=1)
    assert estimate(wide, seed=1).floor != estimate(wide, seed=2).floor


def test_predictions_of_a_wide_problem_say_what_to_use_instead(wide):
    message = r"at most 2000, got 2301; use fewer features, or FixedPeriod, or AdaptivePeriod with the mu_eff of"
    with pytest.raises(ValueError, match=message):
        fl.RiskPeriod(0.1).bind(wide, fl.Constant(0.1), 4, 100)
    with pytest.raises(ValueError, match=message):
        fl.local_sgd(wide, n_workers=4, n_steps=10, schedule=fl.RiskPeriod(0.1))
    found = estimate(wide)
    result = fl.local_sgd(wide, n_workers=4, n_steps=40, schedule=fl.AdaptivePeriod(found.mu_eff))
    assert np.isfinite(result.w).all()


def test_tradeoff_of_a_wide_problem_has_excesses_once_its_optimum_is_known():
    pytest.importorskip("pandas")
    problem = rows_of_text(600, 2300)
    options = {"schedules": fl.OneShot(), "n_workers": 2, "replicates": 1, "record": 2}
    before = fl.tradeoff(problem, **options)
    assert before.excess_w_bar.isna().all() and np.isfinite(before.objective_w_bar).all()
    problem.optimum()
    assert (fl.tradeoff(problem, **options).excess_w_bar > 0).all()


def test_a_comparison_beyond_5000_parameters_leaves_out_the_newton_step():
    problem = rows_of_text(60, DENSE_HESSIAN + 1, words=3)
    compared = experiments.compare(
        problem, n_workers=2, n_passes=1, replicates=2, schedules=["one-shot"], grid=[1, 4]
    )
    methods = {row.method for row in compared.rows}
    assert "one-shot" in methods and "L-BFGS" in methods
    assert not any("Newton" in method for method in methods)
    assert compared.facts["constants_by"] == estimate(problem).method
    assert verdict(compared).sentence


def test_a_real_text_has_constants():
    data = load_or_skip("wordnet")
    problem = fl.Problem(data.X_train[:2000], data.y_train[:2000], loss="logistic", l2=1e-3)
    found = estimate(problem)
    assert found.interval("mu") == (1e-3, 1e-3)
    low, high = found.interval("floor")
    assert 0 < low < high < 1.1 * low
    assert found.mu < found.mu_eff < found.lipschitz
