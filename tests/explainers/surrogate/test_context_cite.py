"""The sparse surrogate of a context: exact where it can be, whatever the length of the answer."""

from __future__ import annotations

import torch

from xai_bench.certify import toy_worlds
from xai_bench.core.baselines import Constant
from xai_bench.core.seeds import Seeds
from xai_bench.explainers.surrogate.context_cite import ContextCite
from xai_bench.explainers.surrogate.lime import LIME, LassoLIME

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


def test_what_survives_does_not_depend_on_where_outputs_begin() -> None:
    """The penalty is in standard deviations: a constant that is added to all outputs is none."""
    kept = toy_worlds.normal(64, 6) > 0
    values = kept.double() @ torch.tensor(WEIGHT).double()[:, None]
    found, moved = (ContextCite(ZERO).solve(kept, values.T + c).values for c in (0.0, 100.0))
    torch.testing.assert_close(found, moved)
    assert (found != 0).sum() < 6


def test_a_design_begins_with_the_whole_and_has_as_many_as_asked_for() -> None:
    rng = Seeds(0).stream("test", samples=torch.arange(1)).shared()
    design = LIME(ZERO).design(5, 12, rng=rng)
    assert design.shape == (12, 5)
    assert design[0].all()
    assert not design[1:].all(1).all()
    assert LIME(ZERO).least(5) == 6, "an intercept and five coefficients"
