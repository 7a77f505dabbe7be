"""All example sheets of a study, by the name of their file."""

from __future__ import annotations

from collections.abc import Iterator

from xai_bench.results.report.figures.export import Picture
from xai_bench.results.report.sections.scores import slug
from xai_bench.results.report.sheets import pictures
from xai_bench.results.report.sheets.samples import Samples, chosen, samples
from xai_bench.results.report.study import StudyReport
from xai_bench.results.report.summary import Block
from xai_bench.results.report.table import title
from xai_bench.results.store.store import Store


def sheets(store: Store, report: StudyReport, n: int) -> dict[str, Picture]:
    """Of `n` samples per block, and of the whole data set by its most faithful method."""
    pictures: dict[str, Picture] = {}
    for place, block in enumerate(report.blocks):
        explained = samples(store, block, title(block)) if n else None
        if explained is not None:
            stem = f"{place}-{slug(block)}"
            pictures |= {
                f"{stem}-{name}": one for name, one in _of(explained, favourite(report, block), n)
            }
    return pictures


def favourite(report: StudyReport, block: Block) -> str:
    """The method that a single picture is drawn of: the first of the block in the first verdict."""
    order = [s.explainer for verdict in report.verdicts[:1] for s in verdict.standings]
    return next((name for name in [*order, *block.methods] if name in block.methods), "")


def _of(explained: Samples, name: str, n: int) -> Iterator[tuple[str, Picture]]:
    for row in chosen(explained, n):
        number = int(explained.index[row])
        yield f"sample-{number}", pictures.sheet(explained, row)
        steps = pictures.waterfall(explained, name, row)
        if steps is not None:
            yield f"waterfall-{number}", steps
    yield from pictures.of_data_set(explained, name)
