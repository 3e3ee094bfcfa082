"""What no adversary can do: exact for linear models, interval and linear bounds for networks.

Torch is imported only when a name that needs it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sklearn_robust.bounds._block_boxes import block_box as block_box
from sklearn_robust.bounds._bounded import (
    BoundedModel,
    enclosing_box,
    margins_of_scores,
)
from sklearn_robust.bounds._budgets import (
    in_units as in_units,
    most_gained as most_gained,
)
from sklearn_robust.bounds._certify import certified_correct
from sklearn_robust.bounds._distances import Distance as Distance
from sklearn_robust.bounds._gaussians import GaussianScores as GaussianScores
from sklearn_robust.bounds._joined import (
    Difference as Difference,
    Linear as Linear,
    Logs as Logs,
    Shares as Shares,
    Through as Through,
    combined_model as combined_model,
)
from sklearn_robust.bounds._kernel_scores import (
    KernelModel as KernelModel,
    KernelScores as KernelScores,
    KernelShares as KernelShares,
    KernelVotes as KernelVotes,
)
from sklearn_robust.bounds._kernel_sums import (
    KernelSum as KernelSum,
    Term as Term,
)
from sklearn_robust.bounds._kernels import (
    Kernel as Kernel,
    PolynomialKernel as PolynomialKernel,
    RBFKernel as RBFKernel,
    SigmoidKernel as SigmoidKernel,
)
from sklearn_robust.bounds._linear import (
    linear_distances,
    worst_case_correct,
    worst_case_margins,
    worst_case_points,
)
from sklearn_robust.bounds._linear_model import BoundedLinearModel
from sklearn_robust.bounds._methods import (
    BranchAndBound as BranchAndBound,
    check_method as check_method,
)
from sklearn_robust.bounds._mixed_kernels import (
    MaternKernel as MaternKernel,
    RationalQuadraticKernel as RationalQuadraticKernel,
)
from sklearn_robust.bounds._neighbours import (
    NearestNeighbour as NearestNeighbour,
    NeighbourVotes as NeighbourVotes,
)
from sklearn_robust.bounds._polynomials import Polynomials
from sklearn_robust.bounds._processes import (
    Process as Process,
    ProcessShares as ProcessShares,
)
from sklearn_robust.bounds._radius import RadiusVotes as RadiusVotes
from sklearn_robust.bounds._responses import (
    Elementwise as Elementwise,
    Response as Response,
    Rounded as Rounded,
    Scores as Scores,
    Softmax as Softmax,
    Votes as Votes,
)
from sklearn_robust.bounds._sums import SmoothSumModel, SumModel

if TYPE_CHECKING:  # what type checkers and editors see
    from sklearn_robust.bounds._activations import (
        Clamp as Clamp,
        LeakyReLU as LeakyReLU,
    )
    from sklearn_robust.bounds._affine import (
        Dense as Dense,
        Scale as Scale,
    )
    from sklearn_robust.bounds._averages import register_average as register_average
    from sklearn_robust.bounds._bent import (
        GELU as GELU,
        Mish as Mish,
        SiLU as SiLU,
        Softplus as Softplus,
    )
    from sklearn_robust.bounds._certified_network import (
        certifiable as certifiable,
        certified_network as certified_network,
    )
    from sklearn_robust.bounds._evaluation import spacing_of as spacing_of
    from sklearn_robust.bounds._images import (
        Conv as Conv,
        MaxPool as MaxPool,
    )
    from sklearn_robust.bounds._intervals import interval_bounds as interval_bounds
    from sklearn_robust.bounds._kinked import (
        ELU as ELU,
        Hardswish as Hardswish,
        Softshrink as Softshrink,
        Tanhshrink as Tanhshrink,
    )
    from sklearn_robust.bounds._layers import (
        Affine as Affine,
        Lines as Lines,
        Nonlinear as Nonlinear,
        UnsupportedLayerError as UnsupportedLayerError,
    )
    from sklearn_robust.bounds._margins import margin_bounds as margin_bounds
    from sklearn_robust.bounds._network_scores import (
        NetworkGradients as NetworkGradients,
        NetworkScores as NetworkScores,
    )
    from sklearn_robust.bounds._smooth import (
        Sigmoid as Sigmoid,
        Softsign as Softsign,
        Tanh as Tanh,
    )
    from sklearn_robust.bounds._translation import (
        register_layer as register_layer,
    )

_TORCH_BACKED = {
    "Affine": "_layers",
    "Clamp": "_activations",
    "Conv": "_images",
    "Dense": "_affine",
    "ELU": "_kinked",
    "Hardswish": "_kinked",
    "LeakyReLU": "_activations",
    "Lines": "_layers",
    "MaxPool": "_images",
    "NetworkGradients": "_network_scores",
    "NetworkScores": "_network_scores",
    "Nonlinear": "_layers",
    "Scale": "_affine",
    "GELU": "_bent",
    "Mish": "_bent",
    "SiLU": "_bent",
    "Sigmoid": "_smooth",
    "Softshrink": "_kinked",
    "Softplus": "_bent",
    "Softsign": "_smooth",
    "Tanh": "_smooth",
    "Tanhshrink": "_kinked",
    "UnsupportedLayerError": "_layers",
    "certifiable": "_certified_network",
    "certified_network": "_certified_network",
    "interval_bounds": "_intervals",
    "margin_bounds": "_margins",
    "register_average": "_averages",
    "register_layer": "_translation",
    "spacing_of": "_evaluation",
}

__all__ = [
    "BoundedLinearModel",
    "BoundedModel",
    "BranchAndBound",
    "Polynomials",
    "SmoothSumModel",
    "SumModel",
    "certified_correct",
    "enclosing_box",
    "linear_distances",
    "margins_of_scores",
    "worst_case_correct",
    "worst_case_margins",
    "worst_case_points",
    *(name for name in sorted(_TORCH_BACKED) if not name.startswith("Network")),
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in _TORCH_BACKED:
            module = importlib.import_module(f"sklearn_robust.bounds.{_TORCH_BACKED[name]}")
            return getattr(module, name)
        raise AttributeError(f"module 'sklearn_robust.bounds' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
