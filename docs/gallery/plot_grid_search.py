"""
Choosing the training radius by cross-validation
================================================

The radius of the adversary in training is a hyperparameter. ``GridSearchCV`` chooses it, as long
as every candidate is scored against the *same* adversary.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split

from sklearn_robust import AdversarialLogisticRegression, make_robust_scorer

X, y = load_digits(return_X_y=True)
threes_and_eights = (y == 3) | (y == 8)
X, y = X[threes_and_eights] / 16, y[threes_and_eights]
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

# %%
# Two scores: the clean accuracy, and the accuracy against an adversary of radius 0.1. The second
# one is exact, since the model is linear, and it decides.
search = GridSearchCV(
    AdversarialLogisticRegression(clip_values=(0, 1)),
    {"epsilon": [0.0, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3]},
    scoring={"clean": "accuracy", "robust": make_robust_scorer(epsilon=0.1)},
    refit="robust",
    cv=5,
).fit(X_train, y_train)
print(search.best_params_)

# %%
# Robust training costs clean accuracy, and buys robust accuracy up to a point.
results = search.cv_results_
fig, ax = plt.subplots(layout="constrained")
for name, marker in (("clean", "s"), ("robust", "o")):
    mean, spread = results[f"mean_test_{name}"], results[f"std_test_{name}"]
    ax.errorbar(results["param_epsilon"], mean, spread, marker=marker, capsize=3, label=name)
ax.axvline(search.best_params_["epsilon"], color="0.6", linestyle="--", label="chosen")
ax.set(xlabel="epsilon in training", ylabel="accuracy (mean and deviation of 5 folds)")
ax.legend()

# %%
# On data that took no part in the choice:
standard = AdversarialLogisticRegression(epsilon=0).fit(X_train, y_train)
for name, model in (("standard", standard), ("chosen", search.best_estimator_)):
    robust = make_robust_scorer(epsilon=0.1, clip_values=(0, 1))(model, X_test, y_test)
    print(f"{name}: clean {model.score(X_test, y_test):.3f}, at radius 0.1 {robust:.3f}")
