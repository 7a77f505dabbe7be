"""Tables in LaTeX with booktabs, to be included in a document that loads it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from xai_bench.results.report.table import Entry, Panel, Table

N_COLUMNS = 6

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "&": r"\&", "%": r"\%",
    "$": r"\$", "#": r"\#", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "±": r"$\pm$", "†": r"$^\dagger$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "–": "--",
    "×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$",
}  # fmt: skip


def document(study: str, tables: Sequence[Table]) -> str:
    """All tables but the folded ones, as floats of two columns."""
    head = f"% Study {study}. Needs \\usepackage{{booktabs}} and a T1 font encoding.\n"
    shown = [table for table in tables if not table.folded]
    return head + "\n".join(_float(study, place, table) for place, table in enumerate(shown))


def escape(text: str) -> str:
    """Text as LaTeX prints it, on one line."""
    return "".join(_SPECIAL.get(letter, letter) for letter in " ".join(text.split()))


def _float(study: str, place: int, table: Table) -> str:
    caption = escape(f"{table.title}. {table.caption} {table.legend}")
    lines = [
        r"\begin{table*}",
        r"\centering\footnotesize",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{_label(study)}-{place}}}",
        "\n\\par\\medskip\n".join(_tabular(panel) for panel in table.panels),
        *_remarks(table),
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _tabular(panel: Panel) -> str:
    n_methods = len(panel.rows) - panel.n_controls
    lines = [rf"\begin{{tabular}}{{l{'r' * len(panel.heads)}}}", r"\toprule", *_head(panel)]
    for place, (name, entries) in enumerate(panel.rows):
        if place == n_methods and place:
            lines.append(r"\midrule")
        lines.append(_line([escape(name), *(_entry(entry) for entry in entries)]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _head(panel: Panel) -> Iterator[str]:
    spans = [rf"\multicolumn{{{n}}}{{c}}{{{escape(name)}}}" for name, n in panel.categories]
    yield _line(["", *spans])
    first = 2
    for _, n in panel.categories:
        yield rf"\cmidrule(lr){{{first}-{first + n - 1}}}"
        first += n
    yield _line([escape(panel.corner), *(escape(head.text) for head in panel.heads)])
    yield r"\midrule"


def _entry(entry: Entry) -> str:
    text = _number(escape(entry.text))
    text = rf"\textbf{{{text}}}" if entry.best else text
    notes = "".join(f" [{note}]" for note in entry.notes)
    return text + (r"$^\dagger$" if entry.tied else "") + notes


def _number(text: str) -> str:
    """Minus signs and powers of ten as mathematics."""
    text = re.sub(r"(?<=\d|\))e(-?\d+)\b", r"$\\times 10^{\1}$", text)
    return re.sub(r"(?<![\w{])-(?=\d)", "$-$", text)


def _line(fields: Sequence[str]) -> str:
    return " & ".join(fields) + r" \\"


def _remarks(table: Table) -> Iterator[str]:
    """Reasons below the table, in a paragraph as wide as the page."""
    remarks = [f"[{i}] {escape(note)}." for i, note in enumerate(table.notes, start=1)]
    remarks += [f"Not scored: {escape(f'{metric} ({why})')}." for metric, why in table.unscored]
    if remarks:
        yield "\\par\\medskip\n\\begin{minipage}{\\textwidth}\n" + " ".join(remarks)
        yield r"\end{minipage}"


def _label(study: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in study)
