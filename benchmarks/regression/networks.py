"""Training, attacking and bounding networks on images of digits."""

import torch
from sklearn.datasets import load_digits

from sklearn_robust import RobustCNNClassifier, RobustFCClassifier, certified_score
from sklearn_robust.attacks import PGD, ThreatModel, TorchModel


class Digits:
    """Images of 8 x 8 pixels in [0, 1], and small networks for them."""

    n_samples = 1000
    n_epochs = 5

    def setup(self, *_):
        # Loads what torch loads with the first optimizer, a second and a half that is not ours.
        torch.optim.SGD([torch.zeros(1, requires_grad=True)])
        X, self.y = load_digits(return_X_y=True)
        self.X, self.y = X[: self.n_samples] / 16, self.y[: self.n_samples]

    def network(self, kind, **settings):
        """Return an unfitted "fc" or "cnn"."""
        settings = {"epsilon": 0.1, "clip_values": (0, 1), "pgd_steps": 5, "lr": 5e-3,
                    "max_epochs": self.n_epochs, "random_state": 0, **settings}  # fmt: skip
        settings = {"batch_size": 128, "lr_schedule": "constant", "input_ramp": None,
                    "training": "pgd", **settings}  # fmt: skip
        if kind == "fc":
            return RobustFCClassifier((128, 128), **settings)
        of_report = {"filters": (32, 64), "kernel_size": 5, "downsampling": "pool", "dropout": 0.4}
        return RobustCNNClassifier((8, 8), hidden_layer_sizes=(128,), **of_report, **settings)

    def fitted(self, kind, **settings):
        return self.network(kind, **settings).fit(self.X, self.y)


class Training(Digits):
    """One epoch with PGD-5."""

    params = ("fc", "cnn")
    param_names = ("network",)

    def time_epoch(self, kind):
        self.fitted(kind, max_epochs=1, epsilon_schedule="constant")

    def peakmem_epoch(self, kind):
        self.time_epoch(kind)


class Steps(Digits):
    """Ten steps of PGD on a batch, without regard to what is fooled already."""

    params = ("fc", "cnn")
    param_names = ("network",)
    batch_size = 128

    def setup(self, kind):
        super().setup()
        self.model = TorchModel(self.fitted(kind, max_epochs=1).module_, 10)
        self.batch = self.model.asarray(self.X[: self.batch_size])
        self.labels = self.model.labels(self.y[: self.batch_size])

    def time_steps(self, kind):
        attack = PGD(10, 0.025, only_correct=False)
        generator = torch.Generator().manual_seed(0)
        threat = ThreatModel(0.1, "linf", (0, 1))
        attack.perturb(self.model, self.batch, self.labels, threat, generator)


class Fitted(Digits):
    """A trained network, and few samples to judge it by."""

    n_judged = 100

    def setup(self, *_):
        super().setup()
        self.clf = self.fitted("fc")
        self.few = self.X[: self.n_judged], self.y[: self.n_judged]


class Ensemble(Fitted):
    """The default attack of `robust_score`."""

    def time_auto(self):
        self.clf.robust_score(*self.few)

    def peakmem_auto(self):
        self.time_auto()


class Bounds(Fitted):
    """Certified accuracy."""

    params = ("ibp", "crown")
    param_names = ("method",)

    def time_certified(self, method):
        certified_score(self.clf, *self.few, epsilon=0.02, method=method)

    def peakmem_certified(self, method):
        self.time_certified(method)
