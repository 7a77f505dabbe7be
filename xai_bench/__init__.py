"""A reproducible benchmark harness for explanations of machine-learning models.

From Python: `workbench` takes a model and samples, `score` attributions alone, and `load` the
scores of what the command line has run.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xai_bench.adapters.comparison import Comparison
    from xai_bench.adapters.explanation import NamedExplanation
    from xai_bench.adapters.units import columns, patches, superpixels
    from xai_bench.api import Workbench, score, workbench
    from xai_bench.results.statistics.load import load
    from xai_bench.types import Unsupported

__all__ = [
    "Comparison",
    "NamedExplanation",
    "Unsupported",
    "Workbench",
    "columns",
    "load",
    "patches",
    "score",
    "superpixels",
    "workbench",
]

_HOMES = {
    "Comparison": "adapters.comparison",
    "NamedExplanation": "adapters.explanation",
    "Unsupported": "types",
    "Workbench": "api",
    "columns": "adapters.units",
    "load": "results.statistics.load",
    "patches": "adapters.units",
    "score": "api",
    "superpixels": "adapters.units",
    "workbench": "api",
}


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    """Import torch and the rest only when somebody asks for them: `--help` answers at once."""
    if name not in _HOMES:
        raise AttributeError(f"module 'xai_bench' has no attribute '{name}'")
    return getattr(importlib.import_module(f"xai_bench.{_HOMES[name]}"), name)
