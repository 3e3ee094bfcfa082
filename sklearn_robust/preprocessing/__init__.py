"""Transformers as formulas: how a change of the raw input arrives behind them, and its gradient."""

from sklearn_robust.preprocessing._blocks import (
    Affine,
    Block,
    Branches as Branches,
    Chain as Chain,
    Clip,
    Elementwise,
    Rule as Rule,
    Sizes,
    guide as guide,
    pull as pull,
)
from sklearn_robust.preprocessing._domain import raw_domain as raw_domain
from sklearn_robust.preprocessing._follow import CannotFollowError, follow
from sklearn_robust.preprocessing._front import (
    Front,
    Frozen as Frozen,
    follow_front,
    movable_columns as movable_columns,
)
from sklearn_robust.preprocessing._known_categories import (
    adds_up as adds_up,
    encoded_categories as encoded_categories,
)
from sklearn_robust.preprocessing._monotone import monotone_sources as monotone_sources
from sklearn_robust.preprocessing._pieces_of_columns import (
    ColumnPieces as ColumnPieces,
    UnknownPiecesError as UnknownPiecesError,
    column_pieces as column_pieces,
)
from sklearn_robust.preprocessing._registry import declare_derivative, register_transformer
from sklearn_robust.preprocessing._samples import (
    Samples,
    all_columns as all_columns,
    dense as dense,
    some_columns as some_columns,
)
from sklearn_robust.preprocessing._table import (
    Table,
    as_table,
    boolean_columns as boolean_columns,
    column_names as column_names,
    is_frame as is_frame,
    stack_frames as stack_frames,
)

# The names that are imported "as" themselves serve the packages above, and are not public.
__all__ = [
    "Affine",
    "Block",
    "CannotFollowError",
    "Clip",
    "Elementwise",
    "Front",
    "Samples",
    "Sizes",
    "Table",
    "as_table",
    "declare_derivative",
    "follow",
    "follow_front",
    "register_transformer",
]
