"""Whatever predicts, as a `Predictor`: torch modules, functions, fitted models of libraries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from xai_bench.core.calls.module_state import is_training, set_mode
from xai_bench.data.tables.encoding import TableEncoding
from xai_bench.models.base import Predictor, TorchPredictor
from xai_bench.models.libraries import catboost, lightgbm, onnx, sklearn, xgboost
from xai_bench.models.libraries.pipelines import PipelineModel
from xai_bench.models.libraries.predictor import TablePredictor, require_fit
from xai_bench.models.libraries.sklearn_columns import encoded_columns
from xai_bench.models.libraries.table_model import FLOOR, TableModel

_BOOSTED: dict[str, Callable[..., TableModel]] = {
    "xgboost": xgboost.model_of,
    "lightgbm": lightgbm.model_of,
    "catboost": catboost.model_of,
}


_N_TRIED = 64


@dataclass(frozen=True, slots=True)
class Reading:
    """How a model's answers become outputs.

    Attributes:
        floor: what is mixed into the probability of every class, where outputs are logarithms.
        margin: of a regressor whose prediction is a function of the sum of its trees (Poisson,
            gamma, ...), take the sum.
        output: of an ONNX model with several outputs, the name of the one to explain.
    """

    floor: float = FLOOR
    margin: bool = False
    output: str | None = None


def predictor_of(
    model: Any,
    x: Tensor,
    *,
    encoding: TableEncoding | None = None,
    reading: Reading | None = None,
    context: Mapping[str, Tensor] | None = None,
) -> Predictor:
    """The predictor of a model, tried on the rows `x [N, *S]` and their context `[N, ...]`.

    Taken are torch modules, functions `x [N, *S] -> [N, C]`, fitted estimators and pipelines of
    scikit-learn, models and boosters of XGBoost, LightGBM and CatBoost, ONNX files and sessions,
    the methods `predict_proba`, `decision_function` and `predict` of any of these, and what is a
    predictor already. `encoding` says how rows of a table lie in x. Those of libraries have a
    `task` and `class_names` beside what all predictors have. Raises ValueError where the model does
    not fit, has not been fitted, or returns labels only.
    """
    how = reading or Reading()
    inner = _behind(model)
    if isinstance(inner, nn.Module):
        return TorchPredictor(inner, _n_outputs(inner, x, context or {}))
    if all(hasattr(inner, name) for name in ("n_outputs", "differentiable", "module")):
        return cast(Predictor, inner)
    if onnx.is_onnx(inner):
        return onnx.predictor_of(
            inner, x, encoding=encoding, output=how.output, floor=how.floor, context=context
        )
    if _library(inner) in _BOOSTED or sklearn.is_estimator(inner):
        return _of_table(inner, x, encoding, how)
    if not callable(inner):
        raise ValueError(
            f"a model predicts; found a {type(inner).__name__}; expected a torch module, a "
            "function from x to outputs, a fitted model of scikit-learn, XGBoost, LightGBM or "
            "CatBoost, or an ONNX file"
        )
    module = Function(inner)
    return TorchPredictor(module, _n_outputs(module, x, {}))


def is_fitted_model(model: Any) -> bool:
    """Whether it is a model of a library, or one of its methods, that `predictor_of` reads."""
    inner = _behind(model)
    if isinstance(inner, nn.Module):
        return False
    return onnx.is_onnx(inner) or _library(inner) in _BOOSTED or sklearn.is_estimator(inner)


def columns_of(model: Any) -> tuple[str, ...]:
    """The columns that a model of a library was fitted on, by name; empty where it knows none."""
    inner = _behind(model)
    if make := _BOOSTED.get(_library(inner)):
        return make(inner).columns
    return tuple(str(name) for name in getattr(inner, "feature_names_in_", ()))


def encoding_of(model: Any, table: Any) -> TableEncoding:
    """How the rows of a table lie in x, given all rows that will: a data frame, or an array.

    Columns that the model takes for categories are categories, whatever their type.
    """
    inner = _behind(model)
    if _library(inner) == "catboost":
        # As `TableEncoding` names the columns of an array.
        names = columns_of(inner) or [f"x{k + 1}" for k in range(len(inner.feature_names_))]
        return TableEncoding.of(table, [names[k] for k in inner.get_cat_feature_indices()])
    return TableEncoding.of(table, encoded_columns(inner))


class Function(nn.Module):
    """A plain function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def table_model_of(model: Any, table: Any, reading: Reading) -> TableModel:
    """A fitted model of any library but ONNX; `table` holds rows as its `fit` took them."""
    if make := _BOOSTED.get(_library(model)):
        return make(model, margin=reading.margin)
    if type(model).__name__ == "Pipeline" and len(model.steps) > 1:
        sklearn.require_fitted(model)
        steps = model[:-1]
        return PipelineModel(steps, table_model_of(model[-1], steps.transform(table), reading))
    return sklearn.model_of(model, table, floor=reading.floor)


def _of_table(
    model: Any, x: Tensor, encoding: TableEncoding | None, reading: Reading
) -> TablePredictor:
    """The table is laid out as the model wants it before the model is looked at more closely."""
    names, n_elements, rows = columns_of(model), x[0].numel(), x[:_N_TRIED]
    if encoding is not None and names == tuple(n.replace(" ", "_") for n in encoding.names):
        names = encoding.names  # LightGBM writes its names without spaces
    require_fit(names, getattr(model, "n_features_in_", 0), encoding, n_elements)
    table_model = table_model_of(model, _frame_of(rows, names, encoding), reading)
    # Again, by what the model itself says: not every booster has `n_features_in_`.
    require_fit((), table_model.n_columns, encoding, n_elements)
    predictor = TablePredictor(table_model, encoding, rows.detach())
    # Once now: a category that the model does not know is refused before anything is computed.
    predictor.table(rows)
    return predictor


def _frame_of(x: Tensor, names: tuple[str, ...], encoding: TableEncoding | None) -> Any:
    """Rows as the `fit` of scikit-learn takes them."""
    if encoding is not None:
        return encoding.decode(x)
    rows = x.detach().flatten(1).double().numpy()
    if not names or len(names) != rows.shape[1]:
        return rows
    import pandas as pd

    return pd.DataFrame(rows, columns=list(names))


def _behind(model: Any) -> Any:
    """The model of a bound method such as `model.predict_proba`, and the best one of a search."""
    owner = getattr(model, "__self__", None)
    if owner is not None and sklearn.is_estimator(owner):
        return _behind(owner)
    return _behind(model.best_estimator_) if hasattr(model, "best_estimator_") else model


def _library(model: Any) -> str:
    return type(model).__module__.partition(".")[0]


@torch.no_grad()
def _n_outputs(module: nn.Module, x: Tensor, context: Mapping[str, Tensor]) -> int:
    # In training mode BatchNorm refuses a single row, and dropout draws.
    was_training = is_training(module)
    if was_training:
        set_mode(module, training=False)
    try:
        out = module(x[:1], **{name: value[:1] for name, value in context.items()})
    finally:
        if was_training:
            set_mode(module, training=True)
    if not isinstance(out, Tensor) or out.dim() > 2:
        shape = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise ValueError(
            f"the model answers one row with {shape}; expected a tensor [N] or [N, outputs]"
        )
    return out.shape[1] if out.dim() == 2 else 1
