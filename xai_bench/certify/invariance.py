"""What may not change a score: other samples, other components, the scale of the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from xai_bench.certify.finding import CheckResult, number, verdict
from xai_bench.certify.metric_under_test import (
    Cubes,
    MetricUnderTest,
    case_of,
    flat,
    ladder,
    metered,
    roomy,
    same,
    told,
)
from xai_bench.certify.toy_worlds import WORLDS, World, linear, normal
from xai_bench.certify.variants import equipped
from xai_bench.evaluation.failures import attempt
from xai_bench.types import Unsupported

GROUPS = ([1], [3, 2, 1], [2, 2])
"""Alone, in reverse, twice."""


def one_number(subject: MetricUnderTest) -> CheckResult:
    """One number or NaN per sample, on every kind of input."""
    found: dict[str, str] = {}
    declined: dict[str, str] = {}
    for where, build in WORLDS.items():
        world = equipped(build())
        values, outcome = attempt(False, lambda world=world: subject.small.score(case_of(world)))  # type: ignore[misc]
        if values is None and outcome.status == "skipped":
            declined[where] = outcome.reason
        elif values is None:
            found[where] = outcome.reason
        elif values.shape != (len(world.inputs),) or values.isinf().any() or values.requires_grad:
            found[where] = f"gives {tuple(values.shape)} or infinity"
    if len(declined) == len(WORLDS):
        raise Unsupported(next(iter(declined.values())))
    shown = ", ".join(where for where in WORLDS if where not in declined)
    fault = "; ".join(f"{subject.name} on {where}: {what}" for where, what in found.items())
    return verdict("scores", shown, fault)


def untouched(subject: MetricUnderTest) -> CheckResult:
    """The caller's tensors and generators stay as they were."""

    def wrong(world: World) -> str:
        case, state = case_of(world), torch.get_rng_state()
        domain = case.inputs.domain
        seen = [case.attribution, case.inputs.x, case.inputs.units, case.targets]
        seen += [domain.background, domain.scale, case.cost.seconds]
        seen += [t for t in (case.truth, case.rationale, case.labels) if t is not None]
        before = [tensor.clone() for tensor in seen]
        subject.small.score(case)
        if not all(map(torch.equal, before, seen)):
            return f"{subject.name} writes into tensors that are not its own"
        drawn = not torch.equal(state, torch.get_rng_state())
        return f"{subject.name} draws from the global generator of torch" * drawn

    return verdict("caller's tensors and generators untouched", "yes", _anywhere(wrong))


def batches(subject: MetricUnderTest) -> CheckResult:
    """A sample has the same bits alone, in reverse order and twice in a batch."""

    def wrong(world: World) -> str:
        for explainer in (Cubes(), Cubes(0.0)):
            whole = subject.small.score(case_of(world, explainer))
            for rows in GROUPS:
                part = case_of(world.take(torch.tensor(rows)), explainer)
                if not same(subject.small.score(part), whole[rows]):
                    return f"{subject.name}: a sample's score depends on the rest of its batch"
        return ""

    return verdict("same bits in any batch and order", "yes", _anywhere(wrong))


def company(subject: MetricUnderTest) -> CheckResult:
    """Other explainers that were judged before change nothing."""

    def wrong(world: World) -> str:
        shared: dict[Any, Any] = {}
        subject.small.score(case_of(world, Cubes(-0.3, noise=3.0), shared))
        alone = subject.small.score(case_of(world))
        alike = same(subject.small.score(case_of(world, shared=shared)), alone)
        return "" if alike else f"{subject.name}: a score depends on who was judged before"

    return verdict("same bits in any company", "yes", _anywhere(wrong))


def size_of_map(subject: MetricUnderTest) -> CheckResult:
    """Whether the size of a map counts: told, not judged."""

    def matters(world: World) -> str:
        once, thrice = (subject.small.score(case_of(world, Cubes(f))) for f in (1.0, 3.0))
        alike = torch.allclose(once, thrice, rtol=1e-9, atol=1e-12, equal_nan=True)
        return "" if alike else "no"

    return CheckResult("ignores the size of a map", _anywhere(matters) or "yes")


def scale_of_data(subject: MetricUnderTest) -> CheckResult:
    """Data in other units, such as metres for kilometres, and a model that knows it."""
    small, large = (subject.small.against(0.0).score(_scaled(s)) for s in (1.0, 1024.0))
    alike = torch.allclose(small, large, rtol=1e-6, atol=1e-9, equal_nan=True)
    means = f"{number(small.nanmean().item())} becomes {number(large.nanmean().item())}"
    fault = f"{subject.name}: {means} when the data are written in other units"
    return verdict("same in other units of the data", "yes", "" if alike else fault)


def nearly_flat(subject: MetricUnderTest) -> CheckResult:
    """A model that hardly listens must not make a score explode."""
    limit = 1e8
    values = []
    for slope in (1.0, 1e-12):
        world = equipped(flat(1.0, 6, slope))
        values.append(subject.score(case_of(world)).abs().nan_to_num(nan=0.0).max().item())
    fault = f"{subject.name} grows to {number(values[1])} where the model hardly listens, from "
    fault += number(values[0])
    return verdict("bounded on a flat model", "yes", fault if values[1] > limit else "")


def zero_is_not_scored(subject: MetricUnderTest) -> CheckResult:
    """A map of zeros is neither stable nor simple."""

    def wrong(world: World) -> str:
        scored = not subject.small.score(case_of(world, Cubes(0.0))).isnan().all()
        return f"{subject.name}: a map of zeros is scored; it should be NaN" * scored

    return verdict("map of zeros", "NaN", _anywhere(wrong))


def rows(subject: MetricUnderTest) -> CheckResult:
    """Counted, at eight units and one reference; never more for being in a larger batch."""
    alone, among = _rows(subject, 1), _rows(subject, 8)
    more = any(among[kind] > alone[kind] for kind in alone)
    fault = f"{subject.name} takes {_words(alone)} alone, {_words(among)} in a batch of eight"
    return verdict("rows per sample", _words(among), fault if more else "")


def _rows(subject: MetricUnderTest, n: int) -> dict[str, float]:
    world, exact = ladder(n)
    explainer: Any = Cubes()
    case = told(world.case(world.explain(explainer), explainer=explainer), exact)
    case, meter, explained = metered(case)
    subject.against(0.0).score(case)
    bill = meter.usage.rows
    return {
        "forward": bill.forward / n,
        "gradient": bill.gradient / n,
        "explained anew": sum(explained) / n,
    }


def _words(counted: dict[str, float]) -> str:
    return ", ".join(f"{value:.4g} {kind}" for kind, value in counted.items() if value) or "none"


def _scaled(scale: float) -> Any:
    weight = normal(6, seed=3)
    world = roomy(linear((weight / scale).tolist(), x=normal(8, 6, seed=4) * scale))
    domain = world.inputs.domain
    domain = replace(domain, background=domain.background * scale, scale=domain.scale * scale)
    return case_of(equipped(replace(world, inputs=replace(world.inputs, domain=domain))))


def _anywhere(wrong: Callable[[World], str]) -> str:
    """What is wrong in the first world in which something is.

    Worlds in which the metric declines are passed over; `Unsupported` where it declines all.
    """
    reasons, faults = [], []
    for build in WORLDS.values():
        try:
            faults.append(wrong(equipped(build())))
        except Unsupported as reason:
            reasons.append(str(reason))
    if not faults:
        raise Unsupported(reasons[0])
    return next(filter(None, faults), "")
