"""Where gradients are exactly zero: another attack on those samples, and only on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sklearn_robust._arrays import Array, replace_rows
from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks._losses import Margin
from sklearn_robust.attacks._model import Model, is_zero
from sklearn_robust.attacks._square import Square
from sklearn_robust.attacks._verdict import Attack


@dataclass(frozen=True)
class WhereMasked:
    """Another attack on the samples at which the model's gradient is exactly zero.

    Layers that round, thresholds and saturated units leave nothing to follow: gradient masking
    [1]_, which makes a network look robust to attacks that need gradients. For samples with a
    gradient this costs that gradient; of a model without any it attacks all samples.

    Parameters
    ----------
    attack : Attack, default=Square(1000)
        One that needs no gradients.
    leak : float in [0, 1], default=0.01
        Slope that units which are off or full have in the gradient, see `DiversePGD`: where it
        leads out, nothing is masked.

    References
    ----------
    .. [1] A. Athalye, N. Carlini, D. Wagner, "Obfuscated gradients give a false sense of security:
       circumventing defenses to adversarial examples", ICML 2018.

    Examples
    --------
    A network whose input is rounded; a step of both features at once changes the class.

    >>> import torch
    >>> from sklearn_robust import attacks
    >>> class Rounding(torch.nn.Module):
    ...     def forward(self, X):
    ...         steps = torch.round(X).sum(1)
    ...         return torch.stack((steps, 3 - steps), dim=1)
    >>> model = attacks.TorchModel(Rounding(), n_classes=2)
    >>> X, y = model.asarray([[0.4, 0.4]]), model.labels([1])
    >>> for attack in (attacks.PGD(20), attacks.WhereMasked()):
    ...     generator = torch.Generator().manual_seed(0)
    ...     X_adv = attack.perturb(model, X, y, attacks.ThreatModel(0.2), generator)
    ...     print(model.logits(X_adv).argmax(1))
    tensor([1])
    tensor([0])
    """

    attack: Attack = field(default_factory=lambda: Square(1000))
    leak: float = 0.01

    def perturb(
        self, model: Model, X: Array, y: Array, threat: ThreatModel, generator: Any
    ) -> Array:
        """Return the adversarial batch: what the attack found where the gradient is 0, else X.

        Parameters
        ----------
        model, X, y, threat, generator
            As in `PGD.perturb`; `model` needs no gradients.

        Returns
        -------
        X_adv : array in the shape of X
        """
        if not hasattr(model, "ascent"):
            return self.attack.perturb(model, X, y, threat, generator)
        masked = is_zero(model.ascent(X, y, Margin(), self.leak)[1])
        if not masked.any():
            return X
        found = self.attack.perturb(model, X[masked], y[masked], threat, generator)
        return replace_rows(X, masked, found)
