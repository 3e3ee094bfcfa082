"""Displays: what is drawn is the data, at the right place, in the right sign and scale."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from scipy.stats import binomtest
from sklearn.datasets import load_wine
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_robust import (
    AdversarialLogisticRegression,
    BernoulliGenerator,
    TabularThreat,
    evaluate_robustness,
    input_gradients,
    perturb,
    robust_score,
)
from sklearn_robust.inspection import (
    AdversarialExamplesDisplay,
    InputGradientDisplay,
    RobustnessCurve,
    RobustnessCurveDisplay,
    ThresholdDisplay,
    WeightDisplay,
)
from sklearn_robust.inspection._law import count_threshold, kink


@pytest.fixture(autouse=True)
def off_screen():
    with matplotlib.rc_context({"backend": "agg"}):
        yield
    plt.close("all")


@pytest.fixture(scope="module")
def few(digits):
    return digits[2][:3], digits[3][:3]


@pytest.fixture(scope="module")
def wine():
    X, y = load_wine(return_X_y=True, as_frame=True)
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y), X, y


def shown(ax):
    """Return the values of the picture in a panel."""
    return np.asarray(ax.images[0].get_array())


def widths(ax):
    return np.array([bar.get_width() for bar in ax.patches])


# InputGradientDisplay ---------------------------------------------------------------------------


def test_panels_hold_samples_and_gradients_of_every_model(few, standard_fc, robust_fc):
    X, y = few
    models = {"standard": standard_fc, "robust": robust_fc}
    display = InputGradientDisplay.from_estimator(models, X, y, image_shape=(8, 8))
    assert display.ax_.shape == (3, 3)
    assert [row[0].get_ylabel() for row in display.ax_] == ["input", "standard", "robust"]
    for column, x in zip(display.ax_.T, X, strict=True):
        np.testing.assert_array_equal(shown(column[0]), x.reshape(8, 8))
    for row, model in zip(display.ax_[1:], models.values(), strict=True):
        for panel, gradient in zip(row, input_gradients(model, X, y), strict=True):
            np.testing.assert_array_equal(shown(panel), gradient.reshape(8, 8))


def test_colours_are_symmetric_about_white_at_zero(few, robust_fc):
    X, y = few
    display = InputGradientDisplay.from_estimator(robust_fc, X, y, image_shape=(8, 8))
    image = display.ax_[1, 0].images[0]
    low, high = image.get_clim()
    assert low == -high
    assert image.cmap(image.norm(0.0))[:3] == pytest.approx((1, 1, 1), abs=0.01)  # 8-bit colours
    assert image.cmap(image.norm(high))[:3] == to_rgb("red")
    assert image.cmap(image.norm(low))[:3] == to_rgb("blue")


@pytest.mark.parametrize("scale", ["sample", "row", "figure"])
def test_scale_says_which_panels_share_their_limits(scale):
    small, large = np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
    small[:, 0, 0], large[:, 0, 0] = (0.1, -0.2), (3, 4)
    gradients = {"small": small, "large": large}
    display = InputGradientDisplay.from_predictions(np.zeros((2, 2, 2)), gradients, scale=scale)
    tops = [[panel.images[0].get_clim()[1] for panel in row] for row in display.ax_[1:]]
    expected = {"sample": [[0.1, 0.2], [3, 4]], "row": [[0.2, 0.2], [4, 4]], "figure": [[4, 4]] * 2}
    assert tops == expected[scale]


def test_more_samples_than_can_be_seen_are_refused():
    X = np.zeros((101, 2, 2))
    with pytest.raises(ValueError, match=r"at most 100 samples, .* got 101\. Pass a few"):
        InputGradientDisplay.from_predictions(X, X)


def test_zero_gradients_are_drawn_white():
    display = InputGradientDisplay.from_predictions(np.ones((1, 2, 2)), np.zeros((1, 2, 2)))
    assert display.ax_[1, 0].images[0].get_clim() == (-1, 1)


@pytest.mark.parametrize("shape", [(3, 5, 6), (5, 6, 3), (1, 5, 6), (2, 5, 6)])
def test_channels_are_colours_of_the_sample_and_averaged_in_the_gradient(shape):
    generator = np.random.default_rng(0)
    X, gradient = generator.random((2, *shape)), generator.normal(size=(2, *shape))
    display = InputGradientDisplay.from_predictions(X, gradient)
    axis = 2 if shape == (5, 6, 3) else 0
    np.testing.assert_allclose(shown(display.ax_[1, 1]), gradient[1].mean(axis))
    assert shown(display.ax_[0, 0]).shape == ((5, 6, 3) if 3 in shape else (5, 6))


def test_tables_are_signed_bars_with_names(wine):
    clf, X, y = wine
    display = InputGradientDisplay.from_estimator(clf, X[:2], y[:2])
    gradients = input_gradients(clf, X[:2], y[:2])
    for panel, gradient in zip(display.ax_[1], gradients, strict=True):
        np.testing.assert_array_equal(widths(panel), gradient)
        red = [bar.get_facecolor()[:3] == to_rgb("tab:red") for bar in panel.patches]
        np.testing.assert_array_equal(red, gradient > 0)
        low, high = panel.get_xlim()
        assert low == -high
    names = [label.get_text() for label in display.ax_[1, 0].get_yticklabels()]
    assert names == list(X.columns)
    assert display.ax_[1, 0].yaxis_inverted()  # the first feature is on top


def test_unit_makes_features_comparable(wine):
    clf, X, y = wine
    unit = X.std()
    display = InputGradientDisplay.from_estimator(clf, X[:2], y[:2], unit=unit)
    np.testing.assert_allclose(widths(display.ax_[0, 0]), X.iloc[0] / unit)
    gradient = input_gradients(clf, X[:2], y[:2])[0]
    np.testing.assert_allclose(widths(display.ax_[1, 0]), gradient * unit)


def test_columns_without_numbers_are_left_out():
    X = pd.DataFrame({"a": [1.0, 2.0], "colour": ["red", "blue"], "b": [3, 4]})
    gradients = np.array([[0.1, 0.0, -0.2], [0.3, 0.0, 0.4]])
    display = InputGradientDisplay.from_predictions(X, gradients)
    assert list(display.feature_names) == ["a", "b"]
    np.testing.assert_array_equal(widths(display.ax_[1, 1]), [0.3, 0.4])


def test_panels_go_where_the_caller_says():
    X = np.ones((2, 3, 3))
    figure, (left, right) = plt.subplots(1, 2)
    display = InputGradientDisplay.from_predictions(X, X, ax=left)
    assert display.figure_ is figure
    assert display.ax_.shape == (2, 2)
    figure.canvas.draw()
    inside = left.get_position()
    assert all(inside.contains(*panel.get_position().p0) for panel in display.ax_.ravel())
    part = plt.figure().subfigures(1, 2)[1]
    assert InputGradientDisplay.from_predictions(X, X, figure=part, title="t").figure_ is part
    grid = plt.figure().subplots(2, 2)
    assert InputGradientDisplay.from_predictions(X, X, ax=grid).ax_[0, 1] is grid[0, 1]
    with pytest.raises(ValueError, match="array of 2 x 2 Axes, got an array of shape \\(2,\\)"):
        InputGradientDisplay.from_predictions(X, X, ax=[left, right])


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_panels_fill_axes_that_belong_to_no_grid(layout):
    X, figure = np.ones((2, 3, 3)), plt.figure(layout=layout)
    figure.add_subplot()  # matplotlib warns of a layout that has nothing to lay out
    ax = figure.add_axes((0.2, 0.3, 0.5, 0.4))
    display = InputGradientDisplay.from_predictions(X, X, ax=ax)
    figure.canvas.draw()
    assert display.ax_.shape == (2, 2)
    # Row by row from the top left, before pictures are drawn as squares within.
    boxes = np.array([panel.get_position(original=True).extents for panel in display.ax_.ravel()])
    np.testing.assert_allclose(boxes[0, [0, 3]], [0.2, 0.7])
    np.testing.assert_allclose(boxes[3, [2, 1]], [0.7, 0.3])
    assert boxes[1, 0] > boxes[0, 2]


def test_bad_pictures_are_refused():
    X = np.ones((2, 9))
    with pytest.raises(ValueError, match=r"image_shape must be .* with 9 values, .* got \(2, 4\)"):
        InputGradientDisplay.from_predictions(X, X, image_shape=(2, 4))
    with pytest.raises(ValueError, match=r"must have the shape of X, \(2, 9\), got \(1, 9\)"):
        InputGradientDisplay.from_predictions(X, X[:1])
    with pytest.raises(ValueError, match="scale must be one of 'sample', 'row', 'figure'"):
        InputGradientDisplay.from_predictions(X, X, scale="all")
    with pytest.raises(ValueError, match="unit must hold finite numbers > 0"):
        InputGradientDisplay.from_predictions(X, X, unit=np.zeros(9))
    with pytest.raises(ValueError, match=r"image_shape must be .*, got \(1, 1, 3, 3\)"):
        InputGradientDisplay.from_predictions(X, X, image_shape=(1, 1, 3, 3))


# AdversarialExamplesDisplay ---------------------------------------------------------------------


def test_examples_show_sample_perturbed_difference_and_labels(few, standard_fc):
    X, y = few
    display = AdversarialExamplesDisplay.from_estimator(
        standard_fc, X, y, epsilon=0.3, clip_values=(0, 1), image_shape=(8, 8)
    )
    X_adv = perturb(standard_fc, X, y, epsilon=0.3, clip_values=(0, 1))
    for i, column in enumerate(display.ax_.T):
        np.testing.assert_array_equal(shown(column[0]).ravel(), X[i])
        np.testing.assert_array_equal(shown(column[1]).ravel(), X_adv[i])
        np.testing.assert_array_equal(shown(column[2]).ravel(), X_adv[i] - X[i])
        assert column[0].images[0].get_clim() == column[1].images[0].get_clim()
    before, after = standard_fc.predict(X), standard_fc.predict(X_adv)
    assert set(zip(before == y, after == y, strict=True)) == {(True, False), (False, False)}
    for row, labels in zip(display.ax_[:2], (before, after), strict=True):
        assert [panel.get_title() for panel in row] == [str(label) for label in labels]
        red = [panel.title.get_color() == "tab:red" for panel in row]
        np.testing.assert_array_equal(red, labels != y)


def test_examples_of_tables_and_of_points_found_elsewhere(wine):
    clf, X, y = wine
    display = AdversarialExamplesDisplay.from_estimator(
        clf, X[:2], y[:2], epsilon=0.1 * X.std().to_numpy(), unit=X.std()
    )
    # Exact worst case of a linear classifier: every feature goes a whole radius, of 0.1 units.
    np.testing.assert_allclose(abs(widths(display.ax_[2, 0])), 0.1)
    plain = AdversarialExamplesDisplay.from_predictions(X[:2], X[:2] + 1)
    assert plain.ax_[0, 0].get_title() == ""
    np.testing.assert_allclose(widths(plain.ax_[2, 1]), 1)
    with pytest.raises(ValueError, match="X_adv must have the shape of X"):
        AdversarialExamplesDisplay.from_predictions(X[:2], X[:1])


# RobustnessCurveDisplay -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reports(digits, standard_fc, robust_fc):
    X, y = digits[2][:60], digits[3][:60]
    return {
        name: evaluate_robustness(model, X, y, [0.05, 0.1], attack="pgd", diagnostics=False)
        for name, model in (("standard", standard_fc), ("robust", robust_fc))
    }


def test_curves_are_the_numbers_of_the_reports(reports):
    display = RobustnessCurveDisplay.from_report(reports)
    for name, report in reports.items():
        clean = report.radii[0].clean
        lines = display.attacked_lines_[name], display.certified_lines_[name]
        for line, key in zip(lines, ("attacked", "certified"), strict=True):
            np.testing.assert_array_equal(line.get_xdata(), [0, 0.05, 0.1])
            values = [clean, *(getattr(r, key) for r in report.radii)]
            np.testing.assert_array_equal(line.get_ydata(), values)
        assert lines[0].get_color() == lines[1].get_color()
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["standard, under attack", "standard, certified", "robust, under attack",
                      "robust, certified"]  # fmt: skip
    assert display.ax_.get_xlabel() == "epsilon (linf)"


def test_band_lies_between_certified_and_attacked(reports):
    curve = RobustnessCurve.from_report(reports["robust"])
    display = RobustnessCurveDisplay.from_report(reports["robust"], confidence_level=None)
    (band,) = display.ax_.collections
    corners = {tuple(point) for point in band.get_paths()[0].vertices}
    for epsilon, low, high in zip(curve.epsilon, curve.certified, curve.attacked, strict=True):
        assert {(epsilon, low), (epsilon, high)} <= corners


def test_intervals_are_those_of_clopper_and_pearson():
    shares = np.array([1.0, 0.9, 0.0])
    curve = RobustnessCurve(np.array([0, 0.1, 0.2]), shares, n_samples=50)
    display = RobustnessCurveDisplay({"a": curve}).plot(confidence_level=0.9)
    (bars,) = display.ax_.collections
    for segment, share in zip(bars.get_segments(), shares, strict=True):
        exact = binomtest(round(50 * share), 50).proportion_ci(0.9, method="exact")
        np.testing.assert_allclose(segment[:, 1], exact, atol=1e-12)  # two ways to the same root


def test_estimator_and_report_draw_the_same(wine):
    clf, X, y = wine
    unit = float(X.std().min())
    display = RobustnessCurveDisplay.from_estimator(clf, X, y, [0.0, unit])
    report = evaluate_robustness(clf, X, y, [0.0, unit], diagnostics=False)
    (line,) = display.attacked_lines_.values()
    np.testing.assert_array_equal(line.get_xdata(), [0, unit])
    np.testing.assert_array_equal(line.get_ydata(), [r.attacked for r in report.radii])
    figure, ax = plt.subplots()
    drawn = RobustnessCurveDisplay.from_report(report, ax=ax)
    assert (drawn.ax_, drawn.figure_) == (ax, figure)


@pytest.mark.parametrize("one", [0.1, np.array(0.1)])
def test_one_radius_is_a_list_of_one(wine, law, one):
    clf, X, y = wine
    display = RobustnessCurveDisplay.from_estimator(clf, X, y, one)
    np.testing.assert_array_equal(display.ax_.lines[0].get_xdata(), [0, 0.1])
    exact = AdversarialLogisticRegression()
    threshold = ThresholdDisplay.from_estimator(exact, law, one, n_samples=200)
    np.testing.assert_array_equal(threshold.predicted, [0.05])


def test_model_without_certificate_has_one_line(wine):
    clf, X, y = wine
    display = RobustnessCurveDisplay.from_estimator(clf, X, y, [0.1], certify=False)
    assert display.certified_lines_ == {}
    assert len(display.ax_.lines) == 1


def test_a_broken_sample_stays_broken_at_larger_radii():
    y, found = [0, 1, 1, 0], [[0, 1, 1, 1], [1, 1, 0, 1], [0, 1, 1, 1]]
    proven = np.array([[1, 1, 1, 1], [0, 1, 0, 0], [0, 1, 0, 0]], dtype=bool)
    display = RobustnessCurveDisplay.from_predictions(
        y, found, [0, 1, 2], certified=proven, name="mine", norm="l2"
    )
    np.testing.assert_array_equal(display.attacked_lines_["mine"].get_ydata(), [0.75, 0.25, 0.25])
    np.testing.assert_array_equal(display.certified_lines_["mine"].get_ydata(), [0.75, 0.25, 0.25])
    for wrong in (proven[0], proven[:, :1], np.True_):
        with pytest.raises(ValueError, match=r"certified must have the shape of y_pred, \(3, 4\)"):
            RobustnessCurveDisplay.from_predictions(y, found, [0, 1, 2], certified=wrong)
    with pytest.raises(ValueError, match="one row for each of the 2 epsilons"):
        RobustnessCurveDisplay.from_predictions(y, found, [0, 1])
    with pytest.raises(ValueError, match="strictly ascending"):
        RobustnessCurveDisplay.from_predictions(y, found, [0, 1, 1])


def test_reports_of_two_norms_are_refused(wine, reports):
    clf, X, y = wine
    other = evaluate_robustness(clf, X, y, [0.1], norm="l2", diagnostics=False)
    with pytest.raises(ValueError, match="reports of one norm, got l2, linf"):
        RobustnessCurveDisplay.from_report({"a": other, "b": reports["robust"]})
    with pytest.raises(ValueError, match="confidence_level must be a finite number > 0 and < 1"):
        RobustnessCurveDisplay.from_report(other, confidence_level=2)


# WeightDisplay and ThresholdDisplay -------------------------------------------------------------


@pytest.fixture(scope="module")
def law():
    return BernoulliGenerator(40, tau=(0, 0.25), random_state=0)


def test_weights_are_signed_at_length_one_with_their_threshold(law):
    X, y = law.sample(3000)
    models = {
        "standard": LogisticRegression().fit(X, y),
        "exact": AdversarialLogisticRegression(0.3).fit(X, y),
        "report": AdversarialLogisticRegression(0.3, solver="pgd").fit(X, y),
    }
    display = WeightDisplay.from_estimator(models, law)
    for name, model in models.items():
        drawn = display.points_[name].get_ydata()
        # Parallel to theta * coef, and of length 1 to rounding.
        assert drawn @ (model.coef_[0] * law.theta_) == pytest.approx(np.linalg.norm(model.coef_))
        assert np.linalg.norm(drawn) == pytest.approx(1)
        np.testing.assert_array_equal(display.points_[name].get_xdata(), law.tau_)
    assert set(display.threshold_lines_) == {"exact", "report"}
    mixed = law.threshold(0.3, clean_share=0.5)
    for name, expected in (("exact", 0.15), ("report", mixed)):
        line = display.threshold_lines_[name]
        np.testing.assert_array_equal(line.get_xdata(), expected)
        assert line.get_color() == display.points_[name].get_color()


def test_no_threshold_where_no_law_is_known(law):
    X, y = law.sample(500)
    for parameters in ({"norm": "l2"}, {"epsilon": 0.0}, {"epsilon": np.full(40, 0.1)}):
        clf = AdversarialLogisticRegression(**parameters).fit(X, y)
        assert WeightDisplay.from_estimator(clf, law).thresholds == {}
    named = WeightDisplay.from_estimator({"mine": clf}, law, thresholds={"mine": 0.07})
    np.testing.assert_array_equal(named.threshold_lines_["mine"].get_xdata(), 0.07)
    wide = LogisticRegression().fit(X[:, :5], y)
    with pytest.raises(ValueError, match=r"two classes and 40 features.*coef_ of shape \(1, 5\)"):
        WeightDisplay.from_estimator(wide, law)


def test_models_without_weights_of_their_own_are_refused(law):
    X, y = law.sample(500)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    with pytest.raises(NotFittedError):
        WeightDisplay.from_estimator(pipeline, law)
    with pytest.raises(NotFittedError):
        WeightDisplay.from_estimator(LogisticRegression(), law)
    pipeline.fit(X, y)
    with pytest.raises(ValueError, match=r"with coef_, got Pipeline\..* pass pipeline\[-1\]"):
        WeightDisplay.from_estimator(pipeline, law)
    assert "LogisticRegression" in WeightDisplay.from_estimator(pipeline[-1], law).points_


def test_the_penalty_moves_the_threshold_of_mixed_training(law):
    clf = AdversarialLogisticRegression(0.4, solver="pgd", C=1e-3, max_iter=300)
    display = ThresholdDisplay.from_estimator(clf, law, 0.4, n_samples=4000)
    held = law.threshold(0.4, clean_share=0.5, penalty=1 / (1e-3 * 4000))
    free = law.threshold(0.4, clean_share=0.5)
    np.testing.assert_array_equal(display.predicted, [held])
    # 0.126 and 0.146; the fitted kink was at 0.129 to 0.133 on three data sets.
    assert display.measured[0] < (held + free) / 2
    fitted = clf.fit(*law.sample(4000))
    for size, expected in ((4000, held), (None, free)):
        drawn = WeightDisplay.from_estimator(fitted, law, n_samples=size).thresholds
        assert drawn == {"AdversarialLogisticRegression": expected}


def test_a_penalty_gives_separable_classes_a_law():
    law = BernoulliGenerator(20, tau=(0, 0.5), random_state=0)
    clf = AdversarialLogisticRegression(0.1, solver="pgd").fit(*law.sample(200))
    assert WeightDisplay.from_estimator(clf, law).thresholds == {}
    (found,) = WeightDisplay.from_estimator(clf, law, n_samples=200).thresholds.values()
    assert found == law.threshold(0.1, clean_share=0.5, penalty=1 / 200)


def test_zero_weights_are_drawn_at_zero(law):
    clf = AdversarialLogisticRegression(epsilon=10.0).fit(*law.sample(200))
    display = WeightDisplay.from_estimator(clf, law)
    np.testing.assert_array_equal(display.points_["AdversarialLogisticRegression"].get_ydata(), 0)


def test_threshold_display_draws_law_and_measurement(law):
    radii = [0.2, 0.3, 0.4]
    display = ThresholdDisplay.from_estimator(
        AdversarialLogisticRegression(), law, radii, n_samples=4000, n_repeats=4
    )
    np.testing.assert_allclose(display.line_.get_ydata(), [0.1, 0.15, 0.2])
    np.testing.assert_array_equal(display.points_.get_ydata(), display.measured)
    # Between means of four data sets and the law: four standard errors, which are about 0.003.
    assert (abs(display.measured - display.predicted) < 4 * 0.003).all()
    bars = display.ax_.collections[0].get_segments()
    for (low, high), error in zip(bars, display.standard_error, strict=True):
        assert high[1] - low[1] == pytest.approx(4 * error)


def test_threshold_display_measures_the_reports_protocol_by_its_kink(law):
    estimator = AdversarialLogisticRegression(solver="pgd", max_iter=300)
    display = ThresholdDisplay.from_estimator(estimator, law, [0.4], n_samples=4000)
    assert display.standard_error is None
    # C = 1, which is a penalty of 1 / n.
    assert display.predicted[0] == law.threshold(0.4, clean_share=0.5, penalty=1 / 4000)
    # The page on the threshold law has deviations of 2 % at 10,000 samples and d = 100.
    assert display.measured[0] == pytest.approx(display.predicted[0], rel=0.1)
    with pytest.raises(ValueError, match="The law is known for"):
        ThresholdDisplay.from_estimator(LogisticRegression(), law, [])
    with pytest.raises(ValueError, match="The law is known for"):
        ThresholdDisplay.from_estimator(AdversarialLogisticRegression(norm="l2"), law, [0.1])


def test_displays_share_an_axes_when_shifted():
    _, ax = plt.subplots()
    epsilon, values = np.array([0.1, 0.2]), np.array([0.05, 0.1])
    display = ThresholdDisplay(epsilon, values, values)
    display.plot(ax, label="d = 50", shift=0.01)
    np.testing.assert_allclose(display.points_.get_xdata(), [0.11, 0.21])
    assert display.figure_ is ax.figure


def test_count_puts_the_threshold_half_way_between_features():
    tau = np.linspace(0, 0.25, 26)
    assert count_threshold(26 - 10, tau) == pytest.approx((tau[9] + tau[10]) / 2)
    assert count_threshold(0, tau) == pytest.approx(0.255)
    assert count_threshold(26, tau) == pytest.approx(-0.005)


@pytest.mark.parametrize("at", [0.05, 0.12])
def test_kink_finds_where_a_ramp_begins(at):
    tau = np.linspace(0, 0.25, 100)
    # The grid of candidates has steps of 0.0007.
    assert kink(3 * np.maximum(tau - at, 0), tau) == pytest.approx(at, abs=0.0007)


def test_a_curve_goes_over_multiples_of_the_changes_of_a_table():
    X, y = load_wine(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    clf = LogisticRegression().fit(X, y)
    threat = TabularThreat({0: (-0.5, 0), 3: (0, 1)})
    display = RobustnessCurveDisplay.from_estimator(clf, X, y, iter([0.5, 1]), unit=threat)
    assert display.ax_.get_xlabel() == "multiples of the changes"
    line = display.attacked_lines_["LogisticRegression"]
    assert line.get_xdata().tolist() == [0, 0.5, 1]
    assert line.get_ydata()[2] == robust_score(clf, X, y, epsilon=threat) < clf.score(X, y)
    by_column = evaluate_robustness(clf, X, y, [0.5], unit=X.std(axis=0), diagnostics=False)
    other = RobustnessCurveDisplay.from_report(by_column)
    assert other.ax_.get_xlabel() == "epsilon, multiples of unit (linf)"
    tables = evaluate_robustness(clf, X, y, [0.5], unit=threat)
    with pytest.raises(ValueError, match="reports of one unit, got changes, unit"):
        RobustnessCurveDisplay.from_report({"a": by_column, "b": tables})
