"""Small typical work for `python -m benchmarks ratios`; run by file, it times what it is told to.

It reads the name of a piece of work from each line and answers with seconds as a line of JSON.

It imports nothing but the public names of the library, so that any checkout of it can be timed.
"""

import json
import sys
import time
import warnings

import torch
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.preprocessing import scale
from torch import nn

import sklearn_robust
from sklearn_robust import AdversarialLogisticRegression, RobustCNNClassifier, RobustFCClassifier
from sklearn_robust.attacks import APGD, PGD, Square, ThreatModel, TorchModel
from sklearn_robust.metrics import robust_score

SMALL = {"hidden_layer_sizes": (128, 128)}


def attack(make, *layers):
    torch.manual_seed(0)
    module = nn.Sequential(*layers).eval()
    X = torch.rand(128, 1, 28, 28)
    model, threat = TorchModel(module, 10), ThreatModel(0.3, clip_values=(0, 1))
    y = module(X).argmax(1)
    return lambda: make.perturb(model, X, y, threat, torch.Generator().manual_seed(0))


def fully_connected():
    return nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10)


def convolutional():
    first, second = nn.Conv2d(1, 16, 4, 2, 1), nn.Conv2d(16, 32, 4, 2, 1)
    return first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(32 * 49, 10)


def digits(n=1000):
    X, y = load_digits(return_X_y=True)
    return X[:n] / 16, y[:n]


def network(make, shape, **options):
    X, y = digits()
    options = {"epsilon": 0.1, "clip_values": (0, 1), "pgd_steps": 5, "max_epochs": 6, **options}
    return lambda: make(random_state=0, **options).fit(X.reshape(-1, *shape), y)


def score(n, clf, attack):
    X, y = digits()
    options = {"epsilon": 0.1, "clip_values": (0, 1), "attack": attack}
    return lambda: robust_score(clf, X[:n], y[:n], **options)


def forest():
    return RandomForestClassifier(20, random_state=0).fit(*digits())


def linear(X, y, epsilons=(0.01, 0.03, 0.1, 0.3), **options):
    def fit():
        for epsilon in epsilons:
            AdversarialLogisticRegression(epsilon, tol=1e-6, **options).fit(X, y)

    return fit


def redundant():
    return make_classification(2000, 200, n_informative=30, n_redundant=30, random_state=0)


def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X), y


WORK = {
    "attack: PGD-20, FC": lambda: attack(PGD(20, only_correct=False), *fully_connected()),
    "attack: PGD-20, CNN": lambda: attack(PGD(20, only_correct=False), *convolutional()),
    "attack: APGD-20, CNN": lambda: attack(APGD(20), *convolutional()),
    "score: network, auto": lambda: score(100, network(RobustFCClassifier, (64,))(), "auto"),
    "score: forest, square": lambda: score(50, forest(), Square(100)),
    "training: FC": lambda: network(RobustFCClassifier, (64,), **SMALL),
    "training: CNN": lambda: network(RobustCNNClassifier, (8, 8), filters=(8, 8), max_epochs=2),
    "training: FC, intervals": lambda: network(RobustFCClassifier, (64,), training="ibp", **SMALL),
    "solver: linf, breast cancer": lambda: linear(*cancer()),
    "solver: linf, 2000 x 200": lambda: linear(*redundant()),
    "solver: l2, 2000 x 200": lambda: linear(*redundant(), norm="l2"),
    "solver: ten classes": lambda: linear(*digits(500), epsilons=(0.1,)),
}


def timed(work):
    """Return the seconds of the clock and of the process that it takes."""
    start = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start[0], time.process_time() - start[1]


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # few epochs learn little
    print(json.dumps(sklearn_robust.__file__), flush=True)
    prepared = {}
    for name in map(str.strip, sys.stdin):
        if name not in prepared:
            prepared[name] = WORK[name]()
        print(json.dumps(timed(prepared[name])), flush=True)
