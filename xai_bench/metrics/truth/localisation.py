"""Does positive attribution lie where the evidence does? Signed throughout, no rows, no draws.

The evidence is `case.rationale`. Where the data has none, it is what the written-down truth counts
for the output, `truth > 0`. A `place` is a unit, or where `space` says so an element or a pixel,
whose channels (axis 1) are then added up; it lies inside where at least half of it does. Padding
has no place. Where the mask is empty or holds everything, nothing can be found: NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.metrics.common import total
from xai_bench.metrics.probes.removal.curves import counts
from xai_bench.metrics.ties import Blocks, at_top
from xai_bench.types import Case, KnownScores, Unsupported

Space = Literal["unit", "element", "pixel"]


@dataclass(frozen=True)
class PointingGame:
    """1 where the place of the largest attribution lies inside the mask, 0 where it does not.

    Of tied places the share that lies inside. Chance is the mask's share of all places.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("rationale",)
    paper: ClassVar[str] = "Zhang+ 2018, arXiv:1608.00507 (no tolerance around the mask)"
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=0, random=3 / 8)
    space: Space = "unit"

    def score(self, case: Case) -> Tensor:
        places = Places.of(case, self.space)
        top = Blocks.of(places.found, places.inside, places.real)
        return places.scored(top.hits[:, 0] / top.size[:, 0])


@dataclass(frozen=True)
class RelevanceMass:
    """Share of the positive attribution that lies inside the mask.

    NaN where nothing is positive. Chance is the mask's share of all places.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("rationale",)
    paper: ClassVar[str] = "Arras+ 2022, arXiv:2003.07258"
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, random=3 / 8)
    space: Space = "unit"

    def score(self, case: Case) -> Tensor:
        return Places.of(case, self.space).mass()


@dataclass(frozen=True)
class AttributionLocalisation:
    """Share of the positive attribution inside the mask, over the mask's share of all places.

    1 is chance, for masks of any size; the best is the inverse of the mask's share. NaN where
    nothing is positive.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("rationale",)
    paper: ClassVar[str] = "Kohlbrenner+ 2020, arXiv:1910.09840 (weighted by size)"
    known_scores: ClassVar[KnownScores] = KnownScores(exact=8 / 3, random=1)
    space: Space = "unit"

    def score(self, case: Case) -> Tensor:
        places = Places.of(case, self.space)
        return places.mass() * places.real.sum(1) / places.inside.sum(1)


@dataclass(frozen=True)
class RelevanceRank:
    """Share of the top `m` places that lie inside the mask, `m` being its size.

    Tied places count by their chance to be among the top. Chance is `m` over all places.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("rationale",)
    paper: ClassVar[str] = "Arras+ 2022, arXiv:2003.07258"
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=0, random=3 / 8)
    space: Space = "unit"

    def score(self, case: Case) -> Tensor:
        places = Places.of(case, self.space)
        m = places.inside.sum(1)
        return places.scored(places.hits(m[:, None]) / m)


@dataclass(frozen=True)
class TopKIntersection:
    """Share of the top `k = ceil(fraction * places)` that lie inside the mask.

    Tied places count by their chance to be among the top. Chance is the mask's share of all places.
    NaN where `k` is all places.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("rationale",)
    paper: ClassVar[str] = "Theiner+ 2022, arXiv:2104.14995"
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=0, random=3 / 8)
    fraction: float = 0.1
    space: Space = "unit"

    def score(self, case: Case) -> Tensor:
        places = Places.of(case, self.space)
        n_places = places.real.sum(1)
        k = counts(n_places, (self.fraction,))
        share = places.hits(k) / k[:, 0]
        return places.scored(torch.where(k[:, 0] < n_places, share, torch.nan))


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Signed attributions `found [B, P]`, `inside [B, P]` the mask, and `real [B, P]`, no padding.

    Attributes are those of one `space`.
    """

    found: Tensor
    inside: Tensor
    real: Tensor

    @classmethod
    def of(cls, case: Case, space: Space) -> Places:
        seen = case.attribution.double()
        if case.rationale is not None:
            share = _gathered(case, case.rationale.double(), space)
            inside = 2 * share >= _gathered(case, torch.ones_like(seen), space)
        elif case.truth is not None:
            inside = _gathered(case, case.truth.double(), space) > 0
        else:
            raise Unsupported("neither a rationale nor a truth is known for this data and target")
        real = _gathered(case, torch.ones_like(seen), space) > 0
        return cls(_gathered(case, seen, space), inside & real, real)

    def hits(self, k: Tensor) -> Tensor:
        """`[B, 1] -> [B]`: how many of the top `k` lie inside, ties in any order."""
        return total(at_top(self.found, self.real, k) * self.inside)

    def mass(self) -> Tensor:
        """`[B]`: share of the positive part that lies inside."""
        positive = self.found.clamp(min=0)
        return self.scored(total(positive * self.inside) / total(positive))

    def scored(self, values: Tensor) -> Tensor:
        """`[B]`: NaN where the mask is empty or everything."""
        size = self.inside.sum(1)
        return torch.where((size > 0) & (size < self.real.sum(1)), values, torch.nan)


def _gathered(case: Case, values: Tensor, space: Space) -> Tensor:
    """`[B, *S] -> [B, P]`: added up within each place, without padding."""
    if space == "unit":
        return units.pool(values, case.inputs.units)
    kept = torch.where(case.inputs.units < 0, 0, values)
    if space == "element":
        return kept.flatten(1)
    if kept.dim() < 3:
        raise Unsupported(
            f"space=pixel adds up channels; inputs of shape {list(kept.shape[1:])} have none"
        )
    return kept.transpose(1, -1).cumsum(-1)[..., -1].flatten(1)
