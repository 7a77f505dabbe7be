"""MLflow in line with the store without running a job, and after a folder was moved or copied."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.results.test_store import add_to_study, cell, explanation, scored
from tests.results.tracking.test_mlflow import PLAIN, runs
from xai_bench.results.store.store import Store
from xai_bench.results.tracking import database

pytestmark = pytest.mark.slow  # whole commands, or a whole folder of results

LIME, TRAINING = "lime-digits-cnn-s0", "training-digits-cnn-s0"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder in which two explainers of one cell are shown."""
    store = Store(tmp_path_factory.mktemp("made") / "results")
    both = [explanation(name, scored("deletion", [1.0, 2.0, 6.0])) for name in ("lime", "shap")]
    epochs = tuple({"loss": 1.0 / k} for k in (1, 2, 3))
    add_to_study(store, "s", cell(history=epochs), both)
    PLAIN.record(store, "s", "cell0")
    return store.root


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Store:
    """A copy of it in another place."""
    shutil.copytree(made, tmp_path / "results")
    return Store(tmp_path / "results")


def state(store: Store) -> dict[str, Any]:
    """All that can be seen of the runs, but for their ids and times."""
    seen = {}
    for name, run in runs(store).items():
        folder = store.root / database.ARTIFACTS / run.info.run_id / "artifacts"
        files = {p.relative_to(folder).as_posix(): p.read_bytes()
                 for p in folder.rglob("*") if p.is_file()}  # fmt: skip
        history = PLAIN._client(store.root).get_metric_history(run.info.run_id, "training/loss")
        tags = {k: v for k, v in run.data.tags.items() if k != "training_run"}
        epochs = [(m.step, m.value) for m in history]
        seen[name] = (run.info.status, run.data.metrics, run.data.params, tags, files, epochs)
    return seen


def test_the_artifacts_of_a_moved_folder_open(store: Store, made: Path, tmp_path: Path) -> None:
    old = shutil.copytree(store.root, tmp_path / "old")
    run = runs(Store(old))[LIME]
    moved = Store(Path(shutil.move(old, tmp_path / "a b" / "né")))
    assert not old.exists()
    client = PLAIN._client(moved.root)
    assert client.get_run(run.info.run_id).info.artifact_uri.startswith(moved.root.as_uri())
    text = Path(client.download_artifacts(run.info.run_id, "command.txt")).read_text()
    assert text == "run\n"
    names = [file.path for file in client.list_artifacts(run.info.run_id)]
    assert "attribution.safetensors" in names
    later = explanation("saliency", scored("deletion", [1.0, 2.0, 6.0]))
    add_to_study(moved, "s", cell(), [later])
    PLAIN.record(moved, "s", "cell0")
    assert runs(moved)["saliency-digits-cnn-s0"].info.artifact_uri.startswith(moved.root.as_uri())


def test_a_copy_and_its_original_keep_their_own_artifacts(store: Store, made: Path) -> None:
    assert state(store) == state(Store(made))
    for root in (store.root, made):
        assert runs(Store(root))[LIME].info.artifact_uri.startswith(root.resolve().as_uri())


def test_a_prefix_of_another_folder_is_left_alone(store: Store) -> None:
    PLAIN._client(store.root)
    elsewhere = f"{database.artifacts(store.root)}_of_others"
    client = PLAIN._client(store.root)
    other = client.create_experiment("others", artifact_location=elsewhere)
    run = client.create_run(other)
    assert database.misplaced(store.root) == []
    assert (
        PLAIN._client(store.root).get_run(run.info.run_id).info.artifact_uri.startswith(elsewhere)
    )


def test_there_is_nothing_to_do_twice(store: Store) -> None:
    assert PLAIN.sync(store, "s") == []


def _changed(act: Callable[[Any, Any], object]) -> Callable[[Store], object]:
    return lambda store: act(PLAIN._client(store.root), runs(store)[LIME].info.run_id)


def _without(*parts: str) -> Callable[[Store], object]:
    def remove(store: Store) -> None:
        run = runs(store)[LIME].info
        place = store.root / database.ARTIFACTS / run.run_id / "artifacts" / Path(*parts)
        shutil.rmtree(place) if place.is_dir() else place.unlink()

    return remove


def _edited(store: Store) -> None:
    run = runs(store)[LIME].info
    place = store.root / database.ARTIFACTS / run.run_id / "artifacts" / "scores.parquet"
    place.write_bytes(place.read_bytes()[:-1])


def _lost_epochs(store: Store) -> None:
    """What a run leaves that was killed between two batches of numbers."""
    import sqlite3

    run = runs(store)[TRAINING].info.run_id
    with sqlite3.connect(database.path(store.root)) as connection:
        for table in ("metrics", "latest_metrics"):
            condition = "run_uuid = ? AND key = 'training/loss' AND step > 1"
            connection.execute(f"DELETE FROM {table} WHERE {condition}", (run,))


def _deleted_experiment(store: Store) -> None:
    client = PLAIN._client(store.root)
    client.delete_experiment(client.get_experiment_by_name("s").experiment_id)


FAULTS: dict[str, Callable[[Store], object]] = {
    "deleted run": _changed(lambda client, run: client.delete_run(run)),
    "changed number": _changed(lambda client, run: client.log_metric(run, "fidelity/deletion", 9)),
    "more numbers": _changed(lambda client, run: client.log_metric(run, "fidelity/abpc", 9)),
    "changed tag": _changed(lambda client, run: client.set_tag(run, "family", "mine")),
    "removed tag": _changed(lambda client, run: client.delete_tag(run, "fingerprint")),
    "cut short": _changed(lambda client, run: client.delete_tag(run, "digest")),
    "artifact gone": _without("attribution.safetensors"),
    "artifacts gone": _without(),
    "artifact edited": _edited,
    "epochs lost": _lost_epochs,
    "experiment deleted": _deleted_experiment,
}


@pytest.mark.sample(3)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_is_missing_comes_back_and_what_is_stale_goes(
    store: Store, made: Path, fault: Callable[[Store], object]
) -> None:
    fault(store)
    PLAIN.sync(store, "s")
    assert state(store) == state(Store(made))
    assert PLAIN.sync(store, "s") == []


def test_runs_that_left_the_study_go_and_those_of_others_stay(store: Store, made: Path) -> None:
    client = PLAIN._client(store.root)
    experiment = client.get_experiment_by_name("s").experiment_id
    client.create_run(experiment, run_name="gone", tags={"kind": "training", "cell": "cell7"})
    own = client.create_run(experiment, run_name="a user's own")
    [done] = PLAIN.sync(store, "s")
    assert done == "gone: not in the store, removed"
    assert set(runs(store)) == {*runs(Store(made)), "a user's own"}
    assert client.get_run(own.info.run_id).info.lifecycle_stage == "active"


@pytest.mark.parametrize(
    "call", [0, *(pytest.param(call, marks=pytest.mark.exhaustive) for call in (1, 2, 3))]
)
def test_the_numbers_of_a_killed_recording_come_back(
    tmp_path: Path, made: Path, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    store = Store(tmp_path / "results")
    shutil.copytree(made / "store", store.root / "store")
    shutil.copytree(made / "studies", store.root / "studies")
    calls, send = [], MlflowClient.log_batch

    def killed(*arguments: Any, **named: Any) -> None:
        calls.append(1)
        if len(calls) > call:
            raise OSError("killed")
        send(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", killed)
        with pytest.raises(ValueError, match="results are in the store"):
            PLAIN.record(store, "s", "cell0")
    assert PLAIN.sync(store, "s")
    assert state(store) == state(Store(made))


def test_a_dry_run_says_the_same_and_writes_nothing(store: Store) -> None:
    for name in ("deleted run", "epochs lost"):
        FAULTS[name](store)
    client = PLAIN._client(store.root)
    before = {name: run.to_dictionary() for name, run in runs(store).items()}
    said = PLAIN.sync(store, "s", dry_run=True)
    assert {name: run.to_dictionary() for name, run in runs(store).items()} == before
    assert said == PLAIN.sync(store, "s")
    assert client.search_runs([client.get_experiment_by_name("s").experiment_id])


@pytest.mark.parametrize("content", [b"", b"no database at all, but some text", b"SQLite format 3"])
def test_a_broken_database_is_told_in_one_sentence(store: Store, content: bytes) -> None:
    database.path(store.root).write_bytes(content)
    if not content:
        PLAIN.sync(store, "s")  # an empty file is a new database
        return
    with pytest.raises(ValueError, match=r"mlflow.db cannot be read .*xai-bench doctor"):
        PLAIN.record(store, "s", "cell0")
