"""Text of any content on a terminal or a page: nothing in it steers either."""

from __future__ import annotations


def printable(text: str, kept: str = "") -> str:
    """With a blank for each sign without a shape, but those `kept`.

    Such signs end a line, turn the reading direction, or are commands to a terminal.
    """
    if text.isprintable():  # as nearly all is
        return text
    return "".join(sign if sign.isprintable() or sign in kept else " " for sign in text)
