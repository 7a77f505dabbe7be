"""An explanation as a caller gets it: with names, numbers, tables and pictures.

Letters: `N` samples, `U` units, `*S` the shape of one sample in x.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xai_bench.adapters.layout import Layout
from xai_bench.adapters.tensor_like import TensorLike
from xai_bench.core import units
from xai_bench.results.drawing.data_sets import Beeswarm, Waterfall
from xai_bench.results.drawing.sheets import BarSheet, ImageSheet, SeriesSheet
from xai_bench.results.drawing.tokens import TokenSheet
from xai_bench.types import Explanation, Kind

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_SHOWN_ROWS, _SHOWN_UNITS = 5, 8


class Picture(Protocol):
    """What can be drawn."""

    def draw(self) -> Figure: ...


@dataclass(frozen=True, eq=False)
class NamedExplanation(TensorLike):
    """The explanation of all samples by one explainer.

    It may be used where an array is expected: `numpy.asarray(explanation)` is `.numpy()`; and where
    a tensor is, which is its attribution: `explanation - other`, `explanation.abs()`.

    Attributes:
        explainer: its name; `kind` what its numbers mean.
        explanation: attribution, standard error, counterfactuals, layers, interactions.
        layout: the samples, and what their parts are called.
        outputs: `[N]`, the scalar that is explained; `targets [N]`, which output that is.
        cost: `forward_rows`, `gradient_rows` and `seconds` of each sample, `[N]`.

    >>> import pandas as pd, xai_bench
    >>> rows = pd.DataFrame({"age": [30.0, 50.0], "debt": [1.0, 0.0]}, index=["Ann", "Bob"])
    >>> score = lambda frame: frame.age - 10 * frame.debt
    >>> bench = xai_bench.workbench(score, rows, background=rows, baselines=0)
    >>> bench.explain("leave_one_out").frame()
          age  debt
    Ann  30.0 -10.0
    Bob  50.0   0.0
    """

    explainer: str
    kind: Kind
    explanation: Explanation
    layout: Layout
    outputs: Tensor
    targets: Tensor
    cost: Mapping[str, Tensor]

    @property
    def attribution(self) -> Tensor:
        """`[N, *S]` float64, on x as the model is given it."""
        return self.explanation.attribution

    @property
    def standard_error(self) -> Tensor | None:
        """`[N, *S]`, of attributions that are estimates from random draws; else None."""
        return self.explanation.standard_error

    @property
    def counterfactuals(self) -> Tensor | None:
        """`[N, M, *S]`, inputs with another prediction, NaN where none was found; else None."""
        return self.explanation.counterfactuals

    @property
    def layers(self) -> Mapping[str, Tensor]:
        """Layer -> `[N, ...]`, of explainers that explain layers."""
        return self.explanation.layers

    @property
    def interactions(self) -> Tensor | None:
        """`[N, U, U]`, what pairs of units do together; else None."""
        return self.explanation.interactions

    @property
    def by_unit(self) -> Tensor:
        """`[N, U]`: the sum of the attributions of each unit."""
        return self.layout.by_unit(self.attribution)

    @property
    def parts(self) -> dict[str, Tensor]:
        """Input -> `[N, *S]`, where x has several by name. Raises ValueError where it is one."""
        return self.layout.parts(self.attribution)

    @property
    def shape(self) -> torch.Size:
        """That of `attribution`."""
        return self.attribution.shape

    def __len__(self) -> int:
        return len(self.attribution)

    def __getitem__(self, samples: Any) -> Tensor:
        return self.attribution[samples]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self.numpy(), dtype=dtype)

    def numpy(self) -> npt.NDArray[np.float64]:
        """`[N, *S]`; of a table, `[N, columns]`, the columns as they were given."""
        return np.asarray(self.layout.as_given(self.attribution).numpy())

    def frame(self) -> pd.DataFrame:
        """A row for each sample, a column for each unit."""
        import pandas as pd

        rows, names = list(self.layout.rows), list(self.layout.names)
        return pd.DataFrame(self.by_unit.numpy(), index=rows, columns=names)

    def counterfactual_rows(self, number: int = 0) -> Any:
        """The `number`-th counterfactual of each sample, as x was given: a data frame, an array.

        Raises ValueError where the explainer finds none, or not so many. Samples without one have
        NaN in `counterfactuals`, and are left out here.
        """
        counterfactuals = self.counterfactuals
        if counterfactuals is None or not 0 <= number < counterfactuals.shape[1]:
            most = 0 if counterfactuals is None else counterfactuals.shape[1]
            raise ValueError(f"{self.explainer} gives {most} counterfactuals for each sample")
        points = counterfactuals[:, number]
        exists = ~points.isnan().flatten(1).any(1)
        rows = self.layout.form.decode(points[exists].to(self.layout.inputs.x))
        if not hasattr(rows, "set_axis"):
            return rows
        labels = [self.layout.rows[k] for k in exists.nonzero()[:, 0].tolist()]
        return rows.set_axis(labels, axis=0)

    def plot(self, sample: int | None = 0) -> Figure:
        """The picture of one sample; of all samples of a table together (`sample=None`).

        Contributions of columns are shown as they add up (a waterfall), other numbers as signed
        bars; images and series under their maps, tokens coloured. Raises ValueError where there is
        no such sample.
        """
        if sample is None:
            return self._of_all().draw()
        if not -len(self) <= sample < len(self):
            raise ValueError(f"there is no sample {sample}; there are 0 to {len(self) - 1}")
        return self._of(sample % len(self)).draw()

    def __repr__(self) -> str:
        extra = [k for k in self.explanation.tensors() if k != "attribution"]
        also = f", with {', '.join(extra)}" if extra else ""
        return (
            f"<{self.explainer}: {self.kind} of {len(self)} samples, {len(self.layout.names)} "
            f"units{also}>"
        )

    def _repr_html_(self) -> str:
        """The largest attributions of the first samples, for notebooks; names are escaped."""
        values, names = self.by_unit, self.layout.names
        order = values.abs().nan_to_num().mean(0).argsort(descending=True)[:_SHOWN_UNITS].tolist()
        head = "".join(f"<th>{html.escape(names[k])}</th>" for k in order)
        rows = [
            f"<tr><th>{html.escape(str(label))}</th>"
            + "".join(f"<td>{values[row, k].item():.4g}</td>" for k in order)
            + "</tr>"
            for row, label in enumerate(self.layout.rows[:_SHOWN_ROWS])
        ]
        caption = html.escape(repr(self)[1:-1])
        return (
            f"<table><caption>{caption}</caption><thead><tr><th></th>{head}</tr></thead>"
            f"<tbody>{''.join(rows)}</tbody></table>"
        )

    def _headline(self, sample: int) -> str:
        return f"{self.explainer}: sample {self.layout.rows[sample]}, {self._what(sample)}"

    def _what(self, sample: int) -> str:
        number = int(self.targets[sample])
        classes = self.layout.classes
        of = classes[number] if 0 <= number < len(classes) else f"output {number}"
        return f"{of}: {self.outputs[sample].item():.4g}"

    def _of(self, sample: int) -> Picture:
        x, values = self.layout.inputs.x[sample], self.attribution[sample]
        head, kind, methods = self._headline(sample), self.layout.shown_as, (self.explainer,)
        if kind == "image":
            maps = _flat(values).sum(0, keepdim=True).numpy()
            return ImageSheet(head, _picture(x), methods, maps)
        if kind == "series":
            channels = tuple(f"channel {c}" for c in range(len(x))) if len(x) > 1 else ("",)
            return SeriesSheet(head, channels, methods, x.double().numpy(), values[None].numpy())
        by_unit, names = self.by_unit[sample].numpy(), self.layout.names
        if kind == "tokens":
            symbols = self.layout.inputs.domain.symbols
            words = None if symbols is None else symbols.tokens
            texts = [str(i) if words is None or i < 0 else words[i] for i in x.long().tolist()]
            return TokenSheet.of(head, texts, methods, values[None].numpy())
        held = self.layout.held(sample)
        if self.kind == "contribution":
            output = float(self.outputs[sample])
            return Waterfall(head, names, held, by_unit, output, what=self._what(sample))
        return BarSheet(head, names, held, methods, by_unit[None])

    def _of_all(self) -> Picture:
        x, ids = self.layout.inputs.x.double(), self.layout.inputs.units
        single = units.sizes(ids) == 1
        numbers = torch.where(single, self.layout.by_unit(x), torch.nan)
        head = f"{self.explainer}: {len(self)} samples"
        return Beeswarm(head, self.layout.names, self.by_unit.numpy(), numbers.numpy())


def _flat(values: Tensor) -> Tensor:
    """`[C, H, W]` of an image; of a volume `[C, D, H, W]`, its middle slice."""
    return values if values.dim() == 3 else values[:, values.shape[1] // 2]


def _picture(x: Tensor) -> npt.NDArray[np.float64]:
    """`[H, W]`, or `[H, W, 3]` where there are three channels; 0 .. 1."""
    image = _flat(x).double()
    flat = image if len(image) == 3 else image.mean(0, keepdim=True)
    low, high = flat.min(), flat.max()
    scaled = (flat - low) / (high - low).clamp(min=1e-12)
    return np.asarray(scaled.movedim(0, -1).squeeze(-1).numpy())
