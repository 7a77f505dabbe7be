"""Gradients of many outputs at once, where each depends on a row of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def row_gradients(
    outputs: Tensor,
    at: Sequence[Tensor],
    *,
    retain_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor, ...]:
    """`outputs [B]` to their gradients at each of `at [B, ...]`; settings are those of torch.

    Rows do not mix, so the gradient of their sum holds the gradient of each. To check the shape of
    weights for several outputs, torch would import sympy, which takes half a second.
    """
    with torch.enable_grad():
        total = outputs.sum()
    return torch.autograd.grad(
        total, tuple(at), retain_graph=retain_graph, allow_unused=allow_unused
    )
