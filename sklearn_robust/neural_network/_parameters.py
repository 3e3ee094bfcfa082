"""The hyperparameters that network classifiers share: names, types, defaults, meaning, rules."""

from __future__ import annotations

import difflib
import inspect
import os
from numbers import Integral
from typing import Any, TypedDict

from sklearn.base import BaseEstimator

from sklearn_robust._validation import (
    check_epsilon,
    check_int,
    check_option,
    check_real,
    check_step_size,
)
from sklearn_robust.neural_network._augmentation import check_augmentation, image_size
from sklearn_robust.neural_network._averaging import resolve_averaging
from sklearn_robust.neural_network._parallel import team
from sklearn_robust.neural_network._precision import check_dtype
from sklearn_robust.neural_network._ramp import check_ramp
from sklearn_robust.neural_network._schedules import (
    EPSILON_SCHEDULES,
    LR_SCHEDULES,
    resolve_schedule,
)
from sklearn_robust.neural_network._setup import OPTIMIZERS, resolve_device
from sklearn_robust.neural_network.objectives import get_objective

# What a docstring says where it has the name of an entry in braces.
_SECTIONS = {
    "input_ramp": """\
input_ramp : None, "fixed", "learnable" or (low, high), default=None
        Put ``clip((x - low) / (high - low), 0, 1)`` in front of the network: one threshold shared
        by all features, with knots in the units of X. "fixed" and "learnable" begin with knots
        one epsilon from the ends of `clip_values` (of the data, if None), so that no feature at an
        end of its range can be moved visibly; "learnable" trains them. This is a strong prior: it
        helps where most values lie near the ends of their range, as ink on paper does, and
        destroys information where they lie between or where features have different ranges.
        See `sklearn_robust.neural_network.InputRamp`.""",
    "shift_average": """\
shift_average : int, default=0
        Predict with the mean of the logits over an image and its shifts by up to this many pixels
        along either axis, see `sklearn_robust.neural_network.ShiftAverage`; attacks and
        certificates see that mean. Training, for which ``augmentation=RandomShift(1)`` goes with
        it, sees the network alone. Predictions, attacks and proofs cost ``4 * shift_average + 1``
        times as much.""",
    "parameters": """\
epsilon : float or array of shape (n_features,), default=0.1
        Radius of the adversary in training, in the units of X as passed. 0 is standard training;
        an array gives each feature its own radius.
    norm : {"linf", "l2", "l1"}, default="linf"
    pgd_steps : int, default=10
        Steps of the attack in training. One step costs a forward pass and an input gradient, so
        the training costs about ``pgd_steps + 2`` times standard training.
    step_size : float, array or None, default=None
        Length of one step in the units of X; None: ``2.5 * epsilon / pgd_steps``.
    random_start : bool, default=True
        Start the attack at a point drawn uniformly from the ball.
    clip_values : None or (low, high), default=None
        Valid range of the data, scalars or one value per feature; adversarial points stay inside.
        None, as in the report, lets them leave the range of the data.
    preprocessor : transformer or None, default=None
        A clone is fitted to the training data, with their weights where it takes any, and becomes
        the first layers of the network: `epsilon`, `clip_values` and all attacks stay in the units
        of X. It must be affine, such as StandardScaler or PCA, or otherwise differentiable; see
        `sklearn_robust.preprocessing`. `partial_fit` fits it to the first batch.
    training : str or TrainingObjective, default="pgd"
        What is minimised. By attack: "pgd", "fgsm" (one step, watched for its known failure),
        "free", "trades", "mart". By bounds, so that robustness can be proven: "ibp", "crown-ibp".
        Between the two: "sabr", "mtl-ibp". An object sets what a name leaves at its default; see
        `sklearn_robust.neural_network.TrainingObjective`.
    epsilon_schedule : {"ramp", "constant"} or callable, default="ramp"
        "ramp" raises epsilon linearly over the first 30 % of the training, which keeps training
        at a large epsilon from collapsing to a constant output. A callable maps the progress in
        [0, 1] to the share of epsilon; see `sklearn_robust.neural_network.Ramp`.
    max_epochs : int, default=10
    batch_size : int, default=128
        -1: all samples in one batch.
    optimizer : {"adam", "adamw", "sgd"} or callable, default="adam"
        A callable such as a class from torch.optim is called with the parameters and ``lr``.
    optimizer_params : dict, optional
        Further arguments of the optimizer.
    lr : float, default=1e-3
    lr_schedule : {"constant", "one-cycle", "multi-step"} or callable, default="constant"
        A callable maps the progress in [0, 1] to a factor of `lr`; see
        `sklearn_robust.neural_network.OneCycle` and `MultiStep`. Schedulers of torch come in
        through skorch's ``LRScheduler`` among the `callbacks`, with "constant" here.
    max_grad_norm : float, optional
        Longer gradients are scaled down to this l2 length.
    weight_averaging : {"ema", "swa"}, EMA, SWA or None, default=None
        Predict with an average of the weights over the training, and judge early stopping by it;
        see `sklearn_robust.neural_network.EMA` and `SWA`. In `fit` only.
    augmentation : callable or None, default=None
        Called with each training batch, a tensor in the shape of X, and a torch.Generator; returns
        the batch to train on, inside `clip_values`, in the same shape. See
        `sklearn_robust.neural_network.RandomShift`.
    class_weight : dict, "balanced" or None, default=None
    early_stopping : bool, default=False
        Hold out `validation_fraction` of the data, stop when the accuracy there under attack, or
        proven where bounds are trained, has not risen by `tol` for `n_iter_no_change` epochs, and
        keep the best epoch's weights. Epochs count once `epsilon_schedule` has reached its end.
    validation_fraction : float, default=0.1
    n_iter_no_change : int, default=5
    tol : float, default=1e-4
    warm_start : bool, default=False
        Go on from the last fit's weights, at full epsilon, with a fresh optimizer.
    checkpoint : path, optional
        Folder for the state of `fit` after every epoch. The same fit, started again after an
        interruption, goes on from the last finished epoch, on the CPU bit for bit; needs an
        integer `random_state`. State of your own `callbacks` is not kept.
    callbacks : list of skorch callbacks, optional
        Copied before use; see ``net_`` for the net that they act on.
    dtype : {"float32", "float64", "bfloat16"}, default="float32"
        Precision of training and attacks. "bfloat16" computes the products of matrices in training
        with 8 bits and all else as "float32" does: up to twice as fast where the device has
        instructions for it (x86 processors with AVX512_BF16 or AMX, CUDA from Ampere on), slower
        elsewhere. Predictions are computed in float64 always, so that they do not depend on which
        samples share a batch.
    device : str or torch.device, default="auto"
        "auto" takes CUDA where there is one, else the CPU.
    random_state : int, RandomState, Generator or None, default=None
        Source of weights, order, noise and dropout; an int makes fits bit-identical on a CPU, and
        on CUDA as far as torch's own operations are, see ``torch.use_deterministic_algorithms``.
    verbose : int, default=0
        0 is silent, 1 prints a line per epoch, 2 adds a progress bar within the epoch.""",
    "attributes": """\
classes_ : ndarray of shape (n_classes,)
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if X has feature names that are all strings.
    input_shape_ : tuple of int
        Shape of one sample.
    preprocessor_ : transformer
        The fitted `preprocessor`, if there is one.
    module_ : torch.nn.Module
        From a batch in the shape of X to logits, preprocessing included, in eval mode: what any
        other torch tool may be pointed at.
    net_ : skorch.NeuralNet
        The net that trained it; ``net_.history`` has a row per epoch.
    n_iter_ : int
        Epochs trained.
    loss_ : float
        Training loss of the last epoch.""",
}


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
    max_epochs: int
    batch_size: int
    optimizer: Any
    optimizer_params: dict[str, Any] | None
    lr: float
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
    random_state: Any
    verbose: int


class NetworkParameters(BaseEstimator):
    """Stores and checks the hyperparameters that all network classifiers share.

    A subclass with hyperparameters of its own names those, and takes these as ``**shared``. To
    everyone who asks for the signature of its constructor, as scikit-learn does, all are spelt out;
    ``{parameters}`` in its docstring becomes their description.
    """

    # Not shared: who passes a module can put a ramp into it, and a mean around it.
    input_ramp: Any = None
    shift_average: int = 0

    def __init__(
        self,
        *,
        epsilon: Any = 0.1,
        norm: str = "linf",
        pgd_steps: int = 10,
        step_size: Any = None,
        random_start: bool = True,
        clip_values: Any = None,
        preprocessor: Any = None,
        training: Any = "pgd",
        epsilon_schedule: Any = "ramp",
        max_epochs: int = 10,
        batch_size: int = 128,
        optimizer: Any = "adam",
        optimizer_params: dict[str, Any] | None = None,
        lr: float = 1e-3,
        lr_schedule: Any = "constant",
        max_grad_norm: float | None = None,
        weight_averaging: Any = None,
        augmentation: Any = None,
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
        self.random_state = random_state
        self.verbose = verbose

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            _spell_out_shared(cls)
        for name, text in _SECTIONS.items():
            cls.__doc__ = (cls.__doc__ or "").replace("{" + name + "}", text)

    def _check_parameters(self) -> None:
        check_epsilon(self.epsilon, self.n_features_in_)
        check_step_size(self.step_size, self.n_features_in_)
        check_int(self.pgd_steps, "pgd_steps", low=1)
        check_int(self.max_epochs, "max_epochs", low=1)
        if not isinstance(self.verbose, bool):
            check_int(self.verbose, "verbose", low=0)
        check_real(self.lr, "lr", low=0, open_low=True)
        if self.batch_size != -1:
            check_int(self.batch_size, "batch_size", low=1)
        if not callable(self.optimizer):
            check_option(self.optimizer, "optimizer", OPTIMIZERS)
        get_objective(self.training)
        resolve_schedule(self.epsilon_schedule, "epsilon_schedule", EPSILON_SCHEDULES)
        resolve_schedule(self.lr_schedule, "lr_schedule", LR_SCHEDULES)
        resolve_averaging(self.weight_averaging)
        check_augmentation(self.augmentation)
        if check_ramp(self.input_ramp) is not None and self.preprocessor is not None:
            raise ValueError(
                "input_ramp works on X itself, and so does preprocessor. Pass one of them, or "
                "scale X and pass the knots of the ramp in its new units."
            )
        if check_int(self.shift_average, "shift_average", low=0) and self.preprocessor is None:
            image_size(self.input_shape_, getattr(self, "image_shape", None), "shift_average")
        if self.max_grad_norm is not None:
            check_real(self.max_grad_norm, "max_grad_norm", low=0, open_low=True)
        if self.checkpoint is not None:
            self._check_checkpoint()
        if self.early_stopping:
            check_real(
                self.validation_fraction, "validation_fraction", low=0, high=1, open_low=True
            )
            check_int(self.n_iter_no_change, "n_iter_no_change", low=1)
        check_dtype(self.dtype, resolve_device(self.device))

    def _check_checkpoint(self) -> None:
        if not isinstance(self.checkpoint, str | os.PathLike):
            raise ValueError(
                f"checkpoint must be None or the path of a folder, got {self.checkpoint!r}."
            )
        if isinstance(self.random_state, bool) or not isinstance(self.random_state, Integral):
            raise ValueError(
                "checkpoint needs an integer random_state, or a resumed fit would split and "
                f"shuffle the data in another way, got random_state={self.random_state!r}."
            )
        if team().size > 1:
            raise ValueError(
                "checkpoint is not available under data_parallel: one process's file does not "
                "hold the random states of the others. Pass checkpoint=None."
            )
        if self.warm_start:
            raise ValueError(
                "checkpoint needs warm_start=False: the file does not know the weights that a "
                "warm start began with."
            )


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
