"""Complete verification: margins bounded over parts of the sets, which are split until they end.

The parts of a sample with the lowest bounds are split first. Its search ends with a proof for every
rival, with a point whose margin is too small, with a part that rounding leaves open, or with its
budget. Samples are searched side by side, so that a pass has enough to do, but none is told of
another: each takes so many parts in a round, whoever is beside it.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import defaultdict

import torch
from torch import Tensor

from sklearn_robust._pieces import pieces
from sklearn_robust._threat import ThreatModel
from sklearn_robust.bounds._leaves import solved
from sklearn_robust.bounds._margins import tightened_batch
from sklearn_robust.bounds._methods import BranchAndBound
from sklearn_robust.bounds._network import Network
from sklearn_robust.bounds._parts import Parts, Problem
from sklearn_robust.bounds._splits import halves

# Gradient steps for a whole set, and for a half of a part that has had its own.
_FIRST_STEPS, _STEPS = 20, 12
# Parts of each sample that are split in a round.
_WIDTH = 32
# Bytes of a pass: what its steps keep is a few times as much as the numbers at all nodes.
_PASS, _KEPT = 2**27, 8


class _Search:
    """The search of one sample: which of its parts are open, and how it ends."""

    def __init__(self, budget: BranchAndBound) -> None:
        self.budget = budget
        self.parts: list[tuple[float, int, Parts]] = []
        self.least: dict[int, float] = {}  # of rivals, over the parts that are closed
        self.n_nodes, self.n_pushed, self.ended = 0, 0, False
        self.start: float | None = None

    @property
    def proven(self) -> bool:
        return not (self.ended or self.parts)

    def close(self, rival: int, bound: float) -> None:
        """Note the bound of a part that is above what is needed."""
        self.least[rival] = min(self.least.get(rival, math.inf), bound)

    def push(self, part: Parts) -> None:
        heapq.heappush(self.parts, (float(part.least), self.n_pushed, part))
        self.n_pushed += 1

    def pop(self) -> list[Parts]:
        """Return the parts to split now, none at the end of the search."""
        self.start = time.monotonic() if self.start is None else self.start
        limit = self.budget.max_seconds
        late = limit is not None and time.monotonic() - self.start > limit
        count = min(_WIDTH, (self.budget.max_nodes - self.n_nodes) // 2)
        if self.ended or not self.parts:
            return []
        if late or count <= 0:
            self.ended = True
            return []
        popped = [heapq.heappop(self.parts)[2] for _ in range(min(count, len(self.parts)))]
        self.n_nodes += 2 * len(popped)
        return popped


def searched_margins(
    network: Network,
    X: Tensor,
    y: Tensor,
    threat: ThreatModel,
    need: Tensor,
    budget: BranchAndBound,
) -> Tensor:
    """Return lower bounds of the margins, (n, n_classes), above `need` where that can be proven.

    Parameters
    ----------
    network, X, y, threat
        As of `bound_batch`.
    need : Tensor of shape (n, n_classes)
        What margins must be larger than.
    budget : BranchAndBound
    """
    margins, boxes = tightened_batch(network, X, y, threat)
    problem = Problem(network, X, y, threat, boxes)
    if not problem.units.n:
        return margins
    open_ = ~(margins > need)
    open_[torch.arange(len(y)), y] = False
    tree = _Tree(problem, need, budget)
    rows, rivals = open_.nonzero(as_tuple=True)
    for piece in pieces(len(rows), 1, most=tree.most):
        tree.bound(problem.whole(rows[piece], rivals[piece]), _FIRST_STEPS)
    tree.run()
    for row, search in tree.searches.items():
        if search.proven:
            for rival, bound in search.least.items():
                margins[row, rival] = bound
    return margins


class _Tree:
    """The searches of some samples, side by side."""

    def __init__(self, problem: Problem, need: Tensor, budget: BranchAndBound) -> None:
        self.problem, self.need = problem, need
        self.searches: defaultdict[int, _Search] = defaultdict(lambda: _Search(budget))
        numbers = sum(math.prod(shape) for shape in problem.network.shapes)
        self.most = max(1, _PASS // (8 * _KEPT * numbers))

    def run(self) -> None:
        """Split what is open, so many samples at a time, until all searches have ended."""
        waiting = [search for search in self.searches.values() if search.parts]
        active: list[_Search] = []
        size = max(1, self.most // (2 * _WIDTH))
        while waiting or active:
            active += [waiting.pop(0) for _ in range(min(size - len(active), len(waiting)))]
            popped = [part for search in active for part in search.pop()]
            active = [search for search in active if not search.ended]
            if popped:
                self._split(Parts(*map(torch.cat, zip(*popped, strict=True))))
            active = [search for search in active if search.parts and not search.ended]

    def _split(self, parts: Parts) -> None:
        for piece in pieces(len(parts.rows), 1, most=max(1, self.most // 2)):
            part = parts.take(piece).like(self.problem.X)
            needed = self.need[part.rows, part.rivals]
            self.bound(halves(self.problem, part, needed), _STEPS)

    def bound(self, parts: Parts, n_steps: int) -> None:
        """Bound parts, and sort them into those that are closed and those to be split."""
        found = self.problem.bounded(parts, n_steps)
        parts = found.parts
        needed = self.need[parts.rows, parts.rivals]
        closed, refuted = parts.least > needed, found.margins <= needed
        decided = found.n_undecided == 0
        facts = zip(
            *(
                t.tolist()
                for t in (parts.rows, parts.rivals, parts.least, closed, refuted, decided)
            ),
            strict=True,
        )
        for i, (row, rival, least, is_closed, is_refuted, is_decided) in enumerate(facts):
            search = self.searches[row]
            if is_closed:
                search.close(rival, least)
            elif is_refuted:
                search.ended = True
            elif search.ended:
                continue
            elif is_decided:
                self._end(search, parts.take(slice(i, i + 1)))
            else:
                search.push(parts.take(slice(i, i + 1)).kept())

    def _end(self, search: _Search, part: Parts) -> None:
        """Bound a part that cannot be split by a program; what that cannot prove, nothing can."""
        need = float(self.need[part.rows, part.rivals])
        leaf = solved(self.problem, part, need)
        if leaf.least > need:
            search.close(int(part.rivals), leaf.least)
        else:
            search.ended = True
