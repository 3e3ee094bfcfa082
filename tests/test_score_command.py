"""``python -m sklearn_robust score``: what it prints, writes, refuses, and its exit status."""

import functools
import json
import os
import pathlib
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import sklearn_robust
from sklearn_robust import AdversarialLogisticRegression, evaluate_robustness, robust_score
from sklearn_robust.__main__ import main

X, Y = load_wine(return_X_y=True, as_frame=True)
NAMES = np.array(["a", "b", "c"])[Y]
UNIT = X.std().to_dict()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Work in a folder that holds data.csv and unit.json."""
    monkeypatch.chdir(tmp_path)
    X.assign(kind=NAMES, row=range(len(X))).to_csv("data.csv", index=False)
    (tmp_path / "unit.json").write_text(json.dumps(UNIT))
    return tmp_path


def score(model, *options):
    return main(["score", model, "data.csv", "--target", "kind", *map(str, options)])


def test_the_report_is_that_of_evaluate_robustness_in_all_three_forms(here, capsys):
    clf = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, NAMES)
    joblib.dump(clf, "model.joblib")
    files = ("--html", "report.html", "--json", "report.json")
    options = ("--unit", "unit.json", "--epsilon", 0.1, 0.2, "--norm", "l2", "--trust", *files)
    assert score("model.joblib", *options) == 0
    expected = evaluate_robustness(clf, X, NAMES, [0.1, 0.2], unit=UNIT, norm="l2")
    assert capsys.readouterr().out == f"{expected}\n"
    assert (here / "report.html").read_text() == expected._repr_html_()
    written = json.loads((here / "report.json").read_text())
    assert [r["attacked"] for r in written["radii"]] == [r.attacked for r in expected.radii]
    assert (written["estimator"], written["norm"]) == ("Pipeline", "l2")


@pytest.mark.parametrize(
    ("option", "margin", "status"),
    [
        ("--fail-under", 0, 0),
        ("--fail-under", 1e-6, 1),
        ("--fail-under-certified", 0, 0),
        ("--fail-under-certified", 1e-6, 1),
    ],
)
def test_the_exit_status_tells_whether_the_largest_radius_keeps_the_limit(
    here, capsys, option, margin, status
):
    clf = AdversarialLogisticRegression().fit(X.to_numpy(), NAMES)
    joblib.dump(clf, "model.joblib")
    limit = robust_score(clf, X.to_numpy(), NAMES, epsilon=0.2) + margin
    data = ("--epsilon", 0.2, 0.01, option, limit, "--trust")
    X.assign(kind=NAMES).to_csv("data.csv", index=False)
    assert score("model.joblib", *data) == status
    assert ("FAILED" in capsys.readouterr().out) == bool(status)


def test_a_model_gets_the_frame_that_it_was_fitted_on(here, capsys):
    frame = X.assign(word=np.where(X["ash"] > 2.3, "x", "y"))
    front = make_column_transformer((OneHotEncoder(), ["word"]), remainder=StandardScaler())
    clf = make_pipeline(front, RandomForestClassifier(5, random_state=0)).fit(frame, NAMES)
    joblib.dump(clf, "model.joblib")
    frame[frame.columns[::-1]].assign(kind=NAMES, row="z").to_csv("data.csv", index=False)
    options = ("--epsilon", 0.1, "--unit", "unit.json", "--trust")
    assert score("model.joblib", *options) == 0
    found = capsys.readouterr().out
    expected = evaluate_robustness(clf, frame, NAMES, 0.1, unit=UNIT)
    assert found == f"{expected}\n"
    assert 0.5 < expected.radii[0].attacked < 1


def test_what_nothing_is_proven_of_misses_every_limit_of_certified_accuracy(
    here, capsys, monkeypatch
):
    joblib.dump(RidgeClassifier().fit(X, NAMES), "model.joblib")
    unproven = functools.partial(evaluate_robustness, certify=False)
    monkeypatch.setattr(sklearn_robust.metrics, "evaluate_robustness", unproven)
    options = ("--epsilon", 0.1, "--trust", "--json", "report.json")
    assert score("model.joblib", *options, "--fail-under-certified", 0) == 1
    assert "certified accuracy nan" in capsys.readouterr().out
    assert json.loads((here / "report.json").read_text())["radii"][0]["certified"] is None


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("trapped",)


@pytest.mark.parametrize("suffix", ["joblib", "pkl", "bin"])
def test_a_pickle_is_not_loaded_without_trust(here, capsys, suffix):
    with open(f"model.{suffix}", "wb") as file:
        pickle.dump(Trap(), file)
    assert score(f"model.{suffix}", "--epsilon", 0.1) == 2
    assert not (here / "trapped").exists()
    assert "--trust" in capsys.readouterr().err
    score(f"model.{suffix}", "--epsilon", 0.1, "--trust")
    assert (here / "trapped").exists()  # the trap was a real one


def test_skops_needs_trust_for_types_that_it_does_not_know_alone(here, capsys):
    skops_io = pytest.importorskip("skops.io")
    clf = make_pipeline(StandardScaler(), AdversarialLogisticRegression()).fit(X, NAMES)
    skops_io.dump(clf, "model.skops")
    assert score("model.skops", "--epsilon", 0.01) == 0
    first = capsys.readouterr().out
    joblib.dump(clf, "model.joblib")
    assert score("model.joblib", "--epsilon", 0.01, "--trust") == 0
    assert capsys.readouterr().out == first
    skops_io.dump(clf.set_params(standardscaler=Trap()), "model.skops")
    assert score("model.skops", "--epsilon", 0.01) == 2
    assert "test_score_command" in capsys.readouterr().err
    assert not (here / "trapped").exists()


@pytest.mark.parametrize("name", ["forest", "other name of the same module"])
def test_no_other_type_of_a_skops_file_is_trusted(here, capsys, monkeypatch, name):
    skops_io = pytest.importorskip("skops.io")
    skops_io.dump(RidgeClassifier().fit(X, NAMES), "model.skops")
    other = "sklearn.tree._tree.Tree" if name == "forest" else "sklearn_robust.linear_model._cv.np"
    monkeypatch.setattr(skops_io, "get_untrusted_types", lambda file: [other])
    assert score("model.skops", "--epsilon", 0.01) == 2
    assert other in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: pd.read_csv("data.csv").drop(columns="ash").to_csv("data.csv"), "'ash'"),
        (lambda: X.assign(kind="other").to_csv("data.csv"), "no label that the model knows"),
        (lambda: pathlib.Path("unit.json").write_text('{"taste": 1}'), "taste"),
    ],
    ids=["column", "labels", "unit"],
)
def test_what_is_wrong_is_said_in_a_line(here, capsys, change, message):
    joblib.dump(RidgeClassifier().fit(X, NAMES), "model.joblib")
    change()
    assert score("model.joblib", "--epsilon", 0.1, "--unit", "unit.json", "--trust") == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_the_command_runs_from_a_shell(here):
    joblib.dump(AdversarialLogisticRegression().fit(X, NAMES), "model.joblib")
    command = [sys.executable, "-m", "sklearn_robust", "score", "model.joblib", "data.csv"]
    options = ["--target", "kind", "--epsilon", "0.1", "--fail-under", "1.1", "--trust"]
    done = subprocess.run(
        [*command, *options],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[1])},
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("Robustness of AdversarialLogisticRegression on 178 samples")
