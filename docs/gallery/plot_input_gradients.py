"""
Reading input gradients
=======================

The gradient of the loss with respect to the image says which pixels raise the loss when they get
brighter, and which lower it. After robust training it can show the digit.
"""

import numpy as np

from sklearn_robust import RobustCNNClassifier, load_mnist, perturb
from sklearn_robust.inspection import InputGradientDisplay

X, y = load_mnist("5k")
X_train, y_train, X_test, y_test = X[:3000], y[:3000], X[4000:], y[4000:]
settings = dict(
    filters=(16, 32),
    kernel_size=4,
    downsampling="stride",
    hidden_layer_sizes=(100,),
    dropout=0.0,
    pgd_steps=5,
    max_epochs=8,
    lr=3e-3,
    random_state=0,
)
standard = RobustCNNClassifier(epsilon=0, **settings).fit(X_train, y_train)
robust = RobustCNNClassifier(epsilon=0.2, **settings).fit(X_train, y_train)

# %%
# One image of each digit that both networks classify correctly. Brightening red pixels raises the
# loss, brightening blue ones lowers it.
right = (standard.predict(X_test) == y_test) & (robust.predict(X_test) == y_test)
shown = [np.flatnonzero(right & (y_test == digit))[0] for digit in range(10)]
models = {"standard": standard, "robust": robust}
InputGradientDisplay.from_estimator(models, X_test[shown], y_test[shown])

# %%
# So far each panel had a colour scale of its own. On one scale for all, samples that are classified
# with confidence turn pale, and one sees whose gradients are larger.
InputGradientDisplay.from_estimator(models, X_test[shown], y_test[shown], scale="figure")

# %%
# On images perturbed against the robust network:
X_adv = perturb(robust, X_test[shown], y_test[shown])
InputGradientDisplay.from_estimator(models, X_adv, y_test[shown])
