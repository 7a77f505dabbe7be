"""What components state of themselves as class attributes, and what holds where they do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from xai_bench.types.search import Choice, Range

EXPLAINER_NEEDS: Mapping[str, str] = {
    "gradient": "a differentiable model",
    "module": "a torch module, whose layers are hooked",
    "linear": "a model whose weights can be read",
    "trees": "a model whose trees can be read",
    "glass_box": "a model that is linear, additive or a single tree, and can be read",
    "hidden_layer": "a layer between x and the output",
    "convolution": "a convolution between x and the output, whose places lie over those of x",
    "relu": "nonlinearities that are nn.ReLU layers or maxima",
    "captum_lrp": "layers that captum's LRP has rules for, all of them between x and the output",
    "one_call": "`max_rows` that hold all its rows in one call",
    "table": "inputs that are rows of columns",
    "image": "inputs [channels, height, width], whose units are the same in all channels",
    "space": "inputs [channels, time] or [channels, height, width]",
    "attention": "a transformer that is written out here, whose attention can be looked at",
    "tokens": "token ids, or inputs [token, feature] in which a unit is a token",
    "vocabulary": "texts, whose tokens belong to a vocabulary",
    "ordered": "units whose values have an order: numbers and categories",
    "shared_units": "units that are the same in every sample",
    "no_context": "a model that is given x alone",
    "background": "background rows that differ",
    "labels": "true labels of the background rows",
    "truth": "written-down attributions",
}
"""What an explainer may need -> what that means."""

AXIOMS: Mapping[str, str] = {
    "dummy": "a unit that the model does not use gets 0",
    "symmetry": "units in the same role get the same",
    "linearity": "the map of a sum of models is the sum of their maps",
}
"""Axioms of attribution -> what they demand. Sundararajan & Najmi 2020, arXiv:1908.08474."""


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
        needs: what it cannot do without: where that is missing it raises `Unsupported`. Of an
            explainer, out of `EXPLAINER_NEEDS`. Of a metric, out of `truth`, `rationale`,
            `groups` and `vocabulary`.
        paper: where the formula stands.
        version: raised whenever the same configuration yields other numbers.
        reproducible: False for what a clock or the operating system says.
        fits_tokens: of an explainer, whether its `fit` makes sense of background rows that are
            texts, where the same place is another word in every row.
        search: the settings that may be tuned, never the budget.
        library: of a wrapper, the package whose code it calls; its version is part of the content
            address.
        breaks_axioms: of an explainer or a baseline, the axioms of attribution that it does not
            satisfy, out of `AXIOMS`. What a baseline breaks, every explainer with it breaks.
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
    fits_tokens: bool = False
    search: Mapping[str, Range | Choice] = field(default_factory=dict)
    library: str = ""
    breaks_axioms: tuple[str, ...] = ()
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
