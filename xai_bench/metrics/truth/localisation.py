"""Whether positive attribution lies inside the mask of what is relevant.

The mask is `case.rationale`; where the data has none, it is where the written-down truth is above
0. A place is a unit, or with `space` an element or a pixel, whose channels (axis 1) are added up;
it lies inside where at least half of its elements do. Padding has no place. NaN where the mask is
empty or holds everything. Signs count throughout; costs no rows and draws nothing.
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

    Of tied places, the share that lies inside. Chance is the mask's share of all places.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("rationale",)
    paper: ClassVar[str] = "Zhang+ 2018, arXiv:1608.00507 (no tolerance around the mask)"
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=0, random=3 / 8)
    space: Space = "unit"

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        places = Places.of(case, self.space)
        top = Blocks.of(places.attribution, places.inside, places.real)
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
        """`[B]`, from 0 to 1."""
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
        """`[B]`, 0 or more."""
        places = Places.of(case, self.space)
        # Places of the sample, never of the batch: a large mask is easy to hit, by chance alone.
        return places.mass() * places.real.sum(1) / places.inside.sum(1)


@dataclass(frozen=True)
class RelevanceRank:
    """Share of the top `m` places that lie inside the mask, `m` being its size.

    Tied places count by their probability to be among the top. Chance is `m` over all places.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("rationale",)
    paper: ClassVar[str] = "Arras+ 2022, arXiv:2003.07258"
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=0, random=3 / 8)
    space: Space = "unit"

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        places = Places.of(case, self.space)
        m = places.inside.sum(1)
        return places.scored(places.hits(m[:, None]) / m)


@dataclass(frozen=True)
class TopKIntersection:
    """Share of the top `k = ceil(fraction * places)` that lie inside the mask.

    Tied places count by their probability to be among the top. Chance is the mask's share of all
    places. NaN where `k` is all places.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("rationale",)
    paper: ClassVar[str] = "Theiner+ 2022, arXiv:2104.14995"
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=0, random=3 / 8)
    fraction: float = 0.1
    space: Space = "unit"

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        places = Places.of(case, self.space)
        n_places = places.real.sum(1)
        k = counts(n_places, (self.fraction,))
        share = places.hits(k) / k[:, 0]
        return places.scored(torch.where(k[:, 0] < n_places, share, torch.nan))


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """The attributions and the mask in the `P` places of one `space`.

    Attributes:
        attribution: `[B, P]` float64, signed.
        inside: `[B, P]` bool, the mask.
        real: `[B, P]` bool, places that are no padding.
    """

    attribution: Tensor
    inside: Tensor
    real: Tensor

    @classmethod
    def of(cls, case: Case, space: Space) -> Places:
        """The places of a case. Raises `Unsupported` where it has neither rationale nor truth."""
        attribution = case.attribution.double()
        if case.rationale is not None:
            # Inside where at least half of the place's elements are.
            share = _gathered(case, case.rationale.double(), space)
            inside = 2 * share >= _gathered(case, torch.ones_like(attribution), space)
        elif case.truth is not None:
            # What lowers the output is no evidence for it.
            inside = _gathered(case, case.truth.double(), space) > 0
        else:
            raise Unsupported("neither a rationale nor a truth is known for this data and target")
        real = _gathered(case, torch.ones_like(attribution), space) > 0
        return cls(_gathered(case, attribution, space), inside & real, real)

    def hits(self, k: Tensor) -> Tensor:
        """`[B, 1] -> [B]`: how many of the top `k` lie inside, on average over orders of ties."""
        return total(at_top(self.attribution, self.real, k) * self.inside)

    def mass(self) -> Tensor:
        """`[B]`: share of the positive attribution that lies inside."""
        # Negative attribution inside would otherwise cancel what is right.
        positive = self.attribution.clamp(min=0)
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
    # The channels, axis 1, are moved to the end and added up one by one.
    return kept.transpose(1, -1).cumsum(-1)[..., -1].flatten(1)
