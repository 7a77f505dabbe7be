"""Data sets of the `datasets` library, from its cache or a folder; never a hub."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xai_bench.data.bundle import Bundle
from xai_bench.data.checks import require_columns
from xai_bench.data.text.corpus import Example, TextOptions
from xai_bench.data.text.evidence import read_evidence

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HuggingFaceDataset(TextOptions):
    """A data set that `datasets` has in its cache, or a folder that its `save_to_disk` wrote.

    Attributes:
        name: as in `load_dataset`, or the folder.
        revision: the commit of a cached one, which has to be named: names move on.
        config: which of its configurations.
        text, label, rationale: the columns, as in `TextFile`.
        splits: our part -> theirs, `{train: train}` if not given; without `valid` and `test`,
            `train` is divided.
    """

    name: str
    revision: str | None = None
    config: str | None = None
    text: str = "text"
    label: str = "label"
    rationale: str | None = None
    splits: Mapping[str, str] | None = None

    def load(self) -> Bundle:
        """The texts as a bundle; see `Dataset.load`."""
        tables = self._tables()
        splits = self.splits or {"train": "train"}
        require_columns(splits.values(), tables, f"split of {self.name}:", "splits")
        return self.bundle({ours: self._read(tables[name]) for ours, name in splits.items()})

    def _tables(self) -> Any:
        try:
            import datasets
        except ImportError as error:
            raise ValueError(
                "data hf_dataset needs datasets: pip install 'xai-bench[text]'"
            ) from error
        if Path(self.name).expanduser().is_dir():
            try:
                tables = datasets.load_from_disk(str(Path(self.name).expanduser()))
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(
                    f"{self.name} holds no data set that can be read "
                    f"({' '.join(str(error).split())}); give a folder that save_to_disk wrote"
                ) from error
            return tables if hasattr(tables, "keys") else {"train": tables}
        if self.revision is None:
            raise ValueError(
                f"{self.name} is no folder; a data set of the hub needs its commit, "
                "data.revision=..., so that it is the same tomorrow"
            )
        offline = datasets.DownloadConfig(local_files_only=True)
        try:
            return datasets.load_dataset(
                self.name, self.config, revision=self.revision, download_config=offline
            )
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split()).split(". ")[0].rstrip(".")
            raise ValueError(
                f"{self.name} is not in the cache of datasets ({reason}); load it there once, or "
                "give a folder that save_to_disk wrote: nothing is downloaded here"
            ) from error

    def _read(self, table: Any) -> list[Example]:
        columns = [self.text, self.label, *([self.rationale] if self.rationale else [])]
        require_columns(columns, table.column_names, f"column of {self.name}:")
        names = getattr(table.features[self.label], "names", None)
        rows = zip(table[self.text], table[self.label], self._marks(table), strict=True)
        examples = [
            Example(text or "", names[label] if names else label, read_evidence(mark, text, row))
            for row, (text, label, mark) in enumerate(rows)
            # By convention of the library, a class of -1 says that a row has no label.
            if label is not None and not (names and label == -1)
        ]
        if n_unlabelled := len(table) - len(examples):
            if not examples:
                raise ValueError(
                    f"no row of a split of {self.name} has a label; choose other "
                    "splits, as data.splits={train: train, test: validation}"
                )
            log.warning("%s: %d rows without a label are left out", self.name, n_unlabelled)
        return examples

    def _marks(self, table: Any) -> Any:
        return table[self.rationale] if self.rationale else [None] * len(table)
