"""The classifier around a torch module of one's own, to train it or as it is."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import numpy as np
import torch

from sklearn_robust.neural_network._adoption import adopted, own_precision
from sklearn_robust.neural_network._base import BaseRobustClassifier
from sklearn_robust.neural_network._parameters import SharedParameters
from sklearn_robust.neural_network._plan import make_plan
from sklearn_robust.neural_network._trial import is_lazy, materialize


class RobustNeuralNetClassifier(BaseRobustClassifier):
    r"""Any torch module, trained to stay right when its input is perturbed.

    .. math:: \min_\theta \sum_i \max_{x' \in A(x_i)} L(F_\theta(x'), y_i)

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

    Raises
    ------
    {raises}

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

    A module that is trained already, see `from_module`:

    >>> clf = RobustNeuralNetClassifier.from_module(clf.module_, input_shape=64)
    >>> clf.score(X[1000:], y[1000:]) > 0.8
    True
    """

    _draws_weights = False

    def __init__(
        self,
        module: torch.nn.Module | Callable[..., torch.nn.Module],
        *,
        module_params: dict[str, Any] | None = None,
        **shared: Unpack[SharedParameters],
    ) -> None:
        super().__init__(**shared)
        self.module = module
        self.module_params = module_params

    @classmethod
    def from_module(
        cls,
        module: torch.nn.Module,
        *,
        input_shape: int | Sequence[int],
        classes: Any = None,
        **shared: Unpack[SharedParameters],
    ) -> RobustNeuralNetClassifier:
        """Return a fitted classifier that predicts by a trained module, without training it.

        A softmax or a sigmoid at the module's end is seen through, and a single output becomes two
        logits. The module is copied; what it computes is not changed, but for the precision of
        `predict`, which is float64. `partial_fit` trains the copy further.

        Parameters
        ----------
        module : torch.nn.Module
            Maps a batch of floats, ``(n_samples, *input_shape)``, to scores of shape (n_samples,
            n_classes), or to one number for each sample of two classes: a logit, or a probability
            by a sigmoid.
        input_shape : int or sequence of int
            Shape of a sample as the module takes it. X may also have rows of as many values.
        classes : array-like of shape (n_classes,), optional
            The label that each output stands for, or those of the two classes of a single output.
            None: 0 to n_classes - 1.
        **shared
            Hyperparameters, such as `epsilon`, `norm` and `clip_values`, which are the defaults of
            `robust_score`, or `lr` for `partial_fit`.

        Returns
        -------
        clf : RobustNeuralNetClassifier
            Fitted.

        Raises
        ------
        ValueError
            If the module does not do what is said above, or there are not as many classes.

        Examples
        --------
        >>> import torch
        >>> from sklearn_robust import RobustNeuralNetClassifier
        >>> module = torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False), torch.nn.Sigmoid())
        >>> _ = module[0].weight.data.copy_(torch.tensor([[1.0, -1.0]]))
        >>> clf = RobustNeuralNetClassifier.from_module(
        ...     module, input_shape=2, classes=["no", "yes"], epsilon=0.5
        ... )
        >>> clf.predict([[0.0, 1.0], [2.0, 0.5]])
        array(['no', 'yes'], dtype='<U3')
        >>> clf.robust_score([[0.0, 0.9], [2.0, 0.5]], ["no", "yes"])
        0.5
        """
        network, labels, shape = adopted(module, input_shape, classes)
        for name, value in own_precision(module).items():
            shared.setdefault(name, value)  # type: ignore[misc]
        clf = cls(network, **shared)
        clf._adopt(shape, labels)
        return clf

    def _adopt(self, shape: tuple[int, ...], classes: np.ndarray) -> None:
        """Become fitted by a module that is trained already, on samples of that shape."""
        if self.preprocessor is not None:
            raise ValueError(
                "preprocessor has no data to be fitted to. Put a fitted one and this classifier "
                "into a Pipeline."
            )
        self.input_shape_, self.n_features_in_ = shape, math.prod(shape)
        self.input_factor_ = 1.0
        self._check_parameters()
        sample = np.zeros((1, *shape))
        with torch.inference_mode(False), torch.enable_grad():
            plan = make_plan(self, sample, whole=False)
            self._start(sample, classes[:1], None, classes, plan, keep_module=False)
            self.n_iter_, self.loss_ = 0, float("nan")
            self._settle(self._model().asarray(sample))

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if not callable(self.module):
            raise ValueError(
                "module must be a torch.nn.Module or a callable that makes one, "
                f"got {self.module!r}."
            )
        if isinstance(self.module, torch.nn.Module) and is_lazy(self.module):
            raise ValueError(
                "module has lazy layers, which torch cannot copy. Pass a function that makes it, "
                "or call it with a batch first."
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
        return materialize(network, shape)
