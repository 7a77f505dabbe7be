"""`xai-bench doctor`: what is wrong in a folder of results is found, and repaired if possible."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.models.fitting.test_cache import SMALL
from tests.models.fitting.test_cache import ask as train
from tests.results.test_damage import DAMAGE, Damage
from tests.results.test_store import add_to_study, cell, contents, explanation, scored
from tests.results.tracking.test_mlflow import PLAIN, runs
from xai_bench import cli
from xai_bench.results import Predictions
from xai_bench.results.store.store import Store
from xai_bench.results.tracking.mlflow import MlflowRecorder
from xai_bench.runner.commands import report
from xai_bench.runner.commands.doctor import Doctor, Finding
from xai_bench.types import Domain, Element, Inputs

pytestmark = pytest.mark.slow  # whole commands, or a whole folder of results


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole folder: a cell of two explanations, its report, MLflow, and a trained model."""
    store = Store(tmp_path_factory.mktemp("made") / "results")
    indices, units = torch.arange(3), torch.tensor([[0, 1]] * 3)
    inputs = Inputs(torch.zeros(3, 2), units, indices, Domain(torch.zeros(1, 2), torch.ones(2)))
    store.write_inputs("cell0", inputs, ["a", "b"], [Element(1.0, 2.0), Element(0.0, 1.0)])
    chosen = indices % 2
    store.write_predictions("cell0", Predictions(torch.zeros(3, 2), chosen, chosen, ("a", "b")))
    both = [explanation(name, scored("deletion", [1.0, 2.0, 6.0])) for name in ("lime", "shap")]
    add_to_study(store, "s", cell(), both, "xai-bench run explainer=[lime,shap]")
    MlflowRecorder().record(store, "s", "cell0")
    report.write(store.root, "s", report.options_of([]))
    train(store.root / "cache" / "models", SMALL)
    return store.root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "results"))


def examine(root: Path, *, dry_run: bool = False) -> list[Finding]:
    return list(Doctor(root, dry_run).examine())


def test_a_copy_is_well_once_its_artifacts_are_found(root: Path, made: Path) -> None:
    [moved] = examine(root)
    assert moved.state == "repaired"
    assert str(made) in moved.sentence
    assert examine(root) == []
    assert examine(made) == []


def without_locks(root: Path) -> dict[str, bytes]:
    """All files but those by which SQLite's readers lock."""
    return {name: of for name, of in contents(root).items() if not name.endswith(("-shm", "-wal"))}


STORED = [
    "store/cell0/cell.json", "store/cell0/machine.json", "store/cell0/groups.safetensors",
    "store/cell0/inputs.safetensors", "store/cell0/elements.json",
    "store/cell0/predictions.safetensors", "store/cell0/lime-key/explanation.json",
    "store/cell0/lime-key/attribution.safetensors", "store/cell0/lime-key/scores.parquet",
    "store/cell0/lime-key/costs.parquet", "studies/s/cell0.json",
]  # fmt: skip


@pytest.mark.sample(3)
@pytest.mark.parametrize("damage", [d for d in DAMAGE if d.__name__ in ("flipped", "deleted")])
@pytest.mark.parametrize("name", STORED)
def test_a_damaged_file_is_named_until_its_command_is_run(
    root: Path, name: str, damage: Damage
) -> None:
    (root / "mlflow.db").unlink()
    damage(root / name, root / name)
    for _ in range(2):
        found = [one for one in examine(root) if one.state == "to be computed again"]
        assert any(one.sentence.startswith(f"{name}: ") for one in found)
        if name.startswith("store"):
            assert any("xai-bench run explainer=[lime,shap]" in one.sentence for one in found)


def _draft(root: Path) -> None:
    (root / "store/cell0/lime-key/.scores.parquet.4711").write_bytes(b"half")


def _model(root: Path) -> None:
    [weights] = root.glob("cache/models/*/*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])


def _database(root: Path) -> None:
    (root / "mlflow.db").write_bytes(
        b"some text that is longer than a header of a hundred bytes" * 9
    )


def _run(root: Path) -> None:
    PLAIN._client(root).delete_run(runs(Store(root))["lime-digits-cnn-s0"].info.run_id)


REPAIRED: dict[str, Callable[[Path], None]] = {
    "draft of a file": _draft,
    "model": _model,
}


@pytest.mark.parametrize("harm", REPAIRED.values(), ids=REPAIRED)
def test_what_can_be_repaired_is(root: Path, made: Path, harm: Callable[[Path], None]) -> None:
    examine(root)
    before = contents(root / "store")
    harm(root)
    harmed = without_locks(root)
    said = examine(root, dry_run=True)
    assert without_locks(root) == harmed, "a dry run writes nothing"
    done = examine(root)
    assert {one.state for one in done} == {"repaired"}
    assert [one.sentence for one in said if not one.sentence.startswith("mlflow.db")]
    assert examine(root) == []
    assert contents(root / "store") == before
    assert examine(root, dry_run=True) == []
    assert set(runs(Store(root))) == set(runs(Store(made)))


REPORTED = [
    "reports/s/report.html", "reports/s/report.md", "reports/s/report.csv", "reports/s/report.tex",
    "reports/s/tables/main.tex", "reports/s/SHA256SUMS", "reports/s/figures/SHA256SUMS",
    "reports/s/figures/keys.json", "reports/s/figures/*.png", "reports/s/sheets/*.png",
    "mlartifacts/*/artifacts/scores.parquet", "mlartifacts/*/artifacts/config.yaml",
    "mlartifacts/*/artifacts/SHA256SUMS",
]  # fmt: skip


@pytest.mark.exhaustive
def test_damage_of_what_is_shown_is_found_and_drawn_again(root: Path) -> None:
    """Pages, tables, figures and MLflow's artifacts, each flipped, cut or deleted."""
    examine(root)
    before = {name: of for name, of in contents(root).items() if "db" not in name}
    kinds = [damage for damage in DAMAGE if damage.__name__ in ("flipped", "deleted", "truncated")]
    paths = [sorted(root.glob(pattern))[0] for pattern in REPORTED]
    for path in paths:
        content = path.read_bytes()
        for damage in kinds:
            damage(path, path)
            assert len(examine(root, dry_run=True)) == 1, (path, damage)
            path.write_bytes(content)
    for number, path in enumerate(paths):
        kinds[number % len(kinds)](path, path)
    assert {one.state for one in examine(root)} == {"repaired"}
    assert examine(root) == []
    after = {name: of for name, of in contents(root).items() if name in before}
    assert after == before


def test_a_cell_that_is_gone_is_named_with_its_commands(root: Path) -> None:
    (root / "mlflow.db").unlink()
    shutil.rmtree(root / "store/cell0")
    [lost, *_] = [one for one in examine(root) if one.state == "to be computed again"]
    assert lost.sentence == (
        "study s, cell cell0: without the cell, lime, shap; run\n"
        "    xai-bench run explainer=[lime,shap]"
    )


@pytest.mark.parametrize(
    ("harm", "flags", "code"),
    [
        (None, [], 0),
        (_model, ["--dry-run"], 1),
        (_model, [], 0),
        (lambda root: (root / STORED[0]).unlink(), [], 1),
    ],
)
def test_the_exit_code_says_whether_something_is_left_to_do(
    root: Path, harm: Callable[[Path], None] | None, flags: list[str], code: int
) -> None:
    (root / "mlflow.db").unlink()
    if harm is not None:
        harm(root)
    with pytest.raises(SystemExit) as end:
        cli.main(["doctor", "--results", str(root), *flags])
    assert end.value.code == code


def test_sync_says_what_it_did(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run(root)
    cli.main(["sync", "--results", str(root)])
    assert capsys.readouterr().out == "s: lime-digits-cnn-s0: missing\n"
    cli.main(["sync", "--results", str(root), "--study", "s"])
    assert capsys.readouterr().out == "s: nothing to do\n"


@pytest.mark.parametrize("command", ["sync", "ui"])
def test_a_broken_database_is_a_sentence(
    root: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _database(root)
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--results", str(root)])
    assert end.value.code == 2
    [sentence] = capsys.readouterr().err.splitlines()
    assert "xai-bench doctor" in sentence
