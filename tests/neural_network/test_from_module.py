"""Trained modules as fitted classifiers: what they predict, and where they can be put."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from torch import nn

from sklearn_robust import RobustNeuralNetClassifier, certified_score, robust_score

X, Y = load_digits(return_X_y=True)
X = X / 16
from_module = RobustNeuralNetClassifier.from_module


def module_of(*ending, n_outputs=10, dtype=torch.float32):
    """A linear module with scikit-learn's weights."""
    y = Y if n_outputs > 1 else (Y < 5).astype(int)
    fitted = LogisticRegression(C=0.01, max_iter=1000).fit(X[:1200], y[:1200])
    layer = nn.Linear(64, n_outputs, dtype=dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(fitted.coef_))
        layer.bias.copy_(torch.as_tensor(fitted.intercept_))
    return nn.Sequential(layer, *ending), fitted


@pytest.mark.parametrize("ending", [(), (nn.Softmax(1),), (nn.LogSoftmax(1),)], ids=str)
def test_it_predicts_as_the_module_does(ending):
    module, fitted = module_of(*ending)
    clf = from_module(module, input_shape=64, epsilon=0.02, clip_values=(0, 1))
    assert (clf.predict(X) == fitted.predict(X)).mean() > 0.999
    np.testing.assert_allclose(clf.predict_proba(X), fitted.predict_proba(X), atol=1e-6)
    attacked = clf.robust_score(X[1200:], Y[1200:])
    assert attacked == robust_score(clf, X[1200:], Y[1200:], epsilon=0.02)
    assert attacked == pytest.approx(
        robust_score(fitted, X[1200:], Y[1200:], epsilon=0.02, clip_values=(0, 1)), abs=0.002
    )
    assert certified_score(clf, X[1200:], Y[1200:]) == pytest.approx(attacked, abs=0.005)
    assert clf.predict(X.reshape(-1, 8, 8)[:5]).shape == (5,)


@pytest.mark.parametrize("ending", [(), (nn.Sigmoid(),)], ids=str)
def test_a_single_output_and_labels_in_the_order_of_outputs(ending):
    module, fitted = module_of(*ending, n_outputs=1)
    clf = from_module(module, input_shape=(64,), classes=["small", "big"][::-1])
    # Output 0 is "big" by this order: it is said by values below the cut.
    assert clf.classes_.tolist() == ["big", "small"]
    assert (clf.predict(X) == np.array(["big", "small"])[fitted.predict(X)]).mean() > 0.999
    module, fitted = module_of()
    names = np.array(list("jihgfedcba"))
    clf = from_module(module, input_shape=64, classes=names)
    assert clf.classes_.tolist() == sorted(names)
    assert (clf.predict(X) == names[fitted.predict(X)]).mean() > 0.999
    share = clf.predict_proba(X)[:, ::-1]
    np.testing.assert_allclose(share, fitted.predict_proba(X), atol=1e-6)
    assert certified_score(clf, X[1200:], names[Y[1200:]], epsilon=0.02) == pytest.approx(
        robust_score(fitted, X[1200:], Y[1200:], epsilon=0.02), abs=0.005
    )


def test_it_is_an_estimator():
    module, _ = module_of(nn.Softmax(1))
    clf = from_module(module, input_shape=64, epsilon=0.02, random_state=0, lr=1e-3)
    assert "RobustNeuralNetClassifier" in repr(clf)
    assert clf.get_params()["epsilon"] == 0.02
    loaded = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    fresh = clone(clf).set_params(max_epochs=1)
    assert not hasattr(fresh, "classes_")
    assert fresh.fit(X[:1200], Y[:1200]).score(X, Y) > 0.8  # goes on from the weights
    scaled = make_pipeline(MinMaxScaler().fit(16 * X), clf)
    assert robust_score(scaled, 16 * X[1200:], Y[1200:], epsilon=0.2) <= clf.score(
        X[1200:], Y[1200:]
    )
    voting = VotingClassifier(
        [("net", FrozenEstimator(clf)), ("tree", LogisticRegression(max_iter=1000))], voting="soft"
    ).fit(X[:1200], Y[:1200])
    assert voting.score(X[1200:], Y[1200:]) > 0.8


def test_the_module_is_left_alone_and_partial_fit_goes_on_from_it():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(64, 10))
    before = {k: v.clone() for k, v in module.state_dict().items()}
    clf = from_module(module.train(), input_shape=64, epsilon=0.05, lr=0.02, random_state=0)
    attacked = clf.robust_score(X[1200:], Y[1200:])
    assert clf.n_iter_ == 0
    for _ in range(3):
        clf.partial_fit(X[:1200], Y[:1200])
    assert clf.robust_score(X[1200:], Y[1200:]) > attacked + 0.3
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert module.training
    assert not clf.module_.training


def test_precision_and_shape_are_those_of_the_module():
    module, _ = module_of(dtype=torch.float64)
    clf = from_module(module, input_shape=64)
    assert clf.dtype == "float64"
    assert next(clf.module_.parameters()).dtype == torch.float64
    images = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
    clf = from_module(images, input_shape=(1, 8, 8))
    with torch.no_grad():
        says = images(torch.as_tensor(X[:50]).float().reshape(-1, 1, 8, 8)).argmax(1).numpy()
    assert (clf.predict(X[:50]) == says).all()
    assert (clf.predict(X[:50].reshape(-1, 1, 8, 8)) == says).all()
    assert clf.input_gradients(X[:2].reshape(-1, 1, 8, 8)).shape == (2, 1, 8, 8)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"input_shape": 63}, r"module fails on a batch of shape \(8, 63\)"),
        ({"input_shape": 0}, "input_shape must be"),
        ({"classes": [0, 1]}, "classes must be 10 different labels"),
        ({"classes": [0] * 10}, "classes must be 10 different labels"),
        ({"module": 3}, "module must be a torch.nn.Module"),
        ({"module": nn.LazyLinear(10)}, "Call the module on a batch first"),
        ({"module": nn.Unflatten(1, (4, 4, 4))}, "not to scores"),
        ({"module": "script"}, "module holds TorchScript"),
        ({"preprocessor": MinMaxScaler()}, "preprocessor has no data"),
        ({"epsilon": -1.0}, "epsilon must be"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes, match):
    module, _ = module_of()
    if changes.get("module") == "script":
        with warnings.catch_warnings():  # that TorchScript will be gone some day
            warnings.simplefilter("ignore", DeprecationWarning)
            changes = {"module": torch.jit.script(nn.Linear(64, 10))}
    with pytest.raises(ValueError, match=match):
        from_module(**{"module": module, "input_shape": 64, **changes})
