"""Names of any content as text of a format: columns, categories, classes and options have theirs.

LaTeX has more to say, in `report.formats.latex.text`; pictures read no markup at all.
"""

from __future__ import annotations

import html as standard
import re

from xai_bench.core.system.printable import printable

_SPECIAL = re.compile(r"[\\`*_{}\[\]#|<>~$]|&(?=#?\w+;)")


def markdown(text: str) -> str:
    """Text as Markdown prints it, on one line: no markup, no HTML, no end of a table's cell."""
    return _SPECIAL.sub(lambda match: f"\\{match[0]}", " ".join(printable(text).split()))


def code(text: str, language: str = "") -> str:
    """Lines as a Markdown block, with a fence that is longer than any inside."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def html(text: str) -> str:
    """Text as HTML prints it, in an element or an attribute in double quotes."""
    return standard.escape(printable(text, kept="\n"))
