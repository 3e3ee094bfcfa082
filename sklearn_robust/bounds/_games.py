r"""Which rivals can come closer than all points of the own class, somewhere in a set.

With points of heights ``phi_k(u) = <h_k, u> - d_k`` (of squared distances what is not common to
them, with the sign changed), the rival r is nearest somewhere if this game has no positive value:

.. math:: \min_{u \in U} \max_{i} \phi_i(u) - \phi_r(u)
          = \max_{\lambda \in \Delta} \min_{u \in U} \sum_i \lambda_i \phi_i(u) - \phi_r(u).

Any weights prove what the right side is with them (weak duality), in closed form for every norm and
box. Where they come from, a smoothed descent for all rivals at once or a program for one of them,
does not matter: a proof adds up its own bound. Any point refutes, if the classifier agrees.

References
----------
.. [1] Y. Nesterov, "Smooth minimization of non-smooth functions", Mathematical Programming, 2005.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sklearn_robust.bounds._programs import Solver
from sklearn_robust.bounds._reach import Reach

# The temperatures of the smoothed maximum, as shares of the spread of the heights, and the steps
# of accelerated descent [1]_ at each.
_TEMPERATURES = (0.3, 0.1, 0.03, 0.01)
_STEPS = 20
# Own points that are tried alone, and those that a game begins with.
_ALONE, _FIRST = 16, 24
# Rounds in which a program is given the own points that its last answer left out.
_ROUNDS = 20
# Games that rounding leaves open, after which no more are solved: the sample cannot be proven.
_DOUBTFUL = 8


@dataclass
class Game:
    """Own points against rivals in the set around one sample.

    Parameters
    ----------
    reach : Reach
    own_h, own_d : ndarray of shape (n_own, n_free) and (n_own,)
    rival_h, rival_d : ndarray of shape (n_rivals, n_free) and (n_rivals,)
    slack : ndarray of shape (n_rivals,)
        What rounding may do to the difference of two heights.
    solve : callable or None
        Gives weights and a point for one rival; None where the norm has no program.

    Attributes
    ----------
    proven : ndarray of shape (n_rivals,)
        Lower bounds of the game's values.
    """

    reach: Reach
    own_h: np.ndarray
    own_d: np.ndarray
    rival_h: np.ndarray
    rival_d: np.ndarray
    slack: np.ndarray
    solve: Solver | None

    def __post_init__(self) -> None:
        self.proven = np.full(len(self.rival_d), -np.inf)
        self.used = np.argsort(self.own_d)[:_FIRST]

    def open_(self) -> np.ndarray:
        """Return the rivals that are not proven to stay behind."""
        return np.flatnonzero(~(self.proven > 0))

    def prove(self, rivals: np.ndarray, own: np.ndarray, weights: np.ndarray) -> None:
        """Add up what weights of the points `own` prove for rivals, whoever chose them."""
        weights = np.nan_to_num(weights, posinf=0.0).clip(0, None)
        total = weights.sum(axis=1)
        weights = weights / np.where(total > 0, total, 1)[:, None]
        pull = weights @ self.own_h[own] - self.rival_h[rivals]
        # What the weights lack to a sum of 1 in rounding is part of the slack.
        bound = self.rival_d[rivals] - weights @ self.own_d[own] + self.reach.lowest(pull)
        bound = np.where(total > 0, bound - self.slack[rivals], -np.inf)
        self.proven[rivals] = np.maximum(self.proven[rivals], bound)

    def alone(self) -> None:
        """Prove what single own points do: for a pair, the bound is exact."""
        for point in np.argsort(self.own_d)[:_ALONE]:
            rivals = self.open_()
            if len(rivals):
                self.prove(rivals, np.array([point]), np.ones((len(rivals), 1)))

    def height(self, rivals: np.ndarray, U: np.ndarray) -> np.ndarray:
        """Return the value of each rival's game at a point of its own, and let its answer join."""
        heights = U @ self.own_h.T - self.own_d
        best = heights.argmax(axis=1)
        self.used = np.union1d(self.used, best)
        theirs = (U * self.rival_h[rivals]).sum(axis=1) - self.rival_d[rivals]
        return heights[np.arange(len(U)), best] - theirs


def play(game: Game) -> np.ndarray:
    """Return points u that may refute, the most promising first; ``game.proven`` has the proofs.

    The points are where a rival is nearer than all own points by more than rounding, or as near as
    it gets.
    """
    found = None
    if np.isfinite(game.own_d).all() and np.isfinite(game.rival_d).all():  # no overflow
        game.alone()
        found = _descend(game)
        if found is None and game.solve is not None:
            found = _programs(game)
    return np.zeros((0, len(game.reach.free))) if found is None else found


def _descend(game: Game) -> np.ndarray | None:
    """Run the smoothed games of all rivals that are open; return refuting points if there are."""
    rivals = game.open_()
    if not len(rivals):
        return None
    U = game.reach.steepest(game.rival_h[rivals] - game.own_h[game.used].mean(axis=0))
    if (refuted := _refuting(game, rivals, U)) is not None:
        return refuted
    for temperature in _TEMPERATURES:
        own = game.used
        U, weights = _smoothed(game, rivals, own, U, temperature)
        game.prove(rivals, own, weights)
        if (refuted := _refuting(game, rivals, U)) is not None:
            return refuted
        left = ~(game.proven[rivals] > 0)
        rivals, U = rivals[left], U[left]
        if not len(rivals):
            return None
    return None


def _refuting(game: Game, rivals: np.ndarray, U: np.ndarray) -> np.ndarray | None:
    value = game.height(rivals, U) + game.slack[rivals]
    order = np.argsort(value)
    return U[order[value[order] < 0]] if (value < 0).any() else None


def _smoothed(
    game: Game, rivals: np.ndarray, own: np.ndarray, U: np.ndarray, temperature: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return points and mean weights after accelerated descent of the smoothed maximum."""
    h, d, theirs = game.own_h[own], game.own_d[own], game.rival_h[rivals]
    spread = ((h - h.mean(axis=0)) ** 2).sum(axis=1).max() + 1e-300
    heat = temperature * (np.ptp(d) + spread**0.5) / 4 + 1e-300
    V, mean, momentum = U, np.zeros((len(rivals), len(own))), 1.0
    for _ in range(_STEPS):
        heights = (V @ h.T - d) / heat
        weights = np.exp(heights - heights.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        mean += momentum * weights
        new = game.reach.project(V - heat / spread * (weights @ h - theirs))
        ahead = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        U, V, momentum = new, new + (momentum - 1) / ahead * (new - U), ahead
    return U, mean


def _programs(game: Game) -> np.ndarray | None:
    """Solve the games that are left one by one, until one is lost."""
    assert game.solve is not None
    rest: list[np.ndarray] = []
    for rival in game.open_():
        if len(rest) == _DOUBTFUL:
            break
        own = game.used
        for _ in range(_ROUNDS):
            theirs = game.rival_h[rival], game.rival_d[rival], 2 * game.slack[rival]
            answer = game.solve(game.reach, game.own_h[own], game.own_d[own], *theirs)
            if answer is None:
                break
            weights, u = answer
            one = np.array([rival])
            game.prove(one, own, weights[None])
            if game.proven[rival] > 0:
                break
            value = game.height(one, u[None])[0] + game.slack[rival]
            if value < 0:
                return np.vstack([u[None], *rest])
            if len(game.used) == len(own):
                rest.append(u[None])
                break
            own = game.used
    return np.vstack(rest) if rest else None
