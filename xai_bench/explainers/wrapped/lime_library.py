"""The lime library's explainers; the one file that imports it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from xai_bench.core import coalitions, units
from xai_bench.core.tokens import require_numbers
from xai_bench.explainers.stated_rows import in_equal_shares
from xai_bench.explainers.wrapped.common import Floats, Sample, SampleBySample, not_installed
from xai_bench.types import Baseline, Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported


def part(name: str) -> Any:
    """A module of the lime library; raises `Unsupported` where it is not installed."""
    try:
        from lime import lime_image, lime_tabular, lime_text
    except ImportError:
        raise not_installed("lime") from None
    return {"image": lime_image, "tabular": lime_tabular, "text": lime_text}[name]


@dataclass(frozen=True)
class LimeTabular(SampleBySample):
    """LIME on a table's columns in quartiles, by the lime library. Ribeiro+ 2016.

    A unit of several elements is one categorical column. Those beyond `n_features` get 0.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "surrogate"
    needs: ClassVar[tuple[str, ...]] = ("table", "background")
    paper: ClassVar[str] = "Ribeiro+ 2016, arXiv:1602.04938"
    library: ClassVar[str] = "lime"
    # Drawn columns correlate by chance.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry")

    budget: int = 5000
    n_features: int = 10

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported` for what is no table, or a background of a single row."""
        if inputs.x.dim() != 2 or len(inputs.domain.background) < 2:
            raise Unsupported("lime's tabular explainer takes rows of columns, and a background")
        require_numbers(inputs.domain, "lime's tabular explainer")
        return super().explain(model, inputs, targets, rng=rng)

    def attribution(self, sample: Sample) -> Tensor:
        """`[*S]`, the coefficients of the units that are chosen, and 0."""
        table = _Table(sample)
        explainer = part("tabular").LimeTabularExplainer(
            table.rows,
            mode="regression",
            categorical_features=table.categorical,
            random_state=sample.seed,
        )
        explanation = explainer.explain_instance(
            table.x,
            lambda rows: sample.values(table.points(rows)),
            num_features=self.n_features,
            num_samples=self.budget,
        )
        return attribution_of(sample, explanation.local_exp[1])

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """One row per draw."""
        return Rows(self.budget)


class _Table:
    """The background with one column per unit, as numbers or as codes of a category.

    Attributes:
        categorical: the units of several elements; kinds: unit -> `[codes, elements]`, the
            combinations of values that occur.
        x, rows: `[U]` and `[N, U]`, the sample and the background.
    """

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
        """`rows [n, U] -> [n, *S]`."""
        table = torch.from_numpy(np.asarray(rows, dtype=np.float64))
        points = self.start.expand(len(table), -1).clone()
        for unit, column in enumerate(table.T):
            kinds = self.kinds.get(unit)
            part = column[:, None] if kinds is None else kinds[column.round().long()]
            points[:, self.layout == unit] = part
        return points


@dataclass(frozen=True)
class LimeImage(SampleBySample):
    """LIME on an image's segments, which are our units, by the lime library. Ribeiro+ 2016.

    A segment that is hidden gets its mean colour.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "surrogate"
    needs: ClassVar[tuple[str, ...]] = ("image",)
    paper: ClassVar[str] = "Ribeiro+ 2016, arXiv:1602.04938"
    library: ClassVar[str] = "lime"

    budget: int = 1000

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported` for what is no image, or units that differ between colours."""
        shape, layout = inputs.x.shape[1:], inputs.units
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise Unsupported(f"lime takes images of one or three colours; found {list(shape)}")
        if not bool((layout == layout[:, :1]).all()):
            raise Unsupported("lime's segments are the same in all colours, and these units differ")
        return super().explain(model, inputs, targets, rng=rng)

    def attribution(self, sample: Sample) -> Tensor:
        """`[*S]`, the coefficients of all segments."""
        colours = sample.x.shape[1]
        segments = sample.inputs.units[0, 0].numpy()

        def values(images: Floats) -> Floats:
            points = torch.from_numpy(np.asarray(images)).movedim(3, 1)[:, :colours]
            return sample.values(points)[:, None]

        explainer = part("image").LimeImageExplainer(random_state=sample.seed)
        # Lime takes three colours; grey is the same in all of them.
        image = sample.x[0].expand(3, -1, -1).movedim(0, 2).double().numpy()
        explanation = explainer.explain_instance(
            image,
            values,
            labels=(0,),
            top_labels=None,
            num_samples=self.budget,
            segmentation_fn=lambda _: segments,
        )
        return attribution_of(sample, explanation.local_exp[0])

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """One row per draw."""
        return Rows(self.budget)


@dataclass(frozen=True)
class LimeText(SampleBySample):
    """LIME on tokens, by the lime library: units are its words, and those it takes out are replaced
    by the baseline. Ribeiro+ 2016.

    `budget` is in rows per sample. Words beyond `n_features` get 0.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "surrogate"
    needs: ClassVar[tuple[str, ...]] = ("tokens",)
    paper: ClassVar[str] = "Ribeiro+ 2016, arXiv:1602.04938"
    library: ClassVar[str] = "lime"

    baseline: Baseline
    budget: int = 5000
    n_features: int = 10

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported` for what is no sequence of tokens."""
        layout = inputs.units
        by_token = layout.dim() == 3 and bool((layout == layout[..., :1]).all())
        if not inputs.domain.discrete and not by_token:
            raise Unsupported("lime's text explainer takes token ids, or inputs [token, feature]")
        return super().explain(model, inputs, targets, rng=rng)

    def attribution(self, sample: Sample) -> Tensor:
        """`[*S]`, the coefficients of the words that are chosen, and 0.

        Raises `Unsupported` for too small a budget.
        """
        starts, n_units = sample.references(self.baseline), sample.n_units
        if self.budget // len(starts) < 2:
            raise Unsupported(f"a budget of {self.budget} rows leaves lime no text to evaluate")

        def values(texts: Sequence[str]) -> Floats:
            kept = torch.zeros(1, len(texts), n_units, dtype=torch.bool)
            for row, text in enumerate(texts):
                kept[0, row, [int(word) for word in text.split()]] = True
            points = coalitions.remove(sample.inputs, kept, starts[None])[0]
            mean: Floats = sample.values(points.flatten(0, 1)).reshape(len(texts), -1).mean(1)
            return mean[:, None]

        explainer = part("text").LimeTextExplainer(random_state=sample.seed)
        # Words are the numbers of the units: which tokens they stand for lime need not know.
        explanation = explainer.explain_instance(
            " ".join(map(str, range(n_units))),
            values,
            labels=(0,),
            num_features=self.n_features,
            num_samples=self.budget // len(starts),
        )
        return attribution_of(sample, explanation.local_exp[0])

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """As many texts against every reference as the budget allows."""
        return Rows(in_equal_shares(self.budget, n_references))


def attribution_of(sample: Sample, pairs: Sequence[tuple[int, float]]) -> Tensor:
    """`[*S]` from lime's list of units and weights."""
    values = torch.zeros(sample.n_units, dtype=torch.float64)
    for unit, weight in pairs:
        values[int(unit)] = float(weight)
    return sample.spread(values)
