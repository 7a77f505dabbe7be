"""Your own texts: a CSV, TSV or JSONL file with a column of texts and one of labels."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_bench.data.bundle import Bundle
from xai_bench.data.checks import existing_path, require_columns
from xai_bench.data.tables.frames import filtered, recoded
from xai_bench.data.text.corpus import Example, TextOptions
from xai_bench.data.text.evidence import read_evidence

if TYPE_CHECKING:
    import pandas as pd

_SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}


@dataclass(frozen=True)
class TextFile(TextOptions):
    """Your own texts, a row each, in a CSV, TSV or JSONL file, which may be gzipped.

    Attributes:
        text, label: the columns; labels are classes, whatever they are called.
        rationale: a column that says where the evidence lies: a part of the text as it stands, a
            list of `[start, end]` characters, or a list of 0 and 1 for the words between spaces.
        valid_path, test_path: files with the official other parts.
        names: column names of a file without a header.
        quotes: whether quotation marks enclose values; false takes them for text.
        where: keep only these rows, by a condition over any columns of the file.
        recode: column -> {value: other value}, such as names of classes.
    """

    path: str
    text: str = "text"
    label: str = "label"
    rationale: str | None = None
    valid_path: str | None = None
    test_path: str | None = None
    names: Sequence[str] | None = None
    quotes: bool = True
    where: str = ""
    recode: Mapping[str, Mapping[Any, Any]] | None = None

    def load(self) -> Bundle:
        """The texts as a bundle; see `Dataset.load`."""
        paths = {"train": self.path, "valid": self.valid_path, "test": self.test_path}
        return self.bundle({name: self._read(path) for name, path in paths.items() if path})

    def _read(self, path: str) -> list[Example]:
        frame = _frame(existing_path(path), self.names, quotes=self.quotes)
        columns = [self.text, self.label, *([self.rationale] if self.rationale else [])]
        require_columns(columns, frame.columns, f"column of {Path(path).name}:")
        frame = recoded(filtered(frame, self.where), self.recode or {})
        marks = frame[self.rationale].tolist() if self.rationale else [None] * len(frame)
        rows = zip(frame[self.text], frame[self.label], marks, strict=True)
        return [
            Example(_string(text), label, read_evidence(mark, _string(text), row))
            for row, (text, label, mark) in enumerate(rows)
        ]


def _string(value: Any) -> str:
    """The text of a cell; empty where there is none."""
    return value if isinstance(value, str) else ""


def _frame(path: Path, names: Sequence[str] | None, *, quotes: bool) -> pd.DataFrame:
    import pandas as pd

    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    try:
        if suffix in (".jsonl", ".ndjson"):
            # Without guesses, which would make numbers of texts and labels such as "007".
            return pd.read_json(path, lines=True, dtype=False)
        # Only empty cells are missing: `NA`, `None` and `null` are texts like any other. And no
        # index, which pandas makes of the first column where rows end in a separator.
        return pd.read_csv(
            path,
            sep=_SEPARATORS.get(suffix, ","),
            names=None if names is None else list(names),
            header="infer" if names is None else None,
            quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
            index_col=False,
            keep_default_na=False,
            na_values=[""],
        )
    except (OSError, ValueError, EOFError, json.JSONDecodeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(
            f"{path} cannot be read: {reason}; expected CSV, TSV or JSONL, a text a row, with a "
            "line of column names (or data.names)"
        ) from error
