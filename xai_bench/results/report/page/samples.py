"""Scores of single samples for the explorer, and pictures as part of the page."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from xai_bench.results.drawing import token_html
from xai_bench.results.drawing.tokens import TokenSheet
from xai_bench.results.escape import html
from xai_bench.results.report.main_metrics import main_columns
from xai_bench.results.report.study import StudyReport
from xai_bench.results.report.summary import Block
from xai_bench.results.report.table import header, title

N_ROWS = 128
"""Samples per data set that can be looked at."""
WIDTH = 1100
"""Pixels that a picture may be wide."""

FORM = """\
<p>The score of every method on one sample, under the first seed.</p>
<div class="controls">
<label>Data set <select id="explore-data"></select></label>
<label>Metric <select id="explore-metric"></select></label>
<label>Sample (row of the test part) <select id="explore-sample"></select></label>
</div>
<div class="scroll" role="region" aria-label="Scores of one sample" tabindex="0">
<table class="bars"><caption>Scores of one sample</caption>
<thead><tr><th scope="col">explainer</th><th scope="col">score</th>
<th scope="col">size</th></tr></thead>
<tbody id="explore-rows"></tbody></table></div>"""


def scores(report: StudyReport) -> list[dict[str, Any]]:
    """One entry per block: its title, rows, and per metric the scores by explainer."""
    return [_block(block) for block in report.blocks if main_columns(block)]


def texts(sheets: Sequence[TokenSheet]) -> str:
    """Samples whose words are coloured, each in a part that opens; empty where there are none."""
    if not sheets:
        return ""
    parts = "\n".join(
        f"<details{' open' if place == 0 else ''}><summary>{html(sheet.headline)}</summary>"
        f"{token_html.fragment(replace(sheet, headline=''))}</details>"
        for place, sheet in enumerate(sheets)
    )
    return f"\n<h3>Words by every method</h3>\n<p>{token_html.LEGEND}</p>\n{parts}"


def figure(name: str, png: bytes) -> str:
    """A picture, made small; its name is what is said of it."""
    text = html(name.replace("-", " ").replace("_", " "))
    data = base64.b64encode(_small(png)).decode()
    image = f'<img src="data:image/png;base64,{data}" alt="Figure: {text}" loading="lazy">'
    return f"<figure>{image}<figcaption>{text}</figcaption></figure>"


def _block(block: Block) -> dict[str, Any]:
    rows: list[int] = []
    metrics = []
    for column in main_columns(block):
        scored = block.aligned[0].scores(block.explainers, column.metric, column.key)
        rows = [int(row) for row in scored.rows[:N_ROWS]]
        metrics.append({"label": header(column), "scores": dict(_scores(block, scored.scores))})
    return {"title": title(block), "rows": rows, "metrics": metrics}


def _scores(block: Block, values: Any) -> Iterator[tuple[str, list[float | None]]]:
    for name, mine in zip(block.explainers, values, strict=True):
        if np.isfinite(mine).any():
            # JSON has neither NaN nor infinity. Four digits keep a page with many scores small.
            yield name, [float(f"{v:.4g}") if math.isfinite(v) else None for v in mine[:N_ROWS]]


def _small(png: bytes) -> bytes:
    """With at most `WIDTH` pixels across and 128 colours: a tenth of the bytes."""
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGB")
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)))
    sink = io.BytesIO()
    image.quantize(128).save(sink, "PNG", optimize=True)
    return sink.getvalue()
