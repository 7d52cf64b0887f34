"""Rows stored as bfloat16: a run on them is the run on the rounded problem, and reports on the original one."""

import exact
import numpy as np
import pytest
from conftest import make_data
from scipy import sparse

import fastlsgd as fl
from fastlsgd import theory

WIDTHS = [1, 15, 16, 17, 31, 32, 33, 37, 64, 100, 513, 1000]
FORMS = [
    {},
    {"sampling": "replacement"},
    {"sampling": "blocks"},
    {"partition": "contiguous"},
    {"partition": "contiguous", "sampling": "replacement"},
    {"batch_size": 5},
    {"batch_size": 6, "sampling": "replacement"},
    {"average": "poly:1"},
    {"average": "tail:0.4", "batch_size": 4},
]


def nearest(X):
    """The nearest bfloat16s by arithmetic, not by bits: eight binary digits, ties to even, none finer than 2^-133."""
    wide = X.astype(np.float64)
    unit = np.maximum(np.frexp(wide)[1] - 8, -133)
    return np.ldexp(np.rint(np.ldexp(wide, -unit)), unit).astype(np.float32)


def solve(problem, **options):
    settings = {
        "n_workers": 3, "n_steps": 150, "schedule": fl.Periods([3, 1, 1, 7, 2]), "seed": 7,
        "step_size": fl.PolynomialDecay(0.001, 0.5), "record": 0,
    }  # fmt: skip
    return fl.local_sgd(problem, **{**settings, **options})


def bits(result):
    return result.state.W.tobytes(), result.state.sums().tobytes(), result.w.tobytes(), result.w_bar.tobytes()


def problems(loss="logistic", n=203, d=37, **options):
    X, y = make_data(loss, np.float32, n=n, d=d)
    return fl.Problem(X, y, loss=loss, **options)


def test_rounding_is_to_the_nearest_bfloat16_and_ties_go_to_even():
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 0x7F7F8000, 60_000, dtype=np.uint32)
    ties = (patterns[:10_000] & 0xFFFF0000) | 0x8000
    ties = ties[ties < 0x7F7F8000]
    edges = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0x18000, 0x007FFFFF, 0x00800000, 0x7F7F7FFF], np.uint32)
    values = np.concatenate([patterns, ties, edges])
    values = np.concatenate([values, values | 0x80000000])
    X = values[: len(values) // 33 * 33].view(np.float32).reshape(-1, 33)
    y = np.zeros(len(X), np.float32)
    assert fl.Problem(X, y).rounded().X.tobytes() == nearest(X).tobytes()
    # The compiled copy: blocks of 32 entries, the i-th beside the one 16 further on, zeros behind the last.
    shards = fl.Shards(X, y, n_workers=4, layout="packed", storage="bf16", n_threads=2)
    words = shards._packed[0].words.reshape(len(X), 2, 16)
    entries = np.concatenate([words << 16, words & 0xFFFF0000], axis=2).reshape(len(X), 64).view(np.float32)
    assert entries[:, :33].tobytes() == nearest(X)[shards.order].tobytes()
    assert not entries[:, 33:].any()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())) or "plain")
@pytest.mark.parametrize("n_workers", [1, 2, 5, 12])  # lockstep of one, two and four
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_a_run_is_the_run_on_the_rounded_problem_bit_for_bit(isa, loss, n_workers, form):
    weights = np.random.default_rng(1).uniform(0.5, 2, 203)
    problem = problems(loss, l2=0.01, sample_weight=weights, fit_intercept=True)
    other = fl.Problem(nearest(problem.X), problem.y, loss, 0.01, weights, fit_intercept=True)
    want = bits(solve(other, n_workers=n_workers, **form))
    assert want != bits(solve(problem, n_workers=n_workers, **form))
    for n_threads in (1, 3):
        result = solve(problem, n_workers=n_workers, n_threads=n_threads, storage="bf16", **form)
        assert bits(result) == want


@pytest.mark.parametrize("d", WIDTHS)
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_that_holds_for_every_width_of_a_row(isa, d, fit_intercept):
    problem = problems(d=d, n=60, fit_intercept=fit_intercept)
    for n_workers, batch_size in ((1, 1), (2, 1), (4, 1), (1, 3), (2, 9)):
        form = {"n_workers": n_workers, "batch_size": batch_size, "n_steps": 40}
        assert bits(solve(problem, storage="bf16", **form)) == bits(solve(problem.rounded(), **form))


@pytest.mark.parametrize("form", [{}, {"sampling": "replacement"}, {"batch_size": 5}])
def test_a_run_is_the_exact_twin_on_rounded_rows(form):
    problem = problems(l2=0.01)
    eta = fl.PolynomialDecay(0.01, 0.5)
    twin = exact.Twin(nearest(problem.X), problem.y, loss="logistic", l2=0.01, n_workers=3, seed=7, **form)
    twin.run(eta(np.arange(1, 27)), [9, 9, 8])
    schedule = fl.Periods([9, 9, 8])
    result = solve(problem, storage="bf16", n_steps=26, schedule=schedule, step_size=eta, **form)
    assert result.state.W.tobytes() == twin.W.tobytes()
    assert result.w_bar.tobytes() == twin.w_bar.tobytes()


@pytest.mark.parametrize("form", [{}, {"sampling": "replacement"}, {"sampling": "blocks", "batch_size": 3}])
def test_cutting_and_loading_change_no_bit_and_another_storage_is_refused(form, tmp_path):
    problem = problems(n=60, l2=0.01)
    whole = solve(problem, storage="bf16", **form)
    for cut in (1, 40, 149):
        stopped = solve(problem, storage="bf16", **form, record=[cut], callback=lambda record: True).state
        assert stopped.t == cut
        stopped.save(tmp_path / "state")
        loaded = fl.State.load(tmp_path / "state")
        assert bits(solve(problem, storage="bf16", n_threads=2, **form, state=loaded)) == bits(whole)
        with pytest.raises(fl.CheckpointError, match="storage is 'dense', was 'bf16'"):
            solve(problem, **form, state=loaded)
        with pytest.raises(fl.CheckpointError, match="storage is 'dense', was 'bf16'"):
            solve(problem.rounded(), **form, state=loaded)
    exactly = solve(problem, **form, record=[40], callback=lambda record: True).state
    with pytest.raises(fl.CheckpointError, match="storage is 'bf16', was 'dense'"):
        solve(problem, storage="bf16", **form, state=exactly)


def test_what_is_reported_is_on_the_original_data():
    problem = problems(l2=0.01)
    result = solve(problem, storage="bf16", record=3)
    assert result.trace.objective_w[-1] == problem.objective(result.w)
    assert result.trace.objective_w_bar[-1] == problem.objective(result.w_bar)
    assert result.trace.excess()[-1] == problem.excess(result.w_bar)
    assert problem.objective(result.w) != problem.rounded().objective(result.w)


def test_inputs_are_left_alone_and_the_ledger_says_what_was_copied(tmp_path):
    problem = problems(d=50)
    before = problem.X.copy()
    problem.X.setflags(write=False)
    run = fl.Run(problem, n_workers=4, storage="bf16", record=0).advance()
    assert problem.X.tobytes() == before.tobytes()
    assert (run.trace.layout, run.trace.storage) == ("packed", "bf16")
    assert run.trace.n_copied_bytes == 203 * (64 * 2 + 4)  # whole blocks of 32 entries, and the targets
    assert "storage='bf16'" in repr(run)
    assert fl.Run(problem, n_workers=4, record=0).trace.storage is None
    # Draws from all rows read one copy of them.
    draws = fl.Run(problem, n_workers=4, storage="bf16", sampling="replacement", record=0)
    assert draws.trace.n_copied_bytes == run.trace.n_copied_bytes
    # A file that is mapped.
    mapped = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float32, before.shape)
    mapped[:] = before
    on_file = fl.Problem(np.load(tmp_path / "X.npy", mmap_mode="r"), problem.y, loss="logistic")
    assert bits(solve(on_file, storage="bf16")) == bits(solve(problem, storage="bf16"))
    mapped[7, 3] = np.nan
    on_file = fl.Problem(np.load(tmp_path / "X.npy", mmap_mode="r"), problem.y, loss="logistic")
    with pytest.raises(ValueError, match="X must be finite, got nan at row 7, column 3"):
        solve(on_file, storage="bf16")


def test_what_cannot_be_stored_so_is_refused_with_what_to_do():
    X, y = make_data("logistic", np.float64)
    narrow = fl.Problem(X.astype(np.float32), y, loss="logistic")
    with pytest.raises(ValueError, match="storage must be None or 'bf16', got 'fp8'"):
        solve(narrow, storage="fp8")
    with pytest.raises(ValueError, match="layout must be 'auto' or 'packed', got 'view'"):
        solve(narrow, storage="bf16", layout="view")
    with pytest.raises(ValueError, match="layout must be 'auto' or 'packed', got 'view'"):
        fl.Shards(narrow.X, narrow.y, n_workers=2, storage="bf16")
    csr = sparse.csr_matrix(X.astype(np.float32))
    stream = fl.Problem(fl.GaussianStream(n_features=5, spectrum="1/k", noise=1.0))
    for problem, message in (
        (fl.Problem(X, y, loss="logistic"), r"for float32 rows, got float64.*astype\(np.float32\)"),
        (fl.Problem(csr, y, loss="logistic"), "is for dense rows, got CSR"),
        (stream, "got a stream"),
    ):
        with pytest.raises(TypeError, match=message):
            solve(problem, storage="bf16")
        with pytest.raises(TypeError, match=message):
            problem.rounded()


@pytest.mark.parametrize("options", [{}, {"sampling": "replacement"}])
def test_an_entry_that_would_become_infinite_is_named(options):
    X, y = make_data("squared", np.float32, n=3000, d=40)
    largest = np.array(0x7F7F7FFF, np.uint32).view(np.float32)
    X[2500, 39] = -largest
    problem = fl.Problem(X, y)
    assert np.isfinite(problem.rounded().X).all()
    fl.Run(problem, **options, storage="bf16", step_size=fl.Constant(1e-80), record=0)
    X[2500, 39] = np.nextafter(-largest, np.float32(-np.inf))  # behind the problem's back
    message = r"X must be finite when rounded to bfloat16, got -3.396\d+e\+38 at row 2500, column 39; scale"
    with pytest.raises(ValueError, match=message):
        fl.Run(problem, **options, storage="bf16", step_size=fl.Constant(1e-80), record=0)
    with pytest.raises(ValueError, match=message):
        problem.rounded()
    X[2500, 39] = np.nan
    with pytest.raises(ValueError, match="got nan at row 2500, column 39"):
        fl.Run(problem, **options, storage="bf16", step_size=fl.Constant(1e-80), record=0)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_rounding_moves_the_optimum_by_far_less_than_the_choice_of_the_rows_does(loss):
    problem = problems(loss, n=2000, d=30, l2=1e-3)
    moved = problem.excess(problem.rounded().optimum())
    assert problem.excess_resolution() < moved < 1e-4 * theory.estimate(problem).floor
    found = solve(problem, storage="bf16", n_workers=4, n_steps=4000, step_size=fl.Constant(0.01), batch_size=8)
    assert problem.excess(found.w_bar) < 0.1 * problem.excess(np.zeros(30))
