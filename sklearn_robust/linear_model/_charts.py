r"""Coordinates in which the worst case is smooth near a point, one chart for each adversary.

In the variables (w, t, b) the objective is smooth; what is not is ``t = ||epsilon * w||_q``.
A chart turns it into bounds ``x_j >= 0``, under which t is linear in x (l2: smooth):

- linf adversary, t = sum e |w|: with the signs sigma fixed, ``w = sigma x`` and ``t = e . x``;
- l1 adversary, t = max e |w|: the slack ``x = t / e - sigma w`` beside t itself;
- l2 adversary, or none: w itself.

Features with radius 0 are never bounded.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Chart(Protocol):
    """Local coordinates x around (w, t), without the intercept."""

    start: np.ndarray  # coordinates of the point itself
    bounded: np.ndarray  # which of them are >= 0

    def gradient(self, gw: np.ndarray, gt: float) -> np.ndarray:
        """Return the gradient by x from that by (w, t)."""

    def hessian(self, H: np.ndarray, gt: float) -> np.ndarray:
        """Return the Hessian by (x, b) from that by (w, t, b)."""

    def weights(self, x: np.ndarray) -> np.ndarray:
        """Return w at the coordinates x."""

    def change(self, step: np.ndarray) -> np.ndarray:
        """Return the change of w for a step of the coordinates."""

    def crossed(self, step: np.ndarray) -> np.ndarray:
        """Return which weights a step takes out of the chart, so that their sign should flip."""


class OrthantChart:
    """linf adversary: w keeps its signs."""

    def __init__(self, w: np.ndarray, e: np.ndarray, sign: np.ndarray) -> None:
        self.sign, self.e = sign, e
        self.start = sign * w
        self.bounded = e > 0

    def gradient(self, gw: np.ndarray, gt: float) -> np.ndarray:
        return self.sign * gw + self.e * gt

    def hessian(self, H: np.ndarray, gt: float) -> np.ndarray:
        e, tt = self.e, H[-2, -2]
        cross = self.sign * H[:-2, -2] + 0.5 * tt * e
        out = np.empty((len(e) + 1, len(e) + 1))
        np.multiply(H[:-2, :-2], self.sign[:, None] * self.sign, out=out[:-1, :-1])
        out[:-1, :-1] += np.outer(cross, e)
        out[:-1, :-1] += np.outer(e, cross)
        out[:-1, -1] = out[-1, :-1] = self.sign * H[:-2, -1] + e * H[-2, -1]
        out[-1, -1] = H[-1, -1]
        return out

    def weights(self, x: np.ndarray) -> np.ndarray:
        return self.sign * x

    change = weights

    def crossed(self, step: np.ndarray) -> np.ndarray:
        return np.zeros(len(self.e), dtype=bool)


class SlackChart:
    """l1 adversary: how far each weight is from the largest, and the largest."""

    def __init__(self, w: np.ndarray, e: np.ndarray, sign: np.ndarray, t: float) -> None:
        on = e > 0
        safe = np.where(on, e, 1)
        self.by_slack = np.where(on, -sign, 1.0)  # dw / dx
        self.by_t = np.where(on, sign / safe, 0.0)  # dw / dt
        self.start = np.append(np.where(on, np.maximum(t / safe - sign * w, 0), w), t)
        self.bounded = np.append(on, True)

    def gradient(self, gw: np.ndarray, gt: float) -> np.ndarray:
        return np.append(self.by_slack * gw, self.by_t @ gw + gt)

    def hessian(self, H: np.ndarray, gt: float) -> np.ndarray:
        q, r = self.by_slack, self.by_t
        m = len(q)
        along = H[:m, :m] @ r + H[:m, m]
        out = np.empty_like(H)
        np.multiply(H[:m, :m], q[:, None] * q, out=out[:m, :m])
        out[:m, m] = out[m, :m] = q * along
        out[m, m] = r @ (along + H[:m, m]) + H[m, m]
        out[:m, -1] = out[-1, :m] = q * H[:m, -1]
        out[m, -1] = out[-1, m] = r @ H[:m, -1] + H[m, -1]
        out[-1, -1] = H[-1, -1]
        return out

    def weights(self, x: np.ndarray) -> np.ndarray:
        return self.by_slack * x[:-1] + self.by_t * x[-1]

    change = weights

    def crossed(self, step: np.ndarray) -> np.ndarray:
        # The slack is at most 2 t / e; a flip asks for more, or it would alternate for ever.
        x = self.start + step
        reach = np.where(self.bounded[:-1], 2 * abs(self.by_t) * x[-1], np.inf)
        return x[:-1] > reach * (1 + 1e-9)


class SmoothChart:
    """l2 adversary away from zero (t > 0), or no adversary (t = 0)."""

    def __init__(self, w: np.ndarray, e: np.ndarray, t: float) -> None:
        self.start, self.e, self.t = w, e, t
        self.bounded = np.zeros(len(w), dtype=bool)
        self.slope = e**2 * w / t if t > 0 else np.zeros_like(w)  # dt / dw

    def gradient(self, gw: np.ndarray, gt: float) -> np.ndarray:
        return gw + gt * self.slope

    def hessian(self, H: np.ndarray, gt: float) -> np.ndarray:
        out = np.delete(np.delete(H, -2, axis=0), -2, axis=1)
        if self.t == 0:
            return out
        ww = out[:-1, :-1]
        cross = H[:-2, -2] + 0.5 * (H[-2, -2] - gt / self.t) * self.slope
        ww += np.outer(cross, self.slope)
        ww += np.outer(self.slope, cross)
        ww[np.diag_indices_from(ww)] += gt / self.t * self.e**2
        border = self.slope * H[-2, -1]
        out[:-1, -1] += border
        out[-1, :-1] += border
        return out

    def weights(self, x: np.ndarray) -> np.ndarray:
        return x

    change = weights

    def crossed(self, step: np.ndarray) -> np.ndarray:
        return np.zeros(len(self.e), dtype=bool)


def make_chart(norm: str, w: np.ndarray, e: np.ndarray, sign: np.ndarray, t: float) -> Chart:
    """Return the chart for an adversary around w; `sign` is that of w, or where zeros would go."""
    if norm == "linf":
        return OrthantChart(w, e, sign)
    return SlackChart(w, e, sign, t) if norm == "l1" else SmoothChart(w, e, t)
