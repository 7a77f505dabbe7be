"""Every file of the results x every kind of damage: it is said, computed again, and then gone.

One small run is the reference. A copy of it is damaged, the same command is run again, and every
file that repeats has the bytes it had; a third run finds nothing to say and nothing to do.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hydra import compose, initialize_config_dir
from safetensors.torch import load_file, save_file

from xai_bench.runner.cells.job import job
from xai_bench.runner.config.catalogue import conf_dir

CELL = ["cell.json", "machine.json", "groups.safetensors", "inputs.safetensors", "elements.json",
        "predictions.safetensors"]  # fmt: skip
EXPLANATION = ["explanation.json", "attribution.safetensors", "measured.safetensors",
               "scores.parquet", "costs.parquet"]  # fmt: skip
CHANGING = {"machine.json", "costs.parquet", "SHA256SUMS", "mlflow.db"}
"""Files that hold clocks or digests of files that do."""

NAMES = {
    "data": "people",
    "model": "linear",
    "view": "inputs",
    "target": "predicted_logit",
    "baseline.explain": "mean",
    "baseline.measure": "mean",
}

Damage = Callable[[Path, Path], None]


def flipped(path: Path, _: Path) -> None:
    """One bit in the middle is another."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def flipped_at_the_end(path: Path, _: Path) -> None:
    """One bit of the last values is another."""
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def truncated(path: Path, _: Path) -> None:
    """The end is missing."""
    path.write_bytes(path.read_bytes()[:-9])


def emptied(path: Path, _: Path) -> None:
    """Nothing is left."""
    path.write_bytes(b"")


def another_kind(path: Path, _: Path) -> None:
    """A readable file of another kind."""
    path.write_bytes(b"[1]\n")


def deleted(path: Path, _: Path) -> None:
    """The file is gone."""
    path.unlink()


def exchanged(path: Path, other: Path) -> None:
    """The file of another cell or explanation lies in its place."""
    shutil.copyfile(other, path)


def edited(path: Path, _: Path) -> None:
    """Readable, with other values."""
    if path.name == "SHA256SUMS":
        path.write_text("000" + path.read_text()[3:])
    elif path.suffix == ".json":
        path.write_text(json.dumps(_edited(json.loads(path.read_text())), indent=2))
    elif path.suffix == ".parquet":
        table = pq.read_table(path)
        changed = pa.array([0.25] * len(table), pa.float64())
        place = table.schema.get_field_index("score")
        pq.write_table(table.set_column(place, "score", changed), path)
    else:
        save_file(
            {k: v.flip(0).contiguous() for k, v in load_file(path).items()}, path, _names(path)
        )


def reshaped(path: Path, _: Path) -> None:
    """Readable, with a sample or an entry less."""
    if path.name == "SHA256SUMS":
        path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    elif path.suffix == ".json":
        content = json.loads(path.read_text())
        if isinstance(content, list):
            content.pop()
        else:
            content.pop(sorted(content)[len(content) // 2])
        path.write_text(json.dumps(content))
    elif path.suffix == ".parquet":
        table = pq.read_table(path)
        pq.write_table(table.slice(0, len(table) - 1), path)
    else:
        save_file({k: v[:-1].contiguous() for k, v in load_file(path).items()}, path, _names(path))


def _names(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return dict(file.metadata() or {})


def _edited(content: Any) -> Any:
    """With the last text or number changed."""
    if isinstance(content, Mapping):
        last = list(content)[-1]
        return {**content, last: _edited(content[last])}
    if isinstance(content, list):
        return [*content[:-1], _edited(content[-1])] if content else [0]
    return f"{content}0" if isinstance(content, str) else 17


DAMAGE: list[Damage] = [
    flipped, flipped_at_the_end, truncated, emptied, another_kind, deleted, exchanged, edited,
    reshaped,
]  # fmt: skip


def run(root: Path, seed: int, *overrides: str) -> str:
    """One job of the command that made the reference."""
    chosen = ["data=custom_table", "data.path=people.csv", "data.target=rich"]
    model = ["model=linear", "baseline@baseline.measure=mean", "recorder=none", "study=s"]
    parts = ["explainer=[lime,random]", "metric=[abpc,forward_rows,entropy,sensitive_share]"]
    small = [
        "data.sensitive=[sex]",
        "evaluation.n_samples=6",
        "explainer.lime.budget=40",
        f"seed={seed}",
    ]
    tune = ["tune=true", "tuning.n_trials=2", "tuning.n_samples=4"]
    # A relative path, because the cell is addressed by it.
    with chdir(root.parent), initialize_config_dir(str(conf_dir()), version_base="1.3"):
        place = [f"seed={seed}", f"results={root}"]
        cfg = compose("config", [*chosen, *model, *parts, *small, *tune, *place, *overrides])
        return job(cfg, NAMES)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of two seeds, as a run leaves them."""
    root = tmp_path_factory.mktemp("damage") / "results"
    rows = torch.rand(60, 2, generator=torch.Generator().manual_seed(0)).numpy()
    people = pd.DataFrame({"age": 20 + 50 * rows[:, 0], "income": rows[:, 1]})
    people["sex"] = ["f", "m"] * 30
    people["rich"] = pd.Series(rows.sum(1) > 1).map({True: "yes", False: "no"})
    people.to_csv(root.parent / "people.csv", index=False)
    for seed in (0, 1):
        assert run(root, seed) == "ok"
    return root


def places(root: Path) -> dict[str, tuple[Path, Path]]:
    """What is damaged: name -> its path, and that of its like in another cell or explanation."""
    cells = {
        json.loads(path.read_text())["seed"]: path.parent for path in root.glob("store/*/cell.json")
    }
    results = {
        (seed, json.loads(path.read_text())["explainer"]): path.parent
        for seed, cell in cells.items()
        for path in cell.glob("*/explanation.json")
    }
    found = {name: (cells[0] / name, cells[1] / name) for name in CELL}
    lime, other = results[0, "lime"], results[0, "random"]
    found |= {name: (lime / name, other / name) for name in EXPLANATION}
    studies = sorted(root.glob("studies/s/*.json"), key=lambda p: p.stem != cells[0].name)
    # Their names are digests: the older one is of the first seed.
    tuned = sorted(root.glob("cache/tuning/*.json"), key=lambda path: path.stat().st_mtime_ns)
    found |= {"study": (studies[0], studies[1]), "tuning": (tuned[0], tuned[1])}
    found["index of a cell"] = (cells[0] / "SHA256SUMS", cells[1] / "SHA256SUMS")
    found["index of an explanation"] = (lime / "SHA256SUMS", other / "SHA256SUMS")
    return found


FILES = [*CELL, *EXPLANATION, "study", "tuning"]
INDICES = ["index of a cell", "index of an explanation"]


def repeatable(root: Path) -> dict[str, bytes]:
    paths = [p for p in sorted(root.rglob("*")) if p.is_file() and p.suffix != ".lock"]
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in paths
        if path.name not in CHANGING and not path.name.endswith(".lock")
    }


@pytest.fixture
def damaged(reference: Path, tmp_path: Path) -> Callable[[str, Damage], tuple[Path, Path]]:
    """Damages a file of a copy of the reference; gives the copy and the path."""

    def damaged(name: str, damage: Damage) -> tuple[Path, Path]:
        root = tmp_path / "results"
        shutil.copytree(reference, root)
        shutil.copyfile(reference.parent / "people.csv", tmp_path / "people.csv")
        path, other = places(root)[name]
        damage(path, other)
        return root, path

    return damaged


STEP = 1 if os.environ.get("XAI_BENCH_FUZZ") == "full" else 3
"""`make test-fuzz` tries all pairs, `make test-all` each file with a third of the damages."""
CASES = [
    pytest.param(
        name,
        damage,
        id=f"{name}-{damage.__name__}",
        # `make test` has every third file, each with another kind of damage.
        marks=pytest.mark.slow if (i - k) % len(DAMAGE) == i % 3 == 0 else pytest.mark.exhaustive,
    )
    for i, name in enumerate([*FILES, *INDICES])
    for k, damage in enumerate(DAMAGE)
    if (i - k) % STEP == 0
]


@pytest.mark.sample(5)
@pytest.mark.parametrize(("name", "damage"), CASES)
def test_damage_is_said_and_computed_again(
    reference: Path, damaged: Any, name: str, damage: Damage, caplog: pytest.LogCaptureFixture
) -> None:
    root, path = damaged(name, damage)
    before = reference / path.relative_to(root)
    if path.exists() and path.read_bytes() == before.read_bytes():
        return  # what was exchanged are equal files
    with caplog.at_level(logging.WARNING):
        assert run(root, 0) == "ok"
    said = [record.getMessage() for record in caplog.records]
    assert said, "damage is never passed over"
    assert all(str(path.parent) in sentence for sentence in said)
    if name in FILES:
        assert len(said) == 1, "and it is said once"
        assert str(path) in said[0]
    caplog.clear()
    here, there = repeatable(root), repeatable(reference)
    assert sorted(here) == sorted(there)
    assert not [name for name in here if here[name] != there[name]]
    written = {path: path.stat().st_mtime_ns for path in root.glob("store/*/*/*")}
    assert run(root, 0) == "ok"
    assert not caplog.records
    assert written == {path: path.stat().st_mtime_ns for path in written}


@pytest.mark.exhaustive
def test_a_broken_mlflow_costs_no_result(
    reference: Path, damaged: Any, caplog: pytest.LogCaptureFixture
) -> None:
    root, path = damaged("scores.parquet", deleted)
    (root / "mlflow.db").write_bytes(b"text that is longer than a header of a hundred bytes" * 9)
    assert run(root, 0, "recorder=mlflow") == "failed"
    [sentence] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "xai-bench doctor" in sentence
    assert len(sentence.splitlines()) == 1
    assert path.read_bytes() == (reference / path.relative_to(root)).read_bytes()
    assert sorted(repeatable(root)) == sorted(repeatable(reference))


@pytest.mark.slow
def test_a_full_disk_costs_nothing_that_was_computed(
    reference: Path, damaged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second explainer's result finds no room; then there is room again."""
    root, _ = damaged("scores.parquet", deleted)
    lost = places(root)["attribution.safetensors"][1].parent
    shutil.rmtree(lost)
    sync, room = os.fsync, []

    def full(handle: int) -> None:
        room.append(handle)
        if len(room) > 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert run(root, 0) == "failed"
    assert run(root, 0) == "ok"
    assert run(root, 1) == "ok"
    here, there = repeatable(root), repeatable(reference)
    assert [name for name in there if here.get(name) != there[name]] == []
