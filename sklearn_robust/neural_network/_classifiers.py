"""The public network classifiers: explicit hyperparameters, and how each makes its module."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from sklearn_robust._validation import check_int, check_option, check_real
from sklearn_robust.neural_network._base import BaseRobustClassifier
from sklearn_robust.neural_network._modules import convolutional, fully_connected, initialize

_PARAMETERS = """epsilon : float or array of shape (n_features,), default=0.1
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
        Hold out `validation_fraction` of the data, stop when the accuracy under attack there has
        not risen by `tol` for `n_iter_no_change` epochs, and keep the best epoch's weights.
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
    dtype : {"float32", "float64"}, default="float32"
        Precision of training and attacks. Predictions are computed in float64 always, so that
        they do not depend on which samples share a batch.
    device : str or torch.device, default="auto"
        "auto" takes CUDA where there is one, else the CPU.
    random_state : int, RandomState, Generator or None, default=None
        Source of weights, order, noise and dropout; an int makes fits bit-identical on a device.
    verbose : int, default=0
        0 is silent, 1 prints a line per epoch, 2 adds a progress bar within the epoch."""

_ATTRIBUTES = """classes_ : ndarray of shape (n_classes,)
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
        Training loss of the last epoch."""


def _fill_docstring(cls: type) -> type:
    """Put the shared parameters and attributes into a classifier's docstring."""
    cls.__doc__ = (cls.__doc__ or "").format(parameters=_PARAMETERS, attributes=_ATTRIBUTES)
    return cls


@_fill_docstring
class RobustFCClassifier(BaseRobustClassifier):
    r"""Fully connected network, trained to stay right when its input is perturbed.

    .. math:: \min_\theta \sum_i \max_{{x' \in A(x_i)}} L(F_\theta(x'), y_i)

    with the inner maximum approached by PGD (Algorithm 1 of [1]_) and the cross-entropy L. The
    default network is the report's: two hidden layers, 1024 wide. The report trains with
    ``pgd_steps=100, step_size=0.01, batch_size=64, epsilon_schedule="constant"``.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default=(1024, 1024)
    dropout : float, default=0.0
        Share of units dropped after each hidden layer, in training only.
    input_ramp : None, "fixed", "learnable" or (low, high), default=None
        Put ``clip((x - low) / (high - low), 0, 1)`` in front of the network: one threshold shared
        by all features, with knots in the units of X. "fixed" and "learnable" begin with knots
        one epsilon from the ends of `clip_values` (of the data, if None), so that no feature at an
        end of its range can be moved visibly; "learnable" trains them. This is a strong prior: it
        helps where most values lie near the ends of their range, as ink on paper does, and
        destroys information where they lie between or where features have different ranges.
        See `sklearn_robust.neural_network.InputRamp`.
    {parameters}

    Attributes
    ----------
    {attributes}

    References
    ----------
    .. [1] Collins, Li, Li, "Interpretable gradients with robust training", 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_robust import RobustFCClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> X = X / 16
    >>> clf = RobustFCClassifier((64,), epsilon=0.1, clip_values=(0, 1), max_epochs=40,
    ...                          random_state=0)
    >>> clf.fit(X[:1000], y[:1000]).score(X[1000:], y[1000:]) > 0.85
    True
    >>> clf.robust_score(X[1000:], y[1000:]) > 0.5
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (1024, 1024),
        *,
        dropout: float = 0.0,
        input_ramp: Any = None,
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
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.dropout = dropout
        self.input_ramp = input_ramp
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

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_real(self.dropout, "dropout", low=0, high=1)
        for size in self.hidden_layer_sizes:
            check_int(size, "each of hidden_layer_sizes", low=1)

    def _make_network(self, generator: torch.Generator, shape: tuple[int, ...]) -> torch.nn.Module:
        network = fully_connected(
            math.prod(shape), len(self.classes_), self.hidden_layer_sizes, self.dropout
        )
        initialize(network, generator)
        return network


@_fill_docstring
class RobustCNNClassifier(BaseRobustClassifier):
    r"""Convolutional network, trained to stay right when its input is perturbed.

    .. math:: \min_\theta \sum_i \max_{{x' \in A(x_i)}} L(F_\theta(x'), y_i)

    with the inner maximum approached by PGD (Algorithm 1 of [1]_) and the cross-entropy L. The
    default network is the report's: two times (5 x 5 convolution, ReLU, 2 x 2 max-pooling) with 32
    and 64 filters, 1024 units, dropout. The report trains with ``pgd_steps=100, step_size=0.01,
    batch_size=64, epsilon_schedule="constant"``, about 18 hours on two cores for MNIST.

    Parameters
    ----------
    image_shape : (h, w), (c, h, w) or None, default=None
        Shape of one image. None: that of X; rows of a square number of features are square
        images, any other row is an image of height 1.
    dropout : float, default=0.4
        Share of units dropped before the logits, in training only.
    filters : sequence of int, default=(32, 64)
        Filters of each convolution.
    kernel_size : int, default=5
    downsampling : {{"pool", "stride"}}, default="pool"
        Halve images after each convolution by max-pooling, or by moving it two pixels at a time,
        which is about four times as fast and suits certified training.
    hidden_layer_sizes : sequence of int, default=(1024,)
        Fully connected layers between the convolutions and the logits.
    input_ramp : None, "fixed", "learnable" or (low, high), default=None
        Put ``clip((x - low) / (high - low), 0, 1)`` in front of the network: one threshold shared
        by all features, with knots in the units of X. "fixed" and "learnable" begin with knots
        one epsilon from the ends of `clip_values` (of the data, if None), so that no feature at an
        end of its range can be moved visibly; "learnable" trains them. This is a strong prior: it
        helps where most values lie near the ends of their range, as ink on paper does, and
        destroys information where they lie between or where features have different ranges.
        See `sklearn_robust.neural_network.InputRamp`.
    {parameters}

    Attributes
    ----------
    {attributes}

    References
    ----------
    .. [1] Collins, Li, Li, "Interpretable gradients with robust training", 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_robust import RobustCNNClassifier
    >>> images, y = load_digits(return_X_y=True)
    >>> images = images.reshape(-1, 8, 8) / 16
    >>> clf = RobustCNNClassifier(epsilon=0.1, clip_values=(0, 1), pgd_steps=3, max_epochs=4,
    ...                           random_state=0)
    >>> clf.fit(images[:1000], y[:1000]).score(images[1000:], y[1000:]) > 0.8
    True
    >>> clf.input_gradients(images[1000:1003]).shape
    (3, 8, 8)
    """

    def __init__(
        self,
        image_shape: tuple[int, ...] | None = None,
        *,
        dropout: float = 0.4,
        filters: Sequence[int] = (32, 64),
        kernel_size: int = 5,
        downsampling: str = "pool",
        hidden_layer_sizes: Sequence[int] = (1024,),
        input_ramp: Any = None,
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
    ) -> None:
        self.image_shape = image_shape
        self.dropout = dropout
        self.filters = filters
        self.kernel_size = kernel_size
        self.downsampling = downsampling
        self.hidden_layer_sizes = hidden_layer_sizes
        self.input_ramp = input_ramp
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

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_real(self.dropout, "dropout", low=0, high=1)
        check_int(self.kernel_size, "kernel_size", low=1)
        check_option(self.downsampling, "downsampling", ("pool", "stride"))
        for name in ("filters", "hidden_layer_sizes"):
            for size in getattr(self, name):
                check_int(size, f"each of {name}", low=1)
        if self.preprocessor is None:  # which may change the number of features
            self._resolve_image_shape(self.input_shape_)

    def _resolve_image_shape(self, given: tuple[int, ...]) -> tuple[int, int, int]:
        """Return (channels, height, width) of one sample, given its shape before the network."""
        shape = self.image_shape
        if shape is None:
            shape = given
            if len(shape) == 1:
                side = math.isqrt(shape[0])
                shape = (side, side) if side * side == shape[0] else (1, *shape)
        if len(shape) == 2:
            shape = (1, *shape)
        if len(shape) != 3 or math.prod(shape) != math.prod(given):
            raise ValueError(
                f"image_shape must be (h, w) or (c, h, w) with {math.prod(given)} values, as X "
                f"has, got {tuple(shape)}."
            )
        return tuple(int(n) for n in shape)  # type: ignore[return-value]

    def _make_network(self, generator: torch.Generator, shape: tuple[int, ...]) -> torch.nn.Module:
        network = convolutional(
            self._resolve_image_shape(shape),
            len(self.classes_),
            self.dropout,
            filters=self.filters,
            kernel_size=self.kernel_size,
            downsampling=self.downsampling,
            hidden_layer_sizes=self.hidden_layer_sizes,
        )
        initialize(network, generator)
        # The report's network trains in 15 % less time so, measured on a CPU; others lose nothing.
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@_fill_docstring
class RobustNeuralNetClassifier(BaseRobustClassifier):
    r"""Any torch module, trained to stay right when its input is perturbed.

    .. math:: \min_\theta \sum_i \max_{{x' \in A(x_i)}} L(F_\theta(x'), y_i)

    with the inner maximum approached by PGD (Algorithm 1 of [1]_) and the cross-entropy L.

    Parameters
    ----------
    module : torch.nn.Module or callable
        Maps a batch in the shape of X, as floats, to logits of shape (n_samples, n_classes). An
        instance is copied and trained from its weights; a class or function is called in `fit`,
        with `module_params` and those of ``input_shape`` and ``n_classes`` that it takes.
    module_params : dict, optional
        Arguments for a callable `module`.
    {parameters}

    Attributes
    ----------
    {attributes}

    References
    ----------
    .. [1] Collins, Li, Li, "Interpretable gradients with robust training", 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from torch import nn
    >>> from sklearn_robust import RobustNeuralNetClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> def network(n_classes):
    ...     return nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, n_classes))
    >>> clf = RobustNeuralNetClassifier(network, epsilon=0.5, max_epochs=40, random_state=0)
    >>> clf.fit(X[:1000], y[:1000]).score(X[1000:], y[1000:]) > 0.8
    True
    """

    _draws_weights = False

    def __init__(
        self,
        module: torch.nn.Module | Callable[..., torch.nn.Module],
        *,
        module_params: dict[str, Any] | None = None,
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
    ) -> None:
        self.module = module
        self.module_params = module_params
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

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if not callable(self.module):
            raise ValueError(
                "module must be a torch.nn.Module or a callable that makes one, "
                f"got {self.module!r}."
            )

    def _make_network(self, generator: torch.Generator, shape: tuple[int, ...]) -> torch.nn.Module:
        if isinstance(self.module, torch.nn.Module):
            return copy.deepcopy(self.module)
        known = {"input_shape": shape, "n_classes": len(self.classes_)}
        taken = inspect.signature(self.module).parameters
        params = {name: value for name, value in known.items() if name in taken}
        network = self.module(**{**params, **(self.module_params or {})})
        if not isinstance(network, torch.nn.Module):
            raise ValueError(f"module must make a torch.nn.Module, it made {network!r}.")
        return network
