"""Transformers as torch layers: inside a network for good, or in front of one to attack it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import nn

from sklearn_robust.attacks import is_search
from sklearn_robust.bounds import Dense, Scale, register_layer
from sklearn_robust.preprocessing import Affine, Block, Chain, guide, pull


class ScaleLayer(nn.Module):
    """``scale * x + shift`` by feature, with buffers that no optimizer sees."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, scale: np.ndarray, shift: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))
        self.register_buffer("shift", torch.tensor(shift))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return X * self.scale + self.shift


class AffineLayer(nn.Module):
    """``x W^T + b``, with buffers that no optimizer sees."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, weight: np.ndarray, bias: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor(weight))
        self.register_buffer("bias", torch.tensor(bias))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(X, self.weight, self.bias)


class BlockLayer(nn.Module):
    """A block that is not affine, computed by numpy; torch is told its gradient."""

    on_host = True  # steps through it cannot be recorded as a CUDA graph

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return _ByNumpy.apply(X, self.block)


class _ByNumpy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, X: torch.Tensor, block: Block) -> torch.Tensor:
        # Asked here: `backward` may run in a thread of torch's own.
        ctx.block, ctx.rule = block, guide if is_search() else pull
        ctx.save_for_backward(X)
        return torch.as_tensor(block(_to_numpy(X))).to(X)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (X,) = ctx.saved_tensors
        back = ctx.rule(ctx.block, _to_numpy(X), _to_numpy(gradient))
        return torch.as_tensor(back).to(X), None


def _to_numpy(x: torch.Tensor) -> np.ndarray:
    return x.detach().cpu().double().numpy()


register_layer(ScaleLayer, lambda layer: [Scale(layer.scale, layer.shift)])
register_layer(AffineLayer, lambda layer: [Dense(layer.weight, layer.bias)])


def as_layers(block: Block) -> list[nn.Module]:
    """Return a block as layers from rows to rows."""
    if isinstance(block, Chain):
        return [layer for part in block.blocks for layer in as_layers(part)]
    if not isinstance(block, Affine):
        return [BlockLayer(block)]
    matrix = sparse.csr_array(block.matrix)
    diagonal = matrix.diagonal()
    if matrix.shape[0] == matrix.shape[1] and matrix.nnz == np.count_nonzero(diagonal):
        return [ScaleLayer(diagonal, np.array(block.offset))]
    return [AffineLayer(matrix.toarray().T.copy(), np.array(block.offset))]
