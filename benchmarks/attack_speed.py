"""Cost of PGD: passes counted, and time as a ratio to a bare loop and to other libraries' attacks.

All attack the same samples of the same model with the same number of steps, alternating within one
run; the ratio is that of the medians. The bare loop is what one would write by hand for one model:
no check, no restoring of flags, no choice of norm.
"""

from __future__ import annotations

import argparse
from functools import partial

import torch
from torch import nn

from benchmarks._contenders import (
    Perturb,
    Steps,
    art_pgd,
    bare_pgd,
    counted_passes,
    foolbox_pgd,
    installed,
    median_seconds,
    torchattacks_pgd,
)
from benchmarks._results import provenance, rows_table, write_json
from sklearn_robust.attacks import PGD, ThreatModel, TorchModel
from sklearn_robust.neural_network._modules import convolutional, fully_connected
from sklearn_robust.neural_network._recipes import REPORT_NETWORKS

STEPS = Steps(10, epsilon=0.3)
PEERS = {"torchattacks": torchattacks_pgd, "foolbox": foolbox_pgd, "ART": art_pgd}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def run(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    rows = [
        {"model": name, **row}
        for name, module in _modules().items()
        for row in compared(module.to(args.device).eval(), args)
    ]
    heading = "model | attack | forwards | input grads | weight grads | ms | x bare loop"
    line = (
        "{model} | {attack} | {forwards} | {input_backwards} | {weight_backwards} | "
        "{milliseconds:.1f} | {ratio_to_bare_loop:.2f}"
    )
    print(rows_table(rows, heading, line))
    print(f"PGD-{STEPS.n}, linf, batch of {args.batch_size}; medians of {args.repeats} runs")
    settings = {"n_steps": STEPS.n, "batch_size": args.batch_size, "repeats": args.repeats}
    where = {"seed": args.seed, "device": args.device, "threads": torch.get_num_threads()}
    write_json(
        args.output / "attack_speed.json",
        {**provenance(**where), "settings": settings, "rows": rows},
    )


def compared(module: nn.Module, args: argparse.Namespace) -> list[dict[str, object]]:
    """Return passes and time of every attack on one network."""
    X = torch.rand(args.batch_size, 1, 28, 28, device=args.device)
    with torch.no_grad():
        y = module(X).argmax(1)  # every sample is right, so that every library attacks them all
    peers = {name: partial(make, module, STEPS) for name, make in PEERS.items()}
    attacks: dict[str, Perturb] = {
        "this library": _ours(module),
        "bare loop": bare_pgd(module, STEPS),
        **installed(peers),
    }
    passes = {who: _passes(module, attack, X, y) for who, attack in attacks.items()}
    work = {who: partial(attack, X, y) for who, attack in attacks.items()}
    seconds = median_seconds(work, args.repeats, args.device)
    return [
        {
            "attack": who,
            **passes[who],
            "milliseconds": 1e3 * seconds[who],
            "ratio_to_bare_loop": seconds[who] / seconds["bare loop"],
        }
        for who in attacks
    ]


def _modules() -> dict[str, nn.Module]:
    small = nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 49, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip
    built = {
        "FC 2 x 1024": fully_connected(784, 10, **REPORT_NETWORKS["fc"]),
        "CNN 16-32, stride 2": small,
        "CNN of the report": convolutional((1, 28, 28), 10, **REPORT_NETWORKS["cnn"]),
    }
    for module in built.values():
        for layer in module.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    return built


def _ours(module: nn.Module) -> Perturb:
    model, threat = TorchModel(module, 10), ThreatModel(STEPS.epsilon, clip_values=(0, 1))
    attack = PGD(STEPS.n, STEPS.size, only_correct=False)
    generator = torch.Generator(next(module.parameters()).device).manual_seed(0)
    return lambda X, y: attack.perturb(model, X, y, threat, generator)


def _passes(module: nn.Module, attack: Perturb, X: torch.Tensor, y: torch.Tensor) -> dict[str, int]:
    """Count the forwards, and the backwards to input and to weights, of one call."""
    with counted_passes(module) as counts:
        attack(X, y)
    module.zero_grad()
    forwards, to_input, to_weights = (n // len(X) for n in counts.values())
    return {
        "forwards": forwards,
        "input_backwards": to_input,
        "weight_backwards": to_weights,
    }
