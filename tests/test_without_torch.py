"""Where torch is not installed, everything that touches no network works as it does with it.

A fresh interpreter in which torch and skorch cannot be imported runs each of these programs: so
nothing imports them, not in a function either.
"""

import os
import subprocess
import sys
import textwrap

import pytest

BLOCKED = """
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "skorch"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled())
import warnings
warnings.simplefilter("error")
from sklearn.datasets import load_iris
X, y = load_iris(return_X_y=True)
X, y = X[::3], y[::3]
"""
PROGRAMS = {
    "trees": """
        from sklearn.ensemble import RandomForestClassifier
        from sklearn_robust import (
            adversarial_distance, certified_score, evaluate_robustness, perturb, robust_score
        )
        forest = RandomForestClassifier(10, random_state=0).fit(X, y)
        assert robust_score(forest, X, y, epsilon=0.1) == certified_score(forest, X, y, epsilon=0.1)
        assert perturb(forest, X, y, epsilon=0.1).shape == X.shape
        adversarial_distance(forest, X[::5], y[::5])
        assert "exact" in str(evaluate_robustness(forest, X, y, [0.1]))
    """,
    "linear models": """
        from sklearn.model_selection import GridSearchCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn_robust import (
            AdversarialLogisticRegression, AdversarialLogisticRegressionCV, evaluate_robustness,
            make_robust_scorer,
        )
        clf = AdversarialLogisticRegression(solver="pgd").fit(X, y)
        clf.input_gradients(X, y), clf.perturb(X, y)
        AdversarialLogisticRegressionCV(3).fit(X, y).robust_score(X, y)
        pipe = make_pipeline(StandardScaler(), AdversarialLogisticRegression())
        grid = {"adversariallogisticregression__epsilon": [0, 0.1]}
        search = GridSearchCV(pipe, grid, scoring=make_robust_scorer(0.1), cv=2).fit(X, y)
        evaluate_robustness(search, X, y, [0.1])
    """,
    "kernels, neighbours and a black box": """
        from sklearn.neighbors import KNeighborsClassifier
        from sklearn.svm import SVC
        from sklearn_robust import certified_score, evaluate_robustness, robust_score
        for clf in (SVC(), KNeighborsClassifier(1), KNeighborsClassifier()):
            certified_score(clf.fit(X, y), X[::5], y[::5], epsilon=0.1)
            evaluate_robustness(clf, X[::5], y[::5], [0.1])
        clf = KNeighborsClassifier(metric="canberra").fit(X, y)
        robust_score(clf, X[::5], y[::5], epsilon=0.1, attack="square")
    """,
    "displays": """
        import matplotlib
        matplotlib.use("agg")
        from sklearn_robust import AdversarialLogisticRegression
        from sklearn_robust.inspection import (
            AdversarialExamplesDisplay, InputGradientDisplay, RobustnessCurveDisplay
        )
        clf = AdversarialLogisticRegression().fit(X, y)
        RobustnessCurveDisplay.from_estimator(clf, X, y, [0.1])
        InputGradientDisplay.from_estimator(clf, X[:3], y[:3])
        AdversarialExamplesDisplay.from_estimator(clf, X[:3], y[:3], epsilon=0.3)
    """,
    "the environment report": """
        import io, contextlib, sklearn_robust
        with contextlib.redirect_stdout(io.StringIO()) as report:
            sklearn_robust.show_versions()
        assert "Threads" in report.getvalue()
    """,
}


def _run(program):
    return subprocess.run(
        [sys.executable, "-c", BLOCKED + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_nothing_that_touches_no_network_needs_torch(name):
    done = _run(PROGRAMS[name])
    assert done.returncode == 0, done.stderr


def test_a_network_says_that_torch_is_missing():
    done = _run("from sklearn_robust import RobustFCClassifier")
    assert "ModuleNotFoundError: No module named 'torch'" in done.stderr
