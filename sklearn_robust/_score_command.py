"""``python -m sklearn_robust score``: the report on a stored classifier, for a release gate."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from sklearn_robust._norms import NORMS

_FRAMES = ("pandas", "polars", "pyarrow")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``score`` to its parser."""
    add = parser.add_argument
    add(
        "model", type=Path, metavar="MODEL", help="a fitted classifier: .skops, or joblib or pickle"
    )
    add("data", type=Path, metavar="DATA.csv", help="samples to score on, with a line of names")
    add("--target", required=True, metavar="NAME", help="the column of labels")
    add(
        "--epsilon", required=True, type=float, nargs="+", help="radii, in the units of the columns"
    )
    add(
        "--unit",
        type=Path,
        metavar="UNIT.json",
        help="a unit for each column by its name, of which epsilon is a multiple; others stay",
    )
    add("--norm", choices=tuple(NORMS), help="default: the classifier's own, or linf")
    add("--attack", default="auto", metavar="NAME", help="as in robust_score (default: auto)")
    add("--seed", type=int, default=0)
    gate = "fail if less than this share of samples is %s at the largest radius"
    add("--fail-under", type=float, metavar="SHARE", help=gate % "right under attack")
    add("--fail-under-certified", type=float, metavar="SHARE", help=gate % "proven robust")
    add("--html", type=Path, metavar="FILE", help="write the report as a table of HTML")
    add("--json", type=Path, metavar="FILE", help="write the report as JSON")
    add(
        "--trust",
        action="store_true",
        help="load MODEL though that runs code from the file, as pickles do",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print and write the report; return 1 if it falls below a limit, else 0."""
    from sklearn_robust.metrics import evaluate_robustness

    model = load_model(arguments.model, trust=arguments.trust)
    X, y, columns = read_samples(arguments.data, arguments.target, model)
    report = evaluate_robustness(
        model,
        X,
        y,
        arguments.epsilon,
        unit=None if arguments.unit is None else _by_column(arguments.unit, columns),
        norm=arguments.norm,
        attack=arguments.attack,
        random_state=arguments.seed,
    )
    print(report)
    if arguments.html is not None:
        arguments.html.write_text(report._repr_html_(), encoding="utf-8")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(as_json(report), indent=2) + "\n", encoding="utf-8")
    return _below(report.radii[-1], arguments)


def load_model(path: Path, *, trust: bool) -> Any:
    """Return the classifier that is stored in a file of skops, joblib or pickle.

    Raises
    ------
    PermissionError
        If loading may run code from the file and `trust` is False.
    """
    if path.suffix == ".skops":
        return _load_skops(path, trust)
    if not trust:
        raise PermissionError(
            f"{path} is no skops file but a pickle, and loading one runs code from it. Pass "
            "--trust if you made it or trust who did."
        )
    import joblib

    return joblib.load(path)


def _load_skops(path: Path, trust: bool) -> Any:
    if find_spec("skops") is None:
        raise ModuleNotFoundError(f"{path} needs skops: pip install skops.")
    from skops.io import get_untrusted_types, load

    from sklearn_robust import linear_model

    # The linear classifiers themselves run nothing when skops makes them; no name beside theirs.
    classes = [vars(linear_model)[name] for name in linear_model.__all__]
    own = {f"{c.__module__}.{c.__name__}" for c in classes if isinstance(c, type)}
    types = get_untrusted_types(file=path)
    foreign = sorted(set(types) - own)
    if foreign and not trust:
        raise PermissionError(
            f"{path} holds types that skops does not know to be safe: {', '.join(foreign)}. Pass "
            "--trust if you made it or trust who did."
        )
    return load(path, trusted=types)


def read_samples(path: Path, target: str, model: Any) -> tuple[Any, np.ndarray, list[str]]:
    """Return samples as the model takes them, their labels, and the names of their columns.

    A model that was fitted with names gets a data frame of these columns, another one an array of
    all but the labels.
    """
    import narwhals as nw

    backend: Any = next((name for name in _FRAMES if find_spec(name)), None)
    if backend is None:
        raise ModuleNotFoundError(f"{path} needs one of {', '.join(_FRAMES)} to be read.")
    frame = nw.read_csv(str(path), backend=backend)
    named = getattr(model, "feature_names_in_", None)
    columns = [c for c in frame.columns if c != target] if named is None else list(named)
    if missing := [name for name in (target, *columns) if name not in frame.columns]:
        raise ValueError(f"{path} has no column {', '.join(map(repr, missing))}.")
    X, y = frame.select(columns), frame.get_column(target).to_numpy()
    known = np.asarray(getattr(model, "classes_", y))
    if not np.isin(y, known).any():
        raise ValueError(
            f"The column {target!r} holds no label that the model knows, such as "
            f"{known.tolist()[0]!r}; it begins with {y.tolist()[0]!r}."
        )
    return (X.to_numpy() if named is None else X.to_native()), y, columns


def _by_column(path: Path, columns: Sequence[str]) -> np.ndarray:
    """Return the units of a JSON file in the order of columns; 0 for those that it lacks."""
    units = json.loads(path.read_text(encoding="utf-8"))
    if odd := sorted(set(units) - set(columns)):
        raise ValueError(f"{path} names columns that the model does not read: {', '.join(odd)}.")
    return np.array([units.get(column, 0.0) for column in columns])


def as_json(report: Any) -> dict[str, Any]:
    """Return a report as what JSON knows: no NaN, no arrays."""
    fields = asdict(report)
    if report.clip_values is not None:
        fields["clip_values"] = [np.asarray(end).tolist() for end in report.clip_values]
    for radius in fields["radii"]:
        for name, value in radius.items():
            if isinstance(value, float) and math.isnan(value):
                radius[name] = None
    return fields


def _below(radius: Any, arguments: argparse.Namespace) -> int:
    """Say which limits are missed at a radius; return 1 if any is."""
    limits = {
        "accuracy under attack": (radius.attacked, arguments.fail_under),
        "certified accuracy": (radius.certified, arguments.fail_under_certified),
    }
    missed = 0
    for name, (share, least) in limits.items():
        if least is not None and not share >= least:  # NaN, nothing certified, is below it too
            print(f"FAILED: {name} {share:.4f} at epsilon {radius.epsilon:g} is below {least:g}.")
            missed = 1
    return missed
