"""The benchmark of training: what it leaves out changes no result, and its table is complete."""

import json

import pytest

from benchmarks import training
from sklearn_robust import RobustFCClassifier
from sklearn_robust.metrics import certified_score, robust_score
from sklearn_robust.neural_network import make_recipe


def test_leaving_out_what_is_settled_changes_no_result(digits):
    X, y = digits[0] / digits[0].max(), digits[1]
    clf = RobustFCClassifier(
        (32,), training="ibp", epsilon=0.05, clip_values=(0, 1), max_epochs=20, random_state=0
    ).fit(X, y)  # fmt: skip
    test = training.Settled(clf, X, y, 0.05)
    # Deterministic, so that leaving samples out cannot change what happens to the others.
    attack = training.get_attack("fgsm")
    found = test.attack(attack=attack)
    assert found["accuracy"] == pytest.approx(robust_score(clf, X, y, attack=attack))
    clean_mistakes = round(len(y) * (1 - clf.score(X, y)))
    assert 0 < found["attacked"] == len(y) - test.proven.sum() - clean_mistakes
    assert test.proven.mean() == pytest.approx(certified_score(clf, X, y, method="ibp"))
    proof = training.by_proof(test, None)
    assert proof["accuracy"] == pytest.approx(certified_score(clf, X, y, method="auto"))
    assert not (test.proven & test.broken).any()


def of_recipe(*names):
    """Return the hyperparameters of a recipe as the benchmark writes them."""
    parameters = make_recipe(*names).get_params(deep=False)
    return {k: training._plain(v) for k, v in parameters.items() if k != "checkpoint"}


def test_a_hyperparameter_that_an_earlier_version_lacked_was_off():
    earlier = of_recipe("certified", "cnn")
    del earlier["batch_norm"], earlier["shift_average"]
    content = {"recipe": "certified", "architecture": "cnn", "parameters": earlier}
    assert training.changes(content) == ["batch_norm=False", "shift_average=0"]


def test_summary_has_the_means_over_seeds_and_leaves_gaps_where_one_lacks(tmp_path):
    for seed, pgd in ((0, 0.9), (1, 0.92)):
        content = {
            "recipe": "fast", "architecture": "fc", "n_test": 100, "clean": 0.98,
            "training_process_seconds": 90 + 60 * seed,
            "parameters": {**of_recipe("fast", "fc"), "max_epochs": 3, "lr": 0.5},
            "pgd": {"accuracy": pgd}, **({"ensemble": {"accuracy": 0.8}} if seed else {}),
        }  # fmt: skip
        path = tmp_path / f"training-fast-fc-eps0.3-MNIST-seed{seed}.json"
        path.write_text(json.dumps(content))
    row = training.summary(tmp_path).splitlines()[2]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:3] == ["fast", "fc", "0.3"] and cells[3] == "lr=0.5"
    assert cells[4:] == ["3", "2.0", "98.00", "91.00", "-", "-", "100", "2"]
