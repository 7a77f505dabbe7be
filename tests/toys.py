"""The small exact worlds that components are tried on; `xai-bench check` uses them, too."""

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

__all__ = [
    "WORLDS",
    "Linear",
    "World",
    "gates",
    "image",
    "linear",
    "normal",
    "seeded",
    "series",
    "tabular",
    "text",
    "world",
]
