"""Tables of the training benchmark's results on all of MNIST."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._results import cost, format_table
from sklearn_robust.neural_network import RandomShift, make_recipe
from sklearn_robust.neural_network._ramp_choice import REACH
from sklearn_robust.neural_network.objectives import get_objective

# What a trained network may be held against, in this order.
KINDS = ("pgd", "ensemble", "certified")
NARROW = "filters=(32, 64), hidden_layer_sizes=(256,)"
# What was changed in a recipe, in few words.
BRIEF = {
    NARROW: "narrow",
    "shift_average=0": "no mean over shifts",
    "shift_average=1": "mean over shifts",
    "augmentation=None": "no shifts",
    "batch_norm=True": "batch norm",
    ", training=IntervalTraining(epsilon_factor=1.05, regularization=0.0, initialization=False, "
    "kappa=0.0)": "",
    "pgd_steps=4, ": "",
    "dtype=": "",
    "training=": "",
}


def groups(folder: Path) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Return the measurements in a folder, those that differ in nothing but the seed together.

    Keys are recipe, network, epsilon, what was changed, epochs, number of test images and device.
    """
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("training-*-MNIST-seed*.json")):
        content = json.loads(path.read_text())
        if not set(KINDS).isdisjoint(content):
            own = content["parameters"]
            key = (
                *(content["recipe"], content["architecture"], own["epsilon"]),
                *(", ".join(changes(content)), own["max_epochs"], content["n_test"]),
                cost(content)[1],
            )
            found.setdefault(key, []).append(content)
    return dict(sorted(found.items()))


def recipes(folder: Path) -> str:
    """Return what the recipes reach in bfloat16; at epsilon 0.2 the narrow CNN."""
    body = []
    for (recipe, network, epsilon, changed, _, n_test, _), runs in groups(folder).items():
        changes_made = set(changed.replace(NARROW, "narrow").split(", "))
        narrow = {"narrow"} if epsilon == 0.2 else set()
        if n_test == 10_000 and changes_made == {"dtype=bfloat16", *narrow}:
            minutes, *shares = _measured(runs, "ensemble", "certified")
            name = ", ".join([f"{recipe} {network.upper()}", *narrow])
            body.append([name, f"{epsilon:g}", *shares, minutes])
    header = ("recipe", "epsilon", "clean", "attacked", "certified", "minutes")
    return format_table(header, body)


def summary(folder: Path) -> str:
    """Return all measurements, means over their seeds."""
    body = []
    for (recipe, network, epsilon, changed, epochs, n_test, on), runs in groups(folder).items():
        for long, short in BRIEF.items():
            changed = changed.replace(long, short)
        notes = [f"{n_test:,} images"] * (n_test != 10_000)
        notes += [f"{len(runs)} seeds"] * (len(runs) > 1) + [on] * (on != "CPU")
        training = ", ".join([f"{recipe} {network} {epsilon:g}"] + [changed] * bool(changed))
        body.append([", ".join([training, f"{epochs} epochs", *notes]), *_measured(runs, *KINDS)])
    header = ("training", "minutes", "clean", "PGD-100", "ensemble", "certified")
    return format_table(header, body)


def _measured(runs: list[dict[str, Any]], *kinds: str) -> list[str]:
    """Return minutes, clean accuracy and others of trainings with several seeds, their means."""
    minutes = np.mean([float(cost(run)[0]) for run in runs])
    shares = [[run.get(kind, {}).get("accuracy") for run in runs] for kind in kinds]
    return [f"{minutes:.1f}", *map(_percent, ([run["clean"] for run in runs], *shares))]


def changes(content: dict[str, Any]) -> list[str]:
    """Return the hyperparameters of a result that are not those of its recipe, but its epochs.

    One that the library did not have yet had no effect: it was what is the default now.
    """
    own = {key: _tuple(value) for key, value in content["parameters"].items()}
    recipe = make_recipe(content["recipe"], content["architecture"], epsilon=own["epsilon"])
    defaults = type(recipe)().get_params(deep=False)
    own = {**{name: plain(value) for name, value in defaults.items()}, **own}
    by_bounds = content["recipe"] == "certified"
    free = ("max_epochs", "random_state", "verbose", "device", "checkpoint", "callbacks")
    return [
        f"{name}={own[name]}"
        for name, value in sorted(recipe.get_params(deep=False).items())
        if name not in free
        and own[name] not in on_mnist(name, plain(value), own["epsilon"], by_bounds)
    ]


def on_mnist(name: str, value: Any, epsilon: float, by_bounds: bool) -> tuple[Any, ...]:
    """Return a recipe's hyperparameter as it stands there, and as it is for MNIST.

    Earlier recipes had spelt out what they now leave to the data.
    """
    if name == "training" and value != "auto":
        return value, value.replace("=None", "=0.0", 1).replace("=None", "=False", 1)
    if name == "pgd_steps" and by_bounds:
        return value, 10  # the default then, of no meaning to bounds alone
    if value != "auto":
        return (value,)
    knots = plain((REACH * epsilon, 1 - REACH * epsilon))
    by_data = {
        "augmentation": plain(RandomShift(1)),
        "batch_size": 128,
        "input_ramp": knots,
        "lr": 5e-3,
        "lr_schedule": "one-cycle",
        "shift_average": 1,
        "training": plain(get_objective("auto")),
    }
    return value, by_data[name]


def _percent(shares: list[float | None]) -> str:
    known = [share for share in shares if share is not None]
    return f"{100 * np.mean(known):.2f}" if len(known) == len(shares) else "-"


def plain(value: Any) -> Any:
    """Return a hyperparameter as JSON holds it, anything with parts as its text."""
    if isinstance(value, list):  # from JSON, where it stands for a tuple
        value = tuple(value)
    return value if isinstance(value, str | bool | int | float | None) else repr(value)


def _tuple(value: Any) -> Any:
    """Return the text of a tuple for that of a list, which some results have for one."""
    is_list = isinstance(value, str) and value.startswith("[")
    return repr(tuple(json.loads(value))) if is_list else value
