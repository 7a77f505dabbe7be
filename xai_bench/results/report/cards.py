"""What there is to know of a component beside its scores; found by whoever knows the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """One explainer or metric.

    Attributes:
        group: `explainer` or `metric`.
        summary: what it is, in a sentence or a paragraph.
        paper: where its formula stands.
        facts: what else is stated of it, such as its kind and what it needs.
        certificate: property -> what came of trying it on worlds whose answer is known.
        command: shows or tries it.
    """

    name: str
    group: str
    summary: str
    paper: str = ""
    facts: Mapping[str, str] | None = None
    certificate: tuple[tuple[str, str], ...] = ()
    command: str = ""


Cards = Mapping[str, Card]
