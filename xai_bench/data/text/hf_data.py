"""Data sets of the `datasets` library, from its cache or a folder; never a hub."""

from __future__ import annotations

import json
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
        folder = Path(self.name).expanduser()
        if folder.is_dir():
            try:
                tables = datasets.load_from_disk(str(folder))
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(
                    f"{folder} holds no data set that can be read "
                    f"({' '.join(str(error).split())}); give a folder that save_to_disk wrote"
                ) from error
            return tables if hasattr(tables, "keys") else {"train": tables}
        if self.revision is None:
            raise ValueError(
                f"{self.name} is no folder; a data set of the hub needs its commit, "
                "data.revision=..., so that it is the same tomorrow"
            )
        return self._cached(datasets, Path(datasets.config.HF_DATASETS_CACHE).expanduser())

    def _cached(self, datasets: Any, cache: Path) -> dict[str, Any]:
        """Split -> table. Read here: where the hub is out of reach the library takes the latest
        that it has, whichever commit was asked for.
        """
        folders = _stored(cache, self.name)
        mine = [folder for folder in folders if folder.name == self.revision]
        chosen = [folder for folder in mine if self.config in (None, _config(folder))]
        if len(chosen) == 1:
            try:
                return _tables(datasets, chosen[0])
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(
                    f"{chosen[0]} holds no data set that can be read "
                    f"({' '.join(str(error).split())}); remove it and load {self.name} again"
                ) from error
        if mine:
            raise ValueError(
                f"{self.name} has the configurations {', '.join(map(_config, mine))} in the cache "
                f"of datasets, and data.config is {self.config}; choose one of them"
            )
        commits = dict.fromkeys(folder.name for folder in folders)
        raise ValueError(
            f"{self.name} is not in the cache of datasets at {self.revision} "
            f"({', '.join(commits) or 'nor at any other commit'}); load it there once, with "
            "datasets.load_dataset, or give a folder that save_to_disk wrote: nothing is "
            "downloaded here"
        )

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


_INFO = "dataset_info.json"


def _stored(cache: Path, name: str) -> list[Path]:
    """The folders of a data set in the library's cache, by configuration, version and commit."""
    from datasets.naming import camelcase_to_snakecase

    *namespace, own = name.split("/")
    place = cache / "___".join([*namespace, camelcase_to_snakecase(own)])
    return [path.parent for path in sorted(place.glob(f"*/*/*/{_INFO}")) if _is_whole(path)]


def _is_whole(path: Path) -> bool:
    """Whether it is a configuration as the hub has it, and not of files that somebody chose."""
    try:
        named = json.loads(path.read_bytes())["config_name"]
    except (ValueError, KeyError, TypeError):
        return True  # what is damaged is told when it is read
    return bool(named == _config(path.parent))


def _config(folder: Path) -> str:
    return folder.parts[-3]


def _tables(datasets: Any, folder: Path) -> dict[str, Any]:
    """Split -> table. Raises ValueError where rows are missing."""
    from datasets.naming import filenames_for_dataset_split

    info = datasets.DatasetInfo.from_directory(str(folder))
    tables = {}
    for name, split in info.splits.items():
        files = filenames_for_dataset_split(
            str(folder), info.dataset_name, name, "arrow", split.shard_lengths
        )
        tables[name] = datasets.concatenate_datasets([datasets.Dataset.from_file(f) for f in files])
        if len(tables[name]) != split.num_examples:
            raise ValueError(f"{name} has {len(tables[name])} of {split.num_examples} rows")
    return tables
