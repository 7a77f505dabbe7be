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
        ({"name": "nobody/nothing", "revision": "a" * 40}, "nor at any other commit"),
    ],
)
def test_what_is_not_there_is_one_sentence(
    changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    settings = {"name": saved(tmp_path, train=LABELS), **changes}
    with pytest.raises(ValueError, match=sentence):
        HuggingFaceDataset(**settings).load()


def cached(
    folder: Path, commit: str, labels: list[Any], config: str = "default", **settings: Any
) -> None:
    """What `load_dataset("someone/Films", config, revision=commit)` leaves in the cache."""
    from datasets.packaged_modules.parquet.parquet import Parquet

    source = folder / f"{commit}-{config}.parquet"
    datasets.Dataset.from_dict({"text": TEXTS, "label": labels}).to_parquet(
        str(source), batch_size=5
    )
    builder = Parquet(
        cache_dir=str(folder / "cache"),
        dataset_name="films",
        config_name=config,
        hash=commit,
        data_files={"train": [str(source)]},
    )
    # The name of a configuration stands alone where the hub says which files it has.
    builder._cache_dir = str(folder / "cache" / "someone___films" / config / "0.0.0" / commit)
    builder.download_and_prepare(builder._cache_dir, **settings)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of `datasets`, and no way to the hub."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("somebody asked the hub")

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("socket.socket.connect", refuse)
    return tmp_path


OLD, NEW = "a" * 40, "b" * 40


def test_a_cached_one_is_that_of_the_commit_and_no_hub_is_asked(cache: Path) -> None:
    cached(cache, OLD, LABELS)
    cached(cache, NEW, [0] * 10 + [1] * 10, max_shard_size=500)
    assert len(list(cache.glob("cache/*/*/*/*/*-of-*.arrow"))) > 1, "the newer one is in parts"
    for commit, labels in ((OLD, LABELS), (NEW, [0] * 10 + [1] * 10)):
        bundle = HuggingFaceDataset("someone/Films", revision=commit).load()
        parts = [bundle.train, bundle.valid, bundle.test]
        rows = [
            (text, bundle.class_names[int(y)])
            for part in parts
            for text, y in zip(part.texts.strings, part.y, strict=True)
        ]
        assert sorted(rows) == sorted(zip(TEXTS, map(str, labels), strict=True))


def test_another_commit_is_one_sentence_with_those_that_are_there(cache: Path) -> None:
    cached(cache, OLD, LABELS)
    with pytest.raises(ValueError, match=rf"not in the cache of datasets at {NEW} \({OLD}\)"):
        HuggingFaceDataset("someone/Films", revision=NEW).load()


def test_one_of_several_configurations_is_chosen_by_name(cache: Path) -> None:
    cached(cache, OLD, LABELS, config="long")
    cached(cache, OLD, LABELS[::-1], config="short")
    with pytest.raises(ValueError, match=r"configurations long, short .* data\.config is None"):
        HuggingFaceDataset("someone/Films", revision=OLD).load()
    parts = [
        HuggingFaceDataset("someone/Films", revision=OLD, config=config).load()
        for config in ("long", "short")
    ]
    assert parts[0].fingerprint() != parts[1].fingerprint()


def test_a_damaged_cache_is_one_sentence(cache: Path) -> None:
    cached(cache, OLD, LABELS)
    next(cache.glob("cache/*/*/*/*/*.arrow")).write_bytes(b"{")
    with pytest.raises(ValueError, match=r"remove it and load someone/Films again"):
        HuggingFaceDataset("someone/Films", revision=OLD).load()
