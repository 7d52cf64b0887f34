"""Reproduce: the figures that show what local SGD does, as pictures, tables and sentences.

What ``fastlsgd reproduce`` runs. Each figure is one file here with the same protocol: a ``FIGURE`` whose ``make``
takes a ``Request`` and returns a ``Made`` (table, picture, words). To add one, write its file and name it in
``running.FIGURES``.

    figure    Figure, Request, Made: the protocol     running   FIGURES, select, plan, run: made, written
    families  (a) three families of schedules         floor     (b) one-shot averaging's floor
    factor    (c) fewer averagings at equal error     slopes    (d) slopes of last iterate and average
    periods   (e) error against period                steps     (f) error against step size
    simulated problems whose truth is known: (a) to (d)
    real      real data, runs and predictions on it   drawing   what the pictures have in common
    limits    the largest stable step                 report    what was made, for people
"""

from .figure import Figure, Made, Request
from .running import FIGURES, Job, Outcome, left_out, plan, run, select

__all__ = ["FIGURES", "Figure", "Job", "Made", "Outcome", "Request", "left_out", "plan", "run", "select"]
