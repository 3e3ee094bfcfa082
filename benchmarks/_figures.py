"""The report's Figures 1 and 3: input gradients of a standard and a robust network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks._data import SHAPE
from sklearn_robust.attacks import PGD
from sklearn_robust.inspection import InputGradientDisplay
from sklearn_robust.metrics import perturb


def draw(
    path: Path,
    architecture: str,
    models: dict[str, Any],
    X: np.ndarray,
    y: np.ndarray,
    epsilon: float = 0.3,
) -> None:
    """Draw the report's figure: gradients on clean images and on those adversarial to the last.

    The images are the first of each digit that all models classify correctly, because the attack
    leaves others as they are.
    """
    right = np.all([model.predict(X) == y for model in models.values()], axis=0)
    shown = [np.flatnonzero(right & (y == digit))[0] for digit in np.unique(y[right])]
    X, y = X[shown], y[shown]
    figure = Figure(figsize=(9.2, 2.2 + 2.1 * len(models)), layout="constrained")
    clean_part, adversarial_part = figure.subfigures(2, 1)
    title = f"{architecture}: (a) gradients of the loss on clean images"
    InputGradientDisplay.from_estimator(
        models, X, y, image_shape=SHAPE, figure=clean_part, title=title
    )
    name, attacked = list(models.items())[-1]
    X_adv = perturb(attacked, X, y, epsilon=epsilon, attack=PGD(40, keep="fooling"))
    title = f"(b) on images perturbed against the {name} model, epsilon = {epsilon}"
    InputGradientDisplay.from_estimator(
        models, X_adv, y, image_shape=SHAPE, figure=adversarial_part, title=title
    )
    figure.savefig(path, dpi=130)
