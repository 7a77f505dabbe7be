"""The regime under which an explainer competes: paper defaults, an equal budget, or tuned.

A regime is read off the configuration that was run, so that no flag can claim otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xai_bench.results.settings import differences

PAPER = "paper defaults"
OWN = "own settings"
TUNED = "tuned on "


def at_budgets(config: Mapping[str, Any], budgets: Sequence[int]) -> list[dict[str, Any]]:
    """An explainer's configuration at each budget; once, unchanged, where it has no `budget`."""
    if "budget" not in config or not budgets:
        return [dict(config)]
    return [{**config, "budget": budget} for budget in budgets]


def describe(config: Mapping[str, Any], shipped: Mapping[str, Any], *, equal: bool = False) -> str:
    """The settings by which a configuration differs from the one its YAML ships.

    `equal` says that the budget was set for all explainers, so it is named even where it is the
    shipped one. `shipped` is empty for an explainer without a YAML, whose regime is `OWN`.
    """
    if not shipped:
        return OWN
    changed = differences(config, shipped)
    budget = changed.pop("budget", config.get("budget") if equal else None)
    parts = [] if budget is None else [f"budget {budget} rows"]
    return ", ".join([*parts, *(f"{name}={value}" for name, value in changed.items())]) or PAPER
