"""Our AdamW is torch's, to the last bit."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from xai_bench.models.fitting.adamw import AdamW


@pytest.mark.slow
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_steps_are_those_of_torch(weight_decay: float) -> None:
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(5, 40), nn.ReLU(), nn.Linear(40, 1))
    theirs = copy.deepcopy(ours)
    own = AdamW([*ours.parameters(), nn.Parameter(torch.ones(1))], 2e-3, weight_decay)
    other = torch.optim.AdamW(theirs.parameters(), lr=2e-3, weight_decay=weight_decay)
    for _ in range(60):
        x = torch.randn(16, 5)
        for network, optimiser in ((ours, own), (theirs, other)):
            optimiser.zero_grad()
            (network(x) - x.sum(1, keepdim=True)).square().mean().backward()
            optimiser.step()
    for mine, torchs in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, torchs)
