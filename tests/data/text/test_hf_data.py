"""Data sets of the `datasets` library come from a folder or its cache; missing labels are told."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from xai_bench.data.text.hf_data import HuggingFaceDataset

datasets = pytest.importorskip("datasets")

TEXTS = [f"this film is {'very ' * n}{'good' if n % 2 else 'bad'}" for n in range(20)]


def saved(folder: Path, **labels: list[Any]) -> str:
    """A folder with a split of `TEXTS` under each name, with its labels."""
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["negative", "positive"]),
        }
    )
    parts = {
        split: datasets.Dataset.from_dict({"text": TEXTS, "label": numbers}, features=features)
        for split, numbers in labels.items()
    }
    datasets.DatasetDict(parts).save_to_disk(str(folder / "films"))
    return str(folder / "films")


LABELS = [n % 2 for n in range(20)]


def test_splits_and_names_of_classes_are_theirs(tmp_path: Path) -> None:
    name = saved(tmp_path, train=LABELS, validation=LABELS[::-1])
    splits = {"train": "train", "test": "validation"}
    bundle = HuggingFaceDataset(name, splits=splits).load()
    assert bundle.class_names == ("negative", "positive")
    rows = zip(bundle.test.texts.strings, bundle.test.y.tolist(), strict=True)
    assert sorted(rows) == sorted(zip(TEXTS, LABELS[::-1], strict=True))
    assert len(bundle.train.y) + len(bundle.valid.y) == 20
    again = HuggingFaceDataset(name, splits=splits).load()
    assert again.fingerprint() == bundle.fingerprint()


def test_a_row_without_a_label_is_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = saved(tmp_path, train=LABELS, test=[-1, None, *LABELS[2:]])
    with caplog.at_level(logging.WARNING):
        bundle = HuggingFaceDataset(name, splits={"train": "train", "test": "test"}).load()
    rows = zip(bundle.test.texts.strings, bundle.test.y.tolist(), strict=True)
    assert sorted(rows) == sorted(zip(TEXTS[2:], LABELS[2:], strict=True))
    assert "2 rows without a label are left out" in caplog.text


def test_a_split_without_labels_is_one_sentence(tmp_path: Path) -> None:
    name = saved(tmp_path, train=LABELS, test=[-1] * 20)
    with pytest.raises(ValueError, match=r"no row of a split of .*films has a label"):
        HuggingFaceDataset(name, splits={"train": "train", "test": "test"}).load()


@pytest.mark.parametrize("content", [None, b"", b"{", b"\x93" * 100])
def test_a_folder_of_other_files_is_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    folder = tmp_path
    if content is not None:
        folder = Path(saved(tmp_path, train=LABELS))
        (folder / "dataset_dict.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"that can be read .*; give a folder that save_to"):
        HuggingFaceDataset(str(folder)).load()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"splits": {"train": "training"}}, "films: 'training' is not among the splits"),
        ({"text": "sentence"}, "films: 'sentence' is not among the columns"),
        ({"name": "stanfordnlp/sst2"}, "needs its commit, data.revision"),
        ({"name": "nobody/nothing", "revision": "a" * 40}, "is not in the cache of datasets"),
    ],
)
def test_what_is_not_there_is_one_sentence(
    changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    settings = {"name": saved(tmp_path, train=LABELS), **changes}
    with pytest.raises(ValueError, match=sentence):
        HuggingFaceDataset(**settings).load()
