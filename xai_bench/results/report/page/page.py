"""`report.html`: one page that holds everything and asks no network for anything.

All text is escaped; what scripts read is JSON without any `<`. A policy in the page forbids it to
load anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from xai_bench.results.drawing.tokens import TokenSheet
from xai_bench.results.escape import html
from xai_bench.results.report.formats.html import panel_html
from xai_bench.results.report.page import cards, leaderboard, samples
from xai_bench.results.report.sections import overview
from xai_bench.results.report.study import StudyReport
from xai_bench.results.report.verdict import tables as verdict_tables
from xai_bench.results.report.verdict.verdict import N_EXCEPTIONS, Verdict

PARTS = {
    "verdict": "Verdict",
    "scores": "Leaderboard",
    "plausibility": "Agreement with people",
    "explore": "Single samples",
    "figures": "Figures",
    "cards": "Methods and metrics",
    "provenance": "Where the numbers come from",
}
# Nothing may be loaded from elsewhere: the page is whole without a network.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def document(
    report: StudyReport, pictures: Mapping[str, bytes], texts: Sequence[TokenSheet] = ()
) -> str:
    """The page; `pictures` are PNGs by their name, `texts` samples to be read on the page."""
    title = html(report.study)
    shown = [name for name in PARTS if name != "plausibility" or _plausibility(report)]
    links = "".join(f'<li><a href="#{name}">{PARTS[name]}</a></li>' for name in shown)
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            f"<title>{title}: which explanation to trust</title>",
            f"<style>\n{_file('page.css')}</style>\n</head>\n<body>",
            '<a class="skip" href="#verdict">Skip to the verdict</a>',
            f'<header><h1>{title}</h1><nav aria-label="Parts"><ul>{links}</ul></nav></header>',
            "<main>",
            *_parts(report, pictures, texts),
            "</main>",
            '<script type="application/json" id="samples">',
            f"{_json(samples.scores(report))}</script>",
            f"<script>\n{_file('page.js')}</script>\n</body>\n</html>\n",
        ]
    )


def _parts(
    report: StudyReport, pictures: Mapping[str, bytes], texts: Sequence[TokenSheet]
) -> Iterator[str]:
    yield _section("verdict", "\n".join(_verdict(report, pictures.get(overview.NAME))))
    yield _section("scores", leaderboard.boards(report.blocks))
    if agreement := _plausibility(report):
        yield _section("plausibility", agreement)
    yield _section("explore", samples.FORM + samples.texts(texts))
    others = {name: png for name, png in pictures.items() if name != overview.NAME}
    drawn = "\n".join(samples.figure(name, png) for name, png in others.items())
    yield _section("figures", drawn or "<p>No figures were asked for as PNG.</p>")
    yield _section("cards", cards.listed(report))
    yield _section("provenance", cards.provenance(report))


def _plausibility(report: StudyReport) -> str:
    """The tables of agreement with marked words; empty where nobody marked any."""
    tables = report.plausibility.tables(len(PARTS))
    legend = f"<p>{html(tables[0].legend)}</p>" if tables else ""
    panels = [(table.title, panel) for table in tables for panel in table.panels]
    return legend + "\n".join(
        _scrolling(title, panel_html(shown, title)) for title, shown in panels
    )


def _section(name: str, body: str) -> str:
    head = f'<h2 id="{name}-head">{PARTS[name]}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-head">\n{head}\n{body}\n</section>'


def _verdict(report: StudyReport, picture: bytes | None) -> Iterator[str]:
    if not report.verdicts:
        yield "<p>Nothing can be compared: no metric has a score of two methods.</p>"
        return
    summary = verdict_tables.summary(report.verdicts)
    yield _scrolling("Verdict, one line per question", panel_html(summary.panels[0]), "words")
    if picture is not None:
        yield samples.figure(overview.CAPTION, picture)
    for verdict in report.verdicts:
        yield f"<h3>{html(verdict.question.asked)}</h3>\n<p>{html(verdict.paragraph)}</p>"
        yield _exceptions(verdict.exceptions[:N_EXCEPTIONS], "It does not hold everywhere:")
        yield _measured(verdict, report)


def _exceptions(exceptions: Sequence[str], introduction: str) -> str:
    items = "".join(f"<li>{html(text)}</li>" for text in exceptions)
    return f"<p>{introduction}</p>\n<ul>{items}</ul>" if items else ""


def _measured(verdict: Verdict, report: StudyReport) -> str:
    table = verdict_tables.standings(verdict, report.blocks)
    texts = [verdict.question.meaning, f"Measured: {', '.join(verdict.metrics)}.", table.legend]
    shown = "".join(f"<p>{html(text)}</p>" for text in (*texts, table.caption) if text)
    body = _scrolling(f"Standings: {verdict.question.asked}", panel_html(table.panels[0]))
    shown += _exceptions(verdict.exceptions[N_EXCEPTIONS:], "It does not hold, either:")
    asked = html(verdict.question.asked)
    return f"<details><summary>How this was measured: {asked}</summary>{body}{shown}</details>"


def _scrolling(label: str, table: str, kind: str = "") -> str:
    """A table that may be wider than the page, reached by keyboard."""
    name = html(label)
    return (
        f'<div class="scroll {kind}" role="region" aria-label="{name}" tabindex="0">{table}</div>'
    )


def _json(value: Sequence[Any]) -> str:
    """JSON that cannot end the element that it stands in."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")


def _file(name: str) -> str:
    return files(__package__ or "").joinpath(name).read_text(encoding="utf-8")
