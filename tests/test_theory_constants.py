import numpy as np
import pytest
from scipy import linalg, sparse

import fastlsgd as fl
from fastlsgd.theory import estimate


def a_problem(loss="squared", *, n=300, d=4, weighted=False, intercept=False, l2=1e-2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * np.array([3.0, 1.0, 0.5, 0.2])[:d]
    z = X @ np.linspace(-1, 1, d) + 0.3
    y = z + rng.standard_normal(n) if loss == "squared" else np.where(z + rng.logistic(size=n) > 0, 1.0, -1.0)
    weights = rng.uniform(0.1, 3.0, n) if weighted else None
    return fl.Problem(X, y, loss=loss, l2=l2, sample_weight=weights, fit_intercept=intercept)


def by_hand(problem, w):
    """H and S row by row, with the obvious formulas."""
    X = np.column_stack([problem.X, np.ones(problem.n_samples)]) if problem.fit_intercept else problem.X
    s = np.ones(problem.n_samples) if problem.sample_weight is None else problem.sample_weight
    penalty = np.full(problem.n_params, problem.l2)
    penalty[problem.n_features :] = 0.0
    z = X @ w
    if problem.loss.name == "squared":
        slope, curvature = z - problem.y, np.ones_like(z)
    else:
        p = 1 / (1 + np.exp(-z))
        slope, curvature = p - (problem.y + 1) / 2, p * (1 - p)
    gradients = (s * slope)[:, None] * X + penalty * w
    H = np.mean([s[i] * curvature[i] * np.outer(X[i], X[i]) for i in range(len(X))], axis=0) + np.diag(penalty)
    return H, np.cov(gradients.T, bias=True)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("where", ["optimum", "elsewhere"])
def test_the_constants_are_their_formulas(loss, weighted, intercept, where):
    problem = a_problem(loss, weighted=weighted, intercept=intercept)
    w = None if where == "optimum" else np.linspace(1, -2, problem.n_params)
    found = estimate(problem, w)
    H, S = by_hand(problem, problem.optimum() if w is None else w)
    eigenvalues = np.linalg.eigvalsh(H)
    spread = np.trace(np.linalg.solve(H, S))
    assert found.mu == pytest.approx(eigenvalues[0], rel=1e-9)
    assert found.lipschitz == pytest.approx(eigenvalues[-1], rel=1e-9)
    assert found.noise == pytest.approx(np.trace(S), rel=1e-9)
    assert found.mu_eff == pytest.approx(np.trace(S) / spread, rel=1e-9)
    assert found.floor == pytest.approx(spread / (2 * problem.n_samples), rel=1e-9)
    assert (found.safe_step, found.step_bound) == (problem.safe_step(), problem.step_bound())
    assert found.mu < found.mu_eff < found.lipschitz
    for name in ("mu", "mu_eff", "lipschitz", "noise", "floor", "bias", "safe_step"):
        assert found.interval(name) == (getattr(found, name),) * 2
    with pytest.raises(ValueError, match="name must be one of mu, mu_eff"):
        found.interval("sigma")


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("intercept", [False, True])
def test_the_bias_is_that_of_the_expansion(weighted, intercept):
    """|F'''[A]| / 2 with H A + A H = S, the third derivative entry by entry."""
    problem = a_problem("logistic", weighted=weighted, intercept=intercept)
    w = problem.optimum()
    H, S = by_hand(problem, w)
    A = linalg.solve_continuous_lyapunov(H, S)
    X = np.column_stack([problem.X, np.ones(problem.n_samples)]) if intercept else problem.X
    p = 1 / (1 + np.exp(-X @ w))
    s = np.ones(len(X)) if problem.sample_weight is None else problem.sample_weight
    third = np.einsum("r,ri,rj,rk->ijk", s * p * (1 - p) * (1 - 2 * p), X, X, X) / len(X)
    wanted = 0.5 * np.linalg.norm(np.einsum("ijk,jk->i", third, A))
    assert estimate(problem).bias == pytest.approx(wanted, rel=1e-6)
    assert estimate(a_problem("squared")).bias == 0.0


def growth(problem, eta):
    """Spectral radius of A -> E[(1 - eta G) A (1 - eta G)]: all rows, as one matrix over the entries of A."""
    X = np.column_stack([problem.X, np.ones(problem.n_samples)]) if problem.fit_intercept else problem.X
    s = np.ones(len(X)) if problem.sample_weight is None else problem.sample_weight
    p = 1 / (1 + np.exp(-X @ problem.optimum()))
    curvature = s * (p * (1 - p) if problem.loss.name == "logistic" else 1.0)
    penalty = np.full(problem.n_params, problem.l2)
    penalty[problem.n_features :] = 0.0
    steps = np.eye(problem.n_params) - eta * (
        curvature[:, None, None] * X[:, :, None] * X[:, None] + np.diag(penalty)
    )
    square = np.einsum("rij,rkl->ikjl", steps, steps).reshape(problem.n_params**2, -1) / len(X)
    return np.abs(np.linalg.eigvals(square)).max()


@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize(
    ("weighted", "intercept", "l2"), [(False, False, 0.0), (True, True, 1e-2), (False, True, 1.0)]
)
def test_beyond_the_stability_limit_the_second_moment_grows(loss, weighted, intercept, l2):
    problem = a_problem(loss, weighted=weighted, intercept=intercept, l2=l2)
    found = estimate(problem)
    low, high = found.interval("stability_limit")
    assert growth(problem, low * (1 - 1e-9)) < 1 < growth(problem, high * (1 + 1e-9))
    assert found.stability_limit == high < low * (1 + 2e-3)
    assert 4 * problem.safe_step() < low and high <= 2 / found.lipschitz


def test_the_stability_limit_is_checked_on_all_rows():
    """A handful of large rows decides, which the sample it is searched on need not hold."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30_000, 2))
    X[:3] *= 200.0
    problem = fl.Problem(X, rng.standard_normal(30_000))
    low, high = estimate(problem).interval("stability_limit")
    assert growth_of_rows(X, low * (1 - 1e-9)) < 1 < growth_of_rows(X, high * (1 + 1e-9))
    assert high < 1.05 * low


def growth_of_rows(X, eta):
    """The same for least squares, from moments of the rows."""
    d = X.shape[1]
    H, fourth = X.T @ X / len(X), np.einsum("ri,rj,rk,rl->ikjl", X, X, X, X, optimize=True) / len(X)
    one = np.eye(d)
    square = np.kron(one, one) - eta * (np.kron(H, one) + np.kron(one, H)) + eta**2 * fourth.reshape(d * d, -1)
    return np.abs(np.linalg.eigvals(square)).max()


def test_csr_rows_have_the_constants_of_their_dense_copy():
    problem = a_problem("logistic", intercept=True, weighted=True)
    X = problem.X * (np.random.default_rng(1).random(problem.X.shape) < 0.4)
    options = {"loss": "logistic", "l2": 1e-2, "sample_weight": problem.sample_weight, "fit_intercept": True}
    dense = estimate(fl.Problem(X, problem.y, **options))
    csr = estimate(fl.Problem(sparse.csr_matrix(X), problem.y, **options))
    for name in ("mu", "mu_eff", "lipschitz", "noise", "floor", "bias", "stability_limit"):
        assert getattr(csr, name) == pytest.approx(getattr(dense, name), rel=1e-8), name


def test_float32_rows_give_the_constants_of_their_float64_copy():
    problem = a_problem("logistic", intercept=True)
    X = problem.X.astype(np.float32)
    single = estimate(fl.Problem(X, problem.y.astype(np.float32), loss="logistic", l2=1e-2, fit_intercept=True))
    double = estimate(fl.Problem(X.astype(np.float64), problem.y, loss="logistic", l2=1e-2, fit_intercept=True))
    for name in ("mu", "mu_eff", "lipschitz", "noise", "floor"):
        assert getattr(single, name) == pytest.approx(getattr(double, name), rel=1e-8)


def test_the_floor_is_the_mean_excess_of_estimates_from_fresh_rows():
    # The data set is the population; n rows drawn from it are a sample; the excess is that on the population.
    problem = a_problem("squared", n=500, l2=0.0)
    floor, f_star = estimate(problem).floor, problem.objective(problem.optimum())
    rng = np.random.default_rng(0)
    answers = []
    for _ in range(400):
        rows = rng.integers(problem.n_samples, size=problem.n_samples)
        answers.append(np.linalg.lstsq(problem.X[rows], problem.y[rows])[0])
    excess = problem.objective(np.array(answers)) - f_star
    # Standard error 4%; terms of higher order in 1/n are below 3%.
    assert excess.mean() == pytest.approx(floor, rel=0.15)


def test_directions_without_extent_are_left_out():
    problem = a_problem("squared", l2=0.0)
    doubled = fl.Problem(np.column_stack([problem.X, problem.X[:, 0], np.zeros(len(problem.X))]), problem.y)
    found, rotated = estimate(doubled), problem.X.copy()
    rotated[:, 0] *= np.sqrt(2)  # what a column and its copy are in their one direction with extent
    wanted = estimate(fl.Problem(rotated, problem.y))
    assert found.mu == pytest.approx(wanted.mu, rel=1e-9)
    assert found.mu_eff == pytest.approx(wanted.mu_eff, rel=1e-9)
    assert found.floor == pytest.approx(wanted.floor, rel=1e-9)


def test_without_noise_the_effective_constant_is_the_largest():
    found = estimate(fl.Problem(np.array([[1.0, 0.0], [0.0, 2.0]]), np.zeros(2)))
    assert (found.noise, found.floor) == (0.0, 0.0)
    assert found.mu_eff == found.lipschitz == pytest.approx(2.0)


def test_wrong_arguments_are_named():
    problem = a_problem()
    with pytest.raises(ValueError, match=r"confidence must be between 0 and 1, got 95; 0.95 is usual"):
        estimate(problem, confidence=95)
    with pytest.raises(ValueError, match=r"w must have shape \(4,\), got \(3,\)"):
        estimate(problem, np.zeros(3))
    with pytest.raises(ValueError, match="w must be finite"):
        estimate(problem, np.full(4, np.nan))
    with pytest.raises(TypeError, match="n_rows must be an int"):
        estimate(problem, n_rows=0.5)
    with pytest.raises(ValueError, match="seed must be an int >= 0"):
        estimate(problem, seed=-1)


def test_rows_of_zeros_are_refused():
    with pytest.raises(ValueError, match="the Hessian is zero"):
        estimate(fl.Problem(np.zeros((3, 2)), np.ones(3)), np.zeros(2))


def test_separable_data_has_no_constants():
    X = np.array([[1.0], [-1.0]])
    with pytest.raises(ValueError, match="l2 > 0"):
        estimate(fl.Problem(X, X[:, 0], loss="logistic"))
