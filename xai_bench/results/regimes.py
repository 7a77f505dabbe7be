"""The regime under which an explainer competes: paper defaults, an equal budget, or tuned.

They are read off the configuration that was run, so that no flag can claim otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

PAPER = "paper defaults"
OWN = "own settings"
TUNED = "tuned on "
_ABSENT = object()


def at_budgets(config: Mapping[str, Any], budgets: Sequence[int]) -> list[dict[str, Any]]:
    """An explainer's configuration at each budget; once, as it is, where it has none."""
    if "budget" not in config or not budgets:
        return [dict(config)]
    return [{**config, "budget": budget} for budget in budgets]


def describe(config: Mapping[str, Any], shipped: Mapping[str, Any], *, equal: bool = False) -> str:
    """The settings by which a configuration differs from the one its YAML ships.

    `equal` says that the budget was set for all, so it is named even where it is the shipped one.
    """
    if not shipped:
        return OWN
    apart = dict(_differences(config, shipped))
    budget = apart.pop("budget", config.get("budget") if equal else None)
    parts = [] if budget is None else [f"budget {budget} rows"]
    return ", ".join([*parts, *(f"{name}={value}" for name, value in apart.items())]) or PAPER


def _differences(config: Any, shipped: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of each setting that is not as shipped."""
    if not isinstance(config, Mapping) or not isinstance(shipped, Mapping):
        if config != shipped:
            yield prefix.removesuffix("."), "left out" if config is _ABSENT else config
        return
    for key in dict.fromkeys([*config, *shipped]):
        mine, theirs = config.get(key, _ABSENT), shipped.get(key, _ABSENT)
        yield from _differences(mine, theirs, f"{prefix}{key}.")
