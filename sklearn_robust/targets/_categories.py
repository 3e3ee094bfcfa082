"""Which columns a classifier itself takes for categories, and what categories may become."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.naive_bayes import CategoricalNB

from sklearn_robust._tabular import Flip
from sklearn_robust.preprocessing import Table, encoded_categories, is_frame
from sklearn_robust.targets._subject import Subject


def declared_categories(classifier: Any, n_columns: int) -> np.ndarray:
    """Return for each column of a classifier's input whether it was declared to hold categories.

    scikit-learn's HistGradientBoostingClassifier and CategoricalNB say so, XGBoost, LightGBM and
    CatBoost too, each in its own way.
    """
    if isinstance(classifier, CategoricalNB):
        return np.ones(n_columns, dtype=bool)
    declared = np.zeros(n_columns, dtype=bool)
    mask = getattr(classifier, "is_categorical_", None)
    if mask is not None:
        declared |= np.asarray(mask, dtype=bool)
    if hasattr(classifier, "get_cat_feature_indices"):  # CatBoost
        declared[classifier.get_cat_feature_indices()] = True
    if hasattr(classifier, "get_booster"):  # XGBoost
        kinds = classifier.get_booster().feature_types or []
        declared[[k for k, kind in enumerate(kinds) if kind == "c"]] = True
    if hasattr(classifier, "booster_"):  # LightGBM: only categories have a list of values
        booster = classifier.booster_
        infos = booster.dump_model(num_iteration=1)["feature_infos"]
        names = booster.feature_name()
        declared[[k for k, name in enumerate(names) if infos.get(name, {}).get("values")]] = True
    return declared


def flip_values(subject: Subject, column: int, flip: Flip) -> tuple[np.ndarray, int, np.ndarray]:
    """Return the values of a raw column of categories, and which of them each sample has.

    Returns
    -------
    values : ndarray of shape (n_values,)
        Those that it may be changed to, then those that samples have besides.
    n_allowed : int
        How many of the first.
    current : int ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If the column is no category, none are known, some of `flip` are not, or X lacks entries.
    """
    table = subject.table
    name, own = column if table.names is None else table.names[column], table.labels(column)
    if any(value is None or value != value for value in own):
        raise ValueError(f"changes[{name!r}]: X has missing values there, which do not flip.")
    allowed = _allowed(subject, column, name, flip.to)
    number = {value: k for k, value in enumerate(allowed)}
    for value in own:
        number.setdefault(value, len(number))
    values = np.array([*number, None], dtype=object)[:-1]  # each one entry, whatever it is
    return values, len(allowed), np.array([number[value] for value in own], dtype=np.intp)


def _allowed(subject: Subject, column: int, name: Any, to: Any) -> list[Any]:
    """Return what a category may be changed to."""
    known = _known(subject, column)
    typed = subject.table.categories(column)
    if known is not None and typed is not None:  # a frame can hold no others
        known = [value for value in known if value in typed]
    if known is None and subject.table.numeric[column] and not _is_declared(subject, column):
        raise ValueError(
            f"changes[{name!r}]: a Flip is of a category, and the classifier reads this column as "
            "a number. Use Change(low, high, whole=True), put a OneHotEncoder, OrdinalEncoder or "
            "TargetEncoder before it, or declare it as a category to a classifier that takes them."
        )
    if known is None and to is None:
        raise ValueError(
            f"changes[{name!r}]: nobody knows which categories there are. Name them, as in "
            "Flip(to=[...])."
        )
    if to is None:
        return known or []
    if known is not None and (odd := [value for value in to if value not in known]):
        raise ValueError(
            f"changes[{name!r}]: to has {odd[:10]}, which the encoder or the classifier does not "
            f"know. It knows {known[:10]}."
        )
    return list(dict.fromkeys(to))


def _known(subject: Subject, column: int) -> list[Any] | None:
    """Return the categories that are known of a raw column, None if none are."""
    found = encoded_categories(subject.steps, subject.table, column)
    if found is None and not subject.steps:
        found = _native(subject, column)
    if found is None and subject.table.boolean[column]:
        found = [False, True]
    if found is None and not subject.table.numeric[column]:
        found = subject.table.categories(column)
    return found


def _is_declared(subject: Subject, column: int) -> bool:
    n_columns = len(subject.table.numeric)
    return not subject.steps and bool(declared_categories(subject.classifier, n_columns)[column])


def _native(subject: Subject, column: int) -> list[Any] | None:
    """Return the categories of a column that the classifier itself takes for one."""
    classifier, table = subject.classifier, subject.table
    if isinstance(classifier, CategoricalNB):
        return list(range(int(classifier.n_categories_[column])))
    encoder = getattr(classifier, "_preprocessor", None)  # scikit-learn's HistGradientBoosting
    if encoder is not None:
        return encoded_categories([("", encoder)], table, column)
    if hasattr(classifier, "booster_"):
        return _lightgbm(classifier.booster_, table, column)
    return None


def _lightgbm(booster: Any, table: Table, column: int) -> list[Any] | None:
    """Return the categories that LightGBM lists for its columns of these, or their codes."""
    if is_frame(table.raw):
        if table.categories(column) is None:
            return None
        before = [k for k in range(column) if table.categories(k) is not None]
        known: list[Any] = booster.pandas_categorical[len(before)]
        return known
    infos = booster.dump_model(num_iteration=1)["feature_infos"]
    values = infos.get(booster.feature_name()[column], {}).get("values", [])
    return sorted(float(value) for value in values if value >= 0) or None
