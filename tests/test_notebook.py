"""A notebook as a user would run it: no error, no word on stderr, and outputs made for reading."""

import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs nbformat, nbclient and ipykernel")
nbclient = pytest.importorskip("nbclient", reason="needs nbformat, nbclient and ipykernel")
pytest.importorskip("ipykernel", reason="needs nbformat, nbclient and ipykernel")

FIRST_STEPS = Path(__file__).parents[1] / "docs" / "first_steps.ipynb"
SETUP = """
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn_robust import RobustFCClassifier, evaluate_robustness, make_robust_scorer
from sklearn_robust.inspection import InputGradientDisplay

X, y = load_digits(return_X_y=True)
X = X / 16
"""
CELLS = {
    "setup": SETUP,
    "unfitted": "RobustFCClassifier((16,), epsilon=0.1)",
    "fitted": "net = RobustFCClassifier((16,), epsilon=0.05, max_epochs=20, lr=0.01)\n"
    "net.set_params(random_state=0).fit(X, y)",
    "pipeline": "make_pipeline(StandardScaler(), net)",
    "search": "GridSearchCV(net, {'epsilon': [0.0, 0.1]}, scoring=make_robust_scorer(0.1))",
    "display": "InputGradientDisplay.from_estimator(net, X[:5], y[:5], image_shape=(8, 8));",
    "report": "report = evaluate_robustness(net, X[:50], y[:50], [0.02, 0.05])\nreport",
    "curve": "report.plot();",
    "progress": "net.set_params(verbose=2, max_epochs=2).fit(X, y);",
}


@pytest.fixture(scope="module")
def outputs():
    """Run the notebook and return the outputs of each cell by its name."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in CELLS.values()]
    )
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    return {name: cell.outputs for name, cell in zip(CELLS, notebook.cells, strict=True)}


def shown(outputs, kind):
    """Return what a cell shows of a MIME type."""
    return [output.data[kind] for output in outputs if kind in output.get("data", {})]


@pytest.mark.slow
def test_nothing_is_written_to_stderr(outputs):
    for name, cell in outputs.items():
        written = [o.text for o in cell if o.output_type == "stream" and o.name == "stderr"]
        assert name == "progress" or not written, name  # a progress bar belongs there


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unfitted", "fitted", "pipeline", "search"])
def test_estimators_are_shown_with_their_parameters(outputs, name):
    (html,) = shown(outputs[name], "text/html")
    text = re.sub(r"<style>.*?</style>|<script>.*?</script>", "", html, flags=re.DOTALL)
    assert "RobustFCClassifier" in text
    for parameter in ("epsilon", "pgd_steps", "random_state"):
        assert parameter in text
    assert (">GridSearchCV<" in text) == (name == "search")
    assert (">StandardScaler<" in text) == (name == "pipeline")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["display", "curve"])
def test_displays_are_shown_as_one_picture(outputs, name):
    assert len(shown(outputs[name], "image/png")) == 1


@pytest.mark.slow
def test_a_report_is_shown_with_its_figures(outputs):
    (text,) = shown(outputs["report"], "text/plain")
    assert re.search(r"epsilon +clean +attacked +certified", text)
    (html,) = shown(outputs["report"], "text/html")
    assert html.count("<table") == 1
    header = re.findall(r"<th[^>]*>([^<]+)<", html)
    figures = ["epsilon", "clean", "attacked", "attacked is", "certified", "certified is"]
    assert header[: len(figures)] == figures


@pytest.mark.slow
def test_epochs_are_reported_a_line_each(outputs):
    text = "".join(o.text for o in outputs["progress"] if o.output_type == "stream")
    assert len(re.findall(r"epoch +\d+ +clean loss", text)) == 2


@pytest.mark.slow
def test_the_first_steps_of_the_documentation_run_and_show_what_they_say():
    notebook = nbformat.read(FIRST_STEPS, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)  # none are stored
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    report, box, curve = (cell.outputs for cell in notebook.cells if cell.get("outputs"))
    (table,) = shown(report, "text/plain")
    assert table.count(" exact  ") == 3
    (html,) = shown(box, "text/html")
    assert "Trained against linf perturbations of epsilon 0.2" in html
    assert len(shown(curve, "image/png")) == 1
