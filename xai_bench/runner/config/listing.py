"""`xai-bench list` and `xai-bench run --help`: all options, as tables and as text."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from xai_bench.core.spelling import suggest
from xai_bench.runner.config.catalogue import ALL, GROUPS, Entry, entries
from xai_bench.runner.config.messages import UsageError

WIDE = 140
"""Columns of a terminal from which on a table has room for everything."""

GRADES = (
    "grade: A to D, how well a metric ranks explanations whose truth is known; gameable: a map "
    "that never looks at the model scores as well as the truth; none: not graded. By "
    "experiment=metric_report_card."
)

EXAMPLES = """\
  xai-bench run data=digits model=cnn 'explainer=[saliency,integrated_gradients,kernel_shap]'
  xai-bench run -m data=breast_cancer,digits model=mlp,cnn seed=0,1,2 study=small
  xai-bench run -m budget=10,100,1000 'explainer=[kernel_shap,lime,smoothgrad]' study=equal
  xai-bench run experiment=demo evaluation.n_samples=32"""

HELP = """\
Train a model, explain its predictions with every chosen method, score every explanation.

Usage: xai-bench run [FLAGS] [GROUP=OPTION ...] [KEY=VALUE ...]

Groups (GROUP=OPTION; explainer and metric take several: 'explainer=[a,b]')
{groups}
  The two baselines are chosen by baseline@baseline.explain=... and baseline@baseline.measure=...
  A field of a chosen component is set by its name: explainer.kernel_shap.budget=500

Settings (KEY=VALUE), as they are unless you set them
{settings}

Flags
  -m                sweep: run every combination of comma-separated values
  --cfg job         show the composed configuration and stop (with --resolve: all values filled in)
  --config-dir DIR  add your own folder of groups, laid out like conf/

Examples
{examples}

`xai-bench list` says what each option is. A run that was stopped goes on by the same command."""


def groups_of(kinds: Sequence[str]) -> list[str]:
    """Groups by singular or plural; all where none is given. Raises `UsageError`."""
    names = {plural: group for group, plural in GROUPS.items()} | {group: group for group in GROUPS}
    for kind in kinds:
        if kind not in names:
            advice = suggest(kind, GROUPS.values())
            raise UsageError(f"list {kind}: there is no such list; {advice}")
    return [names[kind] for kind in kinds] or list(GROUPS)


def as_json(groups: Sequence[str], folders: Sequence[Path]) -> str:
    """Every option with its traits, for programs."""
    listed = [_traits(entry) for group in groups for entry in entries(group, folders)]
    return json.dumps(listed, indent=2, ensure_ascii=False)


def _traits(entry: Entry) -> dict[str, Any]:
    return asdict(entry) | ({"grade": entry.grade} if entry.grade else {})


def as_markdown(groups: Sequence[str], folders: Sequence[Path]) -> str:
    """One table per group, for the documentation."""
    parts = ["# Components\n\nWritten by `make docs` from `conf/` and the classes."]
    for group in groups:
        listed = entries(group, folders)
        columns = _columns([entry for entry in listed if not entry.members])
        rows = [list(columns), ["---"] * len(columns), *zip(*columns.values(), strict=True)]
        lines = [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
        sets = [f"`{e.name}` = {_meaning(e)}" for e in listed if e.members]
        parts.append("\n".join([f"## {GROUPS[group]}", "", *lines]))
        parts += [GRADES] if any(entry.grade for entry in listed) else []
        parts += ["Sets:\n\n" + "\n".join(f"- {line}" for line in sets)] if sets else []
    return "\n\n".join(parts)


def show(groups: Sequence[str], folders: Sequence[Path], console: Console) -> None:
    """One table per group; sets are listed below."""
    for group in groups:
        listed = entries(group, folders)
        components = [entry for entry in listed if not entry.members]
        if console.width >= WIDE:
            console.print(_table(group, components))
        else:
            _show_stacked(group, components, console)
        for entry in listed:
            if entry.members:
                console.print(f"   [bold]{entry.name}[/] = {_meaning(entry)}", highlight=False)
        if any(entry.grade for entry in listed):
            console.print(f"\n{GRADES}", highlight=False)


def _meaning(entry: Entry) -> str:
    """What a set stands for: its members, but for `all`, whose members are the list itself."""
    return entry.summary if entry.name == ALL else ", ".join(entry.members)


def _columns(listed: Sequence[Entry]) -> dict[str, list[str]]:
    """Title -> cells; columns without content are left out."""
    columns = {
        "category": [entry.traits.get("category", "") for entry in listed],
        "name": [f"{entry.name} {entry.arrow}".strip() for entry in listed],
        "grade": [entry.grade for entry in listed],
        "kind": [entry.traits.get("kind", "") for entry in listed],
        "needs": [", ".join(entry.traits.get("needs", ())) for entry in listed],
        "what it is": [entry.summary for entry in listed],
        "paper": [entry.traits.get("paper", "") for entry in listed],
    }
    return {title: cells for title, cells in columns.items() if any(cells) or title == "name"}


def _show_stacked(group: str, listed: Sequence[Entry], console: Console) -> None:
    """For narrow terminals: a line of names and traits, and the description below it."""
    console.print(f"[bold]{GROUPS[group]}[/]\n")
    columns = _columns(listed)
    for row in zip(*columns.values(), strict=True):
        cells = dict(zip(columns, row, strict=True))
        needs = f"needs {cells['needs']}" if cells.get("needs") else ""
        grade = f"grade {cells['grade']}" if cells.get("grade") else ""
        first, last = (cells.get("category", ""), grade), (cells.get("kind", ""), needs)
        traits = [*first, *last, cells.get("paper", "")]
        shown = " · ".join(escape(trait) for trait in traits if trait)
        console.print(f"  [bold]{cells['name']}[/]  [dim]{shown}[/]", highlight=False)
        console.print(Padding(escape(cells.get("what it is", "")), (0, 0, 0, 6)), highlight=False)


def _table(group: str, listed: Sequence[Entry]) -> Table:
    table = Table(title=GROUPS[group], title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    columns = _columns(listed)
    for title in columns:
        wide = title in ("what it is", "paper")
        table.add_column(title, no_wrap=not wide, ratio=2 if wide else None)
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    return table


def run_help(folders: Sequence[Path], width: int) -> str:
    """The help of `xai-bench run`."""
    lines = []
    for group in GROUPS:
        listed = entries(group, folders)
        lines.append(_wrapped(group, [entry.name for entry in listed if not entry.members], width))
        sets = [entry.name for entry in listed if entry.members]
        if sets:
            lines.append(_wrapped("  as sets", sets, width))
    return HELP.format(groups="\n".join(lines), settings=_settings(folders[0]), examples=EXAMPLES)


def _wrapped(title: str, names: Sequence[str], width: int) -> str:
    return textwrap.fill(
        ", ".join(names) or "(none)",
        width,
        initial_indent=f"  {title:<12}",
        subsequent_indent=" " * 14,
        break_on_hyphens=False,
    )


def _settings(conf: Path) -> str:
    """The settings of `config.yaml` with their comments, as in the file."""
    paragraphs = (conf / "config.yaml").read_text(encoding="utf-8").strip().split("\n\n")
    kept = [text for text in paragraphs if not text.startswith(("#", "defaults:", "hydra:"))]
    return textwrap.indent("\n".join(kept), "  ")
