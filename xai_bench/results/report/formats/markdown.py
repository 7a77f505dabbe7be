"""Tables in Markdown, as GitHub renders it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xai_bench.results.report.table import LEGEND, Entry, Panel, Table

N_COLUMNS = 8


def document(study: str, tables: Sequence[Table], commands: Sequence[str]) -> str:
    """The whole report: the legend, all tables, and the commands that were run."""
    parts = [f"# {study}", LEGEND]
    for table in tables:
        parts += _section(table)
    parts += ["## Commands", "```sh\n" + "\n".join(commands) + "\n```"]
    return "\n\n".join(parts) + "\n"


def _section(table: Table) -> Iterator[str]:
    name = _escape(table.title)
    yield f"<details><summary>{name}</summary>" if table.folded else f"## {name}"
    texts = (table.caption, "" if table.legend == LEGEND else table.legend)
    yield from (_escape(text) for text in texts if text)
    yield from (_panel(panel) for panel in table.panels)
    if table.folded:
        yield "</details>"
    if table.notes:
        yield "\n".join(f"- [{i}] {_escape(note)}" for i, note in enumerate(table.notes, start=1))
    if table.unscored:
        lines = (f"- `{metric}`: {_escape(reason)}" for metric, reason in table.unscored)
        yield "Not scored for any explainer:\n\n" + "\n".join(lines)
    if table.figure:
        yield f"![{name}]({table.figure})"


def _panel(panel: Panel) -> str:
    """Controls follow after a row of their own, because Markdown has no lines in tables."""
    heads = ["<br>".join(_escape(t) for t in (h.category, h.text) if t) for h in panel.heads]
    n_methods = len(panel.rows) - panel.n_controls
    lines = [_line([panel.corner, *heads]), _line(["---"] + ["---:"] * len(heads))]
    for place, (name, entries) in enumerate(panel.rows):
        if place == n_methods and place:
            lines.append(_line(["*controls*"] + [" "] * len(heads)))
        lines.append(_line([_escape(name), *(_entry(entry) for entry in entries)]))
    return "\n".join(lines)


def _entry(entry: Entry) -> str:
    text = f"**{entry.text}**" if entry.best else entry.text
    notes = "".join(f" [{note}]" for note in entry.notes)
    return f"{text}{' †' if entry.tied else ''}{notes}"


def _line(fields: Sequence[str]) -> str:
    return "| " + " | ".join(fields) + " |"


def _escape(text: str) -> str:
    for special in ("\\", "|", "*", "_", "<", "`"):
        text = text.replace(special, f"\\{special}")
    return " ".join(text.split())
