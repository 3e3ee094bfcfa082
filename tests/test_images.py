"""One rule for what is an image: those who need images agree on every shape."""

import inspect
import math

import numpy as np
import pytest
import torch
from sklearn.model_selection import FixedThresholdClassifier

from sklearn_robust import RobustCNNClassifier, RobustFCClassifier, perturb, robust_score
from sklearn_robust._images import channels_last, image_shape
from sklearn_robust.attacks import Square
from sklearn_robust.attacks._patches import Squares, choose_patches
from sklearn_robust.inspection._panels import shaped
from sklearn_robust.metrics import gradient_quality
from sklearn_robust.neural_network import RandomShift

SHAPES = [(36,), (49,), (63,), (64,), (65,), (81,), (784,), (5, 7), (3, 4, 5)]
KNOWN = {(64,): (1, 8, 8), (81,): (1, 9, 9), (784,): (1, 28, 28), (5, 7): (1, 5, 7),
         (3, 4, 5): (3, 4, 5)}  # fmt: skip


class Linear:
    """A classifier that the measures can differentiate, of samples of any shape."""

    classes_ = np.arange(2)

    def input_gradients(self, X, y=None):
        return np.ones(np.shape(X))


@pytest.mark.filterwarnings("ignore:The network predicts one class")  # noise teaches nothing
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rows_of_a_square_from_64_on_are_images_and_everyone_agrees(shape, monkeypatch):
    expected = KNOWN.get(shape)
    assert image_shape(shape) == expected
    patches = choose_patches("auto", shape)
    assert isinstance(patches, Squares) is (expected is not None)
    assert patches.shape == (expected or (math.prod(shape),))
    X = np.random.default_rng(0).random((4, *shape))
    drawn = shaped(X, None).shape[1:]
    assert (len(drawn) > 1) is (expected is not None)
    quality = inspect.getmodule(gradient_quality)
    monkeypatch.setattr(quality, "input_gradients", lambda estimator, X, y: np.asarray(X))
    measures = gradient_quality(Linear(), X).values
    assert ("smoothness" in measures) is (expected is not None)
    shift = RandomShift(1)
    if expected is None:
        with pytest.raises(ValueError, match=r"image_shape must be \(h, w\) or \(c, h, w\) with"):
            shift(torch.as_tensor(X), torch.Generator())
    else:
        assert shift(torch.as_tensor(X), torch.Generator()).shape == X.shape
    network = RobustCNNClassifier(
        filters=(2,), hidden_layer_sizes=(), epsilon=0, max_epochs=1, lr=1e-9, random_state=0
    )
    network.fit(X, [0, 1, 0, 1])
    assert network.module_.images.unflattened_size == (expected or (1, 1, math.prod(shape)))


def test_what_is_declared_wins_and_must_hold_a_sample():
    assert image_shape((36,), (6, 6)) == (1, 6, 6)
    assert image_shape((3, 8, 8), (8, 24)) == (1, 8, 24)
    assert image_shape((64,), (64,)) is None
    assert image_shape((2, 3, 4, 5)) is None
    for wrong in ((7, 7), (1, 1, 6, 6), (6.0, 6.0), 6, "6x6"):
        with pytest.raises(ValueError, match=r"image_shape must be .*\(h, w\) or \(c, h, w\)"):
            image_shape((36,), wrong)


def test_channels_are_last_only_where_they_cannot_be_first():
    assert channels_last((32, 32, 3)) and channels_last((5, 9, 1))
    assert not any(map(channels_last, [(3, 32, 32), (3, 8, 3), (8, 8), (64,), (8, 8, 8)]))


def test_images_go_through_a_classifier_that_holds_a_network():
    y = np.arange(40) % 2
    X = np.random.default_rng(0).normal(size=(40, 4, 4)) + y[:, None, None]
    net = RobustFCClassifier((4,), epsilon=0.05, max_epochs=4, lr=0.05, random_state=0)
    clf = FixedThresholdClassifier(net, threshold=0.3, pos_label=1).fit(X, y)
    flat = FixedThresholdClassifier(net, threshold=0.3, pos_label=1).fit(X.reshape(40, -1), y)
    options = {"epsilon": 0.3, "attack": Square(100)}
    robust = robust_score(clf, X, y, **options)
    assert robust == robust_score(flat, X.reshape(40, -1), y, **options) < clf.score(X, y)
    X_adv = perturb(clf, X.astype(np.float32), y, **options)
    assert X_adv.shape == X.shape and X_adv.dtype == np.float32
    assert clf.score(perturb(clf, X, y, **options), y) == robust
