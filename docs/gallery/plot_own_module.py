"""
Your own torch module
=====================

``RobustNeuralNetClassifier`` trains any module that maps a batch to logits, and makes a scikit-
learn classifier of it.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from sklearn_robust import RobustNeuralNetClassifier

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)


# %%
# A function that builds the module. It is called in ``fit``, with what it asks for of
# ``input_shape`` and ``n_classes``, and with the arguments in ``module_params``.
def network(n_classes, width):
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * width, n_classes),
    )


# %%
# Everything else is as in the other classifiers: the attack in training, the schedule, early
# stopping on the accuracy under attack. Batch norm is in eval mode while the attack looks at the
# network, and its statistics are those of the training passes alone.
clf = RobustNeuralNetClassifier(
    network,
    module_params={"width": 16},
    epsilon=0.1,
    clip_values=(0, 1),
    pgd_steps=5,
    max_epochs=40,
    lr=3e-3,
    early_stopping=True,
    n_iter_no_change=8,
    random_state=0,
).fit(X_train, y_train)
print(f"{clf.n_iter_} epochs, clean {clf.score(X_test, y_test):.3f}")
print(f"under attack {clf.robust_score(X_test, y_test, attack='strong'):.3f}")

# %%
# ``net_`` is the skorch net that trained it, with its history.
history = clf.net_.history
fig, ax = plt.subplots(layout="constrained")
ax.plot(history[:, "epoch"], history[:, "train_loss"])
ax.set(xlabel="epoch", ylabel="loss under attack")

# %%
# ``module_`` is the trained module, in eval mode: what any other torch tool may be pointed at.
print(clf.module_)
