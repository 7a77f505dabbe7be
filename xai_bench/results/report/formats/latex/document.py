"""Tables in LaTeX with booktabs: one file per table to include, and a document that compiles.

A table is an ordinary float where it fits a page upright, a turned one (package `rotating`) where
it fits sideways, and else in parts; `fitting` decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xai_bench.results.report.formats.latex.fitting import NAME, Float, floats, lines_of
from xai_bench.results.report.formats.latex.text import breakable, escape, number, width
from xai_bench.results.report.table import Entry, Panel, Table

PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage[a4paper,margin=2.5cm]{geometry}
\usepackage[T1]{fontenc}
\usepackage{lmodern}
\usepackage{booktabs}
\usepackage{rotating}
\usepackage[hyphens]{url}
\setlength{\emergencystretch}{3em}
"""
NEEDS = "% Needs \\usepackage[T1]{fontenc}, {booktabs} and {rotating}.\n"


def document(study: str, inputs: Sequence[str], cited: str) -> str:
    """The document that includes tables by file name; `cited` is its paragraph on sources."""
    lines = [PREAMBLE + rf"\title{{Study {escape(study)}}}", r"\date{}", r"\begin{document}"]
    lines += [r"\maketitle", cited, r"\bibliographystyle{plain}", r"\bibliography{references}"]
    lines += [rf"\clearpage\input{{{name}}}" for name in inputs]
    return "\n".join([*lines, r"\end{document}"]) + "\n"


def tables(label: str, shown: Sequence[Table]) -> str:
    """Floats, to be included."""
    made = [panel for table in shown if not table.folded for panel in floats(table)]
    return NEEDS + "\n".join(_float(label, place, panel) for place, panel in enumerate(made))


def _float(label: str, place: int, float_: Float) -> str:
    kind = "sidewaystable" if float_.turned else "table"
    position = "" if float_.turned else "[p]"
    lines = [
        rf"\begin{{{kind}}}{position}",
        r"\centering\footnotesize",
        rf"\caption{{{_caption(float_)}}}",
        rf"\label{{tab:{_plain(label)}-{place}}}",
        "\n\\par\\medskip\n".join(_tabular(panel) for panel in float_.panels),
        *_notes(float_),
        rf"\end{{{kind}}}",
        r"\clearpage",
    ]
    return "\n".join(lines) + "\n"


def _caption(float_: Float) -> str:
    table = float_.table
    if float_.part:
        return breakable(f"{table.title}, continued.")
    return " ".join(breakable(t) for t in (f"{table.title}.", table.caption, table.legend) if t)


def _tabular(panel: Panel) -> str:
    n_methods = len(panel.rows) - panel.n_controls
    # Only a column of fixed width breaks its lines.
    wide = any(width(name) > NAME for name, _ in panel.rows)
    first = rf"p{{{NAME:.0f}pt}}" if wide else "l"
    lines = [rf"\begin{{tabular}}{{{first}{'r' * len(panel.heads)}}}", r"\toprule", *_head(panel)]
    for place, (name, entries) in enumerate(panel.rows):
        if place == n_methods and place:
            lines.append(r"\midrule")
        lines.append(_line([breakable(name), *(_entry(entry) for entry in entries)]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _head(panel: Panel) -> Iterator[str]:
    if any(name for name, _ in panel.categories):
        spans = [rf"\multicolumn{{{n}}}{{c}}{{{escape(name)}}}" for name, n in panel.categories]
        yield _line(["", *spans])
        first = 2
        for _, n in panel.categories:
            yield rf"\cmidrule(lr){{{first}-{first + n - 1}}}"
            first += n
    heads = [
        r"\shortstack[r]{" + r"\\".join(map(escape, lines_of(h.text))) + "}" for h in panel.heads
    ]
    yield _line([escape(panel.corner), *heads])
    yield r"\midrule"


def _entry(entry: Entry) -> str:
    text = number(escape(entry.text))
    text = rf"\textbf{{{text}}}" if entry.best else text
    notes = "".join(f" [{note}]" for note in entry.notes)
    return text + (r"$^\dagger$" if entry.tied else "") + notes


def _line(fields: Sequence[str]) -> str:
    return " & ".join(fields) + r" \\"


def _notes(float_: Float) -> Iterator[str]:
    """Reasons below the table, those that this float cites, in a paragraph as wide as the page."""
    entries = [entry for panel in float_.panels for _, row in panel.rows for entry in row]
    cited = sorted({note for entry in entries for note in entry.notes})
    if cited:
        remarks = [f"[{i}] {breakable(float_.table.notes[i - 1])}." for i in cited]
        yield "\\par\\medskip\n\\begin{minipage}{\\linewidth}\\raggedright\n" + " ".join(remarks)
        yield r"\end{minipage}"


def _plain(label: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in label)
