r"""A torch module as a graph of layers, found by following its forward pass.

The module's own code runs on stand-ins for tensors, which note the layers that it calls. Nodes are
numbered as they come: node 0 is the input, node k + 1 the output of layer k, so that every layer
comes after those that it reads. Nothing outside is changed, so other threads may use the module.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_robust.bounds._functions import FUNCTIONS, ObstacleError
from sklearn_robust.bounds._layers import Layer, Shape, UnsupportedLayerError
from sklearn_robust.bounds._traced import Traced
from sklearn_robust.bounds._translation import check_hooks, layers_of

Known = Mapping[nn.Module, Sequence[Layer]]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_REMEDY = (
    "Build the network of layers that the bounds know, or register the new type with "
    "sklearn_robust.bounds.register_layer."
)


class Graph:
    """The layers of a module, as it computes in eval mode.

    Parameters
    ----------
    module : torch.nn.Module
    X : Tensor of shape (n_samples, ...)
        Only shape, precision and device of a sample matter.
    known : mapping of modules to layers, optional
        What to take modules within `module` for, instead of what they compute.

    Attributes
    ----------
    layers : list of Affine and Nonlinear
    sources : list of tuple
        ``sources[k]`` are the nodes that layer k reads.
    shapes : list of tuple
        ``shapes[i]`` is that of a sample at node i. The last node is the output.

    Raises
    ------
    UnsupportedLayerError
        If there is a layer without bounds; the message has its name and position.
    """

    def __init__(self, module: nn.Module, X: Tensor, known: Known | None = None) -> None:
        self.layers: list[Any] = []
        self.sources: list[tuple[int, ...]] = []
        self.shapes: list[Shape] = [tuple(X.shape[1:])]
        self.like = X[:1].detach()
        self._known, self._twins = known or {}, dict[nn.Module, nn.Module]()
        self._where = type(module).__name__
        out = self._twin(module, "")(Traced(self, 0))
        if not isinstance(out, Traced):
            raise _refusal(f"{self._where}, which returns {type(out).__name__}")
        self._keep_ancestors(out.node)
        self._swap()

    def append(self, layer: Any, *inputs: Traced) -> int:
        """Add a layer that reads these; return the node of its output."""
        if any(x.graph is not self for x in inputs):
            raise self.refusal("which reads a tensor of an earlier pass")
        shapes = [self.shapes[x.node] for x in inputs]
        layer.check(shapes[0])
        self.layers.append(layer)
        self.sources.append(tuple(x.node for x in inputs))
        self.shapes.append(self._shape_behind(layer, *shapes))
        return len(self.layers)

    def call(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Traced:
        """Return what a function of torch does to tensors of this graph."""
        function, options = FUNCTIONS.get(name.rstrip("_")), dict(kwargs)
        in_place = options.pop("inplace", False) or (name[-1:] == "_" and name[:1] != "_")
        if function is None:
            raise self.refusal(f"which calls {name}")
        try:
            out = function(*args, **options)
        except ObstacleError as error:
            raise self.refusal(f"which calls {name} {error}") from None
        return args[0].overwritten_by(out) if in_place else out

    def refusal(self, why: str) -> UnsupportedLayerError:
        """Return the error for the module that is being followed."""
        return _refusal(f"{self._where}, {why}")

    def _twin(self, module: nn.Module, position: str) -> nn.Module:
        """Return a copy in eval mode that shares all tensors, and reports when it is called."""
        if module not in self._twins:
            if isinstance(module, torch.jit.ScriptModule) or "forward" in module.__dict__:
                raise _refusal(f"{_described(module, position)}, whose forward is not its class's")
            self._twins[module] = twin = object.__new__(type(module))
            inner = {
                name: self._twin(child, f"{position}.{name}" if position else name)
                for name, child in module._modules.items()
                if child is not None
            }
            twin.__dict__.update(
                module.__dict__,
                training=False,
                forward=partial(self._apply, module, position),
                _modules=inner,
                _parameters=dict(module._parameters),
                _buffers=dict(module._buffers),
                _compiled_call_impl=None,
                **{hooks: OrderedDict() for hooks in _HOOKS},
            )
        return self._twins[module]

    def _apply(self, module: nn.Module, position: str, *args: Any, **kwargs: Any) -> Any:
        """Return what a module does: as the bounds know it, or else by following it."""
        if not any(isinstance(x, Traced) for x in (*args, *kwargs.values())):
            return module(*args, **kwargs)
        if module in self._known:
            return self._chain(self._known[module], position, *args, **kwargs)
        where = _described(module, position)
        check_hooks(module, where)
        try:
            parts = layers_of(module)
        except UnsupportedLayerError as error:
            reason = f"There are no bounds for {where} {error.reason}"
            raise UnsupportedLayerError(reason, error.remedy) from None
        if parts is None:
            return self._follow(module, where, *args, **kwargs)
        out = self._chain(parts, position, *args, **kwargs)
        return args[0].overwritten_by(out) if getattr(module, "inplace", False) else out

    def _chain(self, parts: Sequence[Any], position: str, x: Traced) -> Traced:
        for part in parts:
            module = isinstance(part, nn.Module)
            x = self._twin(part, position)(x) if module else x.through(part)
        return x

    def _follow(self, module: nn.Module, where: str, *args: Any, **kwargs: Any) -> Traced:
        outer, self._where = self._where, where
        try:
            out = type(module).forward(self._twins[module], *args, **kwargs)
        except UnsupportedLayerError:
            raise
        except Exception as error:
            raise self.refusal(f"whose forward cannot be followed: {error}") from error
        finally:
            self._where = outer
        first = out[0] if isinstance(out, tuple | list) and out else out
        if not isinstance(first, Traced):
            raise _refusal(f"{where}, which returns {type(out).__name__}")
        return out

    def _shape_behind(self, layer: Layer, *shapes: Shape) -> Shape:
        with torch.no_grad():
            return tuple(layer.forward(*map(self.like.new_zeros, _batches(shapes))).shape[1:])

    def _keep_ancestors(self, node: int) -> None:
        """Drop the layers that do not lead to the node, which becomes the last."""
        needed, numbers = {0, node}, {0: 0}
        for k in reversed(range(node)):
            if k + 1 in needed:
                needed.update(self.sources[k])
        kept = [k for k in range(node) if k + 1 in needed]
        numbers.update({k + 1: i + 1 for i, k in enumerate(kept)})
        self.layers = [self.layers[k] for k in kept]
        self.sources = [tuple(numbers[i] for i in self.sources[k]) for k in kept]
        self.shapes = [self.shapes[0], *(self.shapes[k + 1] for k in kept)]

    def _swap(self) -> None:
        """Move max-pooling before a ReLU that it follows: the same function.

        The ReLU then acts on a quarter of the values where windows are 2 x 2.
        """
        for k, layer in enumerate(self.layers):
            (node, *_) = self.sources[k]
            alone = sum(sources.count(node) for sources in self.sources) == 1
            if node and alone and layer.may_precede(self.layers[node - 1]):
                self.layers[node - 1], self.layers[k] = layer, self.layers[node - 1]
                below = self.shapes[self.sources[node - 1][0]]
                self.shapes[node] = self._shape_behind(layer, below)


def _batches(shapes: Sequence[Shape]) -> Iterator[Shape]:
    return ((1, *shape) for shape in shapes)


def _refusal(what: str) -> UnsupportedLayerError:
    return UnsupportedLayerError(f"There are no bounds for {what}.", _REMEDY)


def _described(module: nn.Module, position: str) -> str:
    name = type(module).__name__
    return f"{name} (at {position!r})" if position else name
