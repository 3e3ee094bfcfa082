"""scikit-learn's own checks of the network classifiers; the linear ones have theirs beside them.

In the deterministic setting (no random start, full batches, float64) nothing is exempt. With the
defaults, weight 2 and the row given twice draw other noise and other batches, so that
`check_sample_weight_equivalence_*` cannot hold, as scikit-learn says of its SGDClassifier; the
statistical test below takes its place.
"""

import os

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # before scipy: some checks are skipped without

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_robust import RobustCNNClassifier, RobustFCClassifier, RobustNeuralNetClassifier

pytestmark = [
    pytest.mark.skipif(
        os.environ["SCIPY_ARRAY_API"] != "1", reason="needs SCIPY_ARRAY_API=1 before scipy's import"
    ),
    # Many checks fit noise far from 0, on which a small network predicts a constant.
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

# Few epochs at a large rate: enough for the checks that ask for an accuracy.
QUICK = {"epsilon": 0.05, "pgd_steps": 1, "max_epochs": 20, "lr": 0.03, "lr_schedule": "constant"}
DETERMINISTIC = {**QUICK, "random_start": False, "batch_size": -1, "dtype": "float64"}


class SmallNetwork(torch.nn.Sequential):
    """A network without convolutions for samples of any shape; a class is shown without address."""

    def __init__(self, input_shape, n_classes):
        size = int(np.prod(input_shape))
        super().__init__(
            torch.nn.Flatten(),
            torch.nn.Linear(size, 8),
            torch.nn.Tanh(),
            torch.nn.Linear(8, n_classes),
        )


def small_cnn(**settings):
    return RobustCNNClassifier(**{**settings, "lr": 0.01})


ESTIMATORS = [
    RobustFCClassifier((8,), **DETERMINISTIC),
    RobustFCClassifier((8,), preprocessor=StandardScaler(), **DETERMINISTIC),
    RobustNeuralNetClassifier(SmallNetwork, **DETERMINISTIC),
    small_cnn(**DETERMINISTIC),
]
MINI_BATCHES = [RobustFCClassifier((8,), **QUICK)]
DEFAULTS = [RobustFCClassifier(), RobustCNNClassifier()]


@parametrize_with_checks(ESTIMATORS)
def test_deterministic_networks_pass_every_check(estimator, check):
    check(estimator)


def _exempt(estimator):
    reason = "a row given twice draws two noise vectors and stands in two batches"
    return {
        f"check_sample_weight_equivalence_on_{kind}_data": reason for kind in ("dense", "sparse")
    }


@parametrize_with_checks(MINI_BATCHES, expected_failed_checks=_exempt)
def test_networks_in_mini_batches_pass_every_other_check(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(DEFAULTS, expected_failed_checks=_exempt)
def test_the_default_networks_pass_every_other_check(estimator, check):
    if getattr(check, "keywords", {}).get("readonly_memmap"):
        pytest.skip("the networks above read memory that is read-only, in minutes less")
    check(estimator)


# Weights in mini-batches -----------------------------------------------------------------------

# At each of two points a minority outweighs the majority: unweighted, the majorities 1 and 2 win;
# weighted, 0 and 1 do.
X = np.array([[0.0]] * 3 + [[1.0]] * 4)
Y = np.array([0, 1, 1, 2, 2, 2, 1])
WEIGHT = np.array([2, 0, 0, 0.1, 0.1, 0.1, 3])


def _make(cls, **settings):
    settings = {"epsilon": 0.05, "pgd_steps": 1, "batch_size": 2, "max_epochs": 60, "lr": 0.05,
                **settings}  # fmt: skip
    return cls((8,), **settings)


@pytest.mark.parametrize("seed", range(3))
def test_weights_matter_in_mini_batches(seed):
    clf = _make(RobustFCClassifier, random_state=seed)
    assert clf.fit(X, Y, WEIGHT).predict([[0], [1]]).tolist() == [0, 1]
    assert clf.fit(X, Y).predict([[0], [1]]).tolist() == [1, 2]


class WeightsCancelled(RobustFCClassifier):
    """Wrong on purpose: each batch, of one sample, divides by the sum of its own weights."""

    def _batch(self, X, y, sample_weight):
        batch = super()._batch(X, y, sample_weight)
        return batch._replace(weight=batch.weight / batch.weight)


def test_the_statistical_test_catches_weights_that_cancel():
    clf = _make(WeightsCancelled, batch_size=1, random_state=0).fit(X, Y, WEIGHT)
    assert clf.predict([[0], [1]]).tolist() != [0, 1]
    right = _make(RobustFCClassifier, batch_size=1, random_state=0).fit(X, Y, WEIGHT)
    assert right.predict([[0], [1]]).tolist() == [0, 1]
