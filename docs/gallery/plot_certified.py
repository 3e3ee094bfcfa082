"""
Certified against attacked
==========================

An attack shows what an adversary can do, a bound what none can. The truth lies between, and how
far the two are apart depends on how a network was trained.
"""

from sklearn_robust import RobustFCClassifier, evaluate_robustness, load_mnist
from sklearn_robust.inspection import RobustnessCurveDisplay
from sklearn_robust.neural_network import IntervalTraining

X, y = load_mnist("5k")
X_train, y_train, X_test, y_test = X[:3000], y[:3000], X[4800:], y[4800:]
settings = dict(
    hidden_layer_sizes=(128, 128),
    input_ramp="fixed",
    epsilon=0.1,
    clip_values=(0, 1),
    lr=2e-3,
    random_state=0,
)

# %%
# The same network, trained by attack, and by minimising an interval bound of the worst case.
by_attack = RobustFCClassifier(pgd_steps=5, max_epochs=10, **settings).fit(X_train, y_train)
by_bound = RobustFCClassifier(
    training=IntervalTraining(kappa=0.0, initialization=False, regularization=0.0),
    max_epochs=40,
    lr_schedule="one-cycle",
    max_grad_norm=10.0,
    **settings,
).fit(X_train, y_train)

# %%
# A report holds both numbers at several radii, and what to distrust about them.
reports = {
    name: evaluate_robustness(model, X_test, y_test, [0.05, 0.1, 0.15], method="ibp")
    for name, model in (("trained by attack", by_attack), ("trained by bound", by_bound))
}
for report in reports.values():
    print(report)

# %%
# Solid: under attack. Dashed: certified by interval bounds, the cheapest there are. The band
# between them is what is not known.
RobustnessCurveDisplay.from_report(reports)
