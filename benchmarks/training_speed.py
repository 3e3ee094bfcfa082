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
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks._results import format_table, provenance, write_json
from benchmarks.training_numerics import products_of_matrices
from sklearn_robust import RobustNeuralNetClassifier
from sklearn_robust.attacks import PGD
from sklearn_robust.neural_network import AdversarialCrossEntropy
from sklearn_robust.neural_network._modules import convolutional, fully_connected, initialize

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
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    random = np.random.default_rng(args.seed)
    n = args.batch_size * args.batches
    X = random.random((n, 784), dtype=np.float32)
    y = np.r_[np.arange(10), random.integers(10, size=n - 10)]
    peak = peak_rate(args.device)
    rows = []
    for name, module in networks(args.seed).items():
        module.to(args.device)
        contenders, compile_seconds = _contenders(module, args, X, y, name in args.compile)
        costs = {who: _count(*c, X, y) for who, c in contenders.items() if who not in HIDDEN}
        costs.update({who: costs[HIDDEN[who]] for who in contenders if who in HIDDEN})
        trainers = {who: train for who, (_, train) in contenders.items()}
        seconds = _times(trainers, X, y, args.repeats, args.device)
        for who in contenders:
            rate = n / seconds[who]
            rows.append(
                {
                    "network": name,
                    "trainer": who,
                    **costs[who],
                    "examples_per_second": rate,
                    "share_of_peak": rate * costs[who]["flop_per_example"] / peak,
                    "ratio_to_bare_loop": seconds[who] / seconds[BARE],
                    "compile_seconds": compile_seconds if who == COMPILED else None,
                }
            )
    print(table(rows))
    print(
        f"PGD-{args.n_steps}, batches of {args.batch_size}; medians of {args.repeats} runs; ",
        end="",
    )
    print(f"peak {peak / 1e9:.0f} GFLOP/s")
    settings = {
        "n_steps": args.n_steps,
        "batch_size": args.batch_size,
        "batches": args.batches,
        "repeats": args.repeats,
        "peak_flop_per_second": peak,
    }
    where = {"seed": args.seed, "device": args.device, "threads": torch.get_num_threads()}
    content = {**provenance(**where), "settings": settings, "rows": rows}
    on = "" if args.device == "cpu" else f"_{args.device}"
    write_json(args.output / f"training_speed{on}.json", content)


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
        "CNN of the report": convolutional((1, 28, 28), 10, 0.0),
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
        start = _now(device)
        a @ a
        seconds.append(_now(device) - start)
    return 2 * size**3 / min(seconds[1:])


def _now(device: str) -> float:
    """Return the time when the device has done what it was asked for."""
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter()


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
    for name, make in (("torchattacks", by_torchattacks), ("ART", by_art)):
        try:
            found[name] = make(copy.deepcopy(module), args)
        except ImportError as error:
            print(f"{name} left out: {error}")
    return found, compile_seconds


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
    attack = PGD(args.n_steps, _step_size(args), only_correct=False)
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


def _step_size(args: argparse.Namespace) -> float:
    return 2.5 * EPSILON / args.n_steps


def bare(
    module: nn.Module, args: argparse.Namespace, forward: Callable[..., torch.Tensor] | None = None
) -> tuple[nn.Module, Train]:
    optimizer = torch.optim.Adam(module.parameters(), lr=RATE)
    forward = module if forward is None else forward
    step = _step_size(args)

    def attack(x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        for p in module.parameters():
            p.requires_grad_(False)
        low, high = (x - EPSILON).clamp_(0, 1), (x + EPSILON).clamp_(0, 1)
        x = low + (high - low) * torch.rand_like(x)
        for _ in range(args.n_steps):
            x.requires_grad_()
            loss = functional.cross_entropy(forward(x), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, x)
            x = x.detach().add_(gradient.sign_(), alpha=step)
            x = torch.max(torch.min(x, high), low)
        for p in module.parameters():
            p.requires_grad_(True)
        return x

    return module, _loop(forward, optimizer, attack, args)


def by_torchattacks(module: nn.Module, args: argparse.Namespace) -> tuple[nn.Module, Train]:
    import torchattacks

    optimizer = torch.optim.Adam(module.parameters(), lr=RATE)
    attack = torchattacks.PGD(
        module, eps=EPSILON, alpha=_step_size(args), steps=args.n_steps, random_start=True
    )
    return module, _loop(module, optimizer, attack, args)


def by_art(module: nn.Module, args: argparse.Namespace) -> tuple[nn.Module, Train]:
    from art.defences.trainer import AdversarialTrainerMadryPGD
    from art.estimators.classification import PyTorchClassifier

    classifier = PyTorchClassifier(
        module, nn.CrossEntropyLoss(), (784,), 10, torch.optim.Adam(module.parameters(), lr=RATE),
        clip_values=(0, 1), device_type="cpu" if args.device == "cpu" else "gpu",
    )  # fmt: skip
    trainer = AdversarialTrainerMadryPGD(
        classifier, nb_epochs=1, batch_size=args.batch_size, eps=EPSILON,
        eps_step=_step_size(args), max_iter=args.n_steps, num_random_init=1,
    )  # fmt: skip
    return module, lambda X, y: trainer.fit(X, np.eye(10, dtype=np.float32)[y])


def _loop(
    forward: Callable[..., torch.Tensor],
    optimizer: torch.optim.Optimizer,
    attack: Callable[..., torch.Tensor],
    args: argparse.Namespace,
) -> Train:
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
    last = [m for m in module.modules() if isinstance(m, nn.Linear)][-1]
    counts = {"forwards": 0, "backwards": 0, "weight_backwards": 0}
    sizes = [0]  # of the batches that went forward

    def on_forward(layer: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        n = len(output)
        sizes.append(n)
        counts["forwards"] += n
        if output.requires_grad:
            output.register_hook(lambda grad: on_backward(n))

    def on_backward(n: int) -> None:
        counts["backwards"] += n

    def on_weight(grad: torch.Tensor) -> None:
        counts["weight_backwards"] += sizes[-1]

    handles = [last.register_forward_hook(on_forward), last.weight.register_hook(on_weight)]
    try:
        with Arithmetic() as arithmetic:
            train(X, y)
    finally:
        for handle in handles:
            handle.remove()
    return {
        **{key: value / len(X) for key, value in counts.items()},
        "flop_per_example": arithmetic.flop / len(X),
    }


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


def _times(
    trainers: dict[str, Train], X: np.ndarray, y: np.ndarray, repeats: int, device: str
) -> dict[str, float]:
    """Return the median seconds of each, after a warm-up, taking turns."""
    seconds: dict[str, list[float]] = {who: [] for who in trainers}
    for turn in range(repeats + 1):
        for who, train in trainers.items():
            start = _now(device)
            train(X, y)
            if turn:
                seconds[who].append(_now(device) - start)
    return {who: statistics.median(s) for who, s in seconds.items()}


def table(rows: list[dict[str, Any]]) -> str:
    """Return what was measured, a line per trainer."""
    header = (
        "network", "trainer", "forwards", "backwards", "of which for weights", "examples/s",
        "share of peak", "x bare loop",
    )  # fmt: skip
    body = [
        (
            r["network"],
            r["trainer"],
            f"{r['forwards']:g}",
            f"{r['backwards']:g}",
            f"{r['weight_backwards']:g}",
            f"{r['examples_per_second']:.0f}",
            f"{100 * r['share_of_peak']:.0f} %",
            f"{r['ratio_to_bare_loop']:.2f}",
        )
        for r in rows
    ]
    return format_table(header, body)
