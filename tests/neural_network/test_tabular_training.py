"""Networks trained against the changes of a table: what attacks see, what is won and refused."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

from sklearn_robust import (
    Change,
    Flip,
    RobustFCClassifier,
    TabularThreat,
    certified_score,
    robust_score,
)
from sklearn_robust.attacks import PGD

X, Y = load_breast_cancer(return_X_y=True, as_frame=True)
X = X.iloc[:, :5].assign(visits=np.arange(len(X)) % 7.0)
TRAIN, TEST = (X[:400], Y[:400]), (X[400:], Y[400:])
LOWER, SHIFTED, WHOLE = X.columns[0], X.columns[1], "visits"
THREAT = TabularThreat(
    {
        LOWER: Change(-0.15, 0, relative=True),
        SHIFTED: (-0.5, 2),
        WHOLE: Change(0, 2, whole=True),
    }
)
NETWORK = RobustFCClassifier(
    (16,), epsilon=THREAT, preprocessor=StandardScaler(), max_epochs=20, random_state=0
)


@pytest.fixture(scope="module")
def plain():
    """Return the network trained without an adversary."""
    return clone(NETWORK).set_params(epsilon=0).fit(*TRAIN)


@pytest.mark.parametrize("training", ["auto", "trades", "mart", "free", "ibp", "mtl-ibp"])
def test_it_withstands_more_than_without(plain, training):
    clf = clone(NETWORK).set_params(training=training).fit(*TRAIN)
    left = clf.robust_score(*TEST)
    assert left > robust_score(plain, *TEST, epsilon=THREAT) + 0.05
    assert left - 0.1 < certified_score(clf, *TEST) <= left <= clf.score(*TEST)


def test_attacks_in_training_leave_no_range(monkeypatch):
    batches, perturb = [], PGD.perturb

    def watched(self, model, X, y, threat, generator, logits=None):
        found = perturb(self, model, X, y, threat, generator, logits)
        batches.append((X.numpy().copy(), found.numpy(), float(threat.epsilon)))
        return found

    monkeypatch.setattr(PGD, "perturb", watched)
    clone(NETWORK).set_params(training="pgd", max_epochs=4).fit(*TRAIN)
    moved = [(b - a, a, share) for a, b, share in batches if share > 0]
    assert len(moved) > 8
    for delta, x, share in moved:
        rounding = 1e-5 * abs(x)
        low, high = np.zeros_like(x), np.zeros_like(x)
        low[:, 0], low[:, 1] = -0.15 * x[:, 0] * share, -0.5 * share
        high[:, 1], high[:, 5] = 2 * share, np.floor(2 * share * (1 + 1e-12))
        assert (delta >= low - rounding).all() and (delta <= high + rounding).all()
    last = np.concatenate([delta for delta, _, share in moved if share == 1])
    assert last[:, 0].min() < -1 and last[:, 1].max() > 1 and last[:, 5].max() == 2


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"training": "fgsm"}, "length of step"),
        ({"training": "sabr"}, "shrinks a ball"),
        ({"norm": "l2"}, "norm must be left out"),
        ({"epsilon": TabularThreat({LOWER: Flip()})}, "no Flip"),
        ({"epsilon": TabularThreat({LOWER: (0, 1), SHIFTED: (0, 1)}, budget=1)}, "no budget"),
        ({"epsilon": TabularThreat({"age": (0, 1)})}, "columns of X"),
        (
            {"epsilon": TabularThreat({LOWER: Change(0, 1, whole=True)})},
            rf"not so in \['{LOWER}'\]",
        ),
        ({"clip_values": (0, 1)}, "clip_values"),
    ],
)
def test_what_cannot_be_trained_is_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        clone(NETWORK).set_params(**parameters).fit(*TRAIN)


def test_columns_of_an_array_go_by_their_place():
    by_place = TabularThreat(dict(zip((0, 1, 5), THREAT.changes.values(), strict=True)))
    settings = {"max_epochs": 2}
    named = clone(NETWORK).set_params(**settings).fit(*TRAIN)
    plain = clone(NETWORK).set_params(epsilon=by_place, **settings)
    plain.fit(TRAIN[0].to_numpy(), TRAIN[1])
    np.testing.assert_array_equal(
        plain.decision_function(TEST[0].to_numpy()), named.decision_function(TEST[0])
    )
