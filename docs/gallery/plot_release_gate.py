"""
A gate for the release of a pipeline
====================================

Before a new version of a model replaces the old one, ask more than its accuracy: is it as robust
to the errors that its inputs have?
"""

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from sklearn_robust import evaluate_robustness
from sklearn_robust.inspection import RobustnessCurveDisplay

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=150, random_state=0)
unit = X_train.std(axis=0)
released = make_pipeline(StandardScaler(), LogisticRegression(C=0.01)).fit(X_train, y_train)
candidate = make_pipeline(StandardScaler(), SVC(C=10)).fit(X_train, y_train)

# %%
# The same samples, radii and attack for both.
reports = {
    name: evaluate_robustness(model, X_test, y_test, [0.05, 0.1, 0.2], unit=unit)
    for name, model in (("released", released), ("candidate", candidate))
}
RobustnessCurveDisplay.from_report(reports)

# %%
# The gate. The candidate is judged by what is *certified*, a lower bound, so that it cannot pass
# because an attack was weak; the released model by its accuracy under attack, an upper bound. The
# margin is what chance may do with so few samples.
frames = {name: report.to_frame() for name, report in reports.items()}
n = len(y_test)
old, new = frames["released"]["attacked"], frames["candidate"]["certified"]
margin = 2 * np.sqrt(old * (1 - old) / n)
passes = new >= old - margin
print(passes)
print("release" if passes.all() else "keep the old one")
