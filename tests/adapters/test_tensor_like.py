"""An explanation is used where a tensor is expected, as its attribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import xai_bench
from xai_bench.adapters.explanation import NamedExplanation


@pytest.fixture(scope="module")
def both() -> tuple[NamedExplanation, Tensor]:
    torch.manual_seed(0)
    bench = xai_bench.workbench(
        nn.Linear(4, 2), torch.randn(3, 4), background=torch.randn(9, 4), target=1
    )
    explanation = bench.explain("input_x_gradient")
    return explanation, explanation.attribution.clone()


def test_arithmetic_and_functions_see_the_attribution(
    both: tuple[NamedExplanation, Tensor],
) -> None:
    explanation, plain = both
    assert torch.equal(explanation - 2 * explanation, plain - 2 * plain)
    assert torch.equal(plain / explanation, plain / plain)
    assert torch.equal(1 - explanation, 1 - plain)
    assert torch.equal(torch.stack([explanation, plain]), torch.stack([plain, plain]))
    assert torch.allclose(explanation, plain)
    assert explanation.abs().max() == abs(plain).max() == abs(explanation).max()
    assert explanation.dtype == plain.dtype
    assert np.array_equal(np.asarray(explanation), plain.numpy())
    with pytest.raises(AttributeError, match="has no 'atribution'"):
        _ = explanation.atribution


def test_what_is_written_into_it_is_scored(both: tuple[NamedExplanation, Tensor]) -> None:
    torch.manual_seed(0)
    bench = xai_bench.workbench(
        nn.Linear(4, 2), torch.randn(3, 4), background=torch.randn(9, 4), target=1
    )
    broken = bench.explain("input_x_gradient")
    broken[0, 1] = float("nan")
    scores = bench.score(broken, "gini")["gini"]
    assert scores.isnan().tolist() == [True, False, False]
