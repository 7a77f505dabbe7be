"""Which cells may share a table, and what to call things that differ in their settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from xai_bench.results.settings import flattened
from xai_bench.results.values import Cell, ExplainerResult

NAMES = ("data", "model", "view", "target", "baseline_explain", "baseline_measure")
_CODE = ("code_version", "torch", "numpy", "scipy", "scikit-learn", "pandas")

Listing = list[tuple[Cell, list[ExplainerResult]]]


def comparable(listing: Listing) -> list[tuple[str, Listing]]:
    """Cells that differ in nothing but the seed, together with what tells them from other groups.

    A change of data, settings, code or numeric libraries never hides in a mean.
    """
    groups: dict[str, Listing] = {}
    for cell, explanations in listing:
        key = json.dumps([_names(cell), _settings(cell)], sort_keys=True, default=str)
        groups.setdefault(key, []).append((cell, explanations))
    cells = [group[0][0] for group in groups.values()]
    chosen = variants([f"{cell.data} {cell.model}" for cell in cells], [_chosen(c) for c in cells])
    tuned = variants([_names(cell) for cell in cells], [_settings(cell) for cell in cells])
    told = [", ".join(filter(None, both)) for both in zip(chosen, tuned, strict=True)]
    return [(v, _told_apart(group)) for v, group in zip(told, groups.values(), strict=True)]


def but_for_baselines(cell: Cell) -> str:
    """What cells share that differ in baselines and seeds at most."""
    names = [getattr(cell, name) for name in NAMES if not name.startswith("baseline")]
    settings = {key: value for key, value in _settings(cell).items() if key != "baseline"}
    return json.dumps([names, settings], sort_keys=True, default=str)


def _names(cell: Cell) -> str:
    return " ".join(getattr(cell, name) for name in NAMES)


def _chosen(cell: Cell) -> dict[str, str]:
    """What a title does not say anyway."""
    return {name: getattr(cell, name) for name in NAMES if name not in ("data", "model")}


def _settings(cell: Cell) -> dict[str, Any]:
    """Everything but the seed."""
    config = {key: value for key, value in cell.config.items() if key != "seed"}
    code = {name: cell.environment.get(name, "") for name in _CODE}
    return {**config, "fingerprint": cell.fingerprint, **code}


def _told_apart(listing: Listing) -> Listing:
    """An explainer whose settings changed between cells becomes one row per setting.

    What was tuned is tuned in every cell, to other values in each: that is one row.
    """
    distinct = {_contender(e): e for _, explanations in listing for e in explanations}
    names = [name for name, _ in distinct]
    told = variants(names, [settled(e) for e in distinct.values()])
    labels = {
        (name, key): name if names.count(name) == 1 else f"{name} ({variant or key[:4]})"
        for (name, key), variant in zip(distinct, told, strict=True)
    }
    return [
        (cell, [replace(e, explainer=labels[_contender(e)]) for e in explanations])
        for cell, explanations in listing
    ]


def _contender(one: ExplainerResult) -> tuple[str, str]:
    return one.explainer, one.key if one.tuning is None else one.regime


def settled(one: ExplainerResult) -> dict[str, Any]:
    """Its settings; of those that were tuned, only that they were."""
    return {**one.config, **dict.fromkeys((one.tuning or {}).get("best", ()), "tuned")}


def variants(names: Sequence[str], settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each of several things, the settings in which it differs from those of the same name."""
    flat = [flattened(config) for config in settings]
    found = []
    for name, mine in zip(names, flat, strict=True):
        others = [other for other, theirs in zip(flat, names, strict=True) if theirs == name]
        apart = [k for k in mine if any(other.get(k) != mine[k] for other in others)]
        found.append(", ".join(f"{key}={mine[key]}" for key in apart))
    return found
