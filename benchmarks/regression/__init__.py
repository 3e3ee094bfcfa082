"""Time and peak memory of small typical work, for asv to compare between commits.

Each class makes its data and models in `setup`, from fixed seeds; what is timed takes some tenths
of a second. They find regressions; figures to be quoted come from the benchmarks one folder up.
"""
