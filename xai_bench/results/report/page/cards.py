"""What there is to know of each method and metric, and how every number was made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xai_bench.results.escape import html
from xai_bench.results.report.regimes import base
from xai_bench.results.report.study import StudyReport
from xai_bench.results.report.summary import Block
from xai_bench.results.report.table import caption, header, measured, title

_ENVIRONMENT = ("code_version", "git_commit", "python", "torch", "numpy", "machine", "device")


def listed(report: StudyReport) -> str:
    """A card per explainer and per metric of the study."""
    explainers = dict.fromkeys(name for block in report.blocks for name in block.explainers)
    metrics = dict.fromkeys(c.metric for block in report.blocks for c in block.scored)
    parts = ["<h3>Methods</h3>", *(_explainer(report, name) for name in explainers)]
    return "\n".join([*parts, "<h3>Metrics</h3>", *(_metric(report, name) for name in metrics)])


def provenance(report: StudyReport) -> str:
    """Captions of all tables, what the cells were run with, what has no score, the commands."""
    parts = [f"<p>{html(f'{title(block)}: {caption(block)}')}</p>" for block in report.blocks]
    parts += [
        _facts(list(_cells(block)), f"Data and code: {title(block)}") for block in report.blocks
    ]
    if report.unscored:
        items = "".join(
            f"<li>{html(f'{what} ({where}): {why}')}</li>" for what, where, why in report.unscored
        )
        parts.append(
            f"<details><summary>Nothing was scored here</summary><ul>{items}</ul></details>"
        )
    commands = html("\n".join(report.commands))
    return "\n".join([*parts, "<h3>Commands</h3>", f'<pre tabindex="0">{commands}</pre>'])


def _explainer(report: StudyReport, name: str) -> str:
    card = report.cards.get(base(name))
    rows = list(_stated(report, base(name)))
    for block in [block for block in report.blocks if name in block.explainers]:
        rows += [(f"cost on {title(block)}", text) for text in _costs(block, name)]
        rows += [(f"fails on {title(block)}", text) for text in _failures(block, name)]
    return _facts(rows, name, card.summary if card else "")


def _metric(report: StudyReport, name: str) -> str:
    card = report.cards.get(name)
    return _facts(list(_stated(report, name)), name, card.summary if card else "")


def _stated(report: StudyReport, name: str) -> Iterator[tuple[str, str]]:
    card = report.cards.get(name)
    if card is not None:
        yield from (card.facts or {}).items()
        yield "paper", card.paper
        yield "certificate", card.command


def _costs(block: Block, name: str) -> Iterator[str]:
    numbers = [block.numbers[name, c] for c in block.scored if c.category == "cost"]
    costs = [f"{header(n.column)} {measured(n.mean)}" for n in numbers if n.status == "ok"]
    if costs:
        yield ", ".join(costs)


def _failures(block: Block, name: str) -> Iterator[str]:
    numbers = [block.numbers[name, column] for column in block.scored]
    reasons = [r for n in numbers if n.status in ("failed", "skipped") for r in n.reasons]
    yield from dict.fromkeys(reasons)


def _cells(block: Block) -> Iterator[tuple[str, str]]:
    for cell in block.cells:
        versions = [
            f"{key} {cell.environment[key]}" for key in _ENVIRONMENT if key in cell.environment
        ]
        yield (
            f"seed {cell.seed}",
            f"data {cell.fingerprint}; cell {cell.key}; {', '.join(versions)}",
        )


def _facts(rows: Sequence[tuple[str, str]], name: str, summary: str = "") -> str:
    items = "".join(f"<dt>{html(k)}</dt><dd>{html(v)}</dd>" for k, v in rows if v)
    text = f"<p>{html(summary)}.</p>" if summary else ""
    body = f"<dl>{items}</dl>" if items else ""
    return f"<details><summary>{html(name)}</summary>{text}{body}</details>"
