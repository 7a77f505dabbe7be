"""The explained samples of a cell with all that the store holds of them, ready to be drawn.

Letters: `N` samples, `U` units, `*S` the shape of one input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.results.drawing.changes import Change, changes, held, unit_name
from xai_bench.results.report.summary import Block
from xai_bench.results.store import text_samples
from xai_bench.results.store.store import Store
from xai_bench.results.values import Cell, Predictions, TextUnits
from xai_bench.types import Element, Explanation

Form = Literal["image", "series", "table", "text"]


@dataclass(frozen=True, eq=False)
class Method:
    """One explainer's explanation of all samples; `values [N, U]` are its attributions by unit."""

    name: str
    kind: str
    control: bool
    explanation: Explanation
    values: Tensor


@dataclass(frozen=True, eq=False)
class Samples:
    """All samples of one cell.

    Attributes:
        place: what they are samples of, e.g. "digits, mlp".
        x: `[N, *S]`; `unit_ids` the same shape, -1 is padding.
        predictions: None where the store is older than them.
        texts: the words of each sample, where they are texts.
    """

    place: str
    cell: Cell
    index: Tensor
    x: Tensor
    unit_ids: Tensor
    unit_names: tuple[str, ...]
    elements: tuple[Element, ...]
    predictions: Predictions | None
    methods: tuple[Method, ...]
    texts: TextUnits | None = None

    def __len__(self) -> int:
        return len(self.index)

    @property
    def form(self) -> Form:
        if self.texts is not None:
            return "text"
        if self.x.dim() == 4:
            return "image"
        return "series" if self.x.dim() == 3 else "table"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """One name per unit."""
        return tuple(unit_name(unit, self.unit_names) for unit in range(units.width(self.unit_ids)))

    def held(self, row: int) -> tuple[str, ...]:
        """What a sample has in each unit, in the words of its file; empty without words."""
        x, ids = self.x[row], self.unit_ids[row]
        marks = [ids == unit for unit in range(len(self.names))]
        return tuple(held(x, mark, self.elements) if mark.any() else "" for mark in marks)

    def numbers(self) -> Tensor:
        """`[N, U]` what units hold, where each is a single number; NaN elsewhere."""
        decoded, ids = self.x, self.unit_ids
        decodable = torch.ones_like(ids, dtype=torch.bool)
        if len(self.elements) == self.x[0].numel() and self.form == "table":
            scale = self.x.new_tensor([element.scale for element in self.elements])
            mean = self.x.new_tensor([element.mean for element in self.elements])
            decoded = mean + scale * self.x
            decodable &= torch.tensor([not element.label for element in self.elements])
        is_number = (units.sizes(ids) == 1) & (units.pool(decodable.double(), ids) == 1)
        return torch.where(is_number, units.pool(decoded, ids), torch.nan)

    def prediction(self, row: int) -> str:
        """Such as "malignant, probability 0.93" or "152"; empty where it is not stored."""
        if self.predictions is None:
            return ""
        outputs = self.predictions.outputs[row]
        if len(outputs) == 1:
            return f"{outputs.item():.4g}"
        share, best = self.predictions.probabilities[row].max(0)
        return f"{self._class(int(best))}, probability {share:.2f}"

    def label(self, row: int) -> str:
        """What is true of a sample."""
        if self.predictions is None:
            return ""
        label = self.predictions.labels[row]
        return f"{label.item():.4g}" if label.is_floating_point() else self._class(int(label))

    def explained(self, row: int) -> str:
        """The scalar that was explained, such as "predicted_logit of malignant"."""
        target = self.cell.target.replace("_", " ")
        if self.predictions is None or self.predictions.outputs.shape[1] == 1:
            return target
        chosen = self.predictions.targets[row]
        of_class = "" if chosen.is_floating_point() else f" of {self._class(int(chosen))}"
        return f"{target}{of_class}"

    def output(self, row: int) -> float:
        """The explained scalar where it can be read off the outputs; else NaN."""
        predictions = self.predictions
        if predictions is None or self.cell.target == "loss":
            return math.nan
        values = (
            predictions.probabilities if "probability" in self.cell.target else predictions.outputs
        )
        chosen = predictions.targets[row]
        return math.nan if chosen.is_floating_point() else float(values[row, int(chosen)])

    def headline(self, row: int) -> str:
        """What a sheet is about, in one line."""
        parts = [f"{self.place}, seed {self.cell.seed}, sample {int(self.index[row])}"]
        if self.predictions is not None:
            parts.append(f"predicted {self.prediction(row)}; true: {self.label(row)}")
        return "; ".join([*parts, f"explained: {self.explained(row)}"])

    def is_wrong(self, row: int) -> bool:
        """Whether a classifier predicts another class than the true one."""
        if self.predictions is None or self.predictions.outputs.shape[1] == 1:
            return False
        return bool(self.predictions.outputs[row].argmax() != self.predictions.labels[row])

    def changes(self, method: Method, row: int) -> tuple[tuple[Change, ...] | None, ...]:
        """The counterfactuals of a sample; None for each that was not found."""
        points = method.explanation.counterfactuals
        if points is None:
            return ()
        fixed = (self.unit_ids[row], self.unit_names, self.elements)
        return tuple(changes(self.x[row], point, *fixed) for point in points[row])

    def _class(self, place: int) -> str:
        names = () if self.predictions is None else self.predictions.class_names
        return names[place] if place < len(names) else str(place)


def samples(store: Store, block: Block, place: str) -> Samples | None:
    """Those of the block's first cell; None where the inputs or all explanations are missing."""
    cell, listed = block.listing[0]
    inputs = store.read_inputs(cell.key)
    if inputs is None:
        return None
    methods = []
    for entry in sorted(listed, key=lambda entry: block.explainers.index(entry.explainer)):
        stored = store.read(cell.key, entry.key, {})
        if stored is not None and stored.explanation is not None:
            attribution = stored.explanation.attribution.double()
            values = units.pool(attribution, inputs["units"])
            control = entry.explainer not in block.methods
            methods.append(
                Method(entry.explainer, stored.kind, control, stored.explanation, values)
            )
    if not methods:
        return None
    return Samples(
        place=place,
        cell=cell,
        index=inputs["index"],
        x=inputs["x"].double(),
        unit_ids=inputs["units"],
        unit_names=tuple(store.unit_names(cell.key)),
        elements=tuple(store.elements(cell.key)),
        predictions=store.read_predictions(cell.key),
        methods=tuple(methods),
        texts=text_samples.texts(store, cell.key),
    )


def chosen(explained: Samples, n: int) -> list[int]:
    """`n` telling rows: a wrong prediction, the least and the most certain one, then the first.

    Of a regressor: the worst, the median and the best prediction.
    """
    order = [row for row in _telling(explained) if row < len(explained)]
    return list(dict.fromkeys([*order, *range(len(explained))]))[:n]


def _telling(explained: Samples) -> Sequence[int]:
    if explained.predictions is None:
        return ()
    outputs, labels = explained.predictions.outputs.double(), explained.predictions.labels
    if outputs.shape[1] == 1:
        order = (outputs[:, 0] - labels).abs().argsort(descending=True).tolist()
        return [order[0], order[len(order) // 2], order[-1]]
    certain = explained.predictions.probabilities.max(1).values
    wrong = [row for row in range(len(explained)) if explained.is_wrong(row)]
    right = [row for row in range(len(explained)) if not explained.is_wrong(row)]
    ends = (
        [min(right, key=lambda r: certain[r]), max(right, key=lambda r: certain[r])]
        if right
        else []
    )
    return [*wrong[:1], *ends]
