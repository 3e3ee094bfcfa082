"""The errors for models that are no sums of boxes."""

from __future__ import annotations


class NoBoxesError(TypeError):
    """The leaves of a model are not boxes (an interval for each column), or cannot be read."""


class NoTreesError(NoBoxesError):
    """A model is not made of trees at all."""
