"""Paths of words: what one at a time adds up to, and that real words do not lead astray."""

from __future__ import annotations

import torch

from tests.evaluation.test_text import context  # noqa: F401
from xai_bench.core import units
from xai_bench.core.seeds import Seeds
from xai_bench.core.token_removal import TokenRemoval
from xai_bench.evaluation.context import ConfiguredExplainer, EvaluationContext
from xai_bench.evaluation.embeddings import at_embeddings
from xai_bench.explainers.gradient.token_paths import (
    DiscretisedIntegratedGradients,
    SequentialIntegratedGradients,
    _vocabulary,
)
from xai_bench.explainers.removal.occlusion import LeaveOneOut
from xai_bench.types import Inputs, Relaxable

MASK = TokenRemoval("mask")


def by_unit(explainer: object, context: EvaluationContext, inputs: Inputs) -> torch.Tensor:  # noqa: F811
    configured = at_embeddings(ConfiguredExplainer("it", explainer), inputs)  # type: ignore[arg-type]
    rng = Seeds(0).stream("explain", samples=inputs.index)
    found = configured.explainer.explain(
        context.model, inputs, context.targets[: len(inputs)], rng=rng
    )
    return units.pool(found.attribution.double(), inputs.units)


def test_one_word_at_a_time_adds_up_to_leaving_it_out(context: EvaluationContext) -> None:  # noqa: F811
    inputs = context.inputs.take(torch.arange(2))
    sequential = by_unit(SequentialIntegratedGradients(MASK, n_steps=12), context, inputs)
    left_out = by_unit(LeaveOneOut(MASK), context, inputs)
    torch.testing.assert_close(sequential, left_out, atol=2e-4, rtol=0)


def test_the_path_is_monotone_from_the_word_to_the_reference(context: EvaluationContext) -> None:  # noqa: F811
    assert isinstance(context.model, Relaxable)
    _, points = context.model.relaxed(context.inputs.take(torch.arange(2)))
    [start] = MASK.references(points, rng=context.seeds.stream("x", samples=points.index)).unbind(1)
    explainer = DiscretisedIntegratedGradients(MASK, n_steps=6, n_neighbours=4)
    path = torch.stack(explainer._path(start, points, _vocabulary(points)))
    real = points.units >= 0
    assert torch.equal(path[0], points.x)
    assert torch.equal(path[-1][real], start[real])
    assert torch.equal(path[3][~real], points.x[~real])
    way = (start - points.x)[real].sign()
    steps = path.diff(dim=0)[:, real]
    assert (steps * way >= -1e-6).all()
    straight = points.x + (start - points.x) * 3 / 6
    assert not torch.allclose(path[3][real], straight[real]), "real words bend it"
