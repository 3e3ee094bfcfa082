"""What must be true of every case, whatever was drawn."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_robust import evaluate_robustness, perturb, robust_score
from sklearn_robust.attacks import PGD, Square
from sklearn_robust.targets import Target, make_target
from tests.fuzz.cases import Case

_DRAWS = 60


def hold(case: Case) -> None:
    """Raise AssertionError if a promise of the library is broken by a case."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = copy.deepcopy(case.X)
        target = make_target(case.classifier, case.X, case.y, **case.options)
        attack: Any = Square(30) if target.kind == "black box" else "auto"
        if target.kind == "white box" and hasattr(target.model, "ascent"):
            attack = PGD(5, keep="fooling")
        scores_are_in_order(case, target, attack)
        proofs_stand_against_brute_force(case, target)
        points_are_inside_and_give_the_score(case, target, attack)
        nothing_but_the_numbers_changes_an_answer(case, attack)
    assert _same(before, case.X), "the caller's samples were changed"


def scores_are_in_order(case: Case, target: Target, attack: Any) -> None:
    """certified <= attacked <= clean, falling with the radius."""
    unit = case.options["epsilon"]
    others = {k: v for k, v in case.options.items() if k != "epsilon"}
    clean = np.mean(np.asarray(case.classifier.predict(case.X)) == case.y)
    assert target.clean.mean() == clean
    report = evaluate_robustness(
        case.classifier, case.X, case.y, [0.0, 0.5, 1.0], unit=unit, attack=attack, method="ibp",
        diagnostics=False, **others,
    )  # fmt: skip
    assert report.radii[0].attacked == clean
    for radius in report.radii:
        assert radius.clean == clean >= radius.attacked
        if target.certificate_obstacle is None:
            assert radius.certified <= radius.attacked
        else:
            assert np.isnan(radius.certified)
    assert list(np.diff([radius.attacked for radius in report.radii]) <= 0) == [True, True]


def proofs_stand_against_brute_force(case: Case, target: Target) -> None:
    """No draw from the set, nor its furthest points, breaks what is proven."""
    if target.certificate_obstacle is not None or sparse.issparse(target.rows):
        return
    proven = target.certified(target.threat, "ibp")
    rng = np.random.default_rng(0)
    # A little inside: on the edge, rounding of the point itself decides.
    rows = target.rows.astype(np.float64)
    around = target.threat.scaled(1 - 1e-6).around(rows)
    for number in range(_DRAWS):
        points = around.sample(rng) if number % 2 else around.furthest(rng.normal(size=rows.shape))
        broken = target.predict(points) != target.labels
        assert not (proven & broken).any(), "a certificate is wrong"


def points_are_inside_and_give_the_score(case: Case, target: Target, attack: Any) -> None:
    """perturb gives what robust_score counts, in the set, in the container."""
    options = {**case.options, "attack": attack}
    score = robust_score(case.classifier, case.X, case.y, case.weight, **options)
    X_adv = perturb(case.classifier, case.X, case.y, **options)
    if not sparse.issparse(case.X):
        assert type(X_adv) is type(case.X)
        again = make_target(case.classifier, X_adv, case.y, **{**case.options, "clip_values": None})
        # In float32 points can only be as near to the set as its numbers are to one another.
        dtype = getattr(X_adv, "dtype", np.dtype(np.float64))
        found = again.rows.astype(dtype if dtype.kind == "f" else np.float64)
        assert target.threat.contains(found, target.rows).all(), "a point left the set"
    right = np.asarray(case.classifier.predict(X_adv)) == case.y
    assert score == np.average(right & target.clean, weights=case.weight)


def nothing_but_the_numbers_changes_an_answer(case: Case, attack: Any) -> None:
    """A second call, a pickled copy and the method give the same number."""
    options = {**case.options, "attack": attack}
    score = robust_score(case.classifier, case.X, case.y, **options)
    loaded = pickle.loads(pickle.dumps(case.classifier))
    assert robust_score(loaded, case.X, case.y, **options) == score
    if hasattr(case.classifier, "robust_score"):
        assert case.classifier.robust_score(case.X, case.y, **options) == score


def _same(a: Any, b: Any) -> bool:
    if sparse.issparse(a):
        return (a != b).nnz == 0
    if hasattr(a, "equals"):
        return bool(a.equals(b))
    return np.array_equal(a, b)
