"""Cost of adversarial training: examples a second, passes counted, and ratios to peers.

All train the same network on the same samples with the same number of attack steps, alternating
within one run; ratios are those of medians. The bare loop is what one would write by hand for one
network: no check, no history, no schedule. The peak is that of a product of two square matrices on
the device in float32, and the arithmetic is counted by torch. "All in TF32" rounds the products of
matrices to TF32 too; torch itself does so with convolutions alone, on CUDA.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks._contenders import (
    Perturb,
    Steps,
    art_classifier,
    bare_pgd,
    counted_passes,
    installed,
    median_seconds,
    now,
    products_of_matrices,
    torchattacks_pgd,
)
from benchmarks._results import format_table, provenance, rows_table, write_json
from sklearn_robust import RobustNeuralNetClassifier
from sklearn_robust.attacks import PGD
from sklearn_robust.neural_network import AdversarialCrossEntropy
from sklearn_robust.neural_network._modules import convolutional, fully_connected, initialize
from sklearn_robust.neural_network._recipes import REPORT_NETWORKS

EPSILON, RATE = 0.3, 1e-3
BARE, COMPILED = "bare loop", "bare loop, compiled"
EAGER, GRAPHS = "this library", "this library, CUDA graphs"
OURS: dict[str, dict[str, Any]] = {
    EAGER: {"cuda_graphs": False},
    "this library, bfloat16": {"cuda_graphs": False, "dtype": "bfloat16"},
}
ON_CUDA: dict[str, dict[str, Any]] = {
    GRAPHS: {},
    "this library, CUDA graphs, all in TF32": {"tf32": True},
    "this library, CUDA graphs, bfloat16": {"dtype": "bfloat16"},
}
# Who makes the passes of another, and cannot be counted: hooks would have the compiled network
# compiled anew, and a replayed graph calls none.
HIDDEN = {COMPILED: BARE, **dict.fromkeys(ON_CUDA, EAGER)}
Train = Callable[[np.ndarray, np.ndarray], Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--batches", type=int, default=4, help="of one timed epoch")
    parser.add_argument("--threads", type=int, help="of torch; default: all cores")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--n-steps", type=int, default=5, help="of PGD")
    parser.add_argument(
        "--compile",
        nargs="*",
        default=[],
        metavar="NETWORK",
        help="networks for which to measure the bare loop compiled too, such as 'FC 2 x 512'",
    )


def run(args: argparse.Namespace) -> None:
    random = np.random.default_rng(args.seed)
    n = args.batch_size * args.batches
    X = random.random((n, 784), dtype=np.float32)
    y = np.r_[np.arange(10), random.integers(10, size=n - 10)]
    peak = peak_rate(args.device)
    rows = [
        {"network": name, **row}
        for name, module in networks(args.seed).items()
        for row in compared(module.to(args.device), args, X, y, peak, name in args.compile)
    ]
    print(table(rows))
    print(
        f"PGD-{args.n_steps}, batches of {args.batch_size}; medians of {args.repeats} runs; "
        f"peak {peak / 1e9:.0f} GFLOP/s"
    )
    settings = {
        **{name: getattr(args, name) for name in ("n_steps", "batch_size", "batches", "repeats")},
        "peak_flop_per_second": peak,
    }
    where = {"seed": args.seed, "device": args.device, "threads": torch.get_num_threads()}
    content = {**provenance(**where), "settings": settings, "rows": rows}
    on = "" if args.device == "cpu" else f"_{args.device}"
    write_json(args.output / f"training_speed{on}.json", content)


def compared(
    module: nn.Module,
    args: argparse.Namespace,
    X: np.ndarray,
    y: np.ndarray,
    peak: float,
    compiled: bool,
) -> list[dict[str, Any]]:
    """Return cost and speed of every trainer of one network."""
    contenders, compile_seconds = _contenders(module, args, X, y, compiled)
    costs = {who: _count(*c, X, y) for who, c in contenders.items() if who not in HIDDEN}
    costs.update({who: costs[HIDDEN[who]] for who in contenders if who in HIDDEN})
    epochs = {who: partial(train, X, y) for who, (_, train) in contenders.items()}
    seconds = median_seconds(epochs, args.repeats, args.device)
    rates = {who: len(X) / seconds[who] for who in contenders}
    return [
        {
            "trainer": who,
            **costs[who],
            "examples_per_second": rates[who],
            "share_of_peak": rates[who] * costs[who]["flop_per_example"] / peak,
            "ratio_to_bare_loop": seconds[who] / seconds[BARE],
            "compile_seconds": compile_seconds if who == COMPILED else None,
        }
        for who in contenders
    ]


def networks(seed: int) -> dict[str, nn.Module]:
    built: dict[str, nn.Module] = {
        "FC 2 x 512": fully_connected(784, 10, (512, 512)),
        "CNN 16-32, stride 2": convolutional(
            (1, 28, 28),
            10,
            0.0,
            filters=(16, 32),
            kernel_size=4,
            downsampling="stride",
            hidden_layer_sizes=(100,),
        ),
        "CNN of the report": convolutional(
            (1, 28, 28), 10, **{**REPORT_NETWORKS["cnn"], "dropout": 0.0}
        ),
    }
    for module in built.values():
        initialize(module, torch.Generator().manual_seed(seed))
    return built


def peak_rate(device: str, repeats: int = 5) -> float:
    """Return the floating-point operations a second of a product of two square matrices."""
    size = 2048 if device == "cpu" else 8192
    a = torch.rand(size, size, device=device)
    seconds = []
    for _ in range(repeats + 1):
        start = now(device)
        a @ a
        seconds.append(now(device) - start)
    return 2 * size**3 / min(seconds[1:])


def _contenders(
    module: nn.Module, args: argparse.Namespace, X: np.ndarray, y: np.ndarray, compiled: bool
) -> tuple[dict[str, tuple[nn.Module, Train]], float | None]:
    """Return for each trainer the network that it trains, and one epoch of it."""
    options = OURS | (ON_CUDA if args.device != "cpu" else {})
    found = {who: ours(copy.deepcopy(module), args, X, y, **own) for who, own in options.items()}
    found[BARE] = bare(copy.deepcopy(module), args)
    compile_seconds = None
    if compiled:
        start = time.perf_counter()
        own = copy.deepcopy(module)
        found[COMPILED] = bare(own, args, torch.compile(own))
        found[COMPILED][1](X, y)
        compile_seconds = time.perf_counter() - start
    peers = {"torchattacks": by_torchattacks, "ART": by_art}
    makers = {name: partial(make, copy.deepcopy(module), args) for name, make in peers.items()}
    return found | installed(makers), compile_seconds


def ours(
    module: nn.Module,
    args: argparse.Namespace,
    X: np.ndarray,
    y: np.ndarray,
    *,
    tf32: bool = False,
    **options: Any,
) -> tuple[nn.Module, Train]:
    # By default a sample that is misclassified is not attacked, which saves passes; here all are.
    attack = PGD(args.n_steps, _steps(args).size, only_correct=False)
    clf = RobustNeuralNetClassifier(
        module, training=AdversarialCrossEntropy(attack), epsilon=EPSILON, clip_values=(0, 1),
        batch_size=args.batch_size, lr=RATE, epsilon_schedule="constant", device=args.device,
        random_state=0, **options,
    )  # fmt: skip

    def train(X: np.ndarray, y: np.ndarray) -> None:
        with products_of_matrices("high" if tf32 else "highest"):
            clf.partial_fit(X, y)

    train(X, y)
    return clf.module_, train


def _steps(args: argparse.Namespace) -> Steps:
    return Steps(args.n_steps, EPSILON)


def bare(
    module: nn.Module, args: argparse.Namespace, forward: Callable[..., torch.Tensor] | None = None
) -> tuple[nn.Module, Train]:
    attack = bare_pgd(module, _steps(args), forward)
    return module, _loop(module, module if forward is None else forward, attack, args)


def by_torchattacks(module: nn.Module, args: argparse.Namespace) -> tuple[nn.Module, Train]:
    return module, _loop(module, module, torchattacks_pgd(module, _steps(args)), args)


def by_art(module: nn.Module, args: argparse.Namespace) -> tuple[nn.Module, Train]:
    from art.defences.trainer import AdversarialTrainerMadryPGD

    trainer = AdversarialTrainerMadryPGD(
        art_classifier(module, (784,), torch.optim.Adam(module.parameters(), lr=RATE)),
        nb_epochs=1, batch_size=args.batch_size, eps=EPSILON, eps_step=_steps(args).size,
        max_iter=args.n_steps, num_random_init=1,
    )  # fmt: skip
    return module, lambda X, y: trainer.fit(X, np.eye(10, dtype=np.float32)[y])


def _loop(
    module: nn.Module,
    forward: Callable[..., torch.Tensor],
    attack: Perturb,
    args: argparse.Namespace,
) -> Train:
    optimizer = torch.optim.Adam(module.parameters(), lr=RATE)

    def train(X: np.ndarray, y: np.ndarray) -> None:
        data, labels = torch.from_numpy(X).to(args.device), torch.from_numpy(y).to(args.device)
        order = torch.randperm(len(data)).to(args.device)
        for start in range(0, len(data), args.batch_size):
            pick = order[start : start + args.batch_size]
            x_adv = attack(data[pick], labels[pick])
            optimizer.zero_grad()
            functional.cross_entropy(forward(x_adv), labels[pick]).backward()
            optimizer.step()

    return train


def _count(module: nn.Module, train: Train, X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return passes of the samples of a batch, and the arithmetic, for one example of an epoch."""
    with counted_passes(module) as counts, Arithmetic() as arithmetic:
        train(X, y)
    counts["flop_per_example"] = arithmetic.flop
    return {key: value / len(X) for key, value in counts.items()}


class Arithmetic(TorchDispatchMode):
    """Count the floating-point operations of all products and convolutions, by torch's formulas.

    torch's own counter of this kind hooks into modules, which gradients of the input alone break.
    """

    flop = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.flop += formula(*args, **(kwargs or {}), out_val=out)
        return out


def table(rows: list[dict[str, Any]]) -> str:
    """Return what was measured, a line per trainer."""
    heading = (
        "network | trainer | forwards | backwards (of which for weights) | examples/s | "
        "share of peak | x bare loop"
    )
    line = (
        "{network} | {trainer} | {forwards:g} | {backwards:g} ({weight_backwards:g}) | "
        "{examples_per_second:.0f} | {share_of_peak:.0%} % | {ratio_to_bare_loop:.2f}"
    )
    return rows_table(({**r, "network": _name(r["network"])} for r in rows), heading, line)


def _name(network: str) -> str:
    """Return a network's name as the pages say it."""
    return network.replace("the report", "Collins et al.")


def summary(rows: list[dict[str, Any]]) -> str:
    """Return for each network the time of each trainer as a multiple of the bare loop's."""
    trainers = [name for name in dict.fromkeys(r["trainer"] for r in rows) if name != BARE]
    ratios = {(r["network"], r["trainer"]): r["ratio_to_bare_loop"] for r in rows}
    networks = dict.fromkeys(r["network"] for r in rows)
    body = [
        (who, *(f"{ratios[n, who]:.2f}" if (n, who) in ratios else "-" for n in networks))
        for who in trainers
    ]
    return format_table(("trainer", *map(_name, networks)), body)
