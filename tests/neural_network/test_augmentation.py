"""Augmentation: what a shift does to images, and where it enters training."""

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from sklearn_robust import RobustFCClassifier
from sklearn_robust.neural_network import RandomShift


def tiny(**kwargs):
    settings = {"epsilon": 0.1, "pgd_steps": 1, "max_epochs": 2, "batch_size": 100,
                "random_state": 0, **kwargs}  # fmt: skip
    return RobustFCClassifier((16,), **settings)


@pytest.mark.parametrize("shape", [(64,), (8, 8), (2, 8, 4)])
def test_every_shift_occurs_and_is_the_rolled_padded_image(shape):
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(1, *shape, generator=generator).repeat(400, *(1,) * len(shape))
    shifted = RandomShift(1, fill=-1.0)(X, generator)
    assert shifted.shape == X.shape
    image = X[0].reshape(-1, 8, shape[-1] if len(shape) > 1 else 8)
    padded = torch.nn.functional.pad(image, (1, 1, 1, 1), value=-1.0)
    height, width = image.shape[1:]
    expected = {
        padded[:, i : i + height, j : j + width].numpy().tobytes()
        for i in range(3)
        for j in range(3)
    }
    # Of 400 draws, the chance to miss one of nine is 9 * (8 / 9)^400 < 1e-19.
    assert {row.contiguous().numpy().tobytes() for row in shifted} == expected


def test_shape_of_the_images_can_be_given(digits):
    X = torch.arange(6.0).reshape(1, 6)
    generator = torch.Generator().manual_seed(0)
    assert RandomShift(0)(torch.ones(2, 64), generator).equal(torch.ones(2, 64))
    assert RandomShift(0, image_shape=(2, 3))(X, generator).equal(X)
    with pytest.raises(ValueError, match=r"image_shape must be \(h, w\) or \(c, h, w\) with 6"):
        RandomShift()(X, generator)
    with pytest.raises(ValueError, match="pixels must be an integer >= 0, got -1"):
        RandomShift(-1)


def test_training_sees_augmented_batches_and_validation_does_not(digits):
    seen = []

    def doubled(X, generator):
        seen.append((len(X), generator))
        return X * 2

    plain = tiny(epsilon=0).fit(digits[0] * 2, digits[1])
    clf = tiny(epsilon=0, augmentation=doubled).fit(*digits[:2])
    np.testing.assert_array_equal(
        clf.decision_function(digits[0]), plain.decision_function(digits[0])
    )
    assert sum(n for n, _ in seen) == 2 * len(digits[0])
    assert all(generator is clf.net_.noise for _, generator in seen)
    seen.clear()
    tiny(augmentation=doubled, early_stopping=True, validation_fraction=0.5).fit(*digits[:2])
    assert sum(n for n, _ in seen) == 2 * (len(digits[0]) // 2)


def test_a_replayed_batch_is_augmented_once(digits):
    calls = []

    def counted(X, generator):
        calls.append(len(X))
        return X

    tiny(training="free", augmentation=counted, max_epochs=1).fit(*digits[:2])
    assert sum(calls) == len(digits[0])


def test_augmented_training_is_reproducible_and_resumable(digits, tmp_path):
    settings = {"augmentation": RandomShift(1), "max_epochs": 3}
    X, y = digits[:2]
    whole, again = (tiny(**settings).fit(X, y).decision_function(X) for _ in range(2))
    np.testing.assert_array_equal(whole, again)
    kept = tiny(checkpoint=tmp_path, **settings)

    class Interrupt(Callback):
        def on_batch_begin(self, net, training, **kwargs):
            if len(net.history) == 3:
                raise KeyboardInterrupt

    kept.set_params(callbacks=[("interrupt", Interrupt())])
    with pytest.warns(UserWarning, match="Training interrupted in epoch 3"):
        kept.fit(X, y)
    kept.set_params(callbacks=None).fit(X, y)
    np.testing.assert_array_equal(kept.decision_function(X), whole)


def test_what_cannot_be_called_is_refused(digits):
    with pytest.raises(ValueError, match="augmentation must be None, 'auto' or a callable"):
        tiny(augmentation="shift").fit(*digits[:2])
