"""Text for LaTeX, and how wide it comes out."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "&": r"\&", "%": r"\%",
    "$": r"\$", "#": r"\#", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "±": r"$\pm$", "†": r"$^\dagger$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "–": "--",
    "×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$", "−": "$-$", "²": r"$^2$", "…": r"\ldots{}",
    "[": "{[}", "]": "{]}", "*": "{*}",  # after the end of a row they would be its arguments
    "→": r"$\rightarrow$", "·": r"$\cdot$", "’": "'", "“": "``", "”": "''", "—": "---",
}  # fmt: skip
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "κ": "kappa",
    "λ": "lambda", "μ": "mu", "µ": "mu", "ρ": "rho", "σ": "sigma", "τ": "tau", "χ": "chi",
}  # fmt: skip
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u030a": "r",
    "\u0327": "c", "\u030c": "v", "\u0304": "=", "\u0328": "k",
}  # fmt: skip
_NARROW, _WIDE = set("fijlrtI.,:;'|!()[] "), set("mwMW%@")
_POINTS = {"narrow": 3.3, "usual": 4.6, "wide": 7.4, "capital": 6.5, "digit": 4.4, "symbol": 7.0}


def escape(text: str) -> str:
    """ASCII that LaTeX prints as the text; a letter it cannot print becomes its code, `U+4E2D`."""
    return "".join(_letter(letter) for letter in " ".join(text.split()))


def breakable(text: str) -> str:
    """Escaped, and a line may end after an underscore, a slash or an equals sign."""
    return re.sub(r"(\\_|/|=)(?=\w)", r"\1\\allowbreak{}", escape(text))


def number(text: str) -> str:
    """Minus signs and powers of ten of an escaped number as mathematics."""
    text = re.sub(r"(?<=\d|\))e(-?\d+)\b", r"$\\times 10^{\1}$", text)
    return re.sub(r"(?<![\w{])-(?=\d)", "$-$", text)


@lru_cache(maxsize=4096)  # tables repeat their names and numbers
def width(text: str, *, bold: bool = False) -> float:
    """Points that a text is wide in a font of 8 points, at most."""
    # `number` prints a power of ten, which is wider than the `e` it is written with.
    text = re.sub(r"e(-?\d+)\b", "x10000", text)
    return sum(_POINTS[_kind(letter)] for letter in text) * (1.16 if bold else 1.0)


def _letter(letter: str) -> str:
    if letter in _SPECIAL:
        return _SPECIAL[letter]
    if letter.isascii():
        return letter if letter.isprintable() else ""
    if letter in _GREEK:
        return rf"$\{_GREEK[letter]}$"
    base, *marks = list(unicodedata.normalize("NFKD", letter))
    if base.isascii() and base.isalnum() and all(mark in _ACCENTS for mark in marks):
        for mark in marks:
            base = rf"\{_ACCENTS[mark]}{{{base}}}"
        return base
    return f"U+{ord(letter):04X}"


def _kind(letter: str) -> str:
    if letter in _NARROW:
        return "narrow"
    if letter in _WIDE:
        return "wide"
    if letter.isdigit():
        return "digit"
    if letter.isupper():
        return "capital"
    return "usual" if letter.isascii() else "symbol"
