"""From result values to the bytes of files and back. The same value gives the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save
from torch import Tensor

from xai_bench.results.values import Cell, ExplainerResult, Outcome, Scores, Status
from xai_bench.types import Explanation

# A text is written once, however many rows have it.
_LABEL = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    {
        "metric": _LABEL,
        "metric_key": _LABEL,
        "category": _LABEL,
        "higher_is_better": pa.bool_(),
        "reproducible": pa.bool_(),
        "status": _LABEL,
        "reason": _LABEL,
        "trace": _LABEL,
        "index": pa.int64(),
        "score": pa.float64(),
    }
)
_FIXED = [field for field in SCHEMA if field.name not in ("index", "score")]
_RENAMED = {"pairs": "interactions", "freedom": "degrees_of_freedom"}
"""Names of tensors in stores of version 0.1.0 -> names now."""
_NAMES = ("key", "data", "model", "seed", "view", "target", "baseline_explain", "baseline_measure")


def cell_fields(cell: Cell) -> dict[str, Any]:
    """What identifies a cell and repeats exactly; not its environment and groups."""
    return {
        **{name: getattr(cell, name) for name in _NAMES},
        "config": cell.config,
        "fingerprint": cell.fingerprint,
        "model_scores": _plain(cell.model_scores),
        "history": [_plain(epoch) for epoch in cell.history],
        "group_names": {name: list(names) for name, names in cell.group_names.items()},
        "outcome": asdict(cell.outcome),
    }


def cell_from(
    key: str,
    fields: Mapping[str, Any],
    environment: Mapping[str, str],
    groups: Mapping[str, Tensor],
) -> Cell:
    """The cell whose `cell_fields`, environment and groups were stored under `key`.

    Raises:
        ValueError: they are those of another cell.
    """
    _expect(key, fields["key"])
    return Cell(
        **{name: fields[name] for name in _NAMES},
        config=fields["config"],
        fingerprint=fields["fingerprint"],
        model_scores=_numbers(fields["model_scores"]),
        history=tuple(_numbers(epoch) for epoch in fields["history"]),
        environment=environment,
        groups=groups,
        group_names={name: tuple(names) for name, names in fields.get("group_names", {}).items()},
        outcome=Outcome(**fields["outcome"]),
    )


def result_fields(result: ExplainerResult) -> dict[str, Any]:
    """What identifies a result and repeats exactly; not its tensors and scores."""
    names = ("explainer", "key", "kind", "category", "config")
    fields = {name: getattr(result, name) for name in names}
    return {**fields, "outcome": asdict(result.outcome)}


def result_tensors(result: ExplainerResult) -> dict[str, Tensor]:
    """The samples' index, and the explanation where there is one."""
    explanation = {} if result.explanation is None else result.explanation.tensors()
    return {"index": result.index, **explanation}


def result_from(
    key: str,
    fields: Mapping[str, Any],
    values: Mapping[str, Tensor],
    scores: Mapping[str, Scores],
) -> ExplainerResult:
    """What `result_fields` and `result_tensors` wrote; `values` may hold the index alone.

    Raises:
        ValueError: they are those of another result, or a tensor is not of all samples.
    """
    _expect(key, fields["key"])
    short = [name for name, value in values.items() if len(value) != len(values["index"])]
    if short:
        raise ValueError(f"{short[0]} is not of all {len(values['index'])} samples")
    named = {_RENAMED.get(name, name): value for name, value in values.items()}
    index = named.pop("index")
    return ExplainerResult(
        **{name: value for name, value in fields.items() if name != "outcome"},
        index=index,
        explanation=Explanation.from_tensors(named) if named else None,
        scores=scores,
        outcome=Outcome(**fields["outcome"]),
    )


def flat(measured: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """`probe.name` -> tensor."""
    return {
        f"{probe}.{n}": value for probe, named in measured.items() for n, value in named.items()
    }


def nested(values: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """What `flat` made flat."""
    measured: dict[str, dict[str, Tensor]] = {}
    for path in sorted(values):
        # At the last dot, because names of probes hold decimal points.
        probe, _, name = path.rpartition(".")
        measured.setdefault(probe, {})[name] = values[path]
    return measured


def tensors(values: Mapping[str, Tensor], names: Iterable[str] = ()) -> bytes:
    """A safetensors file; `names` go into its header."""
    # Clones, because safetensors refuses tensors that share their memory.
    packed = {name: value.detach().contiguous().clone() for name, value in values.items()}
    metadata = {"names": json.dumps(list(names))}
    return bytes(save(packed, metadata))


def parquet(scores: Iterable[Scores], index: Tensor) -> bytes:
    """Long format, one row per sample; one row with index -1 for what is skipped or failed."""
    # In order, so that the bytes do not tell which metric was scored first.
    ordered = sorted(scores, key=lambda s: (s.metric, s.key))
    parts = [_rows(s, index.numpy()) for s in ordered]
    times = [len(samples) for samples, _ in parts]
    columns = [_column([_fixed(s)[f.name] for s in ordered], times, f.type) for f in _FIXED]
    none = (np.empty(0, np.int64), np.empty(0))
    samples, values = (np.concatenate(each) for each in zip(*parts or [none], strict=True))
    numbers = [pa.array(samples, pa.int64()), pa.array(values, pa.float64())]
    sink = pa.BufferOutputStream()
    table = pa.table([*columns, *numbers], schema=SCHEMA)
    pq.write_table(table, sink, compression="zstd", write_statistics=False)
    return bytes(sink.getvalue().to_pybytes())


def scores(content: bytes, index: Tensor) -> list[Scores]:
    """What `parquet` wrote, aligned with `index [N]`.

    Raises:
        ValueError: the rows belong to other samples.
    """
    columns = _columns(content)
    metric, key = (columns[name][0] for name in ("metric", "metric_key"))
    if not len(metric):
        return []
    # The rows of one metric are neighbours, as `parquet` writes them.
    starts = np.flatnonzero((metric[1:] != metric[:-1]) | (key[1:] != key[:-1])) + 1
    bounds = [0, *starts.tolist(), len(metric)]
    return [_scores(columns, a, b, index) for a, b in pairwise(bounds)]


Columns = Mapping[str, tuple[np.ndarray[Any, Any], Sequence[Any]]]
"""Name -> the codes or numbers of all rows, and what the codes stand for."""


def _columns(content: bytes) -> Columns:
    """The columns of a file; texts as codes, because a file has few of them in many rows."""
    # Without threads and their readahead, which take longer than these files.
    table = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
    columns = {}
    for name, chunked in zip(table.column_names, table.columns, strict=True):
        column = chunked.chunk(0) if chunked.num_chunks == 1 else chunked.combine_chunks()
        if pa.types.is_dictionary(column.type):
            columns[name] = (column.indices.to_numpy(), column.dictionary.to_pylist())
        elif pa.types.is_string(column.type):
            texts, codes = np.unique(np.array(column.to_pylist(), dtype=str), return_inverse=True)
            columns[name] = (codes, texts.tolist())
        else:
            columns[name] = (column.to_numpy(zero_copy_only=False), ())
    return columns


def _rows(scores: Scores, index: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """Samples and values of one metric. Raises ValueError unless there is a score per sample."""
    if scores.outcome.status != "ok":
        return np.array([-1]), np.array([np.nan])
    if len(scores.values) != len(index):
        raise ValueError(
            f"metric '{scores.metric}' has {len(scores.values)} scores for {len(index)} samples"
        )
    return index, scores.values.double().numpy()


def _fixed(scores: Scores) -> dict[str, Any]:
    """What is the same in all rows of a metric."""
    return {
        "metric": scores.metric,
        "metric_key": scores.key,
        "category": scores.category,
        "higher_is_better": scores.higher_is_better,
        "reproducible": scores.reproducible,
        "status": scores.outcome.status,
        "reason": scores.outcome.reason,
        "trace": scores.outcome.trace,
    }


def _column(values: Sequence[Any], times: Sequence[int], kind: Any) -> Any:
    """An Arrow column that holds each value so many times; texts by their first rows."""
    if kind != _LABEL:
        return pa.array(np.repeat(np.array(values, dtype=bool), times), kind)
    places = {text: place for place, text in enumerate(dict.fromkeys(values))}
    codes = np.array([places[text] for text in values], dtype=np.int32)
    texts = pa.array(list(places), pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(np.repeat(codes, times)), texts)


def _scores(columns: Columns, start: int, end: int, index: Tensor) -> Scores:
    """The metric whose rows these are. Raises ValueError where they belong to other samples."""

    def text(name: str) -> str:
        codes, texts = columns[name]
        return str(texts[int(codes[start])])

    outcome = Outcome(cast(Status, text("status")), text("reason"), text("trace"))
    values = torch.empty(0, dtype=torch.float64)
    if outcome.status == "ok":
        if not np.array_equal(columns["index"][0][start:end], index.numpy()):
            raise ValueError(f"the scores of '{text('metric')}' belong to other samples")
        # A copy, because Arrow's memory cannot be written to.
        values = torch.from_numpy(columns["score"][0][start:end].copy())
    return Scores(
        metric=text("metric"),
        key=text("metric_key"),
        category=text("category"),
        higher_is_better=bool(columns["higher_is_better"][0][start]),
        reproducible=bool(columns["reproducible"][0][start]),
        values=values,
        outcome=outcome,
    )


def _expect(key: str, stored: Any) -> None:
    if stored != key:
        raise ValueError(f"it is that of {stored}, not of {key}")


def _plain(numbers: Mapping[str, float]) -> dict[str, float | str]:
    """Infinite and undefined numbers as text, because JSON cannot write them."""
    floats = {name: float(value) for name, value in numbers.items()}
    return {name: v if np.isfinite(v) else repr(v) for name, v in floats.items()}


def _numbers(plain: Mapping[str, float | str]) -> dict[str, float]:
    return {name: float(value) for name, value in plain.items()}
