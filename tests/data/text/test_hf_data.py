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
    folder: Path, commit: str, *splits: str, config: str = "default", **settings: Any
) -> Path:
    """What `load_dataset("someone/Films-train-v2", config, revision=commit)` leaves in the cache.

    The texts of a split begin with its name, the configuration and the first letter of the commit.
    """
    from datasets.packaged_modules.parquet.parquet import Parquet

    files = {}
    for split in splits:
        texts = [f"{split} {config} {commit[0]} {text}" for text in TEXTS]
        files[split] = [str(folder / f"{commit}-{config}-{split}.parquet")]
        made = datasets.Dataset.from_dict({"text": texts, "label": LABELS})
        made.to_parquet(files[split][0], batch_size=5)
    place = folder / "cache" / "someone___films-train-v2" / config / "0.0.0" / commit
    # The name of a configuration stands alone where the hub says which files it has.
    name = config.partition("-")[0]
    builder = Parquet(
        cache_dir=str(folder / "cache"),
        dataset_name="films-train-v2",
        config_name=name,
        hash=commit,
        data_files=files,
    )
    builder._cache_dir = str(place)
    builder.download_and_prepare(builder._cache_dir, **settings)
    return place


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of `datasets`, and no way to the hub."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("somebody asked the hub")

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("socket.socket.connect", refuse)
    return tmp_path


OLD, NEW = "a" * 40, "b" * 40
BOTH = {"train": "train", "test": "test"}


def films(**settings: Any) -> HuggingFaceDataset:
    return HuggingFaceDataset("someone/Films-train-v2", **settings)


@pytest.mark.parametrize("settings", [{}, {"max_shard_size": 500}])
def test_a_cached_one_is_that_of_the_commit_and_no_hub_is_asked(
    cache: Path, settings: dict[str, Any]
) -> None:
    for commit in (OLD, NEW):
        place = cached(cache, commit, "train", "test", **settings)
        assert len(list(place.glob("*.arrow"))) == (6 if settings else 2)
    for commit in (OLD, NEW):
        bundle = films(revision=commit, splits=BOTH).load()
        start = f"test default {commit[0]}"
        rows = zip(bundle.test.texts.strings, bundle.test.y.tolist(), strict=True)
        expected = [(f"{start} {text}", label) for text, label in zip(TEXTS, LABELS, strict=True)]
        assert sorted(rows) == sorted(expected)
        others = [*bundle.train.texts.strings, *bundle.valid.texts.strings]
        assert len(others) == 20
        assert all(text.startswith(f"train default {commit[0]}") for text in others)


def test_another_commit_is_one_sentence_with_those_that_are_there(cache: Path) -> None:
    cached(cache, OLD, "train")
    with pytest.raises(ValueError, match=rf"not in the cache of datasets at {NEW} \({OLD}\)"):
        films(revision=NEW).load()


def test_one_of_several_configurations_is_chosen_by_name(cache: Path) -> None:
    for config in ("long", "short"):
        cached(cache, OLD, "train", config=config)
    with pytest.raises(ValueError, match=r"configurations long, short .* data\.config is None"):
        films(revision=OLD).load()
    for config in ("long", "short"):
        texts = films(revision=OLD, config=config).load().train.texts.strings
        assert all(text.startswith(f"train {config} ") for text in texts)


def test_files_that_somebody_chose_are_no_data_set(cache: Path) -> None:
    """`load_dataset(name, data_files=...)` leaves them beside the whole."""
    cached(cache, OLD, "train", config="default-0123456789abcdef")
    with pytest.raises(ValueError, match=r"nor at any other commit"):
        films(revision=OLD).load()
    cached(cache, OLD, "train")
    assert films(revision=OLD).load().train.texts.strings[0].startswith("train default a")


@pytest.mark.parametrize("content", [None, b"", b"{", "cut"])
def test_a_damaged_cache_is_one_sentence(cache: Path, content: bytes | str | None) -> None:
    place = cached(cache, OLD, "train", max_shard_size=500)
    first = sorted(place.glob("*.arrow"))[1]
    if content is None:
        first.unlink()
    elif content == "cut":  # a stream may end after any batch, or before the first
        table = datasets.Dataset.from_file(str(first))._data.table
        pa = pytest.importorskip("pyarrow")
        with pa.ipc.new_stream(str(first), table.schema):
            pass
    else:
        assert isinstance(content, bytes)
        first.write_bytes(content)
    with pytest.raises(ValueError, match=r"remove it and load someone/Films-train-v2 again"):
        films(revision=OLD).load()


@pytest.mark.parametrize("content", [b"[]", b"{", b"{}"])
def test_a_damaged_description_is_one_sentence(cache: Path, content: bytes) -> None:
    (cached(cache, OLD, "train") / "dataset_info.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"remove it and load someone/Films-train-v2 again"):
        films(revision=OLD).load()
