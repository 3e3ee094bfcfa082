"""ReLU networks and their least margins, by mixed-integer programs: a truth for bounds."""

import itertools

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import nn


def relu_program(module, low, high, spec, ball=None):
    """Minimum of ``<spec, f>`` over a box by HiGHS: the exact one, and that of its relaxation.

    A ReLU network as a mixed-integer program, built here from the weights alone; its big-M
    constants are interval bounds written in numpy. With a `ball`, centre and radius, inputs are
    also in that of l1.
    """
    weights = [(m.weight.numpy(), m.bias.numpy()) for m in module if isinstance(m, nn.Linear)]
    box = (low, high)
    lower, upper, rows = [*low], [*high], []
    inputs, n = np.arange(len(low)), len(low)
    integral = [0] * n
    for W, b in weights[:-1]:
        centre, radius = (box[0] + box[1]) / 2, (box[1] - box[0]) / 2
        z_low = W @ centre + b - abs(W) @ radius
        z_high = W @ centre + b + abs(W) @ radius
        outs = n + np.arange(len(b))
        switches = outs + len(b)
        n += 2 * len(b)
        for i, (least, most) in enumerate(zip(z_low.clip(None, 0), z_high.clip(0), strict=True)):
            lower += [0.0]
            upper += [most]
            z = dict(zip(inputs, W[i], strict=True))
            minus_z = {k: -v for k, v in z.items()}
            rows.append(({**minus_z, outs[i]: 1.0}, b[i], np.inf))  # out >= z
            rows.append(({**minus_z, outs[i]: 1.0, switches[i]: -least}, -np.inf, b[i] - least))
            rows.append(({outs[i]: 1.0, switches[i]: -most}, -np.inf, 0.0))
        lower += [0.0] * len(b)
        upper += [1.0] * len(b)
        integral += [0] * len(b) + [1] * len(b)
        inputs, box = outs, (z_low.clip(0), z_high.clip(0))
    if ball is not None:
        away = n + np.arange(len(low))
        n += len(low)
        lower, upper, integral = (
            lower + [0.0] * len(low),
            [*upper, *(high - low)],
            integral + [0] * len(low),
        )
        for k, centre in enumerate(ball[0]):  # away >= |x - centre|
            rows += [
                ({away[k]: 1.0, k: -1.0}, -centre, np.inf),
                ({away[k]: 1.0, k: 1.0}, centre, np.inf),
            ]
        rows.append((dict.fromkeys(away, 1.0), -np.inf, ball[1]))
    A = np.zeros((len(rows), n))
    for i, (row, _, _) in enumerate(rows):
        A[i, list(row)] = list(row.values())
    constraints = LinearConstraint(A, [r[1] for r in rows], [r[2] for r in rows])
    W, b = weights[-1]
    cost = np.zeros(n)
    cost[inputs] = spec @ W
    values = [
        milp(cost, integrality=flags, bounds=Bounds(lower, upper), constraints=constraints).fun
        for flags in (integral, np.zeros(n))
    ]
    return values[0] + spec @ b, values[1] + spec @ b


def programs(module, X, y, epsilon, norm="linf"):
    """Exact and relaxed margins, two arrays of shape (n, n_classes)."""
    out = np.zeros((2, len(X), 3))
    for i, x in enumerate(X.numpy()):
        for j in {0, 1, 2} - {int(y[i])}:
            spec = np.eye(3)[int(y[i])] - np.eye(3)[j]
            ball = None if norm == "linf" else (x, epsilon)
            out[:, i, j] = relu_program(module, x - epsilon, x + epsilon, spec, ball)
    return out


def relu_network(widths, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = []
        for a, b in itertools.pairwise(widths):
            layers += [nn.Linear(a, b), nn.ReLU()]
        module = nn.Sequential(*layers[:-1]).double()
    return module.requires_grad_(False)
