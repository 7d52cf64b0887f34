"""Figures on the same problem share the runs of methods that both ask for."""

import pytest

from fastlsgd.reproduce.figure import Request
from fastlsgd.reproduce.real import Bench, large, load, local

pytest.importorskip("sklearn")  # breast_cancer


def test_what_one_figure_has_run_the_next_does_not_run_again():
    data, request = load("breast_cancer"), Request(quick=True, data="breast_cancer", n_threads=1)
    method = local(data, 8, 16)
    first, second = Bench(data, request, "one"), Bench(data, request, "another")
    assert (
        local(data, 8, 16) is method and large(data, 8, 16) is large(data, 8, 16) and local(data, 8, 1) is not method
    )
    first.lab.answer([(method, 1.0, 0)])
    assert first.lab.done == 1
    second.lab.answer([(method, 1.0, 0), (method, 2.0, 0)])
    assert second.lab.done == 1
    assert second.lab.excess[method, 1.0, 0] == first.lab.excess[method, 1.0, 0] > 0.0
