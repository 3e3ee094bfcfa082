"""What asv runs between releases: every class can be imported, set up, and run once."""

import importlib
import inspect
import itertools
import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
# Sizes at which one call takes a moment.
TINY = {"n_samples": 150, "n_epochs": 1, "batch_size": 10, "n_judged": 10}


def _benchmarks():
    """Return (class, name of a method, arguments) for everything that asv would run."""
    found = []
    for path in sorted((BENCHMARKS / "regression").glob("[!_]*.py")):
        module = importlib.import_module(f"benchmarks.regression.{path.stem}")
        for _, cls in inspect.getmembers(module, inspect.isclass):
            names = [n for n in dir(cls) if n.startswith(("time_", "peakmem_"))]
            for name, argument in itertools.product(names, getattr(cls, "params", [None])):
                found.append((cls, name, [] if argument is None else [argument]))
    return found


@pytest.mark.parametrize(
    ("cls", "name", "arguments"),
    _benchmarks(),
    ids=lambda value: getattr(value, "__name__", str(value)),
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # one epoch of little
def test_each_runs_once_on_little(cls, name, arguments, monkeypatch):
    for size, value in TINY.items():
        if hasattr(cls, size):
            monkeypatch.setattr(cls, size, value)
    benchmark = cls()
    benchmark.setup(*arguments)
    getattr(benchmark, name)(*arguments)


def test_asv_finds_the_folder_and_both_kinds_of_figures():
    config = json.loads((BENCHMARKS / "asv.conf.json").read_text())
    assert (BENCHMARKS / config["benchmark_dir"] / "__init__.py").is_file()
    kinds = {name.partition("_")[0] for _, name, _ in _benchmarks()}
    assert kinds == {"time", "peakmem"}
