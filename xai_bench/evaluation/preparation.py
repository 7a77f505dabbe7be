"""What comes before the first explanation: fitting, a rehearsal, and guards of what is shared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from xai_bench.core.cost import Usage, timed
from xai_bench.core.system.devices import device_of
from xai_bench.core.tokens import require_numbers
from xai_bench.core.units import width
from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric, EvaluationContext
from xai_bench.evaluation.guard import Guard, of_inputs
from xai_bench.evaluation.placement import device_for, placed
from xai_bench.types import Anytime, Explainer, Fitted, Inputs, Model, Unsupported, tags_of


def measures_cost(metrics: Sequence[ConfiguredMetric]) -> bool:
    """Whether somebody asks for seconds or memory, which a first call would have too much of."""
    costs = [each.metric for each in metrics if each.metric.category == "cost"]
    return any(not tags_of(metric).reproducible for metric in costs)


def prepare(
    context: EvaluationContext, configured: ConfiguredExplainer, warm_up: bool
) -> tuple[Explainer, Usage]:
    """The explainer, fitted where it has to be, and what fitting used.

    With `warm_up` one sample is explained first, so that lazy imports and caches are not timed: at
    a small budget, where there is one.
    """
    explainer, usage = configured.explainer, Usage()
    device_for(explainer, device_of(context.model.module))  # raises where it cannot work
    if not warm_up and not isinstance(explainer, Fitted):
        return explainer, usage
    with shared_guard(context).watched(f"explainer '{configured.name}'"):
        if isinstance(explainer, Fitted):
            with timed(context.model) as metered:
                explainer = fitted(context, explainer, metered)
            usage = metered.usage
        if warm_up:
            _rehearse(context, explainer)
    return explainer, usage


def _rehearse(context: EvaluationContext, explainer: Explainer) -> None:
    """Explain one sample; what comes of it is thrown away."""
    first = placed(context, explainer, context.inputs.take(torch.arange(1)))
    targets = context.targets[:1].to(first.x.device)
    rng = context.stream("explain", inputs=first)
    if isinstance(explainer, Anytime):
        # What samplers need at least: each unit alone and all others, and both ends.
        few = [min(explainer.budget, 2 * width(first.units) + 2)]
        try:
            next(explainer.anytime(context.model, first, targets, few, rng=rng))
            return
        except Unsupported:  # too small a budget for this explainer, or too many references
            pass
    explainer.explain(context.model, first, targets, rng=rng)


def shared_guard(context: EvaluationContext) -> Guard:
    """Watches what all batches share: the model, the units and the domain."""
    copies, module = context.copies, context.model.module
    named = of_inputs(context.inputs).items()
    shared = {name: value for name, value in named if not name.startswith(_OF_BATCHES)}
    return Guard.of(shared, copies.of_module(module), copies=copies)


_OF_BATCHES = ("inputs.x", "inputs.index", "inputs.context")
"""Every batch takes rows of these, which are copies."""


def fitted(context: EvaluationContext, explainer: Explainer, model: Model) -> Explainer:
    """The explainer made ready; itself, where it has no `fit`. Raises `Unsupported` where its `fit`
    makes no sense of texts.
    """
    if not isinstance(explainer, Fitted):
        return explainer
    if not tags_of(explainer).fits_tokens:
        require_numbers(context.inputs.domain, "what is fitted to columns of the background")
    rng = context.seeds.stream("fit", samples=torch.zeros(1, dtype=torch.long))
    return explainer.fit(model, background(context.inputs), rng=rng)


def background(inputs: Inputs) -> Inputs:
    """The domain's background rows as inputs, with the units of the first sample."""
    domain = inputs.domain
    rows = torch.zeros(len(domain.background), dtype=torch.long)
    return replace(inputs.take(rows), x=domain.background, context=domain.context)
