"""A world in float64 is scored in float64: nothing is made in single precision on the way."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.support import toy_worlds
from tests.support.components import component, options
from xai_bench.metrics.probes.removal.curves import Curves
from xai_bench.types import Unsupported

SINGLE = (torch.float32, torch.float16, torch.bfloat16)


class NoSinglePrecision(TorchDispatchMode):
    """Notes every function that gives single precision and was given none."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if _has_single(out) and not _has_single((args, kwargs)):
            self.found.add(str(func))
        return out


def _has_single(values: Any) -> bool:
    return any(isinstance(v, Tensor) and v.dtype in SINGLE for v in tree_leaves(values))


@pytest.mark.sample(3)
@pytest.mark.sample(15, others="slow")
@pytest.mark.parametrize("name", options("metric"))
def test_a_metric_makes_nothing_in_single_precision(name: str) -> None:
    world = toy_worlds.tabular()
    case = world.case(toy_worlds.normal(*world.inputs.x.shape, seed=3))
    metric = component("metric", name)
    try:
        with NoSinglePrecision() as mode:
            metric.score(case)
    except Unsupported as reason:
        pytest.skip(str(reason))
    assert not mode.found


def test_what_is_looked_for_is_found() -> None:
    with NoSinglePrecision() as mode:
        torch.arange(3) / torch.tensor(3)
    assert mode.found


def test_an_area_has_the_digits_of_its_curve() -> None:
    """Of a line from 1 to 0 over three units, whose steps are no binary fractions."""
    line = torch.tensor([[1, 2 / 3, 1 / 3, 0]], dtype=torch.float64)
    curves = Curves(torch.arange(4)[None], torch.tensor([3]), line, line)
    assert curves.area(line).item() == pytest.approx(0.5, abs=1e-15)
