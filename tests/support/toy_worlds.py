"""The small exact worlds that components are tried on; `xai-bench check` uses them, too."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from xai_bench.certify.toy_worlds import (
    WORLDS,
    Linear,
    World,
    gates,
    image,
    linear,
    normal,
    seeded,
    series,
    tabular,
    text,
    world,
)
from xai_bench.types import Case

__all__ = [
    "WORLDS",
    "Function",
    "Linear",
    "World",
    "gates",
    "image",
    "linear",
    "normal",
    "seeded",
    "series",
    "stating",
    "tabular",
    "text",
    "world",
]


def stating(case: Case, **changes: Any) -> Case:
    """The same case of an explainer that says other things, such as `standard_error=...`."""
    return replace(case, explanation=replace(case.explanation, **changes))


class Function(nn.Module):
    """`x -> [f(x)]` for a function of rows."""

    def __init__(self, f: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x)[:, None]
