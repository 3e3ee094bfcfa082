"""What an estimator shows in a notebook beside scikit-learn's box: a link and its adversary."""

import html

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr

import sklearn_robust
from sklearn_robust import (
    AdversarialLogisticRegression,
    AdversarialLogisticRegressionCV,
    RobustFCClassifier,
    _notebook,
    make_robust_scorer,
)

X, Y = load_iris(return_X_y=True)
PAGES = "https://pages.test/docs"


@pytest.fixture
def pages(monkeypatch):
    """Let the installed package say that its pages have an address."""
    monkeypatch.setattr(_notebook, "documentation", lambda: PAGES)


@pytest.mark.parametrize(
    ("make", "module"),
    [
        (AdversarialLogisticRegression, "linear_model"),
        (AdversarialLogisticRegressionCV, "linear_model"),
        (RobustFCClassifier, "neural_network"),
    ],
)
def test_the_box_links_to_the_page_of_the_class(pages, make, module):
    link = f"{PAGES}/generated/api/sklearn_robust.{module}.{make.__name__}.html"
    assert f'href="{link}"' in make()._repr_html_()
    assert link in estimator_html_repr(make_pipeline(StandardScaler(), make()))


def test_pages_are_named_as_the_links_name_them(pages):
    for name in ("AdversarialLogisticRegression", "RobustCNNClassifier"):
        module = f"sklearn_robust.{sklearn_robust._PUBLIC[name]}"
        link = getattr(sklearn_robust, name)()._get_doc_link()
        assert link.removeprefix(f"{PAGES}/generated/api/") == f"{module}.{name}.html"


def test_there_is_no_link_for_others_classes_nor_without_an_address(monkeypatch):
    class Mine(AdversarialLogisticRegression):
        pass

    monkeypatch.setattr(_notebook, "documentation", lambda: PAGES)
    assert Mine()._get_doc_link() == ""
    monkeypatch.setattr(_notebook, "documentation", lambda: None)
    assert AdversarialLogisticRegression()._get_doc_link() == ""


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://sklearn-robust.example.org/docs", None),
        ("https://pages.test/docs/", PAGES),
        (None, None),
    ],
    ids=["placeholder", "address", "none"],
)
def test_the_address_is_the_installed_packages_own_and_no_placeholder(
    monkeypatch, address, expected
):
    class Metadata:
        def get_all(self, name, failobj):
            assert name == "Project-URL"
            found = [] if address is None else [f"Documentation, {address}"]
            return ["Source, https://other.test", *found]

    monkeypatch.setattr(_notebook, "metadata", lambda name: Metadata())
    assert _notebook.documentation.__wrapped__() == expected


def _paragraph(line):
    return f"<p>{html.escape(line)}</p>"


@pytest.mark.parametrize(
    ("clf", "line"),
    [
        (
            AdversarialLogisticRegression(0.25, norm="l2"),
            "Trained against l2 perturbations of epsilon 0.25, without clipping, by solver "
            "'exact'.",
        ),
        (
            AdversarialLogisticRegression(np.array([0, 0.1, 0.2, 0.5]), solver="pgd",
                                          clip_values=(0, 8)),
            "Trained against linf perturbations of epsilon from 0 to 0.5 by feature, inside the "
            "valid range of the data, by solver 'pgd'.",
        ),
        (
            AdversarialLogisticRegression(0.1, clip_values=(0, 8)),
            "Trained against linf perturbations of epsilon 0.1, without clipping, by solver "
            "'exact'.",
        ),
        (
            AdversarialLogisticRegressionCV([0.3], cv=2),
            "Trained against linf perturbations of epsilon 0.3, without clipping, by solver "
            "'exact'.",
        ),
        (AdversarialLogisticRegression(0), "Trained without an adversary (epsilon 0)."),
        (
            RobustFCClassifier((4,), epsilon=0.5, clip_values=(0, 8), max_epochs=3, lr=0.1,
                               lr_schedule="constant", training="trades", random_state=0),
            "Trained against linf perturbations of epsilon 0.5, inside the valid range of the "
            "data, by trades.",
        ),
    ],
    ids=["l2", "by feature", "ball", "path", "none", "network"],
)  # fmt: skip
def test_a_fitted_estimator_says_what_it_was_trained_against(clf, line):
    clf = clone(clf)
    assert "Trained" not in clf._repr_html_()
    clf.fit(X, Y)
    assert clf._repr_html_().endswith(_paragraph(line))
    assert clf._repr_mimebundle_()["text/html"].endswith(_paragraph(line))
    name = "scoring_epsilon" if "CV" in type(clf).__name__ else "epsilon"
    clf.set_params(**{name: 7.0})  # which no fit has seen
    assert clf._repr_html_().endswith(_paragraph(line))


def test_a_scorer_shows_how_it_was_made():
    assert repr(make_robust_scorer(0.1, norm="l2")) == "RobustScorer(epsilon=0.1, norm='l2')"
