"""What transformers of scikit-learn make of the columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xai_bench.models.libraries.table_model import Bools

_ENCODERS = ("OneHotEncoder", "OrdinalEncoder", "TargetEncoder")


def encoded_columns(estimator: Any) -> list[str]:
    """The columns that an encoder of categories looks at, in a pipeline or a `ColumnTransformer`.

    By name; of a model that was fitted on an array, `x1` is the first.
    """
    names = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
    names = names or [f"x{k + 1}" for k in range(getattr(estimator, "n_features_in_", 0))]
    return [names[place] for place in sorted(_encoded(estimator, len(names)))]


def _encoded(part: Any, n_columns: int) -> set[int]:
    name = type(part).__name__
    if name == "Pipeline" and part.steps:
        # Of what comes later the columns are others, but for imputers and the like before it.
        first = next((s for _, s in part.steps if not _keeps_columns(s, n_columns)), None)
        return _encoded(first, n_columns)
    if name == "ColumnTransformer":
        names = list(getattr(part, "feature_names_in_", range(n_columns)))
        parts = ((_places(columns, names), inner) for _, inner, columns in part.transformers_)
        return {places[k] for places, inner in parts for k in _encoded(inner, len(places))}
    return set(range(n_columns)) if name in _ENCODERS else set()


def _keeps_columns(step: Any, n_columns: int) -> bool:
    name = type(step).__name__
    return name not in _ENCODERS and _is_elementwise(step, name, n_columns)


def sources_of(transformer: Any, n_columns: int, n_made: int) -> Bools:
    """`[n_made, n_columns]`: of a fitted transformer, or of several in a pipeline.

    Known are those that go column by column: scalers, encoders and imputers, alone or in a
    `ColumnTransformer`. Of all others, every column is taken to be made of every other.
    """
    sources = _sources(transformer, n_columns)
    if sources is None or sources.shape != (n_made, n_columns):
        return np.ones((n_made, n_columns), dtype=np.bool_)
    return sources


def _sources(transformer: Any, n_columns: int) -> Bools | None:
    """None where it is not known."""
    name, itself = type(transformer).__name__, np.eye(n_columns, dtype=np.bool_)
    if transformer in ("passthrough", None) or name == "Pipeline":
        steps = [] if name != "Pipeline" else [step for _, step in transformer.steps]
        return _chained(steps, n_columns)
    if name == "ColumnTransformer":
        return _side_by_side(transformer, n_columns)
    if name == "OneHotEncoder":
        # Of an encoder that drops some categories, or takes rare ones together, what is left.
        widths = transformer._n_features_outs
        return np.repeat(itself, widths, axis=0) if len(widths) == n_columns else None
    if _is_elementwise(transformer, name, n_columns):
        return itself
    return None


def _chained(steps: Sequence[Any], n_columns: int) -> Bools | None:
    sources: Bools = np.eye(n_columns, dtype=np.bool_)
    for step in steps:
        part = _sources(step, len(sources))
        if part is None:
            return None
        sources = (part.astype(np.int64) @ sources.astype(np.int64)) > 0
    return sources


def _side_by_side(transformer: Any, n_columns: int) -> Bools | None:
    names = list(getattr(transformer, "feature_names_in_", range(n_columns)))
    n_made = max(places.stop for places in transformer.output_indices_.values())
    sources = np.zeros((n_made, n_columns), dtype=np.bool_)
    for label, part, columns in transformer.transformers_:
        places = transformer.output_indices_[label]
        if part == "drop" or places.stop == places.start:
            continue
        chosen = _places(columns, names)
        inside = _sources(part, len(chosen))
        if inside is None or len(inside) != places.stop - places.start:
            inside = np.ones((places.stop - places.start, len(chosen)), dtype=np.bool_)
        sources[places, chosen] = inside
    return sources


def _places(columns: Any, names: Sequence[Any]) -> list[int]:
    """The numbers of the columns of a part, given as names, numbers, a mask, a slice or one."""
    every = np.arange(len(names))
    if isinstance(columns, slice):
        return [int(place) for place in every[_of_numbers(columns, names)]]
    listed = [columns] if isinstance(columns, str | int) else list(columns)
    if listed and all(isinstance(column, bool | np.bool_) for column in listed):
        return [int(place) for place in every[np.array(listed)]]
    return [names.index(column) if isinstance(column, str) else int(column) for column in listed]


def _of_numbers(columns: slice, names: Sequence[Any]) -> slice:
    """A slice of names as one of places; as scikit-learn has it, the last name is inside."""
    start, stop = columns.start, columns.stop
    start = names.index(start) if isinstance(start, str) else start
    stop = names.index(stop) + 1 if isinstance(stop, str) else stop
    return slice(start, stop, columns.step)


def _is_elementwise(transformer: Any, name: str, n_columns: int) -> bool:
    """Whether it makes one column of each, looking at no other."""
    from sklearn.base import OneToOneFeatureMixin

    if getattr(transformer, "n_features_in_", n_columns) != n_columns:
        return False
    if name == "SimpleImputer":
        n_made = len(transformer.get_feature_names_out())
        return not transformer.add_indicator and n_made == n_columns
    # These look at whole rows, though they make one column of each.
    mixing = name in ("Normalizer", "IterativeImputer", "KNNImputer", "FunctionTransformer")
    return isinstance(transformer, OneToOneFeatureMixin) and not mixing
