"""The report in Markdown, as GitHub renders it: the verdict first, details folded away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xai_bench.results.escape import code, html, markdown
from xai_bench.results.report.sections import overview
from xai_bench.results.report.study import StudyReport
from xai_bench.results.report.table import LEGEND, Entry, Panel, Table
from xai_bench.results.report.verdict import tables as verdict_tables
from xai_bench.results.report.verdict.verdict import N_EXCEPTIONS, Verdict

N_COLUMNS = 8


def document(report: StudyReport, figures: dict[str, str]) -> str:
    """The whole report; `figures` are the paths of pictures that were drawn, by name."""
    parts = [f"# {markdown(report.study)}", *_verdict(report, figures)]
    parts.append("## Scores")
    parts.append(markdown(LEGEND))
    for table in report.main.tables(N_COLUMNS):
        parts += _section(table, figures, level=3)
    for name in report.main.figures:
        parts += _picture(name, figures)
    for table in report.full.tables(N_COLUMNS):
        parts += _folded(f"All metrics: {table.title}", _section(table, figures, level=0))
    for section in report.details:
        for table in section.tables(N_COLUMNS):
            body = _section(table, figures, level=0)
            parts += (
                _folded(table.title, body) if table.folded else _section(table, figures, level=2)
            )
    parts += _other_pictures(report, figures)
    parts += _unscored(report)
    parts += ["## Commands", code("\n".join(report.commands), "sh")]
    return "\n\n".join(parts) + "\n"


def _verdict(report: StudyReport, figures: dict[str, str]) -> Iterator[str]:
    if not report.verdicts:
        yield "Nothing can be compared: no metric has a score of two methods."
        return
    yield "## Verdict"
    summary = verdict_tables.summary(report.verdicts)
    yield _panel(summary.panels[0])
    yield from _picture(overview.NAME, figures)
    for verdict in report.verdicts:
        yield f"### {verdict.question.asked}"
        yield markdown(verdict.paragraph)
        yield from _exceptions(verdict)
        table = verdict_tables.standings(verdict, report.blocks)
        yield _panel(table.panels[0])
        yield markdown(table.caption)
        hidden = [
            verdict.question.meaning,
            f"Measured: {', '.join(verdict.metrics)}.",
            table.legend,
        ]
        more = verdict.exceptions[N_EXCEPTIONS:]
        hidden += [f"It does not hold, either: {'; '.join(more)}."] if more else []
        yield from _folded("How this was measured", [markdown(text) for text in hidden])


def _exceptions(verdict: Verdict) -> Iterator[str]:
    """A list of the first cases in which the winner does not win."""
    if verdict.exceptions:
        yield "It does not hold everywhere:"
        yield "\n".join(f"- {markdown(text)}" for text in verdict.exceptions[:N_EXCEPTIONS])


def _section(table: Table, figures: dict[str, str], level: int) -> Iterator[str]:
    """A table with what belongs to it; no heading at level 0."""
    if level:
        yield f"{'#' * level} {markdown(table.title)}"
    texts = (table.caption, "" if table.legend == LEGEND else table.legend)
    yield from (markdown(text) for text in texts if text)
    yield from (_panel(panel) for panel in table.panels)
    if table.notes:
        yield "\n".join(f"- [{i}] {markdown(note)}" for i, note in enumerate(table.notes, start=1))
    if table.figure:
        yield from _picture(table.figure, figures)


def _folded(title: str, parts: Sequence[str] | Iterator[str]) -> Iterator[str]:
    yield f"<details><summary>{html(title)}</summary>"
    yield from (part for part in parts if part)
    yield "</details>"


def _picture(name: str, figures: dict[str, str]) -> Iterator[str]:
    if name in figures:
        yield f"![{markdown(name)}]({figures[name]})"


def _other_pictures(report: StudyReport, figures: dict[str, str]) -> Iterator[str]:
    """Pictures that belong to no table."""
    cited = {table.figure for section in report.details for table in section.tables(N_COLUMNS)}
    cited.add(overview.NAME)
    left = [n for section in report.details for n in section.figures if n not in cited]
    if any(name in figures for name in left):
        yield "## Figures"
        for name in left:
            yield from _picture(name, figures)


def _unscored(report: StudyReport) -> Iterator[str]:
    """One list of all in which nothing was scored."""
    if report.unscored:
        lines = [
            f"- {markdown(what)} ({markdown(places)}): {markdown(reason)}"
            for what, places, reason in report.unscored
        ]
        yield from _folded("Nothing was scored here", ["\n".join(lines)])


def _panel(panel: Panel) -> str:
    """Controls follow after a row of their own, because Markdown has no lines in tables."""
    heads = ["<br>".join(markdown(t) for t in (h.category, h.text) if t) for h in panel.heads]
    n_methods = len(panel.rows) - panel.n_controls
    lines = [_line([panel.corner, *heads]), _line(["---"] + ["---:"] * len(heads))]
    for place, (name, entries) in enumerate(panel.rows):
        if place == n_methods and place:
            lines.append(_line(["*controls*"] + [" "] * len(heads)))
        lines.append(_line([markdown(name), *(_entry(entry) for entry in entries)]))
    return "\n".join(lines)


def _entry(entry: Entry) -> str:
    text = f"**{markdown(entry.text)}**" if entry.best else markdown(entry.text)
    notes = "".join(f" [{note}]" for note in entry.notes)
    return f"{text}{' †' if entry.tied else ''}{notes}"


def _line(fields: Sequence[str]) -> str:
    return "| " + " | ".join(fields) + " |"
