"""A coalition is its own map of elements where units are pixels, and is looked up elsewhere."""

from __future__ import annotations

import math

import pytest
import torch

from xai_bench.core import coalitions
from xai_bench.core.baselines import Background
from xai_bench.core.coalitions import PermutedDesign
from xai_bench.core.seeds import Seeds
from xai_bench.types import Domain, Inputs


@pytest.mark.parametrize("shape", [(6,), (1, 2, 3), (3, 2, 3), (2, 1, 3), (3, 1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("permuted", [False, True])
def test_units_that_span_channels_are_removed_as_any_others(
    shape: tuple[int, ...], dtype: torch.dtype, permuted: bool
) -> None:
    """A unit for each pixel is not looked up: the points are those of a map that is."""
    generator = torch.Generator().manual_seed(0)
    inner = shape[-2:] if len(shape) == 3 else shape
    n_units = math.prod(inner)
    pixels = torch.arange(n_units).view(inner).expand(4, *shape)
    x = torch.randn(4, *shape, generator=generator, dtype=dtype)
    design = torch.rand(5, n_units, generator=generator) < 0.5
    columns = torch.stack([torch.randperm(n_units, generator=generator) for _ in range(4)])
    kept = design[:, columns].transpose(0, 1)
    if permuted:  # in words of bits
        kept = PermutedDesign(design, columns)[:, :]  # type: ignore[misc]
    domain = Domain(x, torch.ones(shape, dtype=dtype))
    points = []
    for units in (pixels, pixels.clone()):
        inputs = Inputs(x=x, units=units, index=torch.arange(4), domain=domain)
        rng = Seeds(0).stream("explain", samples=inputs.index)
        points.append(coalitions.points(inputs, kept, Background(), rng=rng))
    assert torch.equal(*points)
    assert points[0].shape == (4, 5, 4, *shape)
    assert coalitions._own_shape(pixels) is not None
    assert coalitions._own_shape(pixels.clone()) is None


def test_units_in_another_order_are_looked_up() -> None:
    for pixels in (torch.arange(6).flip(0), torch.zeros(6, dtype=torch.long)):
        assert coalitions._own_shape(pixels.view(2, 3).expand(4, 3, 2, 3)) is None
