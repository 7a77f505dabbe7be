"""Tables as plain HTML, to be pasted into a page: no script, no style, all text escaped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xai_bench.results.escape import html
from xai_bench.results.report.table import Entry, Panel, Table


def document(study: str, tables: Sequence[Table]) -> str:
    """A page of tables."""
    title = f'<meta charset="utf-8"><title>{html(study)}</title>'
    head = f'<!doctype html>\n<html lang="en"><head>{title}</head><body>'
    return "\n".join([head, *(table_html(table) for table in tables), "</body></html>"]) + "\n"


def table_html(table: Table) -> str:
    """A table with its caption; its panels follow each other."""
    caption = " ".join(filter(None, [table.caption, table.legend]))
    parts = [f"<h2>{html(table.title)}</h2>", f"<p>{html(caption)}</p>"]
    parts += [panel_html(panel) for panel in table.panels]
    notes = "".join(f"<li>{html(note)}</li>" for note in table.notes)
    return "\n".join([*parts, f"<ol>{notes}</ol>" if notes else ""]).strip()


def panel_html(panel: Panel, name: str = "") -> str:
    """One `<table>`; `name` is its caption for screen readers."""
    return "\n".join(_lines(panel, name))


def _lines(panel: Panel, name: str) -> Iterator[str]:
    n_methods = len(panel.rows) - panel.n_controls
    yield "<table>"
    if name:
        yield f"<caption>{html(name)}</caption>"
    yield "<thead>"
    if any(category for category, _ in panel.categories):
        spans = (f'<th scope="colgroup" colspan="{n}">{html(c)}</th>' for c, n in panel.categories)
        yield f"<tr><td></td>{''.join(spans)}</tr>"
    heads = "".join(f'<th scope="col">{html(head.text)}</th>' for head in panel.heads)
    yield f'<tr><th scope="col">{html(panel.corner)}</th>{heads}</tr></thead><tbody>'
    for place, (label, entries) in enumerate(panel.rows):
        kind = ' class="control"' if place >= n_methods else ""
        fields = "".join(f"<td>{_entry(entry)}</td>" for entry in entries)
        yield f'<tr{kind}><th scope="row">{html(label)}</th>{fields}</tr>'
    yield "</tbody></table>"


def _entry(entry: Entry) -> str:
    text = f"<strong>{html(entry.text)}</strong>" if entry.best else html(entry.text)
    notes = "".join(f"<sup>{note}</sup>" for note in entry.notes)
    return f"{text}{' †' if entry.tied else ''}{notes}"
