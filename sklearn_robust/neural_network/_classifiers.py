"""The classifiers with architectures of the library: their hyperparameters, and their modules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Unpack

import torch

from sklearn_robust._images import channels_last, image_shape
from sklearn_robust._validation import check_bool, check_option, check_sizes
from sklearn_robust.neural_network._base import BaseRobustClassifier
from sklearn_robust.neural_network._checks import check_each, integer, real
from sklearn_robust.neural_network._modules import convolutional, fully_connected, initialize
from sklearn_robust.neural_network._parameters import SharedParameters

_ARCHITECTURE = {
    "dropout": real(low=0, high=1, open_high=True),
    "batch_norm": check_bool,
    "hidden_layer_sizes": check_sizes,
}
_CONVOLUTIONS = {
    "kernel_size": integer(1),
    "downsampling": lambda value, name: check_option(value, name, ("pool", "stride")),
    "filters": check_sizes,
}


class RobustFCClassifier(BaseRobustClassifier):
    r"""Fully connected network, trained to stay right when its input is perturbed.

    .. math:: \min_\theta \sum_i \max_{x' \in A(x_i)} L(F_\theta(x'), y_i)

    with the inner maximum approached by PGD (Algorithm 1 of [1]_) and the cross-entropy L. The
    defaults are what trained best for its time over several data sets; the network
    and the protocol of [1]_ are ``make_recipe("report", "fc")``.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default=(512, 512)
    dropout : float in [0, 1), default=0.0
        Share of units dropped after each hidden layer, in training only.
    batch_norm : bool, default=False
        Normalise what enters each ReLU, by the batch in training, by averages over batches later.
        It allows a larger `lr`.
    {input_ramp}
    {shift_average}
    {parameters}

    Attributes
    ----------
    {attributes}

    Raises
    ------
    {raises}

    References
    ----------
    .. [1] Collins, Li, Li, "Interpretable gradients with robust training", 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_robust import RobustFCClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> X = X / 16
    >>> clf = RobustFCClassifier((64,), epsilon=0.1, clip_values=(0, 1), random_state=0)
    >>> clf.fit(X[:1000], y[:1000]).score(X[1000:], y[1000:]) > 0.9
    True
    >>> clf.robust_score(X[1000:], y[1000:]) > 0.7
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (512, 512),
        *,
        dropout: float = 0.0,
        batch_norm: bool = False,
        input_ramp: Any = "auto",
        shift_average: Any = 0,
        **shared: Unpack[SharedParameters],
    ) -> None:
        super().__init__(**shared)
        self.hidden_layer_sizes = hidden_layer_sizes
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.input_ramp = input_ramp
        self.shift_average = shift_average

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_each(self, _ARCHITECTURE)

    def _make_network(self, generator: torch.Generator, shape: tuple[int, ...]) -> torch.nn.Module:
        network = fully_connected(
            math.prod(shape),
            len(self.classes_),
            self.hidden_layer_sizes,
            self.dropout,
            self.batch_norm,
        )
        initialize(network, generator)
        return network


class RobustCNNClassifier(BaseRobustClassifier):
    r"""Convolutional network, trained to stay right when its input is perturbed.

    .. math:: \min_\theta \sum_i \max_{x' \in A(x_i)} L(F_\theta(x'), y_i)

    with the inner maximum approached by PGD (Algorithm 1 of [1]_) and the cross-entropy L. The
    defaults are what trained best for its time over several data sets: a small strided network,
    about ten times as fast as that of [1]_. That one and its protocol, which take about 15
    core-hours for MNIST in float32, are ``make_recipe("report", "cnn")``.

    Parameters
    ----------
    image_shape : (h, w), (c, h, w) or None, default=None
        Shape of one image. None: that of X; rows are square images if their number of features is
        a square and at least 64, any other row is an image of height 1.
    dropout : float in [0, 1), default=0.0
        Share of units dropped before the logits, in training only.
    filters : sequence of int, default=(16, 32)
        Filters of each convolution.
    kernel_size : int, default=4
        No longer than a padded axis: along an axis of one value it is shorter.
    downsampling : {"pool", "stride"}, default="stride"
        Halve images after each convolution by max-pooling, or by moving it two pixels at a time,
        which is about four times as fast and suits certified training.
    hidden_layer_sizes : sequence of int, default=(100,)
        Fully connected layers between the convolutions and the logits.
    batch_norm : bool, default=False
        Normalise what enters each ReLU, by the batch in training, by averages over batches later.
        It allows a larger `lr`.
    {input_ramp}
    {shift_average}
    {parameters}

    Attributes
    ----------
    {attributes}

    Raises
    ------
    {raises}

    References
    ----------
    .. [1] Collins, Li, Li, "Interpretable gradients with robust training", 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_robust import RobustCNNClassifier
    >>> images, y = load_digits(return_X_y=True)
    >>> images = images.reshape(-1, 8, 8) / 16
    >>> clf = RobustCNNClassifier(epsilon=0.1, clip_values=(0, 1), max_epochs=10, random_state=0)
    >>> clf.fit(images[:1000], y[:1000]).score(images[1000:], y[1000:]) > 0.8
    True
    >>> clf.input_gradients(images[1000:1003]).shape
    (3, 8, 8)
    """

    reads_images = True

    def __init__(
        self,
        image_shape: tuple[int, ...] | None = None,
        *,
        dropout: float = 0.0,
        filters: Sequence[int] = (16, 32),
        kernel_size: int = 4,
        downsampling: str = "stride",
        hidden_layer_sizes: Sequence[int] = (100,),
        batch_norm: bool = False,
        input_ramp: Any = "auto",
        shift_average: Any = 0,
        **shared: Unpack[SharedParameters],
    ) -> None:
        super().__init__(**shared)
        self.image_shape = image_shape
        self.dropout = dropout
        self.filters = filters
        self.kernel_size = kernel_size
        self.downsampling = downsampling
        self.hidden_layer_sizes = hidden_layer_sizes
        self.batch_norm = batch_norm
        self.input_ramp = input_ramp
        self.shift_average = shift_average

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_each(self, {**_ARCHITECTURE, **_CONVOLUTIONS})
        if self.preprocessor is None:  # which may change the number of features
            self._image_shape(self.input_shape_)

    def _image_shape(self, given: tuple[int, ...]) -> tuple[int, int, int]:
        """Return (channels, height, width) of one sample, given its shape before the network."""
        if self.image_shape is None and channels_last(given):
            raise ValueError(
                f"X must have images as (c, h, w), got {tuple(given)}, which looks like "
                "(h, w, c). Pass X.transpose(0, 3, 1, 2), or image_shape if it is as you mean."
            )
        return image_shape(given, self.image_shape) or (1, 1, math.prod(given))

    def _make_network(self, generator: torch.Generator, shape: tuple[int, ...]) -> torch.nn.Module:
        network = convolutional(
            self._image_shape(shape),
            len(self.classes_),
            self.dropout,
            filters=self.filters,
            kernel_size=self.kernel_size,
            downsampling=self.downsampling,
            hidden_layer_sizes=self.hidden_layer_sizes,
            batch_norm=self.batch_norm,
        )
        initialize(network, generator)
        # The report's network trains in 15 % less time so, measured on a CPU; others lose nothing.
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
