"""Are robust gradients sparse and aligned with the image? Measures of `gradient_quality` by model.

Takes the models of `python -m benchmarks report`, with `--models quick` those of the main job, or
with `--models recipes` those of `python -m benchmarks training`, standard training of the same
networks, ramp included, beside them (what is not trained yet is trained); adds logistic regression,
and measures the loss gradients at `--n-images` test images: sparsity, cosine with the image, share
on ink, smoothness, each with its interval and beside what chance gives. Then tests the report's two
claims as paired differences: the robust CNN's gradients are interpretable, the robust FC's are not.
Last, a sanity check [1]_: with layers of the robust networks drawn anew, from the last to the
first, the gradients must change. And how much of the gradients an adversary kept in [0, 1] cannot
follow: training against it leaves that part as it is. The models of `report` are attacked too, by
the report's PGD, on the first `--n-attacked` of the images; `--clip free` and `--clip clipped` make
two trainings that differ in the box alone.

.. [1] J. Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018.
"""

from __future__ import annotations

import argparse
import copy
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import nn

from benchmarks._data import SHAPE, load, source
from benchmarks._figures import draw
from benchmarks._gradient_tables import beyond_table, claims_table, sanity_table, table
from benchmarks._report_cells import REPORT_PGD, add_report_arguments, cells, trained
from benchmarks._results import provenance, write_json
from benchmarks._trained import EPSILON, KINDS, main_job_data, main_job_network, recipe_network
from sklearn_robust import AdversarialLogisticRegression, input_gradients
from sklearn_robust.metrics import GradientQuality, gradient_quality, perturb
from sklearn_robust.neural_network._ramp_choice import REACH

N_LOGISTIC = 10_000  # training images of logistic regression, which has nothing to gain from more


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_report_arguments(parser)
    parser.set_defaults(clip=["free"], fresh=False)
    parser.add_argument("--models", default="report", choices=tuple(SOURCES))
    parser.add_argument("--dtype", default="float32", help="of the recipes' trainings")
    parser.add_argument("--n-images", type=int, default=1000)
    parser.add_argument("--n-attacked", type=int, default=300)


def run(args: argparse.Namespace) -> None:
    X, y, X_test, y_test = load(args)
    pick = np.random.default_rng(0).permutation(len(y_test))[: args.n_images]
    shown = X_test[pick], y_test[pick]
    networks = SOURCES[args.models](args, X.reshape(-1, *SHAPE), y)
    args.epsilon = sorted({epsilon for _, epsilon in networks if epsilon})
    models: dict[tuple[str, float], Any] = {**networks, **logistic(args, X, y)}
    found = {key: measured(model, *shown) for key, model in models.items()}
    rows = [
        {"model": name, "epsilon": epsilon, "n_zero": quality.n_zero, **row}
        for (name, epsilon), quality in found.items()
        for row in quality.rows()
    ]
    effects = claims(found)
    sanity = [
        {"model": name, "epsilon": epsilon, **row}
        for (name, epsilon), model in networks.items()
        if epsilon
        for row in randomised(model, *shown, seed=args.seed)
    ]
    beyond = [
        {"model": name, "epsilon": epsilon, **out_of_reach(model, *shown)}
        for (name, epsilon), model in models.items()
    ]
    for text in (table(rows), claims_table(effects), sanity_table(sanity), beyond_table(beyond)):
        print(text + "\n")
    about: dict[str, Any] = {}
    if args.models == "report":
        about = {
            "protocol": args.protocol[0],
            "epochs": {f"{name} {e:g}": model.n_iter_ for (name, e), model in networks.items()},
            "clip": args.clip[0],
            "n_train": args.n_train or len(y),
            "accuracies": [
                {"model": name, "epsilon": e, **accuracies(model, e, args, *shown)}
                for (name, e), model in networks.items()
            ],
        }
    data = source(args)
    path = args.output / f"interpretability-{_of(args)}.json"
    content = {
        **provenance(seed=args.seed, threads=torch.get_num_threads(), data=data),
        "models": args.models,
        **about,
        "n_images": len(pick),
        "rows": rows,
        "effects": effects,
        "sanity": sanity,
        "out_of_reach": beyond,
    }
    write_json(path, content)
    print(f"wrote {path}")
    if args.models == "recipes":
        figures(args, networks, X_test[:1000], y_test[:1000])


def _of(args: argparse.Namespace) -> str:
    """Return which networks are measured, for the name of the result."""
    if args.models == "quick":
        return args.models
    parts = [args.protocol[0] if args.models == "report" else args.models]
    parts += ["clipped"] if args.models == "report" and args.clip[0] == "clipped" else []
    parts += args.architecture if len(args.architecture) == 1 else []
    parts += [source(args).split()[-1], *([f"n{args.n_train}"] if args.n_train else [])]
    return "-".join(parts)


def figures(args: argparse.Namespace, networks: Networks, X: np.ndarray, y: np.ndarray) -> None:
    """Draw the report's Figures 1 and 3 from the recipes' networks."""
    for number, architecture in ((1, "cnn"), (3, "fc")):
        if architecture not in args.architecture:
            continue
        models = {
            name.split()[0] if epsilon else "standard": model
            for (name, epsilon), model in networks.items()
            if name.split()[-1] == architecture
        }
        path = args.output / f"recipes-figure{number}.png"
        draw(path, f"{architecture.upper()} with a ramp", models, X, y)
        print(f"wrote {path}")


Networks = dict[tuple[str, float], Any]


def of_report(args: argparse.Namespace, X: np.ndarray, y: np.ndarray) -> Networks:
    """Return the networks of the report's tables, by architecture and epsilon: the first seed's."""
    args = argparse.Namespace(**{**vars(args), "protocol": args.protocol[:1], "n_seeds": 1})
    return {
        (cell.architecture, cell.epsilon): trained(args, cell, X, y)
        for cell in cells(args)
        if not cell.epsilon or cell.clip == (args.clip[0] == "clipped")
    }


def of_main_job(args: argparse.Namespace, X: np.ndarray, y: np.ndarray) -> Networks:
    """Return the four networks of the main job, which has its own training images."""
    X, y, _, _ = main_job_data(args.data_home, args.seed)
    return {
        (name.lower(), EPSILON if training == "robust" else 0.0): main_job_network(
            args, name, training, X, y
        )[0]
        for name, training in KINDS
    }


def of_recipes(args: argparse.Namespace, X: np.ndarray, y: np.ndarray) -> Networks:
    """Return the recipes' networks by their names, and standard ones by the architecture's."""
    X, found = X.reshape(len(X), -1), {}
    parameters = {} if args.dtype == "float32" else {"dtype": args.dtype}
    for architecture in args.architecture:
        for recipe, epsilon in (("fast", 0.0), ("fast", EPSILON), ("certified", EPSILON)):
            own = argparse.Namespace(**{**vars(args), "recipe": recipe, "epsilon": epsilon})
            own.architecture = architecture
            # A radius of 0 has no ramp of its own, and needs neither attack nor rising radius.
            reach = REACH * EPSILON
            same_ramp = {} if epsilon else {"input_ramp": (reach, 1 - reach)}
            name = f"{recipe} {architecture}" if epsilon else architecture
            _, found[name, epsilon] = recipe_network(own, {**parameters, **same_ramp}, X, y)
    return found


SOURCES = {"report": of_report, "quick": of_main_job, "recipes": of_recipes}


def logistic(
    args: argparse.Namespace, X: np.ndarray, y: np.ndarray
) -> dict[tuple[str, float], AdversarialLogisticRegression]:
    """Return logistic regressions by the linear experiment's protocol, for each epsilon and 0."""
    return {
        ("logistic", epsilon): AdversarialLogisticRegression(
            epsilon, solver="pgd", max_iter=100, random_state=args.seed
        ).fit(X[:N_LOGISTIC], y[:N_LOGISTIC])
        for epsilon in (0.0, *args.epsilon)
    }


def measured(model: Any, X: np.ndarray, y: np.ndarray) -> GradientQuality:
    """Return the measures, whatever shape the model takes its samples in."""
    linear = isinstance(model, AdversarialLogisticRegression)
    return gradient_quality(
        model, X if linear else X.reshape(-1, *SHAPE), y, image_shape=SHAPE if linear else None
    )


def claims(found: dict[tuple[str, float], GradientQuality]) -> list[dict[str, Any]]:
    """Return robust against standard for each model, and each robust CNN against its FC."""
    robust = [(name, e) for name, e in found if e]
    pairs = [((name, e), (name.split()[-1], 0.0)) for name, e in robust]
    pairs = [(ours, theirs) for ours, theirs in pairs if theirs in found]
    pairs += [
        ((name, e), (name.replace("cnn", "fc"), e))
        for name, e in robust
        if "cnn" in name and (name.replace("cnn", "fc"), e) in found
    ]
    return [
        {
            "of": f"{ours[0]} {ours[1]:g}",
            "against": f"{theirs[0]} {theirs[1]:g}",
            "measure": measure,
            **found[ours].effect(found[theirs], measure),
        }
        for ours, theirs in pairs
        for measure in found[ours].values
    ]


def randomised(model: Any, X: np.ndarray, y: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Return how alike gradients stay when layers are drawn anew, from the last to the first.

    Alike is Spearman's rank correlation of the magnitudes, averaged over images: of all pixels, and
    of those with a gradient before or after.
    """
    X = X[:200].reshape(-1, *SHAPE)
    y = y[:200]
    before = _magnitudes(model, X, y)
    model = copy.deepcopy(model)
    layers = [m for m in model.module_.modules() if isinstance(m, nn.Linear | nn.Conv2d)][::-1]
    rows = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for number, layer in enumerate(layers, 1):
            layer.reset_parameters()
            after = _magnitudes(model, X, y)
            pairs = list(zip(before, after, strict=True))
            alike = [stats.spearmanr(a, b).statistic for a, b in pairs]
            shown = [
                stats.spearmanr(*pair[:, pair.any(0)]).statistic for pair in map(np.array, pairs)
            ]
            quality = gradient_quality(model, X, y)
            means = {row["measure"]: row["mean"] for row in quality.rows()}
            row = {
                "layers_drawn_anew": number,
                "rank_correlation": float(np.nanmean(alike)),
                "rank_correlation_where_not_zero": float(np.nanmean(shown)),
            }
            rows.append({**row, **means})
    return rows


def _magnitudes(model: Any, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(input_gradients(model, X, y)).reshape(len(X), -1)


def accuracies(
    model: Any, epsilon: float, args: argparse.Namespace, X: np.ndarray, y: np.ndarray
) -> dict[str, float]:
    """Return the accuracy on all images, and on the first ones under the report's PGD."""
    X = X.reshape(-1, *SHAPE)
    found = {"clean": model.score(X, y)}
    if epsilon:
        X, y = X[: args.n_attacked], y[: args.n_attacked]
        box = (0.0, 1.0) if args.clip[0] == "clipped" else None
        X_adv = perturb(
            model, X, y, epsilon=epsilon, clip_values=box, attack=REPORT_PGD, random_state=args.seed
        )
        found |= {"pgd": model.score(X_adv, y), "n_attacked": len(y)}
    return found


def out_of_reach(model: Any, X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return the share of the gradient that an adversary kept in [0, 1] cannot follow.

    That is to take ink from pixels without any, or to add some where there is no more to add: of
    the sum of magnitudes over an image, averaged over the images with a gradient.
    """
    linear = isinstance(model, AdversarialLogisticRegression)
    gradient = input_gradients(model, X if linear else X.reshape(-1, *SHAPE), y)
    gradient = gradient.reshape(len(X), -1)
    pixels = X.reshape(len(X), -1)
    beyond = ((gradient < 0) & (pixels <= 0)) | ((gradient > 0) & (pixels >= 1))
    size = np.abs(gradient)
    some = size.sum(1) > 0
    share = (size * beyond).sum(1)[some] / size.sum(1)[some]
    return {"share": float(share.mean()), "error": float(stats.sem(share))}
