"""Proves what MLflow shows, read back with its client from a real SQLite store."""

from __future__ import annotations

import json
import math
import multiprocessing
import sqlite3
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.results.test_store import add_to_study, cell, explanation, scored
from tests.support import command_line, toy_worlds
from xai_bench.results import Outcome
from xai_bench.results.drawing.style import SCREEN_DPI
from xai_bench.results.report.summary import blocks
from xai_bench.results.store.store import Store
from xai_bench.results.tracking import database, server
from xai_bench.results.tracking.heat_maps import _spread, layer_report
from xai_bench.results.tracking.mlflow import MlflowRecorder
from xai_bench.results.tracking.runs import explanation_run, training_run

NAN = math.nan
PLAIN = MlflowRecorder(pictures=False)


def runs(store: Store, study: str = "s") -> dict[str, Any]:
    """All runs of a study, by name."""
    client = PLAIN._client(store.root)
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    assert len({run.info.run_name for run in found}) == len(found)
    return {str(run.info.run_name): run for run in found}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A cell with one good, one skipped and one failed explainer, recorded with pictures."""
    store = Store(tmp_path_factory.mktemp("results"))
    skip, fail = (
        Outcome("skipped", "needs a gradient"),
        Outcome("failed", "ValueError: no", "Trace"),
    )
    good = explanation(
        "lime",
        scored("deletion", [1.0, NAN, 2.0]),
        scored("blank", [NAN, NAN, NAN]),
        scored("entropy", [], "complexity", outcome=Outcome("skipped", "needs two units")),
        scored("seconds", [0.5, 0.5, 0.5], "cost", reproducible=False),
    )
    one = cell(history=({"loss": 2.0}, {"loss": 1.0}, {"loss": NAN}))
    none = [
        explanation("saliency", attribution=None, outcome=skip),
        explanation("shap", attribution=None, outcome=fail),
    ]
    add_to_study(store, "s", one, [good, *none], "xai-bench run explainer=[lime]")
    MlflowRecorder().record(store, "s", one.key)
    return store


def artifacts(recorded: Store, name: str, tmp_path: Path) -> Path:
    run = runs(recorded)[name]
    client = PLAIN._client(recorded.root)
    tmp_path.mkdir(exist_ok=True)
    return Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))


@pytest.mark.slow
def test_there_is_one_flat_run_per_explainer_and_one_of_the_training(recorded: Store) -> None:
    found = runs(recorded)
    assert set(found) == {
        "lime-digits-cnn-s0", "saliency-digits-cnn-s0", "shap-digits-cnn-s0",
        "training-digits-cnn-s0",
    }  # fmt: skip
    assert not any("mlflow.parentRunId" in run.data.tags for run in found.values())
    training = found["training-digits-cnn-s0"].info.run_id
    assert found["lime-digits-cnn-s0"].data.tags["training_run"] == training


@pytest.mark.slow
def test_metrics_are_means_over_the_scored_samples(recorded: Store) -> None:
    data = runs(recorded)["lime-digits-cnn-s0"].data
    assert data.metrics == {"fidelity/deletion": 1.5, "cost/seconds": 0.5}
    assert data.tags["scored.fidelity/deletion"] == "2 of 3"
    assert data.tags["scored.fidelity/blank"] == "0 of 3"
    assert data.tags["skipped.complexity/entropy"] == "needs two units"
    # Of {1, unscored, 2} the standard error is 0.5, and Student's quantile 12.7.
    assert data.tags["interval.fidelity/deletion"] == "1.5 ± 6.35"


def test_an_interval_is_the_one_in_the_report(tmp_path: Path) -> None:
    store = Store(tmp_path)
    values = torch.randn(40, generator=torch.Generator().manual_seed(0)).tolist()
    attribution = torch.zeros(40, 2).double()
    result = explanation(
        "lime", scored("abpc", values), attribution=attribution, index=torch.arange(40)
    )
    add_to_study(store, "s", cell(), [result])
    [number] = blocks(store, "s")[0].numbers.values()
    run = explanation_run(cell(), result)
    assert run.metrics["fidelity/abpc"] == number.mean
    half = (number.high - number.low) / 2
    assert run.tags["interval.fidelity/abpc"] == f"{number.mean:.6g} ± {half:.3g}"


@pytest.mark.slow
def test_params_are_the_chosen_options_and_settings(recorded: Store) -> None:
    data = runs(recorded)["lime-digits-cnn-s0"].data
    assert data.params == {
        "explainer": "lime", "data": "digits", "model": "cnn", "seed": "0", "view": "inputs",
        "target": "predicted_logit", "baseline_explain": "mean", "baseline_measure": "marginal",
        "explainer.n_steps": "4",
    }  # fmt: skip
    tags = data.tags
    assert (tags["cell"], tags["explanation"]) == ("cell0", "lime-key")
    assert (tags["family"], tags["attribution"]) == ("gradient", "contribution")
    assert (tags["fingerprint"], tags["git_commit"]) == ("f00d", "abc")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "outcome", "status"),
    [
        ("lime", ("ok", ""), "FINISHED"),
        ("saliency", ("skipped", "needs a gradient"), "FINISHED"),
        ("shap", ("failed", "ValueError: no"), "FAILED"),
    ],
)
def test_every_explainer_has_a_status_and_a_reason(
    recorded: Store, name: str, outcome: tuple[str, str], status: str
) -> None:
    run = runs(recorded)[f"{name}-digits-cnn-s0"]
    assert (run.data.tags["status"], run.data.tags["status_reason"]) == outcome
    assert run.info.status == status
    assert bool(run.data.metrics) == (name == "lime")


@pytest.mark.slow
def test_training_has_a_value_per_epoch(recorded: Store) -> None:
    client = PLAIN._client(recorded.root)
    run = runs(recorded)["training-digits-cnn-s0"]
    history = client.get_metric_history(run.info.run_id, "training/loss")
    assert [(m.step, m.value) for m in history] == [(1, 2.0), (2, 1.0)]
    assert run.data.metrics["model/accuracy"] == 0.5
    assert run.data.tags["kind"] == "training"


@pytest.mark.slow
def test_artifacts_hold_attributions_scores_and_configuration(
    recorded: Store, tmp_path: Path
) -> None:
    folder = artifacts(recorded, "lime-digits-cnn-s0", tmp_path)
    source = recorded.folder("cell0", "lime-key")
    for name in ("attribution.safetensors", "scores.parquet", "costs.parquet"):
        assert (folder / name).read_bytes() == (source / name).read_bytes()
    table = json.loads((folder / "tables/per_sample.json").read_text())
    assert table["columns"] == ["sample", "blank", "deletion", "seconds"]
    assert table["data"][:2] == [[0, None, 1.0, 0.5], [1, None, None, 0.5]]
    assert (folder / "command.txt").read_text() == "xai-bench run explainer=[lime]\n"
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["explainer"]["lime"]["n_steps"] == 4
    assert config["cell"]["seed"] == 0
    assert (folder / "attribution.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_failure_leaves_its_traceback(recorded: Store, tmp_path: Path) -> None:
    folder = artifacts(recorded, "shap-digits-cnn-s0", tmp_path)
    assert (folder / "traceback.txt").read_text() == "Trace"
    assert not (folder / "attribution.png").exists()


@pytest.mark.slow
def test_the_database_is_in_the_results_folder_and_in_wal_mode(recorded: Store) -> None:
    mode = sqlite3.connect(recorded.root / "mlflow.db").execute("PRAGMA journal_mode").fetchone()
    assert mode == ("wal",)
    uri = runs(recorded)["lime-digits-cnn-s0"].info.artifact_uri
    assert uri.startswith((recorded.root.resolve() / "mlartifacts").as_uri())


@pytest.mark.slow
def test_recording_again_changes_nothing(recorded: Store) -> None:
    client = PLAIN._client(recorded.root)
    before = {name: run.to_dictionary() for name, run in runs(recorded).items()}
    MlflowRecorder().record(recorded, "s", "cell0")
    after = {name: run.to_dictionary() for name, run in runs(recorded).items()}
    assert after == before
    run_id = before["lime-digits-cnn-s0"]["info"]["run_id"]
    assert len(client.get_metric_history(run_id, "fidelity/deletion")) == 1


@pytest.mark.slow
def test_a_later_command_updates_the_same_run(recorded: Store) -> None:
    store, one = recorded, cell(3)
    sent = explanation("lime", scored("deletion", [1.0, 1.0, 1.0]))
    add_to_study(store, "t", one, [replace(sent, explanation=None, outcome=Outcome("failed", "x"))])
    PLAIN.record(store, "t", one.key)
    first = runs(store, "t")["lime-digits-cnn-s3"]
    more = explanation("lime", *sent.scores.values(), scored("insertion", [2.0, 2.0, 5.0]))
    add_to_study(store, "t", one, [more])
    PLAIN.record(store, "t", one.key)
    second = runs(store, "t")["lime-digits-cnn-s3"]
    assert second.info.run_id == first.info.run_id
    assert (first.info.status, second.info.status) == ("FAILED", "FINISHED")
    assert second.data.metrics == {"fidelity/deletion": 1.0, "fidelity/insertion": 3.0}
    assert second.data.tags["status_reason"] == ""
    client = PLAIN._client(store.root)
    assert len(client.get_metric_history(second.info.run_id, "fidelity/deletion")) == 1


@pytest.mark.slow
def test_the_link_and_the_command_open_the_comparison(recorded: Store) -> None:
    experiment = runs(recorded)["lime-digits-cnn-s0"].info.experiment_id
    assert PLAIN.experiment(recorded.root, "s") == experiment
    assert server.address("http://127.0.0.1:5001", experiment) == (
        f"http://127.0.0.1:5001/#/experiments/{experiment}/runs"
        "?workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey=xai_bench"
    )
    command = server.command(database.address(recorded.root), 5001)
    assert command[1:4] == ["-m", "mlflow", "ui"]
    assert command[-6:] == ["--host", "127.0.0.1", "--port", "5001", "--workers", "1"]
    assert f"sqlite:///{recorded.root.resolve()}/mlflow.db" in command


@pytest.mark.slow
def test_data_and_model_are_listed_where_mlflow_lists_them(recorded: Store) -> None:
    client = PLAIN._client(recorded.root)
    training, lime = (runs(recorded)[n] for n in ("training-digits-cnn-s0", "lime-digits-cnn-s0"))
    for run in (training, lime):
        [entry] = run.inputs.dataset_inputs
        assert (entry.dataset.name, entry.dataset.digest) == ("digits", "f00d")
    [given] = client.get_run(training.info.run_id).outputs.model_outputs
    [explained] = client.get_run(lime.info.run_id).inputs.model_inputs
    assert given.model_id == explained.model_id
    model = client.get_logged_model(given.model_id)
    assert (model.name, model.status) == ("cnn-digits-s0", "READY")
    PLAIN.record(recorded, "s", "cell0")
    listed = client.search_logged_models([training.info.experiment_id])
    assert [m.name for m in listed].count("cnn-digits-s0") == 1, "once, however often recorded"


@pytest.mark.slow
def test_the_report_is_a_run_of_the_study(recorded: Store) -> None:
    report = recorded.root / "reports" / "s"
    (report / "figures").mkdir(parents=True)
    (report / "report.html").write_text("first")
    (report / "figures" / "a.png").write_bytes(b"1")
    PLAIN.show_report(recorded.root, "s", report)
    first = runs(recorded)["report-s"]
    (report / "report.html").write_text("second")
    PLAIN.show_report(recorded.root, "s", report)
    again = runs(recorded)["report-s"]
    assert again.info.run_id == first.info.run_id
    client = PLAIN._client(recorded.root)
    files = {file.path for file in client.list_artifacts(again.info.run_id)}
    assert {"report.html", "figures"} <= files
    place = Path(client.download_artifacts(again.info.run_id, "report.html"))
    assert place.read_text() == "second"
    PLAIN.show_report(recorded.root, "never run", report)
    assert client.get_experiment_by_name("never run") is None
    assert PLAIN.sync(recorded, "s") == []


def test_a_cell_must_be_stored_first(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cell nothing is not in"):
        PLAIN.record(Store(tmp_path), "s", "nothing")


def test_the_run_of_a_skipped_cell_has_its_reason() -> None:
    run = training_run(
        cell(outcome=Outcome("skipped", "needs classes"), model_scores={}, history=())
    )
    assert run.tags["status_reason"] == "needs classes"
    assert run.metrics == {}


def test_the_digest_changes_with_every_field() -> None:
    one = explanation("lime", scored("a", [1.0, 2.0, 3.0]))
    same = explanation_run(cell(), one).digest
    assert explanation_run(cell(), replace(one)).digest == same
    other = explanation("lime", scored("a", [1.0, 2.0, 3.5]))
    assert explanation_run(cell(), other).digest != same


def layered(**layers: torch.Tensor) -> Any:
    return explanation("layerwise", stated={"layers": layers})


@pytest.mark.slow
def test_layers_have_a_picture_of_their_own(tmp_path: Path) -> None:
    store, one = Store(tmp_path), cell()
    maps = {"features.0": torch.randn(3, 4, 6, 6), "head": torch.randn(3, 5)}
    add_to_study(store, "s", one, [layered(**maps), explanation("lime")])
    MlflowRecorder().record(store, "s", one.key)
    folder = artifacts(store, "layerwise-digits-cnn-s0", tmp_path)
    assert (folder / "layers.png").read_bytes().startswith(b"\x89PNG")
    kept = load_file(folder / "attribution.safetensors")
    for name, values in maps.items():
        assert torch.equal(kept[f"layers/{name}"], values)
    assert not (artifacts(store, "lime-digits-cnn-s0", tmp_path / "x") / "layers.png").exists()


@pytest.mark.slow
def test_a_picture_of_layers_is_reproducible_and_differs_between_layers() -> None:
    first, second = torch.arange(6.0).view(3, 2), torch.ones(3, 2)
    assert layer_report(layered(a=first)) == layer_report(layered(a=first))
    assert layer_report(layered(a=first)) != layer_report(layered(a=second))
    assert layer_report(explanation("lime")) is None


@pytest.mark.sample(3)
@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (3, 300), (2, 3, 9), (1, 3, 4, 5), (2, 1, 2, 2)])
def test_every_shape_of_layer_has_a_picture(shape: tuple[int, ...]) -> None:
    assert layer_report(layered(first=torch.zeros(shape), second=torch.ones(shape))) is not None


@pytest.mark.exhaustive
def test_a_picture_of_many_layers_fits_a_screen() -> None:
    layers = {f"layer{k}": torch.zeros(2, 3, 9) for k in range(30)}
    picture = layer_report(layered(**layers))
    assert picture is not None
    width, height = struct.unpack(">II", picture[16:24])
    assert height < 23 * SCREEN_DPI, "a picture of a deep network still fits a screen that scrolls"
    assert width < 11 * SCREEN_DPI


def test_layers_are_left_out_evenly() -> None:
    assert [_spread(n, 4) for n in (1, 2, 4, 5, 10)] == [
        [0], [0, 1], [0, 1, 2, 3], [0, 1, 3, 4], [0, 3, 6, 9],
    ]  # fmt: skip


@pytest.mark.exhaustive
def test_a_study_shows_one_explanation_per_layer(tmp_path: Path) -> None:
    """From the command line to the artifact: the conductances of every layer add up alike."""
    chosen = ["data=breast_cancer", "model=mlp", "explainer=[layerwise]", "metric=entropy"]
    small = ["evaluation.n_samples=8", "study=s", f"results={tmp_path}", "recorder=mlflow"]
    command_line.succeed(tmp_path, "run", *chosen, *small)
    folder = artifacts(Store(tmp_path), "layerwise-breast_cancer-mlp-s0", tmp_path / "x")
    assert (folder / "layers.png").read_bytes().startswith(b"\x89PNG")
    kept = load_file(folder / "attribution.safetensors")
    layers = {name: values for name, values in kept.items() if name.startswith("layers/")}
    assert set(layers) == {f"layers/features.{k}" for k in range(4)}
    expected = kept["attribution"].sum(1)
    for values in layers.values():
        torch.testing.assert_close(values.double().sum(1), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.sample(2)
@pytest.mark.slow
@pytest.mark.parametrize("name", list(toy_worlds.WORLDS))
def test_every_kind_of_input_has_a_picture(tmp_path: Path, name: str) -> None:
    from xai_bench.results.tracking.heat_maps import heat_map

    world, store = toy_worlds.WORLDS[name](), Store(tmp_path)
    store.write_inputs("cell0", world.inputs)
    one = explanation(
        "lime", index=world.inputs.index, attribution=torch.randn_like(world.inputs.x)
    )
    picture = heat_map(one, store.read_inputs("cell0"), [])
    assert picture is not None
    assert picture.startswith(b"\x89PNG")


def test_a_picture_needs_no_inputs_and_is_reproducible() -> None:
    from xai_bench.results.tracking.heat_maps import heat_map

    one = explanation("lime")
    assert heat_map(one, None, []) == heat_map(one, None, [])
    assert heat_map(one, None, []) != heat_map(one, None, ["age", "sex"])


def _record(root: Path, seed: int, both: Any) -> None:
    store = Store(root)
    add_to_study(store, "s", cell(seed), [explanation("lime", scored("deletion", [1.0, 2.0, 3.0]))])
    both.wait(120)
    PLAIN.record(store, "s", f"cell{seed}")


@pytest.mark.exhaustive
def test_two_processes_can_initialise_a_store_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    both = context.Barrier(2)
    workers = [context.Process(target=_record, args=(tmp_path, s, both)) for s in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(runs(Store(tmp_path))) == 4
