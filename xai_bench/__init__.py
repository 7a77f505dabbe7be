"""A reproducible benchmark harness for explanations of machine-learning models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xai_bench.api import Workbench, workbench
    from xai_bench.results.statistics.load import load
    from xai_bench.types import Unsupported

__all__ = ["Unsupported", "Workbench", "load", "workbench"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Import torch and the rest only when somebody asks for them: `--help` answers at once."""
    if name == "Unsupported":
        from xai_bench.types import Unsupported

        return Unsupported
    if name == "load":
        from xai_bench.results.statistics.load import load

        return load
    if name in __all__:
        from xai_bench import api

        return getattr(api, name)
    raise AttributeError(f"module 'xai_bench' has no attribute '{name}'")
