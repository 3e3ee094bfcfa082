"""
Is my random forest robust? The truth, and what a black box would say
=====================================================================

A forest has no gradients, but it is a sum of boxes: the library searches them and says for each
sample what the truth is. ``Square``, a random search, needs nothing but scores, and attacks any
scikit-learn classifier. What it leaves standing is an upper bound of the robust accuracy.
"""

from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from sklearn_robust import robust_score
from sklearn_robust.attacks import Square
from sklearn_robust.inspection import AdversarialExamplesDisplay, RobustnessCurveDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=150, random_state=0)
models = {
    "random forest": RandomForestClassifier(30, random_state=0).fit(X_train, y_train),
    "extra trees": ExtraTreesClassifier(30, random_state=0).fit(X_train, y_train),
    "logistic regression": LogisticRegression(max_iter=2000).fit(X_train, y_train),
}

# %%
# Naming the attack says that scores are meant, as they are for a classifier that is neither linear
# nor a network nor made of trees.
square = Square(n_queries=200)
RobustnessCurveDisplay.from_estimator(
    models, X_test, y_test, [0.05, 0.1, 0.2], attack=square, clip_values=(0, 1), certify=False
)

# %%
# Left to itself the library searches the trees, and both bounds are the truth.
exact = RobustnessCurveDisplay.from_estimator(
    models, X_test, y_test, [0.05, 0.1, 0.2], clip_values=(0, 1)
)

# %%
# How much of the truth does the search through scores find?
options = dict(epsilon=0.1, clip_values=(0, 1))
for name, model in models.items():
    truth = robust_score(model, X_test, y_test, **options)
    found = robust_score(model, X_test, y_test, attack=square, **options)
    print(f"{name:20} exact {truth:.3f}  through scores {found:.3f}")

# %%
# What fools the forest:
forest = models["random forest"]
AdversarialExamplesDisplay.from_estimator(
    forest,
    X_test[:8],
    y_test[:8],
    epsilon=0.2,
    clip_values=(0, 1),
    image_shape=(8, 8),
)
