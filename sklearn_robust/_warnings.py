"""Warnings that point at the user's line, however deep in the library they arise."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import sklearn

# The library, and what scikit-learn wraps a `fit` with callbacks in.
_INNER = str(Path(__file__).parent), str(Path(sklearn.__file__).parent / "callback")


class ScaleWarning(UserWarning):
    """Samples reach much farther than those of `fit`, as those in other units do."""


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn with the place of the innermost caller outside the library."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_INNER):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
