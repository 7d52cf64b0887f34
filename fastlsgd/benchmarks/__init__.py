"""Benchmarks that any installation can run: what the machine can do at best, and how near the package comes.

    limits     read bandwidth, barrier, arithmetic, latency: measured by C that does nothing else
    problems   the data, of known sizes
    timing     one run timed again and again; sides alternated, so that noise hits both
    targets    the ratios the package promises, each against a limit or a peer of the same run
    peers      what the targets are measured against, where it is installed
    memory     what a run adds to the memory, measured in a process of its own
    report     a table for the terminal

``fastlsgd bench`` runs the targets; ``bench/`` in a checkout has the whole suite (pytest-benchmark), which uses
these.
"""
