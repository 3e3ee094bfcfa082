"""Which columns a classifier itself takes for categories: codes that nobody moves as numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.naive_bayes import CategoricalNB


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
