"""What stands for a tensor while a module's forward pass is followed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, Protocol

import torch

from sklearn_robust.bounds._layers import Shape


class Recorder(Protocol):
    """What a graph offers to the stand-ins for its tensors; see `_graph.Graph`."""

    layers: list[Any]
    sources: list[tuple[int, ...]]
    shapes: list[Shape]
    like: torch.Tensor

    def append(self, layer: Any, *inputs: Traced) -> int:
        """Add a layer that reads these; return the node of its output."""

    def call(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Traced:
        """Return what a function of torch does to tensors of this graph."""

    def refusal(self, why: str) -> Exception:
        """Return the error for the module that is being followed."""


class Traced:
    """A batch of one sample at a node of a graph, without values.

    Functions and methods of torch, and arithmetic, extend the graph. What asks for values cannot be
    followed: this is no tensor, and has none.

    Parameters
    ----------
    graph : Recorder
    node : int
    memory : list of Traced, optional
        The others that are views of the same memory.
    """

    def __init__(self, graph: Recorder, node: int, memory: list[Traced] | None = None) -> None:
        self.graph, self._node = graph, node
        self._memory = [] if memory is None else memory
        self._memory.append(self)

    @property
    def node(self) -> int:
        if self._node < 0:
            raise self.graph.refusal("which reads a tensor that was overwritten through a view")
        return self._node

    @property
    def shape(self) -> torch.Size:
        return torch.Size((1, *self.graph.shapes[self.node]))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> torch.dtype:
        return self.graph.like.dtype

    @property
    def device(self) -> torch.device:
        return self.graph.like.device

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        return self.ndim

    def __len__(self) -> int:
        return 1

    def through(self, layer: Any, *others: Traced) -> Traced:
        """Return the output of a layer that reads this and others."""
        node = self.graph.append(layer, self, *others)
        return Traced(self.graph, node, self._memory if layer.views else None)

    @property
    def scores(self) -> Traced:
        """This, or the scores whose order it has: what softmax or sigmoids at the end are given."""
        layer = self.graph.layers[self.node - 1] if self.node else None
        if layer is None or not (layer.views or layer.keeps_order):
            return self
        below = Traced(self.graph, self.graph.sources[self.node - 1][0])
        scores = below.scores
        if layer.keeps_order:
            return scores
        return self if scores is below else scores.through(layer)

    def overwritten_by(self, other: Traced) -> Traced:
        """Become `other`, as a tensor does that is changed in place, and its views with it."""
        node = other.node
        for view in self._memory:
            view._node = -1
        self._node = node
        return self

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Traced:
        everything = (*args, *(kwargs or {}).values())
        flat = [y for x in everything for y in (x if isinstance(x, list | tuple) else [x])]
        graph = next(x.graph for x in flat if isinstance(x, Traced))
        return graph.call(function.__name__, args, kwargs or {})

    def __getattr__(self, name: str) -> Callable[..., Traced]:
        if name.startswith("__") or not callable(getattr(torch.Tensor, name, None)):
            raise AttributeError(f"it asks a tensor for {name}")
        return lambda *args, **kwargs: self.graph.call(name, (self, *args), kwargs)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("it copies a tensor")

    def __bool__(self) -> NoReturn:
        raise TypeError("it branches on values")

    def __add__(self, other: Any) -> Traced:
        return self.graph.call("add", (self, other), {})

    __radd__ = __add__

    def __iadd__(self, other: Any) -> Traced:
        return self.graph.call("add_", (self, other), {})

    def __sub__(self, other: Any) -> Traced:
        return self.graph.call("sub", (self, other), {})

    def __rsub__(self, other: Any) -> Traced:
        return self.graph.call("rsub", (self, other), {})

    def __isub__(self, other: Any) -> Traced:
        return self.graph.call("sub_", (self, other), {})

    def __mul__(self, other: Any) -> Traced:
        return self.graph.call("mul", (self, other), {})

    __rmul__ = __mul__

    def __imul__(self, other: Any) -> Traced:
        return self.graph.call("mul_", (self, other), {})

    def __truediv__(self, other: Any) -> Traced:
        return self.graph.call("div", (self, other), {})

    def __itruediv__(self, other: Any) -> Traced:
        return self.graph.call("div_", (self, other), {})

    def __neg__(self) -> Traced:
        return self.graph.call("neg", (self,), {})

    def __matmul__(self, other: Any) -> Traced:
        return self.graph.call("matmul", (self, other), {})

    def __eq__(self, other: object) -> Any:
        return self.graph.call("eq", (self, other), {})

    __hash__ = object.__hash__


class Ranked(Traced):
    """What softmax makes of scores: there are no bounds of it, but its order is theirs.

    Parameters
    ----------
    scores : Traced
    """

    def __init__(self, scores: Traced) -> None:
        super().__init__(scores.graph, -1)
        self._scores = scores

    @property
    def scores(self) -> Traced:
        return self._scores

    @property
    def node(self) -> int:
        raise self.graph.refusal("which calls softmax")

    @property
    def shape(self) -> torch.Size:
        return self._scores.shape

    def through(self, layer: Any, *others: Traced) -> Traced:
        if layer.views and not others:
            return Ranked(self._scores.through(layer))
        raise self.graph.refusal("which calls softmax before its end")
