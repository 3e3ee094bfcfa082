"""Losses and their closed-form directions, held against torch's own formulas and autograd."""

import numpy as np
import pytest
import torch

from sklearn_robust.attacks._losses import (
    DLR,
    LOSSES,
    CrossEntropy,
    Margin,
    get_loss,
    has_nan,
    is_right,
)


def _case(n_classes, n=40, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, n_classes)) * 10 ** rng.uniform(-1, 1, size=(n, 1))
    y = rng.integers(n_classes, size=n)
    target = (y + rng.integers(1, n_classes, size=n)) % n_classes
    return logits, y, target


def _others(z, y):
    mask = torch.nn.functional.one_hot(y, z.shape[1]).bool()
    return z.masked_fill(mask, -torch.inf)


def _by_hand(name, z, y, target):
    """The papers' formulas in torch, written without the library."""
    zy, n_classes = z.gather(1, y[:, None])[:, 0], z.shape[1]
    ordered = z.sort(dim=1, descending=True).values
    if target is None:
        margin = _others(z, y).max(1).values - zy
        scale = ordered[:, 0] - ordered[:, min(2, n_classes - 1)] if n_classes >= 3 else 1
        cross_entropy = torch.nn.functional.cross_entropy(z, y, reduction="none")
    else:
        margin = z.gather(1, target[:, None])[:, 0] - zy
        scale = 1
        if n_classes >= 4:
            scale = ordered[:, 0] - (ordered[:, 2] + ordered[:, 3]) / 2
        cross_entropy = -torch.nn.functional.cross_entropy(z, target, reduction="none")
    return {"cross_entropy": cross_entropy, "margin": margin, "dlr": margin / scale}[name]


@pytest.mark.parametrize("n_classes", [2, 3, 4, 10])
@pytest.mark.parametrize("aimed", [False, True])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("in_torch", [False, True])
def test_value_is_the_papers_formula_and_direction_its_gradient(name, aimed, n_classes, in_torch):
    logits, y, target = _case(n_classes)
    z = torch.tensor(logits, requires_grad=True)
    expected = _by_hand(name, z, torch.tensor(y), torch.tensor(target) if aimed else None)
    (gradient,) = torch.autograd.grad(expected.sum(), z)
    convert = torch.tensor if in_torch else np.asarray
    loss = LOSSES[name].at(convert(target)) if aimed else LOSSES[name]
    value = loss.value(convert(logits), convert(y))
    direction = np.asarray(loss.direction(convert(logits), convert(y)))
    # The same formulas in double precision: rounding of a few operations.
    np.testing.assert_allclose(np.asarray(value), expected.detach(), rtol=1e-12, atol=1e-13)
    # Up to a positive factor per sample: compare when both are scaled to length 1. Where y is
    # third, DLR is constantly 1: gradients are about 1e-16 then, and must stay so when scaled.
    least = 1e-7 if name == "dlr" else 0
    ours, theirs = (
        g / np.maximum(np.linalg.norm(g, axis=1), least)[:, None]
        for g in (direction, gradient.numpy())
    )
    # Autograd's softmax loses digits where p_y is near 1: 1e-16 / (1 - p_y), here up to 1e-9.
    np.testing.assert_allclose(ours, theirs, atol=1e-8)


@pytest.mark.parametrize("aimed", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_height_orders_points_as_value_does(name, aimed):
    logits, y, target = _case(6)
    loss = LOSSES[name].at(target) if aimed else LOSSES[name]
    value, height = loss.value(logits, y), loss.height(logits, y)
    assert (np.argsort(value) == np.argsort(height)).all()


def test_saturated_logits_hide_neither_direction_nor_height():
    z = np.array([[1e4, 0.0, -1.0], [1e4 + 1, 0.0, -1.0]], dtype=np.float32)
    y = np.zeros(2, dtype=int)
    loss = CrossEntropy()
    assert (loss.value(z, y) == 0).all()
    assert loss.height(z, y)[0] > loss.height(z, y)[1]
    np.testing.assert_allclose(abs(loss.direction(z, y)).sum(1), 2, rtol=1e-6)


def test_cross_entropy_keeps_its_digits_for_a_confident_sample():
    z, y = np.array([[30.0, 0.0]], dtype=np.float32), np.array([0])
    # log(sum exp) - z_y would be 30 - 30 = 0 here; log1p(exp(-30)) is exp(-30) to 14 digits.
    np.testing.assert_allclose(CrossEntropy().value(z, y), np.exp(-30.0), rtol=1e-5)


def test_dlr_does_not_change_when_logits_are_scaled_or_shifted():
    logits, y, target = _case(7)
    for loss in (DLR(), DLR().at(target)):
        # Sums and quotients of rounded numbers: ten digits is far inside double precision.
        np.testing.assert_allclose(
            loss.value(1000 * logits + 5, y), loss.value(logits, y), rtol=1e-9, atol=1e-10
        )


def test_dlr_of_tied_logits_is_zero_not_nan():
    z, y = np.ones((1, 5)), np.array([2])
    for loss in (DLR(), DLR().at(np.array([1]))):
        assert loss.value(z, y) == 0
        assert np.isfinite(loss.direction(z, y)).all()


@pytest.mark.parametrize(("name", "aimed", "n_classes"), [("dlr", False, 2), ("dlr", True, 3)])
def test_dlr_is_the_margin_where_there_are_too_few_classes(name, aimed, n_classes):
    logits, y, target = _case(n_classes)
    dlr, margin = (loss.at(target) if aimed else loss for loss in (DLR(), Margin()))
    np.testing.assert_array_equal(dlr.value(logits, y), margin.value(logits, y))
    np.testing.assert_array_equal(dlr.direction(logits, y), margin.direction(logits, y))


@pytest.mark.parametrize("name", LOSSES)
def test_an_aimed_loss_of_some_samples_is_that_of_the_batch(name):
    logits, y, target = _case(5)
    keep = np.arange(len(y)) % 3 == 0
    loss = LOSSES[name].at(target)
    part = loss.take(keep).value(logits[keep], y[keep])
    np.testing.assert_array_equal(part, loss.value(logits, y)[keep])


def test_margin_is_positive_exactly_where_the_prediction_is_wrong():
    logits, y, _ = _case(5)
    np.testing.assert_array_equal(Margin().value(logits, y) > 0, logits.argmax(1) != y)


def test_logits_with_nan_are_never_right():
    z = np.array([[np.nan, 0.0], [1.0, 0.0], [0.0, np.nan]])
    # argmax takes NaN for the largest: rows 0 and 2 would be "right".
    y = np.array([0, 0, 1])
    assert is_right(z, y).tolist() == [False, True, False]
    assert is_right(torch.tensor(z), torch.tensor(y)).tolist() == [False, True, False]
    assert has_nan(z).tolist() == [True, False, True]


def test_unknown_loss_is_refused_by_name():
    with pytest.raises(ValueError, match=r"loss must be one of .*'dlr', got 'hinge'"):
        get_loss("hinge")
