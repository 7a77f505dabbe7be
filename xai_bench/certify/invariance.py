"""What may not change a score: other samples, other components, the scale of map and data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from xai_bench.certify.check_result import Verdict, format_number
from xai_bench.certify.metric_under_test import (
    CountedExplainer,
    Cubes,
    MetricUnderTest,
    case_of,
    eight_units,
    nearly_constant,
    same_bits,
    with_large_batches,
    with_truth,
)
from xai_bench.certify.toy_worlds import WORLDS, World, linear, normal
from xai_bench.certify.variants import with_model_variants
from xai_bench.core.cost import Metered
from xai_bench.evaluation.failures import attempt
from xai_bench.types import Case, Unsupported

GROUPS = ([1], [3, 2, 1], [2, 2])
"""Rows of a batch: one alone, some in reverse order, one twice."""

LARGEST = 1e8
"""A score beyond this, on data of about unit size, is taken for a division by nothing."""


def check_scores(subject: MetricUnderTest) -> Verdict:
    """One number or NaN per sample, on every kind of input."""
    faults: dict[str, str] = {}
    declined: dict[str, str] = {}
    for where, build in WORLDS.items():
        case = case_of(with_model_variants(build()))
        scores, outcome = attempt(False, lambda case=case: subject.small.score(case))  # type: ignore[misc]
        if outcome.status == "skipped":
            declined[where] = outcome.reason
        elif problem := outcome.reason or _malformed(scores, len(case.inputs)):
            faults[where] = problem
    if len(declined) == len(WORLDS):
        raise Unsupported(next(iter(declined.values())))
    shown = ", ".join(where for where in WORLDS if where not in declined)
    fault = "; ".join(f"{subject.name} on {where}: {what}" for where, what in faults.items())
    return Verdict(shown, fault)


def _malformed(scores: Any, n_samples: int) -> str:
    """What is wrong with the form of the scores; empty where nothing is."""
    if not isinstance(scores, Tensor):
        return f"gives {type(scores).__name__}; a tensor of one score per sample is expected"
    if scores.shape != (n_samples,):
        return f"gives shape {tuple(scores.shape)}; ({n_samples},), one per sample, is expected"
    if not scores.is_floating_point() or scores.requires_grad:
        return "gives scores that are no floats, or that still require gradients"
    return "gives infinity; what cannot be scored is NaN" * bool(scores.isinf().any())


def check_no_side_effects(subject: MetricUnderTest) -> Verdict:
    """The caller's tensors and generators stay as they were."""

    def fault(world: World) -> str:
        case, state = case_of(world), torch.get_rng_state()
        tensors = _tensors_of(case)
        before = [tensor.clone() for tensor in tensors]
        subject.small.score(case)
        if not all(map(torch.equal, before, tensors)):
            return f"{subject.name} writes into tensors that are not its own"
        drawn = not torch.equal(state, torch.get_rng_state())
        return f"{subject.name} draws from the global generator of torch" * drawn

    return Verdict("yes", _first_fault(fault))


def _tensors_of(case: Case) -> list[Tensor]:
    """What a metric could write into."""
    domain = case.inputs.domain
    tensors = [case.attribution, case.inputs.x, case.inputs.units, case.targets]
    tensors += [domain.background, domain.scale, case.cost.seconds]
    return tensors + [t for t in (case.truth, case.rationale, case.labels) if t is not None]


def check_batch_invariance(subject: MetricUnderTest) -> Verdict:
    """A sample has the same bits alone, in reverse order and twice in a batch."""

    def fault(world: World) -> str:
        # Ties are shuffled by streams, so that a stream keyed by the batch shows in a map of ties.
        for explainer in (Cubes(), Cubes(0.0)):  # a map of zeros has ties only
            together = subject.small.score(case_of(world, explainer))
            for rows in GROUPS:
                part = case_of(world.take(torch.tensor(rows)), explainer)
                if not same_bits(subject.small.score(part), together[rows]):
                    return f"{subject.name}: a sample's score depends on the rest of its batch"
        return ""

    return Verdict("yes", _first_fault(fault))


def check_explainer_independence(subject: MetricUnderTest) -> Verdict:
    """Explainers that were scored before, and share their measurements, change nothing."""

    def fault(world: World) -> str:
        shared: dict[Any, Any] = {}
        # Another map, so that what is remembered of it would be wrong for the one that follows.
        subject.small.score(case_of(world, Cubes(-0.3, noise=3.0), shared))
        alone = subject.small.score(case_of(world))
        same = same_bits(subject.small.score(case_of(world, shared=shared)), alone)
        return "" if same else f"{subject.name}: a score depends on what was explained before"

    return Verdict("yes", _first_fault(fault))


def check_scale_invariance(subject: MetricUnderTest) -> Verdict:
    """A map times 3 has the scores of the map, unless the metric states otherwise."""
    stated = subject.tags.scale_invariant
    return _keeps_scores(subject, Cubes(3.0), "multiplied by 3", "scale_invariant", stated)


def check_sign_invariance(subject: MetricUnderTest) -> Verdict:
    """The negative of a map has the scores of the map where the metric states so."""
    stated = subject.tags.sign_invariant
    return _keeps_scores(subject, Cubes(-1.0), "turned in sign", "sign_invariant", stated)


def _keeps_scores(
    subject: MetricUnderTest, changed: Cubes, change: str, tag: str, stated: bool
) -> Verdict:
    """Whether scores stay under a change of the map; they have to where the tag says so."""

    def differ(world: World) -> str:
        once, again = (subject.small.score(case_of(world, e)) for e in (Cubes(), changed))
        return "no" * (not torch.allclose(once, again, rtol=1e-9, atol=1e-12, equal_nan=True))

    shown = _first_fault(differ) or "yes"
    fault = f"{subject.name}: a map {change} has another score; if it should, let the class state "
    return Verdict(shown, f"{fault}{tag} = False" if stated and shown == "no" else "")


def check_data_scale_invariance(subject: MetricUnderTest) -> Verdict:
    """Data in other units, such as metres for kilometres, and a model that takes them."""
    # A power of 2, so that no rounding is added.
    small, large = (subject.small.against(0.0).score(_scaled(s)) for s in (1.0, 1024.0))
    same = torch.allclose(small, large, rtol=1e-6, atol=1e-9, equal_nan=True)
    means = f"{_mean(small)} becomes {_mean(large)}"
    fault = f"{subject.name}: {means} when the data are written in other units"
    return Verdict("yes", "" if same else fault)


def _mean(scores: Tensor) -> str:
    return format_number(scores.nanmean().item())


def check_bounded(subject: MetricUnderTest) -> Verdict:
    """A model that hardly depends on its input must not make a score explode."""
    largest = []
    # With 1e-12, drops have four digits left beside the output: a ratio to one would explode.
    for slope in (1.0, 1e-12):
        world = with_model_variants(nearly_constant(1.0, 6, slope))
        scores = subject.score(case_of(world)).abs().nan_to_num(nan=0.0)
        largest.append(format_number(scores.max().item()))
        exploded = bool(scores.max() > LARGEST)
    fault = f"{subject.name} grows from {largest[0]} to {largest[1]} on a model that hardly depends"
    return Verdict("yes", f"{fault} on its input" if exploded else "")


def check_zero_map_unscored(subject: MetricUnderTest) -> Verdict:
    """A map of zeros is neither stable nor simple."""

    def fault(world: World) -> str:
        scored = not subject.small.score(case_of(world, Cubes(0.0))).isnan().all()
        return f"{subject.name}: a map of zeros is scored; it should be NaN" * scored

    return Verdict("NaN", _first_fault(fault))


def check_rows(subject: MetricUnderTest) -> Verdict:
    """Model rows per sample, at eight units and one reference: never more in a larger batch."""
    alone, together = _rows(subject, 1), _rows(subject, 8)
    more = any(together[kind] > alone[kind] for kind in alone)
    fault = f"{subject.name} takes {_listed(alone)} alone, {_listed(together)} in a batch of eight"
    return Verdict(_listed(together), fault if more else "")


def _rows(subject: MetricUnderTest, n: int) -> dict[str, float]:
    """Kind of row -> how many a sample costs in a batch of `n`."""
    world, exact = eight_units(n)
    # It asks the model nothing, so that all rows are the metric's.
    counted: Any = CountedExplainer(Cubes())
    attribution: Any = world.explain(counted.explainer)
    case = with_truth(world.case(attribution, explainer=counted), exact)
    model = Metered(case.model)
    subject.against(0.0).score(replace(case, model=model))
    rows = model.usage.rows
    return {
        "forward": rows.forward / n,
        "gradient": rows.gradient / n,
        "explained again": sum(counted.n_rows) / n,
    }


def _listed(rows: dict[str, float]) -> str:
    return ", ".join(f"{value:.4g} {kind}" for kind, value in rows.items() if value) or "none"


def _scaled(scale: float) -> Case:
    """A linear model of data times `scale`, with the same outputs at every scale."""
    weight = normal(6, seed=3)
    world = linear((weight / scale).tolist(), x=normal(8, 6, seed=4) * scale)
    domain = world.inputs.domain
    domain = replace(domain, background=domain.background * scale, scale=domain.scale * scale)
    world = replace(world, inputs=replace(world.inputs, domain=domain))
    return case_of(with_model_variants(with_large_batches(world)))


def _first_fault(fault: Callable[[World], str]) -> str:
    """The fault in the first world that has one.

    Worlds in which the metric declines are passed over; `Unsupported` where it declines all.
    """
    reasons: list[str] = []
    faults: list[str] = []
    for build in WORLDS.values():
        try:
            faults.append(fault(with_model_variants(build())))
        except Unsupported as reason:
            reasons.append(str(reason))
    if not faults:
        raise Unsupported(reasons[0])
    return next(filter(None, faults), "")
