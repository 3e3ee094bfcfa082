"""Estimators fitted on a CUDA device and loaded where there is none."""

import copy
import os
import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler

from sklearn_robust import RobustFCClassifier

X, Y = load_wine(return_X_y=True)
without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
with_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def fitted(**kwargs):
    clf = RobustFCClassifier(
        (8,), preprocessor=StandardScaler(), max_epochs=3, random_state=0, **kwargs
    )
    return clf.fit(X, Y)


@pytest.fixture
def cuda_file(tmp_path, monkeypatch):
    """Return a function that stores an estimator as a process with CUDA would: tensors say so."""

    def store(clf, device):
        clf.net_.device = torch.device("cuda")  # as the fit there leaves it
        clf.device = device
        path = tmp_path / "model"
        with monkeypatch.context() as patch:
            patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
            joblib.dump(clf, path)
            tensor = pickle.dumps(torch.zeros(2))
        with pytest.raises(RuntimeError, match="CUDA"):  # what any stray tensor would meet
            pickle.loads(tensor)
        return path

    return store


@without_cuda
@pytest.mark.parametrize("training", ["pgd", "free"])
@pytest.mark.parametrize("averaging", [None, "ema"])
def test_a_file_with_cuda_tensors_loads_silently_where_device_is_auto(
    cuda_file, training, averaging
):
    clf = fitted(training=training, weight_averaging=averaging)
    expected = clf.decision_function(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = joblib.load(cuda_file(clf, "auto"))
    assert loaded.module_ is loaded.net_.module_
    assert {value.device.type for value in loaded.module_.state_dict().values()} == {"cpu"}
    np.testing.assert_array_equal(loaded.decision_function(X), expected)
    assert loaded.robust_score(X, Y, epsilon=0.1) <= loaded.score(X, Y)
    loaded.set_params(weight_averaging=None).partial_fit(X, Y)
    assert not np.array_equal(loaded.decision_function(X), expected)
    copy.deepcopy(loaded).fit(X, Y)


@without_cuda
@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda")])
def test_a_file_of_a_fit_bound_to_cuda_predicts_and_says_what_to_do(cuda_file, device):
    clf = fitted()
    path, expected = cuda_file(clf, device), clf.decision_function(X)
    with pytest.warns(UserWarning, match=r"predicts on the CPU. Use set_params\(device='auto'\)"):
        loaded = joblib.load(path)
    np.testing.assert_array_equal(loaded.decision_function(X), expected)
    with pytest.raises(ValueError, match="torch sees no CUDA device"):
        loaded.fit(X, Y)
    loaded.set_params(device="auto").fit(X, Y)


@with_cuda
def test_a_fit_on_cuda_predicts_the_same_in_a_process_without(tmp_path):
    clf = fitted(device="cuda")
    assert next(clf.module_.parameters()).device.type == "cuda"
    joblib.dump((clf, X), tmp_path / "model")
    program = (
        "import joblib, torch; assert not torch.cuda.is_available();"
        "clf, X = joblib.load('model'); joblib.dump(clf.decision_function(X), 'answer')"
    )
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, cwd=tmp_path, check=True,
    )  # fmt: skip
    answer = joblib.load(tmp_path / "answer")
    # Two implementations of the same sums in float64.
    np.testing.assert_allclose(answer, clf.decision_function(X), rtol=1e-9, atol=1e-9)
