"""
Gradient boosting with categories and columns that cannot change
================================================================

A model of credit, made up: the applicant's income and debt may be reported a little wrong, the
region and the age are known.
"""

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier

from sklearn_robust import evaluate_robustness, perturb
from sklearn_robust.inspection import RobustnessCurveDisplay

rng = np.random.default_rng(0)
n = 500
people = pd.DataFrame(
    {
        "income": rng.normal(3000, 800, n).clip(500).round(),
        "debt": rng.normal(9000, 4000, n).clip(0).round(),
        "age": rng.integers(20, 70, n),
        "region": pd.Categorical(rng.choice(["north", "south", "west"], n)),
    }
)
wealth = people["income"] - 0.15 * people["debt"] + 400 * (people["region"] == "north")
granted = wealth + rng.normal(0, 150, n) > 1700
train, test = people[:400], people[400:]
clf = HistGradientBoostingClassifier(
    max_iter=15, categorical_features="from_dtype", random_state=0
).fit(train, granted[:400])

# %%
# A radius for each column that may move, by its name. Columns that are not named stay, and so do
# categories.
unit = {"income": 100.0, "debt": 500.0}
report = evaluate_robustness(clf, test, granted[400:], [0.25, 0.5, 1, 2], unit=unit)
print(report)
RobustnessCurveDisplay.from_report(report)

# %%
# Who is judged otherwise after an error of 100 in the income and 500 in the debt?
moved = perturb(clf, test, granted[400:], epsilon=unit)
changed = clf.predict(moved) != clf.predict(test)
print(f"{changed.sum()} of {len(test)}")
print((moved[list(unit)] - test[list(unit)])[changed].round().head())
