"""
Tabular data with errors of measurement
=======================================

Each column has its unit and its error. The adversary is whoever makes the worst of these errors:
a radius per column, in the units of the column.
"""

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_robust import RobustFCClassifier, robust_score
from sklearn_robust.inspection import AdversarialExamplesDisplay, InputGradientDisplay

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X = X.filter(like="mean")  # ten columns
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
error = 0.2 * X_train.std().to_numpy()

# %%
# A standard model, and a network trained against these errors. The scaler is inside the network, so
# that ``epsilon`` is in the units of the columns.
standard = make_pipeline(StandardScaler(), LogisticRegression()).fit(X_train, y_train)
robust = RobustFCClassifier(
    (32,),
    epsilon=error,
    preprocessor=StandardScaler(),
    pgd_steps=5,
    max_epochs=60,
    lr=3e-3,
    random_state=0,
).fit(X_train, y_train)
for name, model in (("standard", standard), ("robust", robust)):
    clean, attacked = (
        model.score(X_test, y_test),
        robust_score(model, X_test, y_test, epsilon=error),
    )
    print(f"{name}: clean {clean:.3f}, with the worst errors {attacked:.3f}")

# %%
# Columns that a physician cannot get wrong are protected by a radius of 0.
error[:3] = 0
print(f"three columns protected: {robust_score(standard, X_test, y_test, epsilon=error):.3f}")

# %%
# Which columns push a sample towards the other class? Gradients per standard deviation of each
# column, so that bars can be compared.
unit = X_train.std()
InputGradientDisplay.from_estimator(
    {"standard": standard, "robust": robust}, X_test[:3], y_test[:3], unit=unit
)

# %%
# And what the worst errors look like, in the same units.
AdversarialExamplesDisplay.from_estimator(
    standard, X_test[:3], y_test[:3], epsilon=error, unit=unit, scale="sample"
)
