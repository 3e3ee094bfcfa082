"""The hyperparameters that network classifiers share: names, types, defaults, meaning, rules."""

from __future__ import annotations

import difflib
import inspect
import re
from typing import Any, TypedDict

from sklearn.base import BaseEstimator

from sklearn_robust._threat import ThreatModel
from sklearn_robust.neural_network._checks import check_shared
from sklearn_robust.neural_network._descriptions import SECTIONS

# float32, in which networks are trained and attacked, ends at 3e38; logits need some of it.
_LARGEST = 1e30


class SharedParameters(TypedDict, total=False):
    """Types of `NetworkParameters`, for editors and type checkers to know ``**shared`` by."""

    epsilon: Any
    norm: str
    pgd_steps: int
    step_size: Any
    random_start: bool
    clip_values: Any
    preprocessor: Any
    training: Any
    epsilon_schedule: Any
    max_epochs: Any
    batch_size: Any
    optimizer: Any
    optimizer_params: dict[str, Any] | None
    lr: Any
    lr_schedule: Any
    max_grad_norm: float | None
    weight_averaging: Any
    augmentation: Any
    class_weight: Any
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    tol: float
    warm_start: bool
    checkpoint: Any
    callbacks: Any
    dtype: str
    device: Any
    cuda_graphs: bool
    random_state: Any
    verbose: int


class NetworkParameters(BaseEstimator):
    """Stores and checks the hyperparameters that all network classifiers share.

    A subclass with hyperparameters of its own names those, and takes these as ``**shared``. To
    everyone who asks for the signature of its constructor, as scikit-learn does, all are spelt out;
    ``{parameters}`` in its docstring becomes their description.
    """

    # Not shared: who passes a module can put a ramp into it, and a mean around it, and knows the
    # shape of its images.
    image_shape: Any = None
    input_ramp: Any = None
    shift_average: Any = 0
    # Whether the network takes rows of features for images.
    reads_images = False
    # Whether the library draws the weights, so that an objective may draw others instead.
    _draws_weights = True
    # What reading the training data finds.
    input_shape_: tuple[int, ...]
    input_factor_: float
    # What making the module finds.
    input_ramp_: Any
    _fitted_bytes: bool
    _fitted_top: float

    def __init__(
        self,
        *,
        epsilon: Any = 0.1,
        norm: str = "linf",
        pgd_steps: int = 3,
        step_size: Any = None,
        random_start: bool = True,
        clip_values: Any = None,
        preprocessor: Any = None,
        training: Any = "auto",
        epsilon_schedule: Any = "ramp",
        max_epochs: Any = "auto",
        batch_size: Any = "auto",
        optimizer: Any = "adam",
        optimizer_params: dict[str, Any] | None = None,
        lr: Any = "auto",
        lr_schedule: Any = "auto",
        max_grad_norm: float | None = None,
        weight_averaging: Any = None,
        augmentation: Any = "auto",
        class_weight: Any = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        tol: float = 1e-4,
        warm_start: bool = False,
        checkpoint: Any = None,
        callbacks: Any = None,
        dtype: str = "float32",
        device: Any = "auto",
        cuda_graphs: bool = True,
        random_state: Any = None,
        verbose: int = 0,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise TypeError(_unknown_parameter(self, next(iter(unknown))))
        self.epsilon = epsilon
        self.norm = norm
        self.pgd_steps = pgd_steps
        self.step_size = step_size
        self.random_start = random_start
        self.clip_values = clip_values
        self.preprocessor = preprocessor
        self.training = training
        self.epsilon_schedule = epsilon_schedule
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.optimizer_params = optimizer_params
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.max_grad_norm = max_grad_norm
        self.weight_averaging = weight_averaging
        self.augmentation = augmentation
        self.class_weight = class_weight
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.callbacks = callbacks
        self.dtype = dtype
        self.device = device
        self.cuda_graphs = cuda_graphs
        self.random_state = random_state
        self.verbose = verbose

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            _spell_out_shared(cls)
        for name, text in SECTIONS.items():
            cls.__doc__ = _filled(cls.__doc__ or "", "{" + name + "}", text)

    def _check_parameters(self) -> None:
        """Raise ValueError for hyperparameters that break a rule, alone or together."""
        check_shared(self)

    def _threat(
        self, epsilon: Any = None, norm: Any = None, clip_values: Any = "own"
    ) -> ThreatModel:
        """Return the estimator's threat model, parts of it replaced."""
        own_clip = isinstance(clip_values, str) and clip_values == "own"
        threat = ThreatModel.for_columns(
            getattr(self, "feature_names_in_", None),
            self.epsilon if epsilon is None else epsilon,
            self.norm if norm is None else norm,
            self.clip_values if own_clip else clip_values,
            getattr(self, "n_features_in_", None),
        )
        radius = threat.largest
        if radius > _LARGEST:
            raise ValueError(
                f"epsilon must be <= {_LARGEST:g} for networks, got {radius:g}. Scale X."
            )
        return threat


def _filled(doc: str, place: str, text: str) -> str:
    """Return a docstring with a section in its place, indented as that is.

    Python 3.13 takes the common indentation off docstrings, earlier versions leave it.
    """
    indent = re.search(rf"^( *){re.escape(place)}", doc, re.MULTILINE)
    return doc if indent is None else doc.replace(place, text.replace("\n    ", "\n" + indent[1]))


def _without_unknown() -> inspect.Signature:
    """Return the signature of the shared parameters without what catches misspelt ones."""
    signature = inspect.signature(NetworkParameters.__init__)
    *known, _ = signature.parameters.values()
    return signature.replace(parameters=known)


NetworkParameters.__init__.__signature__ = _without_unknown()  # type: ignore[attr-defined]


def _spell_out_shared(cls: type) -> None:
    """Replace ``**shared`` in the signature of a constructor by the parameters of the parent's."""
    constructor: Any = vars(cls)["__init__"]
    signature = inspect.signature(constructor)
    *own, last = signature.parameters.values()
    if last.kind is not inspect.Parameter.VAR_KEYWORD:
        return
    inherited = inspect.signature(super(cls, cls).__init__).parameters  # type: ignore[arg-type]
    shared = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inherited.items()
        if name not in signature.parameters
    ]
    constructor.__signature__ = signature.replace(parameters=[*own, *shared])


def _unknown_parameter(classifier: NetworkParameters, name: str) -> str:
    known = classifier._get_param_names()
    close = difflib.get_close_matches(name, known, n=1)
    remedy = f"Did you mean {close[0]!r}?" if close else f"It has {', '.join(known)}."
    return f"{type(classifier).__name__} has no parameter {name!r}. {remedy}"
