"""Where a statement of a verdict holds, in few words: data sets, models and settings, each once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xai_bench.results.report.regimes import base
from xai_bench.results.report.summary import Block
from xai_bench.results.report.table import title
from xai_bench.results.report.words import count, listed

_N_NAMED = 4
_N_PLACES = 2


def place_names(blocks: Sequence[Block]) -> dict[str, str]:
    """Title of a block -> its shortest name among these: the data's, where that is enough."""
    places = {title(block): block for block in blocks}
    data = [block.names["data"] for block in places.values()]
    models = {block.names["model"] for block in places.values()}
    return {
        full: _name(block, alone=data.count(block.names["data"]) == 1, model=len(models) > 1)
        for full, block in places.items()
    }


def _name(block: Block, *, alone: bool, model: bool) -> str:
    if alone:
        return block.names["data"]
    with_model = f" with {block.names['model']}" if model else ""
    return f"{block.names['data']}{with_model}{f' ({block.variant})' if block.variant else ''}"


def scope(blocks: Sequence[Block]) -> str:
    """All that was measured on: `iris and wine with linear and mlp, in 2 settings each`."""
    places = {title(block): block for block in blocks}.values()
    data = _distinct([block.names["data"] for block in places])
    models = _distinct([block.names["model"] for block in places])
    text = _few(data, "data set")
    if len(models) > 1:
        text += f" with {_few(models, 'model')}"
    n_settings = len(_distinct([block.variant for block in places]))
    if n_settings == 1:
        return text
    if len(places) == len(data) * len(models) * n_settings:
        return f"{text}, in {n_settings} settings{' each' if len(places) > n_settings else ''}"
    return f"{text}, in {n_settings} settings"


def somewhere(blocks: Sequence[Block], names: Mapping[str, str]) -> str:
    """Some of the places in `names`: named where they are few, else how many of how many."""
    titles = _distinct([title(block) for block in blocks])
    if len(titles) == len(names) > 1:
        return "everywhere"
    if len(titles) <= _N_PLACES:
        return f"on {listed([names[full] for full in titles])}"
    return f"in {len(titles)} of {len(names)} cases"


def grouped(methods: Sequence[str]) -> list[str]:
    """Names of methods, each once: several of `lime (budget=64)` are `lime (in 3 settings)`."""
    regimes: dict[str, list[str]] = {}
    for method in methods:
        regimes.setdefault(base(method), []).append(method)
    return [
        several[0] if len(several) == 1 else f"{name} (in {len(several)} settings)"
        for name, several in regimes.items()
    ]


def _few(names: Sequence[str], noun: str) -> str:
    """All names, or how many there are."""
    return listed(names) if len(names) <= _N_NAMED else count(len(names), noun)


def _distinct(words: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(words))
