"""Exact linear training and scoring."""

import numpy as np
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_robust import AdversarialLogisticRegression, adversarial_logistic_path, robust_score


class Linear:
    """Two classes, 2,000 samples, 100 features."""

    n_samples = 2000

    def setup(self, *_):
        self.X, self.y = make_classification(
            self.n_samples, 100, n_informative=30, random_state=0, shuffle=False
        )


class ExactFit(Linear):
    """Training to a certified gap of 1e-6."""

    params = ("linf", "l2")
    param_names = ("norm",)

    def time_fit(self, norm):
        AdversarialLogisticRegression(0.05, norm=norm, tol=1e-6).fit(self.X, self.y)

    def peakmem_fit(self, norm):
        self.time_fit(norm)


class Path(Linear):
    """Twenty radii, each begun at the last one's solution."""

    def time_path(self):
        adversarial_logistic_path(self.X, self.y, epsilons=np.linspace(0.2, 0.01, 20))


class ExactScore(Linear):
    """Robust accuracy of a pipeline, in closed form, in raw units and within a box."""

    def setup(self):
        super().setup()
        self.pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(self.X, self.y)
        self.box = (self.X.min(), self.X.max())

    def time_robust_score(self):
        robust_score(self.pipeline, self.X, self.y, epsilon=0.05, clip_values=self.box)
