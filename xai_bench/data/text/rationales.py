"""Corpora with human rationales: the ERASER layout, and HateXplain."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xai_bench.data.bundle import Bundle
from xai_bench.data.checks import existing_path
from xai_bench.data.text.corpus import Example, TextOptions
from xai_bench.data.text.evidence import of_token_ranges, of_words

_PARTS = {"train": "train", "val": "valid", "test": "test"}


@dataclass(frozen=True)
class EraserCorpus(TextOptions):
    """A corpus in the ERASER layout: `{train,val,test}.jsonl` and `docs/`, in a folder or a tar.

    Each annotation is about one document; its evidence is given in words between spaces. Of
    several evidence groups all are taken. DeYoung+ 2020, arXiv:1911.03429.
    """

    path: str

    def load(self) -> Bundle:
        """The texts as a bundle; see `Dataset.load`."""
        files = _files(existing_path(self.path))
        parts = {}
        for name, part in _PARTS.items():
            lines = files.get(f"{name}.jsonl", "").splitlines()
            if not lines:
                raise ValueError(
                    f"{self.path} has no {name}.jsonl; the ERASER layout is train.jsonl, "
                    "val.jsonl, test.jsonl and docs/"
                )
            parts[part] = [_annotation(json.loads(line), files) for line in lines if line]
        return self.bundle(parts)


@dataclass(frozen=True)
class HateXplain(TextOptions):
    """HateXplain: three annotators name the class of a post, and mark words of what is not normal.

    A post's class is that of most annotators; a word is evidence where at least half of those who
    marked words marked it. Posts with no majority are left out. The training part may be a list of
    texts and classes without rationales. The posts are offensive. Mathew+ 2021, arXiv:2012.10289.
    """

    train_path: str
    valid_path: str
    test_path: str

    def load(self) -> Bundle:
        """The texts as a bundle; see `Dataset.load`."""
        paths = {"train": self.train_path, "valid": self.valid_path, "test": self.test_path}
        return self.bundle(
            {name: list(_posts(existing_path(path))) for name, path in paths.items()}
        )


def _files(path: Path) -> dict[str, str]:
    """The text files of a folder or tar, by their names below its top: `train.jsonl`, `docs/..`."""
    if path.is_dir():
        inside = [p for p in path.rglob("*") if p.is_file()]
        return {str(p.relative_to(path)): p.read_text(encoding="utf-8") for p in inside}
    try:
        with tarfile.open(path) as archive:
            members = [(m.name, archive.extractfile(m)) for m in archive.getmembers() if m.isfile()]
            read = {name: file.read().decode("utf-8") for name, file in members if file}
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ValueError(f"{path} is neither a folder nor a tar archive: {error}") from error
    top = next((name for name in read if name.endswith("train.jsonl")), "train.jsonl")
    prefix = top.removesuffix("train.jsonl")
    return {name.removeprefix(prefix): text for name, text in read.items()}


def _annotation(row: Mapping[str, Any], files: Mapping[str, str]) -> Example:
    evidence = [span for group in row["evidences"] for span in group]
    # Without evidence, only the annotation's own name says which document it is about.
    names = {span["docid"] for span in evidence} or {row["annotation_id"]}
    name = next(iter(names))
    if len(names) > 1 or f"docs/{name}" not in files:
        raise ValueError(
            f"annotation {row['annotation_id']} is about {len(names)} documents, the first of them "
            f"{name!r}; expected one that lies in docs/"
        )
    text = files[f"docs/{name}"]
    spans = of_token_ranges([(span["start_token"], span["end_token"]) for span in evidence], text)
    return Example(text, row["classification"], spans)


def _posts(path: Path) -> Iterator[Example]:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    content = json.loads(raw)
    if isinstance(content, list):
        yield from (Example(text, label) for text, label in content)
        return
    for post in content.values():
        labels = Counter(annotator["label"] for annotator in post["annotators"])
        label, votes = labels.most_common(1)[0]
        if 2 * votes > len(post["annotators"]):
            text = " ".join(post["post_tokens"])
            yield Example(text, label, of_words(_majority(post["rationales"], text), text))


def _majority(marked: Sequence[Sequence[int]], text: str) -> list[int]:
    n_words = len(text.split())
    if not marked:
        return [0] * n_words
    return [int(2 * sum(flags) >= len(marked)) for flags in zip(*marked, strict=True)]
