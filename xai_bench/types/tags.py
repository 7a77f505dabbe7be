"""What components state of themselves as class attributes, and what holds where they do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from xai_bench.types.search import Choice, Range


@dataclass(frozen=True, slots=True)
class KnownScores:
    """Scores that a metric must have by mathematics; None where no closed form is known.

    Attributes:
        exact: of the exact map.
        opposite: of its negative, or of the map that ranks units in reverse order.
        random: the mean over maps of random numbers.
    """

    exact: float | None = None
    opposite: float | None = None
    random: float | None = None


@dataclass(frozen=True, slots=True)
class Tags:
    """Optional class attributes of explainers, metrics and models, with their defaults.

    Attributes:
        needs: what it cannot do without. Of an explainer, out of `gradient` (a differentiable
            model), `module` (a torch module to hook), `truth`, and what can be read of the model:
            `linear`, `trees`, or `glass_box` (either, terms of single elements or one tree). Of a
            metric, out of `truth`, `rationale` and `groups`.
        paper: where the formula stands.
        version: raised whenever the same configuration yields other numbers.
        reproducible: False for what a clock or the operating system says.
        search: the settings that may be tuned, never the budget.
        library: of a wrapper, the package whose code it calls; its version is part of the content
            address.
        scale_invariant: of a metric, whether its scores stay when a map is multiplied by a positive
            number. False for metrics that compare attributions with outputs in size.
        sign_invariant: of a metric of fidelity or truth, whether a map and its negative score
            alike. True for metrics that read magnitudes only.
        permutation_invariant: of a metric of fidelity or truth, whether its scores stay when units
            are numbered in another order. False where random draws are keyed by the number of a
            unit, and for runs of neighbouring units.
        best_per_sample: of a metric of fidelity, whether no map beats the exact one of a linear
            model in any sample. False where that holds on average over random draws only.
        known_scores: of a metric, with its default settings, in the linear model of eight units
            worth 1, 2, ..., 8 on which `xai-bench check` tries it (three of them are relevant where
            a metric asks which units matter). Of a randomisation metric, `random` is the score of
            maps that have nothing to do with each other.
        known_scores_retrained: of a metric that retrains the model or explains other samples, in
            the tasks of `certify/retraining.py`.
    """

    needs: tuple[str, ...] = ()
    paper: str = ""
    version: int = 1
    reproducible: bool = True
    search: Mapping[str, Range | Choice] = field(default_factory=dict)
    library: str = ""
    scale_invariant: bool = True
    sign_invariant: bool = False
    permutation_invariant: bool = True
    best_per_sample: bool = True
    known_scores: KnownScores = KnownScores()
    known_scores_retrained: KnownScores | None = None


def tags_of(component: Any) -> Tags:
    """The tags of a component or of its class."""
    stated = {
        f.name: getattr(component, f.name) for f in fields(Tags) if hasattr(component, f.name)
    }
    return Tags(**stated)
