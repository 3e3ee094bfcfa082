"""make_robust_scorer where scikit-learn expects scorers of its own."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    KFold,
    TunedThresholdClassifierCV,
)
from sklearn.preprocessing import scale

from sklearn_robust import AdversarialLogisticRegression, make_robust_scorer
from sklearn_robust.attacks import Square

X, Y = load_breast_cancer(return_X_y=True)
X, WEIGHT = scale(X), np.random.default_rng(0).random(len(Y))
CV = KFold(3)


def robust_by_hand(clf, rows, labels, weight, epsilon):
    """The weighted share of margins above what linf can take from a binary linear score."""
    margin = (2 * labels - 1) * clf.decision_function(rows) - epsilon * np.abs(clf.coef_).sum()
    return np.average(margin > 0, weights=weight)


@pytest.mark.parametrize("several", [False, True], ids=["one", "several"])
@pytest.mark.parametrize("routing", [False, True], ids=["plain", "routing"])
def test_a_search_weights_robust_accuracy_as_it_does_accuracy(routing, several):
    with config_context(enable_metadata_routing=routing):
        robust, clean = make_robust_scorer(0.1), make_scorer(accuracy_score)
        clf = AdversarialLogisticRegression()
        if routing:
            robust, clean = (s.set_score_request(sample_weight=True) for s in (robust, clean))
            clf.set_fit_request(sample_weight=True)
        search = GridSearchCV(
            clf,
            {"epsilon": [0.0, 0.1]},
            scoring={"clean": clean, "robust": robust} if several else robust,
            refit="robust" if several else True,
            cv=CV,
        ).fit(X, Y, sample_weight=WEIGHT)
    found = search.cv_results_["mean_test_robust" if several else "mean_test_score"]
    expected = [
        np.mean(
            [
                robust_by_hand(
                    AdversarialLogisticRegression(epsilon).fit(X[fit], Y[fit], WEIGHT[fit]),
                    *(X[test], Y[test], WEIGHT[test]),
                    0.1,
                )
                for fit, test in CV.split(X)
            ]
        )
        for epsilon in (0.0, 0.1)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_what_tunes_on_predictions_alone_is_refused_and_a_search_does_it():
    scorer = make_robust_scorer(0.1, attack=Square(20))
    with pytest.raises(TypeError, match="FixedThresholdClassifier"):
        TunedThresholdClassifierCV(LogisticRegression(), scoring=scorer).fit(X, Y)
    search = GridSearchCV(
        FixedThresholdClassifier(LogisticRegression()), {"threshold": [0.01, 0.5]}, scoring=scorer
    ).fit(X[:100], Y[:100])
    assert search.best_params_ == {"threshold": 0.5}
