"""How far parts may miss their sum before something other than rounding is to blame."""

from __future__ import annotations

import torch

_ROUNDINGS = 16
"""How many roundings a pass forward and back may add up to, in units of the parts' size."""


def allowed_gap(tolerance: float, dtype: torch.dtype) -> float:
    """The gap that is allowed relative to the size of the parts: 0.125 in bfloat16."""
    return max(tolerance, _ROUNDINGS * torch.finfo(dtype).eps)


def cancelled(dtype: torch.dtype) -> float:
    """What large terms that cancel leave behind, relative to them.

    Nothing beyond the allowed gap in half precision, where it would allow anything.
    """
    eps = torch.finfo(dtype).eps
    return 100 * eps if eps < 1e-4 else 0.0


def precision_hint(dtype: torch.dtype) -> str:
    """A way out where precision may be to blame, as the end of a sentence."""
    if torch.finfo(dtype).eps < 1e-4:
        return ""
    name = str(dtype).removeprefix("torch.")
    return f", or {name} rounds too much for it: convert the network to float32"
