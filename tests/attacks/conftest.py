"""The trained networks of the library's tests as attacks see them, and a few samples."""

import numpy as np
import pytest

from sklearn_robust.attacks import TorchModel


@pytest.fixture(scope="session")
def samples(digits):
    """Return 150 test digits as float32 rows in [0, 1], and their labels."""
    return digits[2][:150].astype(np.float32), digits[3][:150]


@pytest.fixture(params=["standard_fc", "robust_fc"])
def model(request):
    return TorchModel(request.getfixturevalue(request.param).module_, 10)


@pytest.fixture
def robust_model(robust_fc):
    return TorchModel(robust_fc.module_, 10)
