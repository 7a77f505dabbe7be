"""`references.bib`, from what components say of their papers, and where each is cited.

A component states its paper as "Sundararajan+ 2017, arXiv:1703.01365", several parted by
semicolons. Titles are not stated, so entries carry authors, year and where to find it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from xai_bench.results.report.formats.latex.text import breakable, escape

_PAPER = re.compile(r"(?P<authors>[^,;]+?) (?P<year>1[89]\d\d|20\d\d)(?:, (?P<rest>.*))?$")


@dataclass(frozen=True)
class Reference:
    """One paper, as far as it is stated."""

    authors: str
    year: str
    arxiv: str = ""
    doi: str = ""
    note: str = ""

    @property
    def key(self) -> str:
        """`sundararajan2017`, with the number of the preprint where there is one."""
        first = re.split(r"[+&,]| and ", self.authors)[0].strip().split(" ")[-1]
        plain = unicodedata.normalize("NFKD", first).encode("ascii", "ignore").decode().lower()
        # Authors and year alone are not unique: some write several papers a year.
        tail = re.sub(r"\W", "", self.arxiv or self.doi.rpartition("/")[2])
        return "-".join(filter(None, [f"{re.sub(r'[^a-z]', '', plain)}{self.year}", tail]))


def references(paper: str) -> list[Reference]:
    """The papers that a component states; what cannot be read as one is left out."""
    return [
        reference
        for part in paper.split(";")
        if (reference := _reference(part.strip())) is not None
    ]


def bibliography(papers: Mapping[str, str]) -> str:
    """A BibTeX file of the papers of named components, each once."""
    entries = {r.key: r for paper in papers.values() for r in references(paper)}
    return "\n".join(_entry(entries[key]) for key in sorted(entries))


def sources(groups: Mapping[str, Mapping[str, str]]) -> str:
    """A LaTeX paragraph per group, such as "Explainers": each name with its citations."""
    return "\n\n".join(
        rf"\paragraph{{{escape(title)}}} "
        + ", ".join(_cited(n, p) for n, p in papers.items())
        + "."
        for title, papers in groups.items()
        if papers
    )


def _reference(text: str) -> Reference | None:
    # Brackets at the end say which part of a paper is meant, not where to find it.
    bare = re.sub(r"\s*\([^)]*\)$", "", text)
    match = _PAPER.match(bare)
    if match is None:
        return None
    details = match["rest"] or ""
    arxiv = re.search(r"arXiv:([\w./-]+)", details)
    doi = re.search(r"doi:(\S+)", details)
    link = arxiv or doi
    return Reference(
        authors=match["authors"],
        year=match["year"],
        arxiv=arxiv[1] if arxiv else "",
        doi=doi[1] if doi else "",
        note="" if link else details,
    )


def _entry(reference: Reference) -> str:
    names = reference.authors.replace("+", " and others").replace(" & ", " and ")
    fields = {"author": escape(names), "year": reference.year}
    if reference.arxiv:
        fields |= {"note": rf"\url{{https://arxiv.org/abs/{reference.arxiv}}}"}
        fields |= {"eprint": reference.arxiv, "archiveprefix": "arXiv"}
    elif reference.doi:
        fields |= {"note": rf"\url{{https://doi.org/{reference.doi}}}", "doi": reference.doi}
    elif reference.note:
        fields["note"] = escape(reference.note)
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"@misc{{{reference.key},\n{lines}\n}}\n"


def _cited(name: str, paper: str) -> str:
    keys = ",".join(dict.fromkeys(reference.key for reference in references(paper)))
    return rf"{breakable(name)}~\cite{{{keys}}}" if keys else breakable(name)
