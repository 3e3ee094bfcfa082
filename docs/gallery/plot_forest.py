"""
Is my random forest robust?
===========================

A tree asks on which side of a threshold a value lies, so what an adversary can do to a forest is a
finite question. The library searches it, and the answer is exact.
"""

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.model_selection import train_test_split

from sklearn_robust import adversarial_distance, evaluate_robustness, robust_score
from sklearn_robust.inspection import RobustnessCurveDisplay

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=100, random_state=0)
unit = X_train.std(axis=0)  # radii are in standard deviations of each column
models = {
    "random forest": RandomForestClassifier(30, random_state=0).fit(X_train, y_train),
    "extra trees": ExtraTreesClassifier(30, random_state=0).fit(X_train, y_train),
}

# %%
# Two models that are right almost equally often need not be equally robust.
radii = [0.1, 0.2, 0.4]
reports = {
    name: evaluate_robustness(model, X_test, y_test, radii, unit=unit)
    for name, model in models.items()
}
RobustnessCurveDisplay.from_report(reports)

# %%
# "Exact" says that an error was shown or excluded for each sample.
print(reports["random forest"])

# %%
# Which samples are in danger? Those near a mistake. The distance is in units of ``unit``.
distance = adversarial_distance(models["random forest"], X_test[:20], y_test[:20], unit=unit)
print(np.sort(distance).round(3))

# %%
# Columns that are known exactly are protected by a radius of 0.
protected = np.where(np.arange(30) < 10, 0, 0.2 * unit)
print(robust_score(models["random forest"], X_test, y_test, epsilon=protected))
