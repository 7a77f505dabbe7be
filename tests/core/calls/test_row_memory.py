"""How many rows go through a model at once follows from the bytes that a row takes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from xai_bench.core.calls.row_memory import _bytes_of_a_row, default_memory, row_bounds

ROW = torch.zeros(1, 1000)


def test_the_bytes_of_a_row_are_those_of_its_largest_two_neighbours() -> None:
    net = nn.Sequential(nn.Linear(1000, 500), nn.ReLU(), nn.Linear(500, 10)).requires_grad_(False)
    assert _bytes_of_a_row(net, ROW, gradient=False) == 4 * (500 + 500)


def test_a_way_back_keeps_what_was_computed() -> None:
    net = nn.Sequential(*[nn.Sequential(nn.Linear(1000, 1000), nn.ReLU()) for _ in range(4)])
    net.requires_grad_(False)
    assert _bytes_of_a_row(net, ROW, gradient=False) <= 4 * 3000
    assert _bytes_of_a_row(net, ROW, gradient=True) >= 4 * 4 * 1000


def test_weights_that_are_computed_anew_are_no_bytes_of_a_row() -> None:
    weight = torch.ones(1000, 1000)

    def model(x: Tensor) -> Tensor:
        return x @ (2 * weight)[:, :10]

    assert _bytes_of_a_row(model, ROW, gradient=False) <= 4 * 1000


@pytest.mark.parametrize("block", [1, 16])
def test_bounds_fall_with_memory_and_come_in_blocks(block: int) -> None:
    net = nn.Linear(1000, 10)
    all_bounds = [row_bounds(net, ROW, m, gradient=True, block=block) for m in (1 << 20, 1 << 31)]
    for bounds in all_bounds:
        rows = (bounds.forward, bounds.gradient, bounds.room)
        assert all(n % block == 0 and n >= 2 for n in rows)
    assert all_bounds[0].forward < all_bounds[1].forward
    assert all_bounds[0].forward * 4000 * 2 <= (1 << 20)


def test_rows_of_few_bytes_are_not_sent_in_calls_that_are_slow_again() -> None:
    bounds = row_bounds(nn.Linear(3, 2), torch.zeros(1, 3), 1 << 31, gradient=True)
    assert (bounds.forward, bounds.gradient, bounds.room) == (2048, 2048, 8192)


def test_what_is_taken_unasked_is_at_most_two_gigabytes() -> None:
    assert 0 < default_memory() <= 2 << 30
