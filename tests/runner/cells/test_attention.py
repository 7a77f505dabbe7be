"""The attention that a report shows is the model's own."""

from __future__ import annotations

import torch

from tests.evaluation.test_text import context  # noqa: F401
from xai_bench.evaluation.context import EvaluationContext
from xai_bench.explainers.attention.methods import AttentionRollout
from xai_bench.runner.cells.attention import N_SAMPLES, attention_of


def test_rows_sum_to_one_and_the_read_row_is_that_of_rollout(
    context: EvaluationContext,  # noqa: F811
) -> None:
    found = attention_of(context)
    assert len(found) == N_SAMPLES
    for row, one in enumerate(found):
        n = int(context.inputs.context["length"][row])
        assert len(one.tokens) == n
        assert one.weights.shape[-2:] == (n, n)
        torch.testing.assert_close(
            one.weights.float().sum(-1), torch.ones(one.weights.shape[:3]), rtol=0, atol=1e-2
        )
        torch.testing.assert_close(one.rollout.sum(-1), torch.ones(n))
        inputs = context.inputs.take(torch.tensor([row]))
        rng = context.seeds.stream("explain", samples=inputs.index)
        mean = AttentionRollout().explain(context.model, inputs, context.targets[[row]], rng=rng)
        words = inputs.units[0] >= 0
        expected = one.rollout[0][words[:n]]  # the classifier reads the first place
        torch.testing.assert_close(mean.attribution[0][words], expected, rtol=0, atol=1e-5)
