"""DiCE: several diverse counterfactuals of a black box, by the library of its authors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from xai_bench.core import actionability, counterfactuals
from xai_bench.core.calls import model_outputs
from xai_bench.explainers.counterfactual.search import CounterfactualSearch, explanation_of
from xai_bench.explainers.wrapped.common import not_installed, undisturbed
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported

if TYPE_CHECKING:
    import pandas as pd

METHODS = ("random", "genetic")
OUTCOME = "outcome"
DIGITS = 4
"""Of numbers that are not whole, in standard deviations."""


@dataclass(frozen=True)
class DiCE(CounterfactualSearch):
    """Diverse counterfactuals by dice-ml, one sample at a time, each with a seed of its own.

    `random` changes one element after the other to values of the background's range; `genetic`
    breeds rows for proximity, sparsity and diversity. The desired class is the second most likely
    one at x; of a regressor, the other side of the background's median output. Points are moved to
    the nearest values that the rules of the data allow, and left out where they then are no
    counterfactuals. For tables only. Mothilal+ 2020.

    Attributes:
        method: `random` or `genetic`.
        n_samples: draws of one round of `random`.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "counterfactual"
    needs: ClassVar[tuple[str, ...]] = ("table", "background")
    paper: ClassVar[str] = "Mothilal+ 2020, arXiv:1905.07697"
    library: ClassVar[str] = "dice-ml"
    # Values are drawn; the border is that of each model.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry", "linearity")

    n_counterfactuals: int = 4
    method: str = "random"
    n_samples: int = 1000

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported` without the library or for what is no table with rows that differ,
        ValueError for an unknown method or before `fit`.
        """
        self._check(model, inputs)
        seeds = rng.child("dice").integers(1 << 31).tolist()
        points = [
            self._points(_Table(model, inputs.take(row), self.threshold), targets[row], seed)
            for row, seed in zip(torch.arange(len(inputs)).split(1), seeds, strict=True)
        ]
        return explanation_of(inputs, torch.cat(points))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """Unknown: the library goes on until it has found enough."""
        return None

    def _check(self, model: Model, inputs: Inputs) -> None:
        try:
            import dice_ml  # noqa: F401
        except ImportError as error:
            raise not_installed("dice") from error
        if self.method not in METHODS:
            raise ValueError(f"found method {self.method!r}; choose from {', '.join(METHODS)}")
        self.require_fit(model)
        rows = inputs.domain.background
        if inputs.x.dim() > 2 or bool((rows == rows[:1]).all()):
            raise Unsupported("DiCE draws values from the columns of a table whose rows differ")

    def _points(self, table: _Table, target: Tensor, seed: int) -> Tensor:
        """`[1, M, *S]`, NaN where fewer were found."""
        inputs = table.inputs
        missing = torch.full((1, self.n_counterfactuals, *inputs.x.shape[1:]), torch.nan)
        missing = missing.to(inputs.x.dtype)
        outputs = table.outputs_at(inputs.x)
        predicted = counterfactuals.classes(outputs, self.threshold)
        present = predicted if self.threshold is not None else target
        if not table.free or bool(predicted != present):
            return missing
        with undisturbed(None, seed):
            rows = table.generated(self, outputs[0], int(predicted))
        if rows is None:
            return missing
        points = actionability.nearest(inputs, rows[None, : self.n_counterfactuals])
        # The rules of the data may have moved a point back over the border.
        crosses = counterfactuals.classes(table.outputs_at(points[0]), self.threshold) != present
        points = points[:, crosses]
        return torch.cat([points, missing[:, points.shape[1] :]], dim=1)


class _Table:
    """One sample and its background as dice-ml sees them: a column for every number and category.

    Numbers that have a grid are counted in its steps, so that whole numbers are drawn.

    Attributes:
        places: the elements of each column; names: what the columns are called.
        free: the columns that may change at all.
        categories, numbers: column -> its elements, or its element.
        line: `[numbers]`, the elements that are numbers.
    """

    def __init__(self, model: Model, inputs: Inputs, threshold: Tensor | None) -> None:
        self.model, self.inputs, self.threshold = model, inputs, threshold
        self.places = _places(inputs)
        self.names = [f"c{number}" for number in range(len(self.places))]
        rules = inputs.domain.actionability
        zeros = torch.zeros_like(inputs.x[0], dtype=torch.float64)
        self.step = zeros if rules is None else rules.step
        self.origin = zeros if rules is None else rules.origin
        self.codes = zeros.bool() if rules is None else rules.codes
        movable = actionability.movable(inputs)[0]
        named = list(zip(self.names, self.places, strict=True))
        self.free = [name for name, place in named if movable[place].any()]
        self.categories = {name: place for name, place in named if self.codes[place[0]]}
        self.numbers = {name: place[0] for name, place in named if name not in self.categories}
        self.line = torch.tensor(list(self.numbers.values()), dtype=torch.long)

    def generated(self, method: DiCE, outputs: Tensor, present: int) -> Tensor | None:
        """The counterfactuals of dice-ml, `[m, F]`; None where it finds none."""
        import dice_ml
        from dice_ml.explainer_interfaces.explainer_base import UserConfigValidationException

        query = self._frame(self.inputs.x)
        # The sample is in the table, so that its own categories are known.
        rows = torch.cat([self.inputs.domain.background, self.inputs.x])
        data = dice_ml.Data(
            dataframe=self._frame(rows).assign(**{OUTCOME: 0}),
            continuous_features=list(self.numbers),
            continuous_features_precision=self._digits(),
            outcome_name=OUTCOME,
        )
        kind = "classifier" if self.threshold is None else "regressor"
        model = dice_ml.Model(model=self, backend="sklearn", model_type=kind)
        explainer = dice_ml.Dice(data, model, method=method.method)
        size = {"sample_size": method.n_samples} if method.method == "random" else {}
        try:
            generated = explainer.generate_counterfactuals(
                query,
                total_CFs=method.n_counterfactuals,
                features_to_vary=self.free,
                permitted_range=self._ranges(rows),
                posthoc_sparsity_algorithm="binary",
                **self._wanted(outputs, present),
                **size,
            )
        except UserConfigValidationException:
            return None
        frame = generated.cf_examples_list[0].final_cfs_df_sparse
        return None if frame is None or not len(frame) else self._rows(frame[self.names])

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        """`[m, C]`, as scikit-learn's classifiers have it, which dice-ml expects."""
        return self._outputs(frame).softmax(1).numpy()

    def predict(self, frame: pd.DataFrame) -> Any:
        """`[m]`, as scikit-learn's regressors have it."""
        return self._outputs(frame)[:, 0].numpy()

    def outputs_at(self, rows: Tensor) -> Tensor:
        """`rows [m, F] -> [m, C]`, with the sample's own context."""
        return model_outputs.outputs_at(self.model, self.inputs, rows[None])[0]

    def _outputs(self, frame: pd.DataFrame) -> Tensor:
        return self.outputs_at(self._rows(frame))

    def _wanted(self, outputs: Tensor, present: int) -> dict[str, Any]:
        """The second most likely class, or the range on the other side of the threshold."""
        if self.threshold is not None:
            border = self.threshold.item()
            wide = 1e6 * (1 + abs(border))  # dice-ml takes finite numbers only
            below, above = [border - wide, border], [border, border + wide]
            return {"desired_range": below if present else above}
        others = outputs.clone()
        others[present] = -torch.inf
        return {"desired_class": int(others.argmax())}

    def _digits(self) -> dict[str, int]:
        return {n: 0 if self.step[at] > 0 else DIGITS for n, at in self.numbers.items()}

    def _ranges(self, rows: Tensor) -> dict[str, list[float]]:
        """Within the background, and within the rules."""
        box = torch.cat(actionability.box(self.inputs)).double()
        counted = self._counted(rows)
        lowest, highest = self._counted(box)
        low, high = torch.maximum(counted.amin(0), lowest), torch.minimum(counted.amax(0), highest)
        ends = zip(self.numbers, low.tolist(), high.tolist(), strict=True)
        return {name: [least, most] for name, least, most in ends}

    def _frame(self, rows: Tensor) -> pd.DataFrame:
        import pandas as pd

        columns: dict[str, Any] = {}
        for name, place in self.categories.items():
            part = rows[:, place]
            label = torch.where(part.amax(1) > 0.5, part.argmax(1), -1)
            columns[name] = [str(value) for value in label.tolist()]
        columns |= dict(zip(self.numbers, self._counted(rows).T.tolist(), strict=True))
        return pd.DataFrame(columns)[self.names]

    def _rows(self, frame: pd.DataFrame) -> Tensor:
        """`[m, F]`, as the model takes them; what is unchanged keeps its bits."""
        rows = self.inputs.x.expand(len(frame), -1).double().clone()
        for name, place in self.categories.items():
            label = torch.tensor([int(value) for value in frame[name]])
            rows[:, place] = (label[:, None] == torch.arange(len(place))).double()
        counted = torch.from_numpy(frame[list(self.numbers)].to_numpy("float64", copy=True))
        step, origin = self.step[self.line], self.origin[self.line]
        values = torch.where(step > 0, origin + counted * step, counted)
        same = (counted - self._counted(self.inputs.x)).abs() <= 10**-DIGITS
        rows[:, self.line] = torch.where(same, rows[:, self.line], values)
        return rows.to(self.inputs.x.dtype)

    def _counted(self, rows: Tensor) -> Tensor:
        """`[m, F] -> [m, numbers]` float64: in steps, where a number has them."""
        values, step = rows[:, self.line].double(), self.step[self.line]
        return torch.where(step > 0, (values - self.origin[self.line]) / step, values)


def _places(inputs: Inputs) -> list[list[int]]:
    """The elements of every column: all parts of a category, or one number."""
    rules = inputs.domain.actionability
    coded = {} if rules is None else dict(enumerate(rules.codes.tolist()))
    columns: dict[tuple[int, int], list[int]] = {}
    for place, unit in enumerate(inputs.units[0].tolist()):
        key = (unit, -1) if coded.get(place) else (unit, place)
        columns.setdefault(key, []).append(place)
    return list(columns.values())
