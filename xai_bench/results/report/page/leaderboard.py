"""The leaderboard: a table per data set that a reader sorts and filters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xai_bench.results.escape import html
from xai_bench.results.report.main_metrics import main_columns
from xai_bench.results.report.summary import Block, Column, Number
from xai_bench.results.report.table import header, measured, shown, title

_CONTROLS = """\
<div class="controls">
<label>Name contains <input id="filter-name" class="filter" type="search"></label>
<label>Data set
<select id="filter-data" class="filter"><option value="">all</option>{options}</select></label>
<label class="row"><input id="filter-every" class="filter" type="checkbox"> all metrics</label>
<label class="row"><input id="filter-controls" class="filter" type="checkbox" checked>
controls</label>
<span id="filter-count" class="soft" role="status"></span>
</div>"""
_LEGEND = (
    "A click on a heading sorts, best first. ↑: higher is better, ↓: lower is better. Bold: the "
    "best method; †: not significantly different from it. Controls, such as random numbers, are "
    "not ranked. Point at a number for its interval and the number of samples."
)


def boards(blocks: Sequence[Block]) -> str:
    """All tables with what filters them."""
    scored = [block for block in blocks if block.scored]
    options = "".join(
        f'<option value="{place}">{html(title(block))}</option>'
        for place, block in enumerate(scored)
    )
    parts = [f"<p>{html(_LEGEND)}</p>", _CONTROLS.format(options=options)]
    return "\n".join([*parts, *(_board(place, block) for place, block in enumerate(scored))])


def _board(place: int, block: Block) -> str:
    name = html(title(block))
    main = main_columns(block)
    table = "".join(_table(block, main))
    return (
        f'<div class="board" data-block="{place}"><div class="scroll" role="region" tabindex="0" '
        f'aria-label="Scores: {name}">{table}</div></div>'
    )


def _table(block: Block, main: Sequence[Column]) -> Iterator[str]:
    yield f'<table class="sortable"><caption>{html(title(block))}</caption><thead><tr>'
    yield '<th scope="col"><button type="button">explainer</button></th>'
    for column in block.scored:
        first = "descending" if column.higher_is_better else "ascending"
        yield (
            f'<th scope="col" data-number="1" data-first="{first}"{_kind(column, main)}>'
            f'<button type="button">{html(header(column)).replace("_", "_<wbr>")}</button></th>'
        )
    yield "</tr></thead><tbody>"
    for name in shown(block, block.scored):
        control = "" if name in block.methods else ' class="control"'
        yield f'<tr{control}><th scope="row" data-value="{html(name)}">{html(name)}</th>'
        for column in block.scored:
            yield _cell(block.numbers[name, column], _kind(column, main, block, name))
        yield "</tr>"
    yield "</tbody></table>"


def _kind(
    column: Column, main: Sequence[Column], block: Block | None = None, name: str = ""
) -> str:
    kinds = [] if column in main else ["more"]
    if block is not None and block.numbers[name, column].best:
        kinds.append("best")
    return f' class="{" ".join(kinds)}"' if kinds else ""


def _cell(number: Number, kind: str) -> str:
    if number.status != "ok":
        reasons = html("; ".join(number.reasons))
        text = "–" if number.status == "absent" else number.status
        return f'<td{kind} title="{reasons}">{text}</td>'
    mark = " †" if number.tied else ""
    few = f" ({number.n_scored})" if number.n_scored < number.n_samples else ""
    return (
        f'<td{kind} data-value="{number.mean!r}" title="{html(_hover(number))}">'
        f"{html(measured(number.mean))}{mark}{few}</td>"
    )


def _hover(number: Number) -> str:
    span = f"95 % interval {measured(number.low)} to {measured(number.high)}"
    return f"{measured(number.mean)}, {span}, {number.n_scored} of {number.n_samples} samples"
