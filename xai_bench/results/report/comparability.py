"""Which cells may share a table, and how those that differ in their settings are labelled."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from xai_bench.results.settings import flattened
from xai_bench.results.values import Cell, ExplainerResult

NAMES = ("data", "model", "view", "target", "baseline_explain", "baseline_measure")
_NUMBERED = {"fingerprint": "data", "code_version": "code"}
_CODE = ("code_version", "torch", "numpy", "scipy", "scikit-learn", "pandas")

Listing = list[tuple[Cell, list[ExplainerResult]]]


def comparable(listing: Listing) -> list[tuple[str, Listing]]:
    """Groups of cells that differ in nothing but the seed, each with a label.

    A change of data, settings, code or numeric libraries makes another group, so that it never
    hides in a mean. The label names the settings that differ from groups of the same data and
    model.
    """
    groups: dict[str, Listing] = {}
    for cell, results in listing:
        key = json.dumps([_names(cell), _settings(cell)], sort_keys=True, default=str)
        groups.setdefault(key, []).append((cell, results))
    # All cells of a group are alike but for the seed: the first one speaks for them.
    cells = [group[0][0] for group in groups.values()]
    chosen = variants([f"{cell.data} {cell.model}" for cell in cells], [_chosen(c) for c in cells])
    # A cell that failed early knows neither its data nor its libraries: that is no difference.
    settings = variants(
        [_names(cell) for cell in cells],
        [_settings(cell) for cell in cells],
        optional=("fingerprint", *_CODE),
    )
    labels = [", ".join(filter(None, both)) for both in zip(chosen, settings, strict=True)]
    return [(label, _labelled(group)) for label, group in zip(labels, groups.values(), strict=True)]


def but_for_baselines(cell: Cell) -> str:
    """A key that is equal for cells that differ in baselines and seeds only."""
    names = [getattr(cell, name) for name in NAMES if not name.startswith("baseline")]
    settings = {key: value for key, value in _settings(cell).items() if key != "baseline"}
    return json.dumps([names, settings], sort_keys=True, default=str)


def _names(cell: Cell) -> str:
    return " ".join(getattr(cell, name) for name in NAMES)


def _chosen(cell: Cell) -> dict[str, str]:
    """The chosen options that a title does not name anyway."""
    return {name: getattr(cell, name) for name in NAMES if name not in ("data", "model")}


def _settings(cell: Cell) -> dict[str, Any]:
    """Everything that decides the numbers of a cell but the seed."""
    # Seeds of one study differ by intention: they are the repetitions that a mean is over.
    config = {key: value for key, value in cell.config.items() if key != "seed"}
    code = {name: cell.environment.get(name, "") for name in _CODE}
    recorded = {"fingerprint": cell.fingerprint, **code}
    return {**config, **{name: value for name, value in recorded.items() if value}}


def _labelled(listing: Listing) -> Listing:
    """The results with a name per row: one row per setting of an explainer.

    Tuned settings have other values in every cell; all of them are one row.
    """
    distinct = {_row_key(result): result for _, results in listing for result in results}
    names = [name for name, _ in distinct]
    settings = variants(names, [shown_settings(result) for result in distinct.values()])
    labels = [
        f"{name} ({variant})" if variant and names.count(name) > 1 else name
        for name, variant in zip(names, settings, strict=True)
    ]
    label_of = dict(zip(distinct, numbered(labels), strict=True))
    return [
        (cell, [replace(result, explainer=label_of[_row_key(result)]) for result in results])
        for cell, results in listing
    ]


def _row_key(result: ExplainerResult) -> tuple[str, str]:
    return result.explainer, result.key if result.tuning is None else result.regime


def shown_settings(result: ExplainerResult) -> dict[str, Any]:
    """The explainer's settings, with `tuned` in place of values that were tuned."""
    return {**result.config, **dict.fromkeys((result.tuning or {}).get("best", ()), "tuned")}


def variants(
    names: Sequence[str], settings: Sequence[Mapping[str, Any]], optional: Collection[str] = ()
) -> list[str]:
    """For each name and its settings, those in which it differs from others of the same name.

    Hashes are numbered and the folders of a path left out. What is missing in another counts as a
    difference, unless it is `optional`.
    """
    flat = [flattened(config) for config in settings]
    labels = []
    for name, own in zip(names, flat, strict=True):
        namesakes = [other for other, n in zip(flat, names, strict=True) if n == name]
        values = {
            key: [other.get(key, own[key] if key in optional else None) for other in namesakes]
            for key in own
        }
        differing = [key for key in own if any(value != own[key] for value in values[key])]
        if "fingerprint" in differing and not _hidden_change(own, namesakes):
            differing.remove("fingerprint")
        labels.append(", ".join(_setting(key, own[key], values[key]) for key in differing))
    return labels


def _hidden_change(own: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> bool:
    """Whether other data came from the same settings of the data, so that no setting says it."""

    def of_data(config: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in config.items() if key.startswith("data.")}

    return any(
        of_data(other) == of_data(own)
        for other in others
        if other.get("fingerprint", own["fingerprint"]) != own["fingerprint"]
    )


def numbered(labels: Sequence[str]) -> list[str]:
    """Labels made distinct: `lime (1)`, `lime (2)`."""
    return [
        label if labels.count(label) == 1 else f"{label} ({labels[: i + 1].count(label)})"
        for i, label in enumerate(labels)
    ]


def _setting(key: str, value: Any, others: Sequence[Any]) -> str:
    """`model.width=32`; of a fingerprint or a hash, which of the `others` it is."""
    text = str(value)
    if key in _NUMBERED or re.fullmatch(r"[0-9a-f]{12,}", text):
        distinct = list(dict.fromkeys(str(other) for other in others))
        return f"{_NUMBERED.get(key, key)} {distinct.index(text) + 1}"
    return f"{key}={text.rpartition('/')[2] if isinstance(value, str) else text}"
