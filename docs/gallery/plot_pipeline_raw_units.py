"""
A pipeline in raw units
=======================

Pixels have units; standardised pixels have others. A network trained robustly *behind* a scaler
is robust in the scaler's units, and less so in those of the data. With the scaler *inside* the
network, as ``preprocessor=``, epsilon means the same everywhere.
"""

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_robust import RobustFCClassifier
from sklearn_robust.inspection import RobustnessCurveDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
settings = dict(epsilon=0.1, pgd_steps=5, max_epochs=40, lr=3e-3, random_state=0)

# %%
# Behind the scaler, 0.1 is a tenth of a standard deviation: little for a pixel that varies much,
# and nothing at all for one that never does.
behind = make_pipeline(StandardScaler(), RobustFCClassifier((64,), **settings))
behind.fit(X_train, y_train)

# %%
# Inside, a clone of the scaler is fitted to the training data and becomes the first layer.
inside = RobustFCClassifier((64,), preprocessor=StandardScaler(), **settings)
inside.fit(X_train, y_train)

# %%
# Both are attacked at their raw input; the functions of the library follow the pipeline's scaler.
RobustnessCurveDisplay.from_estimator(
    {"scaler in front": behind, "scaler inside": inside},
    X_test,
    y_test,
    [0.02, 0.04, 0.06, 0.08, 0.1],
    clip_values=(0, 1),
    attack="pgd",
    certify=False,
)
