"""Names of any content in Markdown: columns, categories, classes and options have their own."""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"[\\`*_{}\[\]()#+!|<>~$&]")


def markdown(text: str) -> str:
    """Text as Markdown prints it, on one line: no markup, no HTML, no end of a table's cell."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return _SPECIAL.sub(lambda match: f"\\{match[0]}", " ".join(printable.split()))
