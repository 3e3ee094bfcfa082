"""A fitted tree ensemble and samples to judge, and what a benchmark asks of them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks._tree_referees import Veritas
from benchmarks._tree_settings import MORE, Setting
from sklearn_robust import robust_score
from sklearn_robust.attacks import ThreatModel
from sklearn_robust.trees import Decision, Forest, decide, read_forest


class Case:
    """A fitted model and samples to judge."""

    def __init__(
        self, setting: Setting, model: Any, X: np.ndarray, y: np.ndarray, unit: np.ndarray
    ) -> None:
        self.setting, self.model, self.X, self.y, self.unit = setting, model, X, y, unit
        self.labels = np.searchsorted(model.classes_, y)
        self.forest: Forest = read_forest(model)
        self.right = np.flatnonzero(self.predict(X) == self.labels)

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.model.classes_, self.model.predict(X))

    def read(self, X: np.ndarray) -> np.ndarray:
        """Return the predictions of the trees as they were read, at no cost of the model's own."""
        return self.forest.winners(self.forest.scores(X))

    def measured(self, args: argparse.Namespace, wanted: dict[str, Any]) -> dict[str, Any]:
        threat = ThreatModel(
            wanted["epsilon"] * self.unit, wanted["norm"], self.setting.clip_values
        )
        peers = self.right[: args.peer_samples]
        judged = self._judged(threat)
        robust = judged.pop("proven")
        row = {"classes": len(self.model.classes_), "leaves": len(self.forest.tree), **judged}
        more = wanted["model"].startswith(MORE)  # for hours
        if threat.norm == "linf" and not self.setting.fixed and not more:
            row |= self._veritas(args.seconds, peers, threat, robust)
            row["ours_ms"] = self._together(peers, threat)
        radii = self.setting.radii[threat.norm]
        middle = wanted["epsilon"] == radii[len(radii) // 2]
        if middle and wanted["data"] in args.black_box and threat.norm == "linf":
            row |= self._black_box(threat)
        return row

    def _judged(self, threat: ThreatModel) -> dict[str, Any]:
        args = self.forest, self.predict, self.X, self.labels, threat
        found, seconds = timed(lambda: decide(*args))
        ms = np.zeros(len(self.X))
        for i in self.right:
            ms[i] = 1e3 * timed(partial(self._quickly, np.array([i]), threat))[1]
        return {
            "clean": len(self.right) / len(self.X),
            "robust": found.proven.mean(),
            "open": (~found.proven & ~found.broken).mean(),
            "median": np.median(ms),
            "mean": 1e3 * seconds / len(self.X),
            "max": ms.max(),
            "proven": found.proven,
        }

    def _quickly(self, pick: np.ndarray, threat: ThreatModel) -> Decision:
        """Return what is decided of some samples, points confirmed by the trees as read."""
        return decide(self.forest, self.read, self.X[pick], self.labels[pick], threat)

    def _together(self, peers: np.ndarray, threat: ThreatModel) -> float:
        """Return the milliseconds for each of some samples, judged at once."""
        return 1e3 * timed(partial(self._quickly, peers, threat))[1] / max(len(peers), 1)

    def _veritas(
        self, seconds: float, peers: np.ndarray, threat: ThreatModel, robust: np.ndarray
    ) -> dict[str, Any]:
        try:
            referee = Veritas(self.forest, seconds)
            around = threat.around(self.X[peers])
            low, high = (
                around.project(np.full_like(self.X[peers], end)) for end in (-np.inf, np.inf)
            )
            said = [referee(*of) for of in zip(self.labels[peers], low, high, strict=True)]
        except ImportError as error:
            print(f"Veritas left out: {error}")
            return {}
        decided = [i for i, answer in enumerate(said) if answer.robust is not None]
        return {
            "veritas_open": 1 - len(decided) / max(len(peers), 1),
            "veritas_ms": float(np.mean([answer.milliseconds for answer in said])),
            "disagree": sum(said[i].robust != robust[peers[i]] for i in decided),
        }

    def _black_box(self, threat: ThreatModel) -> dict[str, Any]:
        asked = {"epsilon": threat.epsilon, "norm": threat.norm, "clip_values": threat.clip_values}
        score, seconds = timed(
            lambda: robust_score(self.model, self.X, self.y, attack="square", **asked)
        )
        return {"black_box": score, "black_box_seconds": seconds}


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what the work returns, and its seconds of CPU time."""
    start = time.process_time()
    done = work()
    return done, time.process_time() - start
