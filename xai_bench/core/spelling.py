"""What to write instead of a misspelt name, in the same words everywhere."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

AT_MOST = 30
"""Names in one sentence: every group of `conf/` but explainers and metrics is shown whole."""


def suggest(word: str, options: Iterable[str]) -> str:
    """`did you mean a or b?` by the near misses of `word`, else `choose from` what there is.

    Case is ignored. At most three near misses are named, the best first.
    """
    names = sorted({str(option) for option in options})
    lowered = {name.lower(): name for name in names}
    close = get_close_matches(word.lower(), list(lowered), n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(_shown(lowered[name]) for name in close)}?"
    return f"choose from {listed(names)}" if names else "there is none"


def listed(names: Iterable[str], at_most: int = AT_MOST) -> str:
    """The names in one line; where there are many, the first ones and how many follow."""
    shown = [_shown(name) for name in names]
    more = f" and {len(shown) - at_most} more" if len(shown) > at_most else ""
    return ", ".join(shown[:at_most]) + more


def _shown(name: str) -> str:
    """In quotes where it holds a space, or one could not see where it ends."""
    return repr(name) if re.search(r"\s", name) or not name else name
