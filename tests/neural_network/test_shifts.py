"""ShiftAverage: the mean over shifted images in predictions and proofs, not in training."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_robust import RobustCNNClassifier, RobustFCClassifier, RobustNeuralNetClassifier
from sklearn_robust.bounds import UnsupportedLayerError, interval_bounds
from sklearn_robust.metrics import certified_score
from sklearn_robust.neural_network import RandomShift, ShiftAverage

TRAINING = {
    "epsilon": 0.05,
    "clip_values": (0, 1),
    "training": "ibp",
    "max_epochs": 30,
    "lr": 5e-3,
    "lr_schedule": "constant",
    "batch_size": 128,
    "input_ramp": None,
    "augmentation": RandomShift(1),
    "random_state": 0,
}
NETWORKS = {
    "fc": lambda **kw: RobustFCClassifier((32,), **TRAINING, **kw),
    "cnn": lambda **kw: RobustCNNClassifier(
        filters=(4, 8), kernel_size=3, downsampling="stride", hidden_layer_sizes=(16,),
        dropout=0.0, **TRAINING, **kw,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:600] / 16, y[:600]


def shifted(X, rows, columns):
    """Move images by slices of numpy, zeros coming in at the border."""
    images = X.reshape(-1, 8, 8)
    out = np.zeros_like(images)
    to = [slice(max(s, 0), 8 + min(s, 0)) for s in (rows, columns)]
    fro = [slice(max(-s, 0), 8 + min(-s, 0)) for s in (rows, columns)]
    out[:, to[0], to[1]] = images[:, fro[0], fro[1]]
    return out.reshape(X.shape)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("pixels", [1, 2])
def test_scores_are_the_mean_over_shifts_of_the_network_trained_alone(digits, name, pixels):
    X, y = digits
    alone = NETWORKS[name]().fit(X[:300], y[:300])
    mean = NETWORKS[name](shift_average=pixels).fit(X[:300], y[:300])
    for a, b in zip(alone.module_.parameters(), mean.module_.parameters(), strict=True):
        assert torch.equal(a, b)
    along = [s for p in range(1, pixels + 1) for s in (p, -p)]
    steps = [(0, 0), *((s, 0) for s in along), *((0, s) for s in along)]
    expected = np.mean([alone.decision_function(shifted(X, *step)) for step in steps], axis=0)
    np.testing.assert_allclose(mean.decision_function(X), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_proven_withstands_attacks(digits, name):
    X, y = digits
    clf = NETWORKS[name](shift_average=1).fit(X[:300], y[:300])
    proven = [certified_score(clf, X[300:], y[300:], epsilon=0.02, method=m)
              for m in ("ibp", "crown-ibp", "crown")]  # fmt: skip
    attacked = clf.robust_score(X[300:], y[300:], epsilon=0.02)
    assert 0 < proven[0] <= proven[1] <= proven[2] <= attacked <= clf.score(X[300:], y[300:])


def test_images_and_rows_give_the_same(digits):
    X, y = digits
    rows = NETWORKS["fc"](shift_average=1).fit(X[:200], y[:200])
    images = NETWORKS["fc"](shift_average=1).fit(X[:200].reshape(-1, 8, 8), y[:200])
    a, b = rows.decision_function(X), images.decision_function(X.reshape(-1, 8, 8))
    assert np.array_equal(a, b)


def test_an_interrupted_fit_predicts_with_the_mean(digits):
    X, y = digits
    clf = NETWORKS["fc"](shift_average=1, callbacks=[_interrupt_after_one()])
    with pytest.warns(UserWarning, match="interrupted"):
        clf.fit(X[:200], y[:200])
    assert clf.module_.averaging


def _interrupt_after_one():
    from skorch.callbacks import Callback

    class Interrupt(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 2:
                raise KeyboardInterrupt

    return Interrupt()


def test_partial_fit_goes_on_with_the_network_alone(digits):
    X, y = digits
    alone, mean = (
        NETWORKS["fc"](shift_average=p).partial_fit(X, y).partial_fit(X, y) for p in (0, 1)
    )
    for a, b in zip(alone.module_.parameters(), mean.module_.parameters(), strict=True):
        assert torch.equal(a, b)
    assert mean.module_.averaging


def test_pickles_and_clones(digits):
    X, y = digits
    clf = NETWORKS["cnn"](shift_average=1).fit(X[:300], y[:300])
    again = pickle.loads(pickle.dumps(clf))
    assert np.array_equal(again.decision_function(X), clf.decision_function(X))
    assert clone(clf).get_params()["shift_average"] == 1


def test_a_checkpoint_resumes_bit_for_bit(digits, tmp_path):
    X, y = digits
    whole = NETWORKS["fc"](shift_average=1).fit(X, y)
    stopped = NETWORKS["fc"](
        shift_average=1, checkpoint=tmp_path, callbacks=[_interrupt_after_one()]
    )
    with pytest.warns(UserWarning, match="interrupted"):
        stopped.fit(X, y)
    resumed = NETWORKS["fc"](shift_average=1, checkpoint=tmp_path).fit(X, y)
    assert np.array_equal(resumed.decision_function(X), whole.decision_function(X))


def test_in_a_module_of_ones_own(digits):
    X, y = digits
    module = ShiftAverage(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), image_shape=(1, 8, 8))
    training = {name: value for name, value in TRAINING.items() if name != "input_ramp"}
    clf = RobustNeuralNetClassifier(module, **training).fit(X, y)
    inner = clf.module_.network[1]
    W, b = (p.detach().double().numpy() for p in inner.parameters())
    steps = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
    expected = np.mean([shifted(X, *step) @ W.T + b for step in steps], axis=0)
    np.testing.assert_allclose(clf.decision_function(X), expected, rtol=1e-9, atol=1e-9)


def test_what_is_no_image_is_an_error(digits):
    X, y = digits
    with pytest.raises(ValueError, match="shift_average shifts images"):
        NETWORKS["fc"](shift_average=1).fit(X[:, :60], y)
    with pytest.raises(ValueError, match="shift_average must be an integer >= 0"):
        NETWORKS["fc"](shift_average=-1).fit(X, y)
    clf = NETWORKS["fc"](shift_average=1, preprocessor=StandardScaler())
    assert clf.fit(X, y).module_[-1].averaging  # behind a preprocessor, too


def test_a_mean_in_the_middle_has_no_bounds():
    middle = nn.Sequential(ShiftAverage(nn.Flatten(), image_shape=(2, 2)), nn.ReLU())
    with pytest.raises(UnsupportedLayerError, match="unless it is the last layer"):
        interval_bounds(middle, torch.zeros(1, 2, 2), torch.ones(1, 2, 2))
