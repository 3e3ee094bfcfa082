"""
What adversarial training does to weights
=========================================

In the modified Bernoulli model each feature says something about the class, with a bias tau of
its own. Standard training gives every feature a weight; robust training drops all below a
threshold, and the threshold is known.
"""

import matplotlib.pyplot as plt

from sklearn_robust import AdversarialLogisticRegression, BernoulliGenerator
from sklearn_robust.inspection import ThresholdDisplay, WeightDisplay

law = BernoulliGenerator(n_features=100, tau=(0.0, 0.25), random_state=0)
X, y = law.sample(10_000)

# %%
# Three ways to train, at the same radius: not robustly, exactly, and as Collins et al. (2019) did,
# by Adam with an attack on every second iteration, which minimises a mixture of clean and
# adversarial loss.
models = {
    "standard": AdversarialLogisticRegression(epsilon=0).fit(X, y),
    "exact": AdversarialLogisticRegression(epsilon=0.3).fit(X, y),
    "report": AdversarialLogisticRegression(epsilon=0.3, solver="pgd").fit(X, y),
}
fig, axes = plt.subplots(1, 3, figsize=(11, 3.4), sharey=True, layout="constrained")
for ax, (name, model) in zip(axes, models.items(), strict=True):
    WeightDisplay.from_estimator(model, law, ax=ax)
    ax.set_title(name)
    ax.label_outer()

# %%
# The price: what the law itself says about the accuracy of each, with no test data drawn.
for name, model in models.items():
    clean, robust = (
        law.accuracy(model.coef_, epsilon, intercept=model.intercept_[0]) for epsilon in (0, 0.3)
    )
    print(f"{name:>8}: clean {clean:.3f}, robust {robust:.3f}")

# %%
# The threshold of exact training is half the radius.
ThresholdDisplay.from_estimator(
    AdversarialLogisticRegression(), law, [0.1, 0.2, 0.3, 0.4], n_samples=5000, n_repeats=3
)
