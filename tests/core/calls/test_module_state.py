"""A module is given back as it was, whatever was done to it meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
import torch
from torch import nn

from xai_bench.core.calls.module_state import ModuleState, borrowed, fingerprint


def network() -> nn.Sequential:
    """In mixed modes, with a frozen weight, a gradient, a buffer and a hook."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2)).train()
    net[1].eval()
    net[3].bias.requires_grad_(requires_grad=False)
    net[0].weight.grad = torch.ones(4, 3)
    net[2].register_forward_hook(lambda *_: None)
    return net


def _replace_weight(net: nn.Sequential) -> None:
    net[0].weight = nn.Parameter(torch.zeros(4, 3))


DAMAGE: dict[str, Callable[[nn.Sequential], object]] = {
    "weights": lambda net: net[0].weight.data.mul_(2),
    "weights by numpy": lambda net: net[0].weight.detach().numpy().__imul__(2),
    "another shape": lambda net: setattr(net[0].weight, "data", torch.zeros(2, 2)),
    "another parameter": _replace_weight,
    "statistics": lambda net: net[1].running_mean.add_(1),
    "NaN": lambda net: net[1].running_var.fill_(torch.nan),
    "mode": lambda net: net[1].train(),
    "mode of all": lambda net: net.eval(),
    "frozen": lambda net: net.requires_grad_(requires_grad=False),
    "melted": lambda net: net[3].bias.requires_grad_(),
    "a gradient": lambda net: setattr(net[3].weight, "grad", torch.ones(2, 4)),
    "no gradient": lambda net: net.zero_grad(),
    "another gradient": lambda net: net[0].weight.grad.add_(1),
    "a hook": lambda net: net[0].register_forward_hook(lambda *_: None),
    "a hook before": lambda net: net[0].register_forward_pre_hook(lambda *_: None),
    "a hook of gradients": lambda net: net[0].register_full_backward_hook(lambda *_: None),
    "no hook": lambda net: net[2]._forward_hooks.clear(),
    "a layer": lambda net: net.append(nn.ReLU()),
    "another layer": lambda net: net.__setitem__(2, nn.Identity()),
    "a buffer": lambda net: net.register_buffer("extra", torch.ones(1)),
}


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.parametrize("error", [False, True])
def test_every_damage_is_seen_and_undone(name: str, error: bool) -> None:
    net = network()
    before, layers, mark = ModuleState.of(net), list(net), fingerprint([net])
    weight = net[0].weight
    with suppress(RuntimeError), borrowed([net]):
        assert not any(layer.training for layer in net.modules())
        assert not any(p.requires_grad for p in net.parameters())
        with torch.no_grad():
            DAMAGE[name](net)
        if error:
            raise RuntimeError
    assert before.changes() == []
    assert list(net) == layers
    assert net[0].weight is weight
    assert fingerprint([net]) == mark
    with torch.no_grad():
        DAMAGE[name](net)
    assert before.changes() != []
    before.restore()
    assert before.changes() == []


def test_what_a_module_writes_into_its_own_buffers_can_be_left_out() -> None:
    net = network()
    before = ModuleState.of(net)
    net[1].num_batches_tracked.add_(1)
    net.register_buffer("extra", torch.ones(1))
    assert before.changes(buffers=False) == []
    assert before.changes() != []


def test_a_fingerprint_is_that_of_the_bits() -> None:
    net = network()
    mark = fingerprint([net])
    assert fingerprint([net]) == mark
    net[1].num_batches_tracked.add_(1)
    assert fingerprint([net]) != mark
