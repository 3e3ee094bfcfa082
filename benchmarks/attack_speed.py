"""Cost of PGD: passes counted, and time as a ratio to a bare loop and to other libraries' attacks.

All attack the same samples of the same model with the same number of steps, alternating within one
run; the ratio is that of the medians. The bare loop is what one would write by hand for one model:
no check, no restoring of flags, no choice of norm.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks._results import format_table, provenance, write_json
from sklearn_robust.attacks import PGD, ThreatModel, TorchModel
from sklearn_robust.neural_network._modules import convolutional, fully_connected

EPSILON, N_STEPS = 0.3, 10
STEP = 2.5 * EPSILON / N_STEPS
Perturb = Callable[[], torch.Tensor]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def run(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    rows = []
    for name, module in _modules().items():
        module = module.to(args.device).eval()
        X = torch.rand(args.batch_size, 1, 28, 28, device=args.device)
        with torch.no_grad():
            y = module(X).argmax(1)  # every sample is right, so that every library attacks them all
        ours = _ours(module, X, y)
        contenders = {
            "this library": ours,
            "bare loop": _bare(module, X, y),
            **_peers(module, X, y),
        }
        passes = {who: _count_passes(module, attack) for who, attack in contenders.items()}
        seconds = _times(contenders, args.repeats)
        for who in contenders:
            rows.append(
                {
                    "model": name,
                    "attack": who,
                    "forwards": passes[who][0],
                    "input_backwards": passes[who][1],
                    "weight_backwards": passes[who][2],
                    "milliseconds": 1e3 * seconds[who],
                    "ratio_to_bare_loop": seconds[who] / seconds["bare loop"],
                }
            )
    header = ("model", "attack", "forwards", "input grads", "weight grads", "ms", "x bare loop")
    body = [
        (*list(r.values())[:5], f"{r['milliseconds']:.1f}", f"{r['ratio_to_bare_loop']:.2f}")
        for r in rows
    ]
    print(format_table(header, body))
    print(f"PGD-{N_STEPS}, linf, batch of {args.batch_size}; medians of {args.repeats} runs")
    settings = {"n_steps": N_STEPS, "batch_size": args.batch_size, "repeats": args.repeats}
    where = {"seed": args.seed, "device": args.device, "threads": torch.get_num_threads()}
    write_json(
        args.output / "attack_speed.json",
        {**provenance(**where), "settings": settings, "rows": rows},
    )


def _modules() -> dict[str, nn.Module]:
    small = nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 49, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip
    built = {
        "FC 2 x 1024": fully_connected(784, 10),
        "CNN 16-32, stride 2": small,
        "CNN of the report": convolutional((1, 28, 28), 10),
    }
    for module in built.values():
        for layer in module.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    return built


def _ours(module: nn.Module, X: torch.Tensor, y: torch.Tensor) -> Perturb:
    model, threat = TorchModel(module, 10), ThreatModel(EPSILON, clip_values=(0, 1))
    attack = PGD(N_STEPS, STEP, only_correct=False)
    generator = torch.Generator(X.device).manual_seed(0)
    return lambda: attack.perturb(model, X, y, threat, generator)


def _bare(module: nn.Module, X: torch.Tensor, y: torch.Tensor) -> Perturb:
    def perturb() -> torch.Tensor:
        for p in module.parameters():
            p.requires_grad_(False)
        low, high = (X - EPSILON).clamp_(0, 1), (X + EPSILON).clamp_(0, 1)
        X_adv = low + (high - low) * torch.rand_like(X)
        for _ in range(N_STEPS):
            X_adv.requires_grad_()
            loss = nn.functional.cross_entropy(module(X_adv), y, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, X_adv)
            X_adv = X_adv.detach().add_(gradient.sign_(), alpha=STEP)
            X_adv = torch.max(torch.min(X_adv, high), low)
        for p in module.parameters():
            p.requires_grad_(True)
        return X_adv

    return perturb


def _peers(module: nn.Module, X: torch.Tensor, y: torch.Tensor) -> dict[str, Perturb]:
    """Return the attacks of other libraries that are installed; say which are not."""
    found: dict[str, Perturb] = {}
    for name, make in (("torchattacks", _torchattacks), ("foolbox", _foolbox), ("ART", _art)):
        try:
            found[name] = make(module, X, y)
        except ImportError as error:
            print(f"{name} left out: {error}")
    return found


def _torchattacks(module: nn.Module, X: torch.Tensor, y: torch.Tensor) -> Perturb:
    import torchattacks

    attack = torchattacks.PGD(module, eps=EPSILON, alpha=STEP, steps=N_STEPS, random_start=True)
    return lambda: attack(X, y)


def _foolbox(module: nn.Module, X: torch.Tensor, y: torch.Tensor) -> Perturb:
    import foolbox

    model = foolbox.PyTorchModel(module, bounds=(0, 1), device=X.device)
    attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP, steps=N_STEPS, random_start=True)
    return lambda: attack.run(model, X, foolbox.criteria.Misclassification(y), epsilon=EPSILON)


def _art(module: nn.Module, X: torch.Tensor, y: torch.Tensor) -> Perturb:
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    classifier = PyTorchClassifier(
        module, nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0, 1),
        device_type="gpu" if X.is_cuda else "cpu",
    )  # fmt: skip
    attack = ProjectedGradientDescent(
        classifier, eps=EPSILON, eps_step=STEP, max_iter=N_STEPS, num_random_init=1,
        batch_size=len(X), verbose=False,
    )  # fmt: skip
    images, labels = X.cpu().numpy(), y.cpu().numpy()
    return lambda: torch.as_tensor(attack.generate(images, labels))


def _count_passes(module: nn.Module, attack: Perturb) -> tuple[int, int, int]:
    """Count forwards, and backwards with respect to input and to weights, of one call."""
    last = [m for m in module.modules() if isinstance(m, nn.Linear)][-1]
    counts = {"forward": 0, "input": 0, "weight": 0}

    def on_forward(layer: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        counts["forward"] += 1
        if output.requires_grad:
            output.register_hook(lambda grad: counts.__setitem__("input", counts["input"] + 1))

    def on_weight(grad: torch.Tensor) -> None:
        counts["weight"] += 1

    handles = [last.register_forward_hook(on_forward), last.weight.register_hook(on_weight)]
    try:
        attack()
    finally:
        for handle in handles:
            handle.remove()
        module.zero_grad()
    return counts["forward"], counts["input"], counts["weight"]


def _times(contenders: dict[str, Perturb], repeats: int) -> dict[str, float]:
    """Return the median seconds of each, after a warm-up, taking turns."""
    seconds: dict[str, list[float]] = {who: [] for who in contenders}
    for turn in range(repeats + 1):
        for who, attack in contenders.items():
            start = time.perf_counter()
            attack()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                seconds[who].append(time.perf_counter() - start)
    return {who: statistics.median(s) for who, s in seconds.items()}
