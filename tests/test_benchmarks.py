"""What measures is tested too: ratios, verdicts, limits that check themselves, sides that notice wrong results.

No test here asserts a time.
"""

import ctypes
import importlib.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import exact
import numpy as np
import pytest
import scipy.sparse

import fastlsgd as fl
from fastlsgd.benchmarks import compiled, limits, machine, memory, problems, report, targets, timing
from fastlsgd.benchmarks.compiled import Missing
from fastlsgd.benchmarks.peers import ScikitLearnSGD
from fastlsgd.benchmarks.targets import Outcome, Target
from fastlsgd.cores import available_cores

ROOT = Path(__file__).parent.parent


def measured(function, *arguments, **options):
    try:
        return function(*arguments, **options)
    except Missing as reason:
        if os.environ.get("CI"):  # has a compiler and two cores
            raise
        pytest.skip(str(reason))


# ---- limits ----


def test_reading_gives_the_known_sum_and_a_wrong_one_is_noticed():
    words = np.arange(100_003, dtype=np.uint64)
    assert limits.words_sum(words) == 100_003 * 100_002 // 2
    for n_threads in (1, 2, 3):
        assert measured(limits.read_s, words, n_threads, repeats=3) > 0
    with pytest.raises(RuntimeError, match="computed something wrong"):
        limits.read_s(words, 2, total=limits.words_sum(words) + 1)


def test_the_sweep_covers_every_doubling():
    rows = measured(limits.cache_sweep, 1 << 18)
    assert [row["n_bytes"] for row in rows] == [2**k for k in range(15, 19)]
    assert all(row["gb_s_1"] > 0 and row["gb_s_2"] > 0 for row in rows)


def test_barriers_let_nobody_through_too_soon():
    if available_cores() < 2:
        with pytest.raises(Missing):
            limits.barrier_s()
    else:
        assert measured(limits.barrier_s, 500, best_of=3) > 0


@pytest.mark.parametrize("itemsize", [4, 8])
def test_the_peak_counts_unfused_operations(itemsize):
    assert measured(limits.peak_flops, 16, itemsize=itemsize, best_of=2) > 0
    with pytest.raises(Missing, match="24-byte"):
        limits.peak_flops(24, itemsize=itemsize)


def test_the_bare_loop_on_sparse_rows_computes_what_it_should():
    X = problems.csr(small=True).X
    for n_threads in (1, 2, 3):
        assert measured(limits.sparse_s, X, n_threads, best_of=2) > 0
    twice = X.copy()
    twice.indices[1] = twice.indices[0]  # of which v keeps one
    with pytest.raises(RuntimeError, match="sparse"):
        limits.sparse_s(twice, 1, best_of=1)
    with pytest.raises(Missing, match="sparse rows"):
        limits.sparse_s(scipy.sparse.csr_array(np.ones((2, 1025), np.float32)), 1)


def test_the_words_are_those_of_the_twin_in_numpy(monkeypatch):
    n = 40
    expected = sum(
        (word[1] << 32 | word[0]) + (word[3] << 32 | word[2])
        for word in (exact.philox((call, 0, 0, 0xFFFFFFF0), (limits.WORDS_SEED, 0), 8) for call in range(16 * n))
    )
    assert limits._words_result(n) == expected % 2**64
    assert measured(limits.words_s, 16, n=n, best_of=1) > 0
    monkeypatch.setattr(limits, "_words_result", lambda n: expected % 2**64 + 1)
    with pytest.raises(RuntimeError, match="words"):
        limits.words_s(16, n=n, best_of=1)


@pytest.mark.parametrize("width", [1, 4])
def test_the_chain_is_the_packages_own_step_bit_for_bit(width, monkeypatch):
    assert measured(limits.chain_s, 16, width, n=500, best_of=1) > 0
    monkeypatch.setattr(limits, "_chain_result", lambda *_: np.zeros(32, np.float32))
    with pytest.raises(RuntimeError, match="chain"):
        limits.chain_s(16, width, n=500, best_of=1)


def test_a_compiler_may_be_called_through_another_command(monkeypatch):
    monkeypatch.setenv("CC", "env gcc -pthread -O0")
    assert compiled.compiler() == ["env", "gcc"]


def test_without_a_compiler_one_sentence_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setattr(compiled.sysconfig, "get_config_var", lambda name: None)
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    with pytest.raises(Missing, match="no C compiler"):
        compiled.load(tmp_path / "some.c")


def test_a_file_that_does_not_compile_is_named(tmp_path):
    source = tmp_path / "broken.c"
    source.write_text("this is no C\n")
    with pytest.raises(Missing, match=r"broken\.c|no C compiler"):
        compiled.load(source)


def test_a_compiled_file_runs(tmp_path):
    source = tmp_path / "one.c"
    source.write_text("int one_more(int i) { return i + 1; }\n")
    assert measured(compiled.load, source).one_more(ctypes.c_int(41)) == 42


@pytest.mark.parametrize("source", ["fastlsgd/benchmarks/limits.c", "bench/hogwild.c"])
def test_where_any_file_is_compiled_so_are_our_own(source, tmp_path):
    # A refusal is a reason to skip for benchmarks: it must not hide that a file fell behind the kernels' headers.
    any_file = tmp_path / "any.c"
    any_file.write_text("int one_more(int i) { return i + 1; }")
    measured(compiled.load, any_file)
    compiled.load(ROOT / source)


# ---- sides ----


@pytest.fixture(scope="module")
def problem():
    return problems.logistic(20, small=True)


def test_a_pass_repeats_itself_bit_for_bit_and_counts(problem):
    work = timing.Pass(problem, schedule=fl.FixedPeriod(16), n_workers=4).check()
    first = work.run.W.tobytes()
    assert work() > 0
    assert work.run.W.tobytes() == first
    assert (work.n_gradients, work.n_rounds) == (problem.n_samples, problem.n_samples // 4 // 16)


def test_a_later_epoch_begins_where_the_first_ended(problem):
    work = timing.Pass(problem, epoch=2, schedule=fl.FixedPeriod(16)).check()
    assert work.n_gradients == 2 * problem.n_samples
    plain = fl.Run(problem, n_workers=2, n_steps=work.run.n_steps, schedule=fl.FixedPeriod(16), record=0,
                   step_size=problems.step(problem)).advance()  # fmt: skip
    assert plain.w_bar.tobytes() == work.run.w_bar.tobytes()


def test_a_pass_notices_other_bits(problem):
    work = timing.Pass(problem, schedule=fl.FixedPeriod(16))
    work._start.W[0, 0] = 0.5
    with pytest.raises(RuntimeError, match="other bits"):
        work.check()


def test_what_learned_nothing_is_not_timed(problem):
    problems.check_learned(problem, problem.optimum())
    with pytest.raises(RuntimeError, match="learned nothing"):
        problems.check_learned(problem, np.zeros(problem.n_params))


def test_csr_rows_are_the_same_whatever_the_width_of_their_indices():
    narrow, wide = (problems.csr(small=True, index=index) for index in ("int32", "int64"))
    assert (narrow.X.indices.dtype, wide.X.indices.dtype) == (np.int32, np.int64)
    assert narrow.objective(np.ones(4_700)) == wide.objective(np.ones(4_700))
    assert 71 < narrow.entries_a_row < 72
    assert narrow.row_norms().mean_square == pytest.approx(1.0, rel=0.01)


def test_the_peer_does_one_pass_of_the_same_problem(problem):
    pytest.importorskip("sklearn")
    peer = ScikitLearnSGD(problem).check()
    assert peer.model.t_ == 1 + problem.n_samples
    assert peer.w_bar.dtype == np.float32
    run = fl.Run(problem, n_workers=1, partition="contiguous", step_size=problems.step(problem), record=0).advance()
    assert np.linalg.norm(peer.w_bar - run.w_bar) < 0.1 * np.linalg.norm(run.w_bar)


def test_a_peer_that_is_not_installed_is_missing(problem, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(Missing, match="not installed"):
        ScikitLearnSGD(problem)


def test_sides_take_turns():
    calls = []
    sides = {name: lambda name=name: calls.append(name) or 1.0 for name in "ab"}
    rounds = list(timing.alternate(sides, 3))
    assert rounds == [{"a": 1.0, "b": 1.0}] * 3
    turns = [name for i, name in enumerate(calls) if i == 0 or calls[i - 1] != name]
    assert turns == list("ababab")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_busy_core_is_busy_only_while_it_is_asked_to():
    core = measured(timing.BusyCore)

    def state():
        return Path(f"/proc/{core._process.pid}/stat").read_text().split()[2]

    try:
        with core.at_work():
            assert state() == "R"
        while state() == "R":  # the signal is on its way
            pass
        assert state() == "T"
    finally:
        core.close()
    assert core._process.returncode is not None


@pytest.mark.parametrize("layout", memory.LAYOUTS)
def test_memory_stays_within_what_is_promised(layout):
    growth = measured(memory.measure, layout, 60_000, 100)
    assert growth.data == 60_000 * 101 * 4
    # A copy in float64, or one copy too many, could not stay within it.
    assert growth.promised < 2 * growth.data
    assert growth.grown <= growth.promised
    if layout == "packed":
        assert growth.grown > growth.data / 2


COPYING = """
import sys
from fastlsgd import problem
from fastlsgd.benchmarks import memory
lay_out = problem.Problem._lay_out
def with_a_copy(self):
    lay_out(self)
    self.copy = self.X.astype("float64")
problem.Problem._lay_out = with_a_copy
growth = memory.Growth(**memory._measure_here(sys.argv[1], 60_000, 100, 8))
print(growth.grown > growth.promised)
"""


# Only Linux forgets and tells the peak of a process's memory: elsewhere memory.measure says it is Missing.
tells_its_peak = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="no peak of memory without /proc"
)


@tells_its_peak
@pytest.mark.parametrize("layout", memory.LAYOUTS)
def test_a_copy_that_the_problem_keeps_breaks_the_promise(layout):
    done = subprocess.run([sys.executable, "-c", COPYING, layout], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


@tells_its_peak
def test_a_failing_process_is_no_reason_to_skip():
    with pytest.raises(RuntimeError, match="failed"):
        memory.measure("view", 64, 0)


# ---- targets ----


def test_ratios_and_verdicts():
    slower = Target("a", "a", "scene", "ours", "against", 1.3, 1.1)
    faster = Target("b", "b", "scene", "ours", "against", 18, 22, times_faster=True)
    assert slower.ratio({"ours": 3.0, "against": 2.0}) == 1.5
    assert faster.ratio({"ours": 2.0, "against": 40.0}) == 20.0
    assert [Outcome(slower, [r]).verdict for r in (1.0, 1.2, 1.4)] == ["aim met", "met", "not met"]
    assert [Outcome(faster, [r]).verdict for r in (25, 20, 10)] == ["aim met", "met", "not met"]
    assert Outcome(faster, [10, 20, 25]).median == 20
    assert Outcome(faster, skipped="no peer").verdict == "skipped"
    assert Outcome(Target("c", "c", "scene", "ours", "against"), [1.0]).verdict == ""


def test_every_row_has_a_name_of_its_own_and_a_scene():
    names = [target.name for target in targets.TARGETS]
    assert len(set(names)) == len(names) > 25
    assert {target.scene for target in targets.TARGETS} == set(targets.SCENES)
    for target in targets.TARGETS:
        if target.limit is not None and target.aim is not None:
            assert target.meets(target.aim, target.limit), f"{target.name}: the aim lies beyond the target"


@pytest.mark.parametrize("scene", targets.SCENES)
def test_every_row_names_sides_that_its_scene_has(scene):
    makers = measured(targets.SCENES[scene], True)
    for target in targets.TARGETS:
        if target.scene == scene:
            assert {target.ours, target.against} <= set(makers)


def test_rows_are_selected_by_words_and_a_word_that_names_none_is_refused():
    assert [target.name for target in targets.select(["period-16"])] == [
        "period-16",
        "period-16-both",
        "busy-period-16",
    ]
    assert targets.select([]) == list(targets.TARGETS)
    with pytest.raises(ValueError, match="no row's name contains 'nothing'"):
        targets.select(["nothing"])


@pytest.fixture
def scene(monkeypatch):
    """One scene of made-up sides: a target that is met, one that is missed, one that lacks its peer."""

    def no_peer():
        raise Missing("no peer here")

    sides = {"ours": lambda: lambda: 1.0, "slow": lambda: lambda: 2.0, "peer": no_peer}
    monkeypatch.setitem(targets.SCENES, "made up", lambda small: sides)
    rows = (
        Target("good", "twice as fast", "made up", "ours", "slow", 1.5, 2.0, times_faster=True),
        Target("bad", "as fast as that", "made up", "slow", "ours", 1.5, 1.0),
        Target("lacking", "against the peer", "made up", "ours", "peer", 1.5, 1.0),
        Target("beside", "for reading", "made up", "ours", "slow"),
    )
    monkeypatch.setattr(targets, "TARGETS", rows)
    return rows


def test_a_scene_is_measured_and_what_lacks_is_skipped_with_its_reason(scene):
    outcomes = targets.Benchmark(scene, n_rounds=3).run()
    assert [outcome.verdict for outcome in outcomes] == ["aim met", "not met", "skipped", ""]
    assert list(outcomes[0].ratios) == [2.0, 2.0, 2.0]
    assert outcomes[2].skipped == "no peer here"
    assert report.sentence(outcomes) == ("1 of 3 targets met, 1 of them with the aim beyond; 1 not met, 1 skipped.")


def test_the_table_shows_target_aim_ratio_range_and_both_sides(scene):
    console = pytest.importorskip("rich.console")
    outcomes = targets.Benchmark(scene, n_rounds=2).run()
    shown = console.Console(width=150, record=True, file=io.StringIO())
    shown.print(report.table(outcomes))
    lines = {line.split("  ")[0]: line for line in shown.export_text().splitlines()}
    assert all(word in lines["twice as fast"] for word in (">= 1.50", "2.00 .. 2.00", "1000 ms : 2000 ms", "aim met"))
    assert "skipped: no peer here" in lines["against the peer"]


def test_the_command_prints_writes_and_is_strict_when_asked(scene, tmp_path):
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from fastlsgd import cli

    path = tmp_path / "speeds.json"
    done = CliRunner().invoke(cli.app, ["bench", "--rounds", "2", "--json", str(path)])
    assert done.exit_code == 0
    assert "1 of 3 targets met" in done.output
    assert "processor" in done.output
    rows = json.loads(path.read_text())["rows"]
    assert [row["verdict"] for row in rows] == ["aim met", "not met", "skipped", ""]
    assert rows[0]["ratios"] == [2.0, 2.0]
    assert CliRunner().invoke(cli.app, ["bench", "--strict"]).exit_code == 1
    assert CliRunner().invoke(cli.app, ["bench", "--strict", "good"]).exit_code == 0
    listed = CliRunner().invoke(cli.app, ["bench", "--list"])
    assert [line.split()[0] for line in listed.output.splitlines()] == ["good", "bad", "lacking", "beside"]
    refused = CliRunner().invoke(cli.app, ["bench", "nothing"])
    assert refused.exit_code == 2
    assert "no row's name contains" in refused.stderr


def test_facts_name_the_machine():
    facts = machine.facts()
    assert f"{available_cores()} cores" in facts["processor"]
    assert fl._kernels.isa() in facts["instruction set"]


# ---- bench/regress.py ----


def of_bench(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "bench" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def regress():
    return of_bench("regress")


@pytest.fixture(scope="module")
def counts():
    return of_bench("counts")


def test_totals_are_read_from_what_callgrind_writes(counts, tmp_path):
    path = tmp_path / "out.1"
    path.write_text("desc: Trigger: Client Request: d = 20:long\nevents: Ir Dr D1mr\ntotals: 70 20\n")
    assert counts.dump(path) == ("d = 20:long", {"Ir": 70, "Dr": 20, "D1mr": 0})
    path.write_text("desc: Trigger: Program termination\nevents: Ir\ntotals: 3\n")
    assert counts.dump(path) is None


def test_where_nothing_can_be_counted_one_sentence_says_why(counts, monkeypatch):
    monkeypatch.setattr(counts.shutil, "which", lambda name: None)
    with pytest.raises(Missing, match="valgrind is not installed"):
        counts.count(["d = 20"])


def test_every_scene_asks_for_something_and_longer_rows_for_more(counts):
    least = {name: scene.least for name, scene in counts.SCENES.items()}
    assert min(least.values()) > 0
    assert least["d = 20"] < least["d = 100"] < least["d = 1000"]
    assert least["d = 100"] == least["d = 100, one-shot"] == 10 * 13


@pytest.mark.long
def test_counts_are_the_same_twice_and_above_what_the_arithmetic_asks_for(counts):
    name = "d = 20"
    first, again = (measured(counts.count, [name])[name]["Ir"] for _ in range(2))
    assert first == pytest.approx(again, rel=1e-3)
    assert counts.SCENES[name].least < first < 20 * counts.SCENES[name].least


@pytest.mark.parametrize(
    ("base_ns", "head_ns", "slower"),
    [(100, 109, False), (100, 111, True), (10, 11.9, False), (10, 12.5, True), (100, 50, False), (10, 12, False)],
)
def test_slower_is_what_passes_both_limits(regress, base_ns, head_ns, slower):
    assert regress.Change("kernel", base_ns, head_ns).is_slower is slower


class Told:
    """A commit whose times are told beforehand."""

    def __init__(self, **times):
        self.kernels, self._times = list(times), {name: iter(values) for name, values in times.items()}

    def time(self, kernel):
        return next(self._times[kernel])

    def answer(self, kernel):
        return [1.0, -0.5]


def test_a_slowed_kernel_is_found_and_a_noisy_one_is_measured_again(regress):
    base = Told(slowed=[20.0] * 20, noisy=[20.0] * 20, gone=[1.0] * 20)
    head = Told(slowed=[30.0] * 20, noisy=[30.0, 31.0, 29.0, 20.5] + [40.0] * 20)
    changes = {change.kernel: change for change in regress.measure(base, head, 2)}
    assert set(changes) == {"slowed", "noisy"}
    assert changes["slowed"].is_slower
    assert not changes["noisy"].is_slower
    assert changes["slowed"].answers_agree


@pytest.mark.parametrize(("off", "agree"), [(1e-5, True), (1e-2, False)])
def test_a_kernel_that_answers_otherwise_is_named_whatever_its_time(regress, off, agree):
    base, head = Told(kernel=[20.0] * 20), Told(kernel=[10.0] * 20)
    head.answer = lambda kernel: [1.0, -0.5 + off]
    (change,) = regress.measure(base, head, 2)
    assert change.answers_agree is agree
    assert ("OTHER ANSWER" in str(change)) is not agree


def test_every_kernel_of_the_comparison_of_commits_is_made_and_timed(regress):
    """Else a name that is gone is found out by whoever needs the comparison."""
    commit = regress.Commit(Path(fl.__file__).parents[1], small=True)
    try:
        words = " ".join(commit.kernels)
        for kind in ("stream", "bf16", "blocks", "in place", "gradient", "excess", "replicates", "CSR", "objective"):
            assert kind in words
        for kernel in commit.kernels:
            assert commit.time(kernel) > 0
            answer = commit.answer(kernel)  # of a run that has been timed, and of one done anew
            assert answer == commit.answer(kernel) and max(map(abs, answer)) > 0
    finally:
        commit.close()


def test_a_comparison_of_no_rounds_is_refused(regress, capsys):
    with pytest.raises(SystemExit):
        regress.main(["HEAD", "--rounds", "0"])
    assert "--rounds must be at least 1, got 0" in capsys.readouterr().err


@pytest.mark.long
def test_a_commit_that_slows_the_kernels_is_found(tmp_path):
    clone = tmp_path / "clone"
    git = ["git", "-C", str(clone), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    header = clone / "src" / "arith.h"
    text = header.read_text()
    slowed = text.replace(
        "    return p * fl_bits_float(",
        "    for (volatile int i = 0; i < 100; i++)\n        ;\n    return p * fl_bits_float(",
    )
    assert slowed != text
    header.write_text(slowed)
    subprocess.run([*git, "commit", "-qam", "slower"], check=True)
    command = [sys.executable, "-m", "bench.regress", "HEAD~1", "HEAD", "--small", "--rounds", "2"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "SLOWER" in done.stdout
    same = subprocess.run([*command[:3], "HEAD", "HEAD", *command[5:]], cwd=clone, capture_output=True, text=True)
    assert same.returncode == 0, same.stdout + same.stderr
