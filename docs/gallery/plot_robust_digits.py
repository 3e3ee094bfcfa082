"""
A digit classifier that withstands perturbations
================================================

Two small convolutional networks, one trained as usual and one on the worst perturbation of every
image, face the same adversary, who may change each pixel by up to 0.2.
"""

from sklearn_robust import load_mnist
from sklearn_robust.inspection import AdversarialExamplesDisplay, RobustnessCurveDisplay
from sklearn_robust.neural_network import make_recipe

X, y = load_mnist("5k")
X_train, y_train, X_test, y_test = X[:3000], y[:3000], X[4700:], y[4700:]

# %%
# A recipe is an unfitted classifier whose hyperparameters belong together. The standard network has
# the same ones, but for epsilon, and for the ramp in front of the network, which is a defence by
# itself.
settings = dict(max_epochs=6, random_state=0)
standard = make_recipe("fast", epsilon=0, input_ramp=None, **settings).fit(X_train, y_train)
robust = make_recipe("fast", epsilon=0.2, **settings).fit(X_train, y_train)

# %%
# Accuracy under attack falls with the radius of the adversary, for one of them sooner. Bars are 95
# % confidence intervals: there are only 300 test images.
RobustnessCurveDisplay.from_estimator(
    {"standard": standard, "robust": robust},
    X_test,
    y_test,
    [0.05, 0.1, 0.15, 0.2],
    attack="pgd",
    certify=False,
)

# %%
# What the adversary did to the standard network. Above each image stands what the network predicts,
# in red where it is wrong. In the last row white is 0, red was added and blue was taken away.
AdversarialExamplesDisplay.from_estimator(standard, X_test[:8], y_test[:8], epsilon=0.2)
