"""The families of classifiers that are known, and how one is added."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from sklearn_robust.preprocessing import CannotFollowError, UnknownPiecesError
from sklearn_robust.targets._columns import column_target
from sklearn_robust.targets._linear import recognised_target
from sklearn_robust.targets._subject import Subject
from sklearn_robust.targets._target import Target

Family = Callable[[Subject], Target | None]

_FAMILIES: dict[type, tuple[Family, ...]] = {}
# Networks, for which torch is not imported before somebody has one: package and class by name, and
# the module here with its family of the name `family_of`.
_NETWORKS = {
    "sklearn.MLPClassifier": "_perceptron",
    "sklearn_robust.ModuleClassifier": "_module",
    "skorch.NeuralNetBinaryClassifier": "_skorch",
    "skorch.NeuralNetClassifier": "_skorch",
}


def register_target(cls: type) -> Callable[[Family], Family]:
    """Teach the library a family of classifiers; used as a decorator.

    What is registered serves subclasses too, and wins over what was registered before it and what
    the library would find out itself; these are asked where it answers None.

    Parameters
    ----------
    cls : type
        The classifier's class. The decorated function maps a `Subject`, whose ``classifier`` is of
        this class, to a `Target`, or to None if it is not for this one. It may raise
        `CannotFollowError`, from ``subject.front`` for instance: then only scores are known.

    Returns
    -------
    decorator : callable
        Returns the decorated function as it is.

    Raises
    ------
    TypeError
        If `cls` is not a class.

    Examples
    --------
    See `LinearTarget` and `DifferentiableTarget`.
    """
    if not isinstance(cls, type):
        raise TypeError(f"cls must be a class, got {cls!r}.")

    def register(family: Family) -> Family:
        _FAMILIES[cls] = (family, *_FAMILIES.get(cls, ()))
        return family

    return register


def find_target(subject: Subject) -> Target | None:
    """Return the target of the first family that knows the classifier, None if none does.

    What was registered last is asked first; what nobody has registered may turn out to be linear.
    """
    for cls in type(subject.classifier).__mro__:
        for family in (*_FAMILIES.get(cls, ()), *_of_network(cls)):
            if (target := family(subject)) is not None:
                return target
    found = _linear_target(subject)
    if found is not None:
        return found
    # Who asks of another classifier does not pay for the search.
    from sklearn_robust.targets._trees import tree_target

    return tree_target(subject)


def _linear_target(subject: Subject) -> Target | None:
    """Return the target of a linear classifier, also behind functions of single columns."""
    try:
        return recognised_target(subject)
    except CannotFollowError as error:
        try:
            return column_target(subject)
        except UnknownPiecesError:
            raise
        except CannotFollowError:
            raise error from None


def _of_network(cls: type) -> tuple[Family, ...]:
    """Return the family of a class that is a network, if it is one."""
    name = _NETWORKS.get(f"{cls.__module__.partition('.')[0]}.{cls.__qualname__}")
    if name is None:
        return ()
    return (importlib.import_module(f"sklearn_robust.targets.{name}").family_of,)
