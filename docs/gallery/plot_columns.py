"""
Which columns of a table break the model?
=========================================

In a table each column can be wrong in its own way: some values only upwards, some in whole
numbers, some not at all. A ``TabularThreat`` says so column by column, and the answer for linear
classifiers and tree ensembles is exact. The question here: is a car economical (more than 23
miles per gallon), judged from a data sheet with errors?
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from mlxtend.data import autompg_data
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_robust import (
    Change,
    Flip,
    TabularThreat,
    perturb,
    robust_score,
)

values, mpg = autompg_data()
numbers = ["cylinders", "displacement", "horsepower", "weight", "acceleration", "year"]
cars = pd.DataFrame(values[:, :6], columns=numbers)
cars[["cylinders", "horsepower", "weight", "year"]] = cars[
    ["cylinders", "horsepower", "weight", "year"]
].astype(int)
cars["origin"] = pd.Categorical(np.array(["USA", "Europe", "Japan"])[values[:, 6].astype(int) - 1])
X, X_test, y, y_test = train_test_split(cars, mpg > 23, test_size=150, random_state=0)

# %%
# Two models that take the same table. Categories are the trees' own, and one-hot columns for the
# linear model.
columns = make_column_transformer((OneHotEncoder(), ["origin"]), (StandardScaler(), numbers))
models = {
    "logistic": make_pipeline(columns, LogisticRegression()).fit(X, y),
    "boosting": HistGradientBoostingClassifier(
        max_iter=30, categorical_features="from_dtype", random_state=0
    ).fit(X, y),
}

# %%
# What may be wrong in the data sheet. Displacement is rounded down only; weights are off by up to
# 3 %, in whole pounds; the year can be one too late, never too early. Columns that are not named
# stay, such as the cylinders.
changes = {
    "displacement": Change(-0.05, 0, relative=True),
    "horsepower": Change(-10, 10, whole=True),
    "weight": Change(-0.03, 0.03, relative=True, whole=True),
    "acceleration": (-1, 1),
    "year": Change(0, 1, whole=True),
}
threat = TabularThreat(changes)
for name, model in models.items():
    clean, robust = model.score(X_test, y_test), robust_score(model, X_test, y_test, epsilon=threat)
    print(f"{name}: clean {clean:.3f}, with the worst of all changes {robust:.3f}")

# %%
# One column at a time: how many more cars are judged wrongly if it alone may be wrong? Boosting
# depends on the weight, the linear model a little on each.
lost = {
    name: [
        model.score(X_test, y_test)
        - robust_score(model, X_test, y_test, epsilon=TabularThreat({column: change}))
        for column, change in changes.items()
    ]
    for name, model in models.items()
}
fig, ax = plt.subplots(layout="constrained")
place = np.arange(len(changes))
for shift, (name, shares) in zip((-0.2, 0.2), lost.items(), strict=True):
    ax.barh(place + shift, 100 * np.array(shares), 0.4, label=name)
ax.set(
    yticks=place,
    yticklabels=list(changes),
    xlabel="accuracy lost to changes of this column, points",
)
ax.invert_yaxis()
ax.legend()

# %%
# A linear model takes other categories too. ``budget`` limits what all changes of a row cost
# together: with a budget of 2 the adversary changes two columns of its choice.
with_origin = {**changes, "origin": Flip()}
for budget in (1, 2, 3, None):
    cost = TabularThreat(with_origin, budget=budget)
    print(f"budget {budget}: {robust_score(models['logistic'], X_test, y_test, epsilon=cost):.3f}")

# %%
# The worst data sheet of one car that boosting then judges wrongly, with values that can stand
# there.
moved = perturb(models["boosting"], X_test, y_test, epsilon=threat)
wrong = models["boosting"].predict(moved) != models["boosting"].predict(X_test)
first = np.flatnonzero(wrong)[0]
print(pd.DataFrame({"true": X_test.iloc[first], "reported": moved.iloc[first]}))
