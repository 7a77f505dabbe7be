"""The masked language model of a run is part of what its results are kept under."""

from __future__ import annotations

from pathlib import Path

from hydra import compose, initialize_config_dir

from xai_bench.runner.cells.plan import Plan
from xai_bench.runner.config.catalogue import conf_dir

NAMES = dict.fromkeys(
    ("data", "model", "view", "target", "baseline.explain", "baseline.measure"), "it"
)


def test_other_weights_of_a_language_model_are_another_cell(tmp_path: Path) -> None:
    overrides = ["data=sentiment", "model=text_bag", "explainer=masked_infill"]
    path = f"explainer.masked_infill.language_model.path={tmp_path}"
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        plan = Plan.of(compose("config", [*overrides, path]), NAMES)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    first = plan.cell().key
    assert plan.cell().key == first
    weights.write_bytes(b"other")
    assert plan.cell().key != first
