"""What the fuzzer draws: data in some container and units, a pipeline, a threat."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import assume, reject, strategies as st
from scipy import sparse
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.ensemble import (
    AdaBoostClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import (
    RBF,
    DotProduct,
    Matern,
    RationalQuadratic,
    WhiteKernel,
)
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.multiclass import OneVsOneClassifier
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    PolynomialFeatures,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from sklearn_robust import AdversarialLogisticRegression, RobustCNNClassifier, RobustFCClassifier

CLASSIFIERS = {
    "logistic": lambda: LogisticRegression(C=10.0),
    "ridge": RidgeClassifier,
    "sgd": lambda: SGDClassifier(random_state=0),
    "svc": lambda: LinearSVC(random_state=0),
    "lda": LinearDiscriminantAnalysis,
    "adversarial": lambda: AdversarialLogisticRegression(0.05),
    "network": lambda: RobustFCClassifier(
        (4,), epsilon=0.05, max_epochs=4, lr=0.05, batch_size=16, random_state=0
    ),
    "inside": lambda: RobustFCClassifier(
        (4,), epsilon=0, max_epochs=4, lr=0.05, preprocessor=StandardScaler(), random_state=0
    ),
    "tree": lambda: DecisionTreeClassifier(max_depth=4, random_state=0),
    "forest": lambda: RandomForestClassifier(3, max_depth=4, random_state=0),
    "boosting": lambda: HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=3),
    "categories": lambda: HistGradientBoostingClassifier(
        categorical_features=[0], max_iter=3, min_samples_leaf=3
    ),
    "neighbours": lambda: KNeighborsClassifier(3),
    "nearest": lambda: KNeighborsClassifier(1),
    "pairs": lambda: OneVsOneClassifier(LogisticRegression()),
    "vote": lambda: VotingClassifier(
        [("tree", DecisionTreeClassifier(max_depth=3, random_state=0)), ("nb", GaussianNB())],
        voting="soft",
    ),
    "votes": lambda: VotingClassifier(
        [
            ("tree", DecisionTreeClassifier(max_depth=3, random_state=0)),
            ("nb", GaussianNB()),
            ("lr", LogisticRegression()),
        ]
    ),
    "boosted": lambda: AdaBoostClassifier(n_estimators=3, random_state=0),
    "calibrated": lambda: CalibratedClassifierCV(LinearSVC(random_state=0), cv=2),
    "quadratic": lambda: QuadraticDiscriminantAnalysis(reg_param=0.1),
    "bayes": GaussianNB,
    "kernel": SVC,
    "process": lambda: GaussianProcessClassifier(
        Matern(nu=1.5) + 0.2 * RBF() * DotProduct() + WhiteKernel(0.1), optimizer=None
    ),
    "paired process": lambda: GaussianProcessClassifier(
        1.5 * RationalQuadratic(), optimizer=None, multi_class="one_vs_one"
    ),
    "steps": BernoulliNB,
    "convolution": lambda: RobustCNNClassifier(
        filters=(2,), hidden_layer_sizes=(4,), epsilon=0.05, max_epochs=2, random_state=0
    ),
    "perceptron": lambda: MLPClassifier((4,), solver="lbfgs", max_iter=20, random_state=0),
}
FRONTS = {
    "none": lambda: (),
    "standard": lambda: (StandardScaler(),),
    "range": lambda: (MinMaxScaler(),),
    "clipped": lambda: (MinMaxScaler(clip=True),),
    "largest": lambda: (MaxAbsScaler(),),
    "pca": lambda: (RobustScaler(), PCA(1)),
    "union": lambda: (make_union(StandardScaler(), MinMaxScaler()),),
    "powers": lambda: (StandardScaler(), PolynomialFeatures(2)),
    "log": lambda: (MinMaxScaler((0, 3)), FunctionTransformer(np.log1p)),
    "box-cox": lambda: (MinMaxScaler((1, 2)), PowerTransformer(method="box-cox")),
    "bins": lambda: (
        KBinsDiscretizer(3, encode="onehot-dense", quantile_method="averaged_inverted_cdf"),
    ),
}
CONTAINERS = (
    "array",
    "float32",
    "fortran",
    "pandas",
    "numbered",
    "polars",
    "arrow",
    "nullable",
    "sparse",
    "whole",
    "bytes",
    "images",
)


@dataclass(frozen=True)
class Case:
    """A fitted classifier, samples to score it on, and what the adversary may do."""

    classifier: Any
    X: Any
    y: np.ndarray
    weight: np.ndarray | None
    options: dict[str, Any]
    said: str


@st.composite
def cases(draw: Any) -> Case:
    """Draw a case; the drawn numbers are seeds, so that it shrinks to a short description."""
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    n_features, n_classes = draw(st.integers(1, 4)), draw(st.integers(2, 3))
    n = draw(st.integers(12, 40))
    y = np.r_[np.arange(n_classes), rng.integers(n_classes, size=n - n_classes)]
    Z = rng.normal(size=(n, n_features)) + y[:, None] * rng.normal(size=n_features)
    if draw(st.booleans()):
        Z = Z.round()  # ties, and values on thresholds
    unit = 10.0 ** draw(
        st.lists(st.integers(-3, 6), min_size=n_features, max_size=n_features).map(np.array)
    )
    centre = draw(st.sampled_from([0.0, 0.0, 1.0, 1e4, 1e6])) * unit
    X = Z * unit + centre
    container, name = draw(st.sampled_from(CONTAINERS)), draw(st.sampled_from(sorted(CLASSIFIERS)))
    name, front = _fitting(name, draw(st.sampled_from(sorted(FRONTS))), container)
    if container == "sparse":
        X = np.where(abs(Z) > 0.7, X, 0.0)
    elif container in ("whole", "bytes"):
        unit = np.ones(n_features)
        X = np.rint(Z * 4).clip(-50, 50) + (50 if container == "bytes" else 0)
    elif container == "images":
        unit = np.ones(16)
        X = rng.normal(size=(n, 16)) + y[:, None] * rng.normal(size=16)
    if name == "categories":
        X[:, 0], unit[0] = rng.integers(4, size=n), 1.0
    mixed = container in ("pandas", "polars", "arrow") and draw(st.booleans())
    labels = draw(st.sampled_from([np.arange(3), np.array([-1, 4, 7]), np.array(["b", "c", "d"])]))
    threshold = n_classes == 2 and draw(st.integers(0, 5)) == 0
    wrapped = draw(st.sampled_from(["plain", "plain", "frozen"]))
    data = _contained(X, container, rng if mixed else None)
    targets = labels[y]
    # These need some samples of each class, the second more than columns behind the front.
    assume(name not in ("calibrated", "quadratic") or np.bincount(y).min() > n_features + 2)
    try:
        classifier = _fitted(name, front, data, targets, mixed=mixed, threshold=threshold)
    except np.linalg.LinAlgError:
        reject()
    assume(name == "paired process" or _gives_numbers(classifier, data))  # which has no shares
    if wrapped == "frozen":
        classifier = FrozenEstimator(classifier)
    if draw(st.integers(0, 3)) == 0:  # labels that were not seen in fit
        targets = targets.copy()
        targets[::5] = "z" if labels.dtype.kind == "U" else 99
    share = draw(st.sampled_from([0.0, 0.02, 0.3, 1.0]))
    by_column = not mixed and draw(st.booleans())
    spread = np.where(np.ptp(X, axis=0) > 0, np.ptp(X, axis=0), unit) / 4
    epsilon: Any = share * spread if by_column else float(share * spread.min())
    if by_column and (name == "categories" or draw(st.booleans())):
        epsilon[0] = 0.0
    clip: Any = None
    if draw(st.booleans()) and not mixed:
        clip = (X.min(axis=0) - 0.1 * spread, X.max(axis=0) + 0.1 * spread)
        if container == "images":
            clip = float(clip[0].min()), float(clip[1].max())
    norm = draw(st.sampled_from(["linf", "l2", "l1"]))
    weight = rng.random(n) if draw(st.booleans()) else None
    said = f"{name} behind {front} on {container} {X.shape}, seed {seed}, {norm}, mixed={mixed}"
    options = {"epsilon": epsilon, "norm": norm, "clip_values": clip}
    return Case(classifier, data, targets, weight, options, said)


def _fitting(name: str, front: str, container: str) -> tuple[str, str]:
    """Return a classifier and what stands in front of it that take what is in the container."""
    if container == "sparse":
        front = front if front in ("none", "largest") else "largest"
        name = name if name in ("logistic", "ridge", "tree", "adversarial") else "logistic"
    if container == "images":
        name, front = ("convolution" if name in ("network", "tree") else "network"), "none"
    elif name == "convolution":
        name = "network"
    if name == "categories" and container not in ("array", "float32", "fortran", "bytes"):
        name = "boosting"
    if name == "process" and container == "bytes":
        name = "paired process"  # inner products of bytes overflow in scikit-learn
    if name == "categories" or (container == "nullable" and front == "bins"):
        front = "none"  # scikit-learn's KBinsDiscretizer cannot write into what it is given there
    return name, front


def _contained(X: np.ndarray, container: str, rng: np.random.Generator | None) -> Any:
    """Return the samples in a container, with a category and a boolean column if `rng` is given."""
    if container in ("array", "float32", "fortran"):
        return {"array": X, "float32": X.astype(np.float32), "fortran": np.asfortranarray(X)}[
            container
        ]
    if container == "sparse":
        return sparse.csr_array(X)
    if container in ("whole", "bytes"):
        return X.astype(np.int64 if container == "whole" else np.uint8)
    if container == "images":
        return X.reshape(-1, 4, 4)
    names = (
        list(range(X.shape[1])) if container == "numbered" else [f"f{k}" for k in range(X.shape[1])]
    )
    frame = pd.DataFrame(X, columns=names, index=np.arange(len(X)) + 7)
    if rng is not None:
        frame["flag"] = rng.random(len(X)) < 0.5
        frame["kind"] = rng.choice(["x", "y"], len(X))
    if container == "nullable":
        return frame.convert_dtypes()
    if container == "polars":
        import polars as pl

        return pl.DataFrame({str(name): frame[name].to_numpy() for name in frame})
    if container == "arrow":
        import pyarrow as pa

        return pa.table({str(name): frame[name].to_numpy() for name in frame})
    return frame


def _fitted(name: str, front: str, X: Any, y: np.ndarray, *, mixed: bool, threshold: bool) -> Any:
    classifier, steps = CLASSIFIERS[name](), FRONTS[front]()
    if threshold and hasattr(classifier, "predict_proba"):
        classifier = FixedThresholdClassifier(classifier, threshold=0.3, pos_label=np.unique(y)[1])
    if mixed:
        numbers = [c for c in _names(X) if c not in ("kind",)]
        # scikit-learn passes on columns of pandas and polars only.
        plain = MinMaxScaler() if hasattr(X, "combine_chunks") else "passthrough"
        first = make_column_transformer(
            (OneHotEncoder(sparse_output=False), ["kind"]),
            (make_pipeline(*steps) if steps else plain, numbers),
        )
        steps = (first,)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence, and of constant columns
        return make_pipeline(*steps, classifier).fit(X, y) if steps else classifier.fit(X, y)


def _gives_numbers(classifier: Any, X: Any) -> bool:
    """Whether the scores are numbers: scikit-learn's GaussianNB gives NaN for constant columns."""
    with np.errstate(all="ignore"):
        ask = getattr(classifier, "predict_proba", classifier.predict)
        scores = np.asarray(ask(X))
    return scores.dtype.kind != "f" or bool(np.isfinite(scores).all())


def _names(X: Any) -> list[str]:
    return list(getattr(X, "column_names", X.columns))
