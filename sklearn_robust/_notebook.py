"""How an estimator shows itself in a notebook: a link to its page, and its training's adversary."""

from __future__ import annotations

from functools import cache
from html import escape
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

_PLACEHOLDER = ".example.org"  # in pyproject.toml, until the pages have an address


@cache
def documentation() -> str | None:
    """Return the address of the pages as the installed package says, None if it has none yet."""
    try:
        addresses = metadata("sklearn-robust").get_all("Project-URL", [])
    except PackageNotFoundError:  # run from a folder
        return None
    pairs = (text.partition(", ")[::2] for text in addresses)
    address = dict(pairs).get("Documentation")
    return None if address is None or _PLACEHOLDER in address else address.rstrip("/")


class NotebookMixin:
    """Gives the box of an estimator its link, and below it a line on the adversary of `fit`.

    `fit` of an estimator that trains against one calls `_remember_adversary`.
    """

    _adversary: dict[str, Any]

    @property
    def _doc_link_module(self) -> str:
        """The package whose classes have pages; "" for none, and then there is no link."""
        return "" if documentation() is None else "sklearn_robust"

    @property
    def _doc_link_template(self) -> str:
        return f"{documentation()}/generated/api/{{estimator_module}}.{{estimator_name}}.html"

    def _remember_adversary(self, threat: Any, training: str) -> None:
        """Keep the threat model of a fit, which later changes of parameters leave alone."""
        self._adversary = {
            "epsilon": None if threat.moves is not None else np.asarray(threat.epsilon),
            "norm": threat.norm,
            "clipped": threat.clip_values is not None,
            "training": training,
        }

    def _html_repr(self) -> str:
        """Return scikit-learn's diagram, with the line if the estimator is fitted."""
        html: str = super()._html_repr()  # type: ignore[misc]
        try:
            check_is_fitted(self)
        except NotFittedError:
            return html
        adversary = getattr(self, "_adversary", None)
        return html if adversary is None else f"{html}<p>{escape(describe(**adversary))}</p>"


def describe(epsilon: np.ndarray | None, norm: str, clipped: bool, training: str) -> str:
    """Return in a sentence what an estimator was trained against; None: changes of a table."""
    where = "inside the valid range of the data" if clipped else "without clipping"
    if epsilon is None:
        return f"Trained against changes of columns, {where}, by {training}."
    low, high = epsilon.min(), epsilon.max()
    if high == 0:
        return "Trained without an adversary (epsilon 0)."
    radius = f"{high:.4g}" if low == high else f"from {low:.4g} to {high:.4g} by feature"
    return f"Trained against {norm} perturbations of epsilon {radius}, {where}, by {training}."
