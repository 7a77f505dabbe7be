"""`xai-bench show NAME`: one component with its settings, its paper and what to type."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xai_bench.core.spelling import suggest
from xai_bench.runner.config import catalogue
from xai_bench.runner.config.catalogue import GROUPS, SETS, Entry
from xai_bench.runner.config.messages import UsageError

_CHECKED = ("explainer", "metric")
_NO_SETTINGS = ("_target_", "_args_", "_convert_", "_recursive_", "_partial_", "defaults")


def text(name: str, folders: Sequence[Path]) -> str:
    """The page of every component of this name, one per group. Raises `UsageError` for none."""
    entries = [entry for group in GROUPS for entry in catalogue.entries(group, folders)]
    of_that_name = [entry for entry in entries if entry.name == name]
    if not of_that_name:
        advice = suggest(name, {entry.name for entry in entries})
        raise UsageError(f"show {name}: there is no such component; {advice}")
    return "\n\n".join("\n".join(_lines(entry, folders)) for entry in of_that_name)


def _lines(entry: Entry, folders: Sequence[Path]) -> Iterator[str]:
    yield f"{entry.name} {entry.arrow}".strip() + f" ({_kind(entry)})"
    yield from ("", *_indented(_description(entry)), "")
    rows = dict(_facts(entry))
    width = max(map(len, rows), default=0)
    yield from (f"  {key:<{width}}  {value}" for key, value in rows.items())
    settings = _settings(entry, folders)
    if settings:
        yield from ("", "Settings, as they are unless you set them:")
        prefix = f"{entry.group}.{entry.name}" if entry.group in SETS else entry.group
        yield from (f"  {prefix}.{key}={value}" for key, value in settings.items())
    yield from ("", "Try:")
    yield from (f"  {command}" for command in _commands(entry))


def _kind(entry: Entry) -> str:
    category = entry.traits.get("category", "")
    return f"{entry.group}, {category}" if category else entry.group


def _description(entry: Entry) -> str:
    """The first paragraph of the class, or what the YAML says."""
    node = catalogue.source_of(entry.target)
    paragraph = (ast.get_docstring(node) or "").partition("\n\n")[0] if node else ""
    return paragraph or entry.summary


def _indented(paragraph: str) -> list[str]:
    return [f"  {line}" for line in paragraph.splitlines()]


def _facts(entry: Entry) -> Iterator[tuple[str, str]]:
    for trait in ("kind", "paper"):
        if entry.traits.get(trait):
            yield trait, str(entry.traits[trait])
    if entry.grade:
        yield "grade", f"{entry.grade}, by experiment=metric_report_card"
    if entry.traits.get("needs"):
        yield "needs", ", ".join(entry.traits["needs"])
    if entry.members:
        yield "members", ", ".join(entry.members)
    if entry.target:
        yield "class", entry.target


def _settings(entry: Entry, folders: Sequence[Path]) -> Mapping[str, Any]:
    """Those of the YAML, then fields of the class that have a plain value there."""
    path = catalogue.options(entry.group, folders).get(entry.name)
    if path is None or entry.members:
        return {}
    content = catalogue.read_yaml(path)
    node = content.get(entry.name, content) if entry.group in SETS else content
    written = {k: _plain(v) for k, v in node.items() if k not in _NO_SETTINGS}
    return written if entry.target else {}


def _plain(value: Any) -> str:
    """As it is typed on the command line."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value).replace("'", "")


def _commands(entry: Entry) -> Iterator[str]:
    if entry.group in _CHECKED and not entry.members:
        yield f"xai-bench check {entry.group}={entry.name}"
    if entry.group == "baseline":
        yield f"xai-bench run baseline@baseline.measure={entry.name}"
    elif entry.group in SETS:
        yield f"xai-bench run '{entry.group}=[{entry.name}]'"
    else:
        yield f"xai-bench run {entry.group}={entry.name}"
