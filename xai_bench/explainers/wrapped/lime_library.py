"""The lime library's explainers; the one file that imports it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.explainers.wrapped.common import Floats, Sample, missing, one_by_one
from xai_bench.types import Baseline, Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported

LIBRARY = "lime"


def part(name: str) -> Any:
    """A module of the lime library, without its progress bar."""
    try:
        from lime import lime_image, lime_tabular, lime_text
    except ImportError:
        raise missing("lime") from None
    return {"image": lime_image, "tabular": lime_tabular, "text": lime_text}[name]


@dataclass(frozen=True)
class LimeTabular:
    """LIME on a table's columns in quartiles, by the lime library. Ribeiro+ 2016.

    A unit of several elements is one categorical column. Those beyond `n_features` get 0.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "surrogate"
    paper: ClassVar[str] = "Ribeiro+ 2016, arXiv:1602.04938"

    budget: int = 5000
    n_features: int = 10

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        if inputs.x.dim() != 2 or len(inputs.domain.background) < 2:
            raise Unsupported("lime's tabular explainer takes rows of columns, and a background")
        return Explanation(one_by_one(self._ask, model, inputs, targets, rng=rng))

    def _ask(self, sample: Sample) -> Tensor:
        table = _Table(sample)
        made = part("tabular").LimeTabularExplainer(
            table.rows,
            mode="regression",
            categorical_features=table.categorical,
            random_state=sample.seed,
        )
        found = made.explain_instance(
            table.x,
            lambda rows: sample.values(table.points(rows)),
            num_features=self.n_features,
            num_samples=self.budget,
        )
        return credits_of(sample, found.local_exp[1])

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(self.budget)


class _Table:
    """The background with one column per unit, as numbers or as codes of a category."""

    def __init__(self, sample: Sample) -> None:
        data = torch.cat([sample.x, sample.background]).double()
        layout, sizes = sample.units, units.sizes(sample.inputs.units)[0]
        self.start, self.layout = sample.x.double(), layout
        self.categorical = (sizes > 1).nonzero()[:, 0].tolist()
        self.kinds: dict[int, Tensor] = {}
        columns = []
        for unit in range(sample.n_units):
            part = data[:, layout == unit]
            if unit in self.categorical:
                self.kinds[unit], codes = part.unique(dim=0, return_inverse=True)
                part = codes[:, None].double()
            columns.append(part)
        table: Floats = torch.cat(columns, dim=1).numpy()
        self.x, self.rows = table[0], table[1:]

    def points(self, rows: Floats) -> Tensor:
        """`[n, U] -> [n, *S]`."""
        table = torch.from_numpy(np.asarray(rows, dtype=np.float64))
        points = self.start.expand(len(table), -1).clone()
        for unit, column in enumerate(table.T):
            kinds = self.kinds.get(unit)
            part = column[:, None] if kinds is None else kinds[column.round().long()]
            points[:, self.layout == unit] = part
        return points


@dataclass(frozen=True)
class LimeImage:
    """LIME on an image's segments, which are our units, by the lime library. Ribeiro+ 2016.

    A segment that is hidden gets its mean colour.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "surrogate"
    paper: ClassVar[str] = "Ribeiro+ 2016, arXiv:1602.04938"

    budget: int = 1000

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        shape, layout = inputs.x.shape[1:], inputs.units
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise Unsupported(f"lime takes images of one or three colours; found {list(shape)}")
        if not bool((layout == layout[:, :1]).all()):
            raise Unsupported("lime's segments are the same in all colours, and these units differ")
        return Explanation(one_by_one(self._ask, model, inputs, targets, rng=rng))

    def _ask(self, sample: Sample) -> Tensor:
        colours = sample.x.shape[1]
        segments = sample.inputs.units[0, 0].numpy()

        def values(images: Floats) -> Floats:
            points = torch.from_numpy(np.asarray(images)).movedim(3, 1)[:, :colours]
            return sample.values(points)[:, None]

        made = part("image").LimeImageExplainer(random_state=sample.seed)
        image = sample.x[0].expand(3, -1, -1).movedim(0, 2).double().numpy()
        found = made.explain_instance(
            image,
            values,
            labels=(0,),
            top_labels=None,
            num_samples=self.budget,
            segmentation_fn=lambda _: segments,
        )
        return credits_of(sample, found.local_exp[0])

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(self.budget)


@dataclass(frozen=True)
class LimeText:
    """LIME on tokens, by the lime library: units are its words, and those it takes out are replaced
    by the baseline. Ribeiro+ 2016.

    `budget` is in rows per sample. Words beyond `n_features` get 0.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "surrogate"
    paper: ClassVar[str] = "Ribeiro+ 2016, arXiv:1602.04938"

    baseline: Baseline
    budget: int = 5000
    n_features: int = 10

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        layout = inputs.units
        if layout.dim() != 3 or not bool((layout == layout[..., :1]).all()):
            raise Unsupported("lime's text explainer takes tokens: inputs [token, feature]")
        return Explanation(one_by_one(self._ask, model, inputs, targets, rng=rng))

    def _ask(self, sample: Sample) -> Tensor:
        starts, n_units = sample.references(self.baseline), sample.n_units
        if self.budget // len(starts) < 2:
            raise Unsupported(f"a budget of {self.budget} rows leaves lime no text to look at")

        def values(texts: Sequence[str]) -> Floats:
            kept = torch.zeros(1, len(texts), n_units, dtype=torch.bool)
            for row, text in enumerate(texts):
                kept[0, row, [int(word) for word in text.split()]] = True
            stays = units.kept_elements(kept, sample.inputs.units)[0][:, None]
            points = torch.where(stays, sample.x, starts)
            mean: Floats = sample.values(points.flatten(0, 1)).reshape(len(texts), -1).mean(1)
            return mean[:, None]

        made = part("text").LimeTextExplainer(random_state=sample.seed)
        found = made.explain_instance(
            " ".join(map(str, range(n_units))),
            values,
            labels=(0,),
            num_features=self.n_features,
            num_samples=self.budget // len(starts),
        )
        return credits_of(sample, found.local_exp[0])

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(self.budget // n_references * n_references)


def credits_of(sample: Sample, pairs: Sequence[tuple[int, float]]) -> Tensor:
    """`[*S]` from lime's list of features and weights."""
    credits = torch.zeros(sample.n_units, dtype=torch.float64)
    for unit, weight in pairs:
        credits[int(unit)] = float(weight)
    return sample.spread(credits)
