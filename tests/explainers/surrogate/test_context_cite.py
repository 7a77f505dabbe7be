"""The sparse surrogate of a context: exact where it can be, whatever the length of the answer."""

from __future__ import annotations

import torch

from xai_bench.certify import toy_worlds
from xai_bench.core.baselines import Constant
from xai_bench.explainers.surrogate.context_cite import ContextCite
from xai_bench.explainers.surrogate.lime import LassoLIME

ZERO = Constant(0.0)
WEIGHT = [8.0, 0.0, -3.0, 0.0, 0.05, 0.0]


def test_without_a_penalty_a_linear_model_is_read_off() -> None:
    found = toy_worlds.linear(WEIGHT).explain(ContextCite(ZERO, alpha=1e-9))
    torch.testing.assert_close(
        found, torch.tensor(WEIGHT).double().expand(3, -1), atol=1e-5, rtol=0
    )


def test_the_small_is_left_out_and_the_large_shrinks_by_the_penalty() -> None:
    """One coefficient: the lasso moves it by `alpha * sd / variance of membership`."""
    found = toy_worlds.linear(WEIGHT).explain(ContextCite(ZERO))[0]
    assert found[4] == 0
    assert 7 < found[0] < 8
    assert -3 < found[2] < -2
    [one] = toy_worlds.linear([4.0], n=1).explain(ContextCite(ZERO, budget=8))[0].tolist()
    assert 0 < one < 4


def test_what_survives_does_not_depend_on_the_length_of_the_answer() -> None:
    """An answer of 50 tokens has 50 times the log-probability: ten to the bit in powers of two."""
    short = toy_worlds.linear(WEIGHT).explain(ContextCite(ZERO))
    long = toy_worlds.linear([64 * w for w in WEIGHT]).explain(ContextCite(ZERO))
    assert torch.equal(long, 64 * short)
    per_token = toy_worlds.linear([w / 64 for w in WEIGHT]).explain(
        LassoLIME(ZERO, budget=64, width=torch.inf, alpha=0.05)
    )
    assert (per_token[0] != 0).sum() < (short[0] != 0).sum(), "the defect: divided by the length"


def test_a_model_that_ignores_its_context_gets_zeros() -> None:
    assert (toy_worlds.linear([0.0] * 4).explain(ContextCite(ZERO)) == 0).all()
