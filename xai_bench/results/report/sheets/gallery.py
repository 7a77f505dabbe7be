"""All example sheets of a study, by the name of their file."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from xai_bench.results.drawing.attention import AttentionSheet, RolloutSheet
from xai_bench.results.report.figures.export import Picture
from xai_bench.results.report.sections.scores import slug
from xai_bench.results.report.sheets import pictures
from xai_bench.results.report.sheets.samples import Samples, chosen, samples
from xai_bench.results.report.study import StudyReport
from xai_bench.results.report.summary import Block
from xai_bench.results.report.table import title
from xai_bench.results.store import text_samples
from xai_bench.results.store.store import Store


def sheets(store: Store, report: StudyReport, n: int) -> dict[str, Picture]:
    """Of `n` samples per block, and of the whole data set by its most faithful method."""
    pictures: dict[str, Picture] = {}
    for place, block in enumerate(report.blocks):
        explained = samples(store, block, title(block)) if n else None
        if explained is not None:
            stem = f"{place}-{slug(block)}"
            of_block = chain(
                _of(explained, favourite(report, block), n), _attention(store, block, n)
            )
            pictures |= {f"{stem}-{name}": picture for name, picture in of_block}
    return pictures


def _attention(store: Store, block: Block, n: int) -> Iterator[tuple[str, Picture]]:
    """Of the first samples, where the cell's model has attention."""
    place = title(block)
    for row, sample in enumerate(text_samples.attention(store, block.cells[0].key)[:n]):
        headline = f"{place}, sample {row}"
        weights = sample.weights.double().numpy()
        yield f"attention-{row}", AttentionSheet(f"Attention: {headline}", weights)
        rollout = sample.rollout.double().numpy()
        yield f"rollout-{row}", RolloutSheet(f"Rollout: {headline}", sample.tokens, rollout)


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
