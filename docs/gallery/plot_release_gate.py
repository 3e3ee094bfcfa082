"""
A release gate: no new model that is less robust
================================================

Accuracy on clean data is checked before most releases. Robust accuracy can be checked in the same
step of a CI pipeline: ``python -m sklearn_robust score`` reads a stored model and a table, and
its exit code says whether the model may be released.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import joblib
import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X, X_test, y, y_test = train_test_split(X, y, test_size=150, random_state=0)
candidates = {
    "C=0.1": make_pipeline(StandardScaler(), LogisticRegression(C=0.1)),
    "C=10": make_pipeline(StandardScaler(), LogisticRegression(C=10)),
}

# %%
# What a training job leaves behind: a file for each model, a table of test data, and the unit of
# each column of which epsilon is a multiple, here a tenth of its standard deviation.
folder = Path(tempfile.mkdtemp())
X_test.assign(label=y_test).to_csv(folder / "test.csv", index=False)
(folder / "unit.json").write_text(json.dumps((0.1 * X.std()).to_dict()))
for name, model in candidates.items():
    joblib.dump(model.fit(X, y), folder / f"{name}.joblib")

# %%
# The gate: at least 80 % of the samples must be right after any change of a fifth of a standard
# deviation per column. ``--trust`` is needed for pickles, which run code when they are loaded; a
# skops file does not need it.
LIMIT = 0.8
reports = {}
for name in candidates:
    command = [
        *(sys.executable, "-m", "sklearn_robust", "score", f"{folder}/{name}.joblib"),
        *(f"{folder}/test.csv", "--target", "label", "--epsilon", "1", "2"),
        *("--unit", f"{folder}/unit.json", "--fail-under", str(LIMIT), "--trust"),
        *("--json", f"{folder}/{name}.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    print(done.stdout, done.stderr, f"-> exit code {done.returncode}\n", sep="")
    reports[name] = json.loads((folder / f"{name}.json").read_text())

# %%
# In a workflow of GitHub or GitLab that is one line, and the job fails with the gate:
#
# .. code-block:: bash
#
#     python -m sklearn_robust score model.joblib test.csv --target label --epsilon 1 2 \
#         --unit unit.json --fail-under 0.8 --trust --html robustness.html
#
# ``--html`` writes the report as an artifact to look at, ``--json`` for a plot like this one over
# releases. Clean accuracies differ by two points, robust ones by seventeen.
fig, ax = plt.subplots(layout="constrained")
for name, report in reports.items():
    radii = report["radii"]
    ax.plot(
        [0, *(r["epsilon"] for r in radii)],
        [radii[0]["clean"], *(r["attacked"] for r in radii)],
        "o-",
        label=name,
    )
ax.axhline(LIMIT, color="0.3", linestyle="--", label="gate")
ax.set(xlabel="epsilon, tenths of a standard deviation", ylabel="robust accuracy", ylim=(0.6, 1))
ax.legend()
