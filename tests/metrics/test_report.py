"""Reports and certificates: the order of the three accuracies, exactness where there is any."""

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_robust import RobustFCClassifier, input_gradients
from sklearn_robust.metrics import (
    BlackBoxWarning,
    certified_score,
    evaluate_robustness,
    robust_score,
)
from sklearn_robust.metrics._diagnostics import Finding

RADII = (0.02, 0.05, 0.1)


def _pipeline(X, y):
    net = RobustFCClassifier((16,), epsilon=0.1, max_epochs=10, pgd_steps=3, random_state=0)
    return make_pipeline(StandardScaler(), net).fit(X, y)


@pytest.fixture(scope="module")
def models(digits, robust_fc, standard_fc):
    X, y, *_ = digits
    return {
        "robust": robust_fc,
        "standard": standard_fc,
        "pipeline": _pipeline(X, y),
        "linear": LogisticRegression(max_iter=200).fit(X, y),
    }


@pytest.mark.parametrize("name", ["robust", "standard", "pipeline", "linear"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("clip_values", [None, (0, 1)])
def test_certified_attacked_and_clean_are_in_order(models, digits, name, norm, clip_values):
    X, y = digits[2][:150], digits[3][:150]
    radii = RADII if norm == "linf" else tuple(4 * r for r in RADII)
    report = evaluate_robustness(
        models[name], X, y, radii, norm=norm, clip_values=clip_values, diagnostics=False
    )
    for radius in report.radii:
        assert 0 <= radius.certified <= radius.attacked <= radius.clean
        assert radius.clean == models[name].score(X, y)
    attacked = [r.attacked for r in report.radii]
    certified = [r.certified for r in report.radii]
    assert attacked == sorted(attacked, reverse=True)
    assert certified == sorted(certified, reverse=True)
    if name == "linear":
        assert attacked == certified


def test_every_broken_sample_is_counted_once(models, digits):
    X, y = digits[2][:200], digits[3][:200]
    report = evaluate_robustness(models["robust"], X, y, RADII, certify=False, diagnostics=False)
    for radius in report.radii:
        lost = round(200 * (radius.clean - radius.attacked))
        assert sum(radius.broken_by.values()) == lost
        assert np.isnan(radius.certified) and np.isnan(radius.gap)
    assert report.certificate == "not asked for"


def test_one_radius_agrees_with_the_scores(models, digits):
    X, y = digits[2][:200], digits[3][:200]
    for name in ("robust", "linear"):
        model = models[name]
        (radius,) = evaluate_robustness(model, X, y, [0.05], diagnostics=False).radii
        assert radius.attacked == robust_score(model, X, y, epsilon=0.05)
        assert radius.certified == certified_score(model, X, y, epsilon=0.05)


def test_scores_alone_prove_nothing(digits):
    X, y, X_test, y_test = digits
    forest = make_pipeline(FunctionTransformer(np.sin), RandomForestClassifier(10, random_state=0))
    forest.fit(X, y)
    report = evaluate_robustness(forest, X_test[:40], y_test[:40], [0.1], attack="square")
    assert np.isnan(report.radii[0].certified)
    assert report.radii[0].attacked < report.radii[0].clean
    assert report.certificate.startswith("none: step 'functiontransformer'")
    with pytest.warns(BlackBoxWarning, match="attacked through its scores alone") as caught:
        evaluate_robustness(forest, X_test[:10], y_test[:10], [0.1], diagnostics=False)
    assert caught[0].filename == __file__
    with pytest.raises(TypeError, match="Pipeline cannot be certified"):
        certified_score(forest, X_test, y_test, epsilon=0.1)


def test_report_reads_well_and_draws_what_it_says(models, digits):
    X, y = digits[2][:100], digits[3][:100]
    report = evaluate_robustness(models["robust"], X, y, RADII)
    text = repr(report)
    for radius in report.radii:
        assert f"{radius.attacked:.4f}" in text and f"{radius.certified:.4f}" in text
    assert "diagnostics: 0 of 7 fired" in text
    frame = report.to_frame()
    assert frame.index.tolist() == list(RADII)
    np.testing.assert_array_equal(frame["attacked"], [r.attacked for r in report.radii])
    (line,) = report.plot().attacked_lines_.values()
    np.testing.assert_array_equal(line.get_ydata()[1:], frame["attacked"])  # the first is clean


def test_one_radius_may_be_a_number(models, digits):
    X, y = digits[2][:20], digits[3][:20]
    one, several = (
        evaluate_robustness(models["linear"], X, y, e, diagnostics=False) for e in (0.1, [0.1])
    )
    assert [r.attacked for r in one.radii] == [r.attacked for r in several.radii]


@pytest.mark.parametrize("score", [robust_score, certified_score])
@pytest.mark.parametrize("name", ["linear", "robust"])
@pytest.mark.parametrize("weight", [np.ones(9), -np.ones(10)])
def test_weights_that_do_not_fit_are_refused(models, digits, score, name, weight):
    X, y = digits[2][:10], digits[3][:10]
    with pytest.raises(ValueError, match="sample_weight"):
        score(models[name], X, y, epsilon=0.01, sample_weight=weight)


def test_bad_input_is_refused(models, digits):
    X, y = digits[2][:10], digits[3][:10]
    with pytest.raises(ValueError, match="each of epsilons must be a finite number >= 0, got -1"):
        evaluate_robustness(models["robust"], X, y, [-1])
    with pytest.raises(ValueError, match="epsilons must hold at least one radius"):
        evaluate_robustness(models["robust"], X, y, [])
    with pytest.raises(ValueError, match="method must be one of"):
        evaluate_robustness(models["robust"], X, y, [0.1], method="magic")
    with pytest.raises(ValueError, match="X has 10 samples but y has 9"):
        evaluate_robustness(models["linear"], X, y[:9], [0.1])


class _Cells(HTMLParser):
    """Collects the rows of the table, its caption and the tags."""

    def __init__(self):
        super().__init__()
        self.tags, self.rows, self.texts = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.tags[-1] in ("td", "th"):
            self.rows[-1][-1] += data.strip()  # what is between rows is white
        elif data.strip():
            self.texts.append(data)


def test_the_table_for_notebooks_says_what_the_report_says(models, digits):
    X, y = digits[2][:60], digits[3][:60]
    report = evaluate_robustness(models["robust"], X, y, RADII[:2])
    cells = _Cells()
    cells.feed(report._repr_html_())
    header, *body = cells.rows
    numbers = ["epsilon", "clean", "attacked", "certified", "gap"]
    words = ["attacked is", "certified is"]
    assert sorted(header) == sorted([*numbers, *words, "broken by"])
    for row, radius in zip(body, report.radii, strict=True):
        shown = dict(zip(header, row, strict=True))
        values = [getattr(radius, name) for name in numbers]
        # Four digits are shown.
        np.testing.assert_allclose([float(shown[name]) for name in numbers], values, atol=5e-5)
        assert [shown[name] for name in words] == ["white box", "certified"]
    assert "RobustFCClassifier" in cells.texts[0]
    fired = sum(finding.fired for finding in report.findings)
    assert f"Diagnostics: {fired} of {len(report.findings)} fired." in cells.texts


def test_the_table_escapes_whatever_it_is_given(models, digits):
    X, y = digits[2][:30], digits[3][:30]
    plain = evaluate_robustness(models["linear"], X, y, RADII[:1], certify=False, diagnostics=False)
    evil = "<script>alert('&')</script>"
    report = replace(
        plain,
        estimator=evil,
        attack=evil,
        radii=(replace(plain.radii[0], broken_by={evil: 3}),),
        findings=(Finding(evil, True, 0.0, evil),),
    )
    cells = _Cells()
    cells.feed(report._repr_html_())
    assert set(cells.tags) == {"div", "table", "caption", "thead", "tbody", "tr", "th", "td", "p"}
    assert cells.rows[1][3:] == ["exact", "-", "none", "-", f"{evil} 3"]
    assert f"{evil}: {evil}" in cells.texts


@pytest.mark.parametrize("n", [1, 20, 150])
def test_labels_of_another_number_are_refused(n, robust_fc):
    X, y = load_iris(return_X_y=True)
    linear = LogisticRegression(max_iter=1000).fit(X, y)
    piped = make_pipeline(StandardScaler(), linear).fit(X, y)
    for clf in (linear, piped):
        with pytest.raises(ValueError, match=f"X has 30 samples but y has {n}|inconsistent"):
            input_gradients(clf, X[:30], y[:n])
    with pytest.raises(ValueError, match=f"X has 30 samples but y has {n}"):
        robust_score(linear, sparse.csr_array(X[:30]), y[:n], epsilon=0.1)
    digits = np.zeros((30, 64))
    with pytest.raises(ValueError, match=f"X has 30 samples but y has {n}"):
        robust_fc.input_gradients(digits, np.zeros(n, dtype=int))


@pytest.mark.parametrize("clip_values", [(0, np.inf), (-np.inf, 10), (0, 10), None], ids=str)
def test_diagnostics_know_the_range_of_what_may_move(clip_values):
    X, y = load_iris(return_X_y=True)
    clf = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    report = evaluate_robustness(clf, X, y, np.array(0.1), clip_values=clip_values)
    assert not [finding.check for finding in report.findings if finding.fired]
    (ratio,) = [f.value for f in report.findings if f.check == "epsilon in the wrong units"]
    assert 0.01 <= ratio <= 0.02  # 0.1 of 7.8 or 10
