"""Proves that a run on a device, and in another precision, is the same run, and says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.command_line import run, small_run
from tests.support.strict_device import DEVICE, strict_device
from xai_bench.core.system import devices
from xai_bench.results import Cell
from xai_bench.results.store.store import Store
from xai_bench.runner.cells import plan

OVERRIDES = (
    "model=mlp",
    "model.training.max_epochs=2",
    "explainer=[saliency,deeplift,leave_one_out]",
    "metric=[deletion,max_sensitivity]",
)


Run = tuple[Cell, dict[tuple[str, str], np.ndarray]]
"""A cell, and explainer and metric -> scores."""


def ran(folder: Path, *overrides: str) -> Run:
    """The cell of a small run, and explainer and metric -> scores."""
    folder.mkdir()
    keys = {text.partition("=")[0] for text in overrides}
    own = [text for text in OVERRIDES if text.partition("=")[0] not in keys]
    finished = run(folder, *small_run(*own, *overrides))
    assert finished.code == 0, finished.text
    [(cell, results)] = Store(folder / "results").cells("default")
    scores = {
        (result.explainer, name): each.values.numpy()
        for result in results
        for name, each in result.scores.items()
    }
    return cell, scores


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run as it is shipped."""
    return ran(tmp_path_factory.mktemp("plain") / "run")


@pytest.mark.slow
def test_everything_follows_the_device(
    tmp_path: Path, plain: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a pretended device, where nothing else would mix; trained there, too."""
    here, expected = plain
    with strict_device():
        for module in (devices, plan):
            monkeypatch.setattr(module, "device_named", lambda _: DEVICE)
        there, found = ran(tmp_path / "there", "device=auto")
    assert "device" not in here.config
    assert "device" not in here.environment
    assert there.config["device"] == DEVICE.type
    assert there.environment["device"] == str(DEVICE)
    assert there.key != here.key
    assert {k: v for k, v in there.config.items() if k != "device"} == here.config
    assert there.model_scores == here.model_scores
    for name, values in expected.items():
        np.testing.assert_allclose(values, found[name], rtol=1e-4, atol=1e-4, err_msg=str(name))


@pytest.mark.slow
def test_another_precision_is_recorded_with_its_deviation(tmp_path: Path, plain: Run) -> None:
    cell, found = ran(tmp_path / "bf16", "precision=bf16")
    assert "precision" not in plain[0].config
    assert cell.config["precision"] == "bf16"
    assert 1e-5 < cell.model_scores["precision_deviation"] < 0.1
    both = ("leave_one_out", "deletion")
    np.testing.assert_allclose(plain[1][both], found[both], atol=0.5)


@pytest.mark.exhaustive
@pytest.mark.parametrize("view", ["inputs", "activations", "channels"])
@pytest.mark.parametrize("precision", ["float64", "bf16"])
def test_views_are_asked_in_it_too(tmp_path: Path, view: str, precision: str) -> None:
    cell, _ = ran(tmp_path / view, f"view={view}", f"precision={precision}", "explainer=[saliency]")
    assert cell.model_scores["precision_deviation"] < 0.1


@pytest.mark.slow
def test_what_there_is_not_is_one_sentence(tmp_path: Path) -> None:
    for override, sentence in (
        ("device=tpu", "device='tpu' is not there; choose from auto, "),
        ("precision=half", "precision='half': there is none; choose from "),
    ):
        finished = run(tmp_path, *small_run(override))
        assert finished.code == 2
        assert sentence in finished.text
        assert "Traceback" not in finished.text


@pytest.mark.slow
def test_what_is_no_network_stays_on_the_cpu(tmp_path: Path) -> None:
    finished = run(tmp_path, *small_run("model=random_forest", "device=auto"))
    assert finished.code == 0, finished.text
    [(cell, _)] = Store(tmp_path / "results").cells("default")
    assert "device" not in cell.config
