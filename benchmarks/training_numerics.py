"""Does the precision of the products matter to an attack? Gradients and PGD-100 in each of them.

Trains the fast recipe's networks for `--epochs` epochs on MNIST and compares, at test images and
epsilon 0.3, the signs of the input gradient with those in float64, weighed by its size, and the
accuracy that PGD-100 leaves when its products are computed in each precision. Whatever it computed
in, the attack's points are judged in float64.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks._contenders import products_of_matrices
from benchmarks._data import add_data_home, load, source
from benchmarks._results import provenance, rows_table, write_json
from sklearn_robust.attacks import PGD, CrossEntropy, ThreatModel, TorchModel
from sklearn_robust.neural_network import make_recipe
from sklearn_robust.neural_network._device import products_in

EPSILON = 0.3
# Of weights and inputs; whether convolutions are in TF32; torch's name for products of matrices.
PRECISIONS = {
    "float64": ("float64", False, "highest"),
    "float32": ("float32", False, "highest"),
    "float32, convolutions in TF32": ("float32", True, "highest"),
    "all in TF32": ("float32", True, "high"),
    "bfloat16": ("bfloat16", False, "highest"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data_home(parser)
    parser.add_argument("--architecture", nargs="+", default=["cnn", "fc"], choices=("cnn", "fc"))
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--n-test", type=int, default=1000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="of torch; default: all cores")


def run(args: argparse.Namespace) -> None:
    X_train, y_train, X_test, y_test = load(args)
    rows = []
    for architecture in args.architecture:
        clf = make_recipe(
            "fast", architecture, max_epochs=args.epochs, device=args.device, random_state=args.seed
        ).fit(X_train, y_train)
        clf.module_.to(args.device)
        X, y = (torch.as_tensor(a, device=args.device) for a in (X_test, y_test))
        rows += [{"network": architecture, **r} for r in compared(clf.module_, X, y, args.seed)]
    print(table(rows))
    where = {"seed": args.seed, "device": args.device, "threads": torch.get_num_threads()}
    about = {"epochs": args.epochs, "n_test": len(y_test), "data": source(args)}
    on = "" if args.device == "cpu" else f"_{args.device}"
    path = args.output / f"training_numerics{on}.json"
    write_json(path, {**provenance(**where), **about, "rows": rows})
    print(f"wrote {path}")


def compared(
    module: torch.nn.Module, X: torch.Tensor, y: torch.Tensor, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield what gradient and attack do in each precision; TF32 is of CUDA alone."""
    threat = ThreatModel(EPSILON, clip_values=(0, 1))
    exact = TorchModel(copy.deepcopy(module).double(), 10)
    _, reference = exact.ascent(X.double(), y, CrossEntropy())
    weight = reference.abs() / reference.abs().sum()
    for name, (dtype, tf32, products) in PRECISIONS.items():
        if tf32 and X.device.type == "cpu":
            continue
        own = exact if dtype == "float64" else TorchModel(copy.deepcopy(module), 10)
        with (
            products_of_matrices(products),
            torch.backends.cudnn.flags(allow_tf32=tf32),
            products_in(dtype, own.module, X.device),
        ):
            x = own.asarray(X)
            _, gradient = own.ascent(x, y, CrossEntropy())
            generator = torch.Generator(X.device).manual_seed(seed)
            x_adv = PGD(100, EPSILON / 30).perturb(own, x, y, threat, generator)
        agree = gradient.double().sign() == reference.sign()
        held = exact.logits(x_adv.double()).argmax(1) == y
        yield {
            "precision": name,
            "signs_that_agree": float((agree * weight).sum()),
            "accuracy_under_pgd": float(held.double().mean()),
            "n_test": len(y),
        }


def table(rows: list[dict[str, Any]]) -> str:
    """Return what was compared, a line per network and precision."""
    heading = "network | products in | signs that agree | accuracy under PGD-100 | images"
    line = (
        "{network} | {precision} | {signs_that_agree:.2%} % | {accuracy_under_pgd:.2%} | {n_test}"
    )
    return rows_table(rows, heading, line)
