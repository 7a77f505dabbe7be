"""Coalitions under sliding windows are the same, built at once or block by block."""

from __future__ import annotations

import pytest
import torch

from xai_bench.core.sliding_windows import Axis, WindowDesign
from xai_bench.explainers.removal.occlusion import shared_drops


@pytest.mark.parametrize(
    "axes",
    [
        [Axis.of(7, 1, 1)],
        [Axis.of(7, 3, 2)],
        [Axis.of(2, 3, 1)],
        [Axis.of(5, 2, 1), Axis.of(4, 3, 3)],
        [Axis.of(6, 4, 4), Axis.of(3, 1, 1), Axis.of(2, 2, 1)],
    ],
)
def test_blocks_and_means_are_those_of_the_whole(axes: list[Axis]) -> None:
    design = WindowDesign.over(*axes)
    whole = design.built(design.rows)
    assert whole[0].all()
    assert (~whole[1:]).any(0).all(), "every unit is under a window"
    both = torch.cat([design.part(0, 3, 2)[:, :], design.part(3, None, 2)[:, :]], dim=1)
    assert torch.equal(both, whole.expand(2, -1, -1))
    values = torch.randn(2, len(whole), dtype=torch.float64)
    torch.testing.assert_close(design.mean_drops(values), shared_drops(whole, values).values)


def test_the_last_window_ends_at_the_last_place() -> None:
    assert Axis.of(5, 3, 2).starts.tolist() == [0, 2]
    assert Axis.of(6, 3, 2).starts.tolist() == [0, 2, 3]
