"""Sweeps that an experiment defines: every job is composed of its own values, the first one too."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import DictConfig

from xai_bench.runner.config.command import parse
from xai_bench.runner.config.compose import composed
from xai_bench.runner.config.messages import UsageError


def configurations(folder: Path, params: str) -> list[DictConfig]:
    """Those of an experiment with these `hydra.sweeper.params`."""
    (folder / "own/experiment").mkdir(parents=True, exist_ok=True)
    text = f"# @package _global_\nhydra: {{mode: MULTIRUN, sweeper: {{params: {params}}}}}\n"
    (folder / "own/experiment/e.yaml").write_text(text)
    with composed(parse(["--config-dir", str(folder / "own"), "experiment=e"])) as jobs:
        return [jobs.config(overrides) for overrides in jobs.overrides()]


@pytest.mark.sample(2)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ("{model: 'random_forest,linear'}", [("random_forest", 0, 9), ("linear", 0, 9)]),
        ("{model: linear, seed: '3,4'}", [("linear", 3, 9), ("linear", 4, 9)]),
        ("{evaluation.n_samples: '4,5'}", [("mlp", 0, 4), ("mlp", 0, 5)]),
        ("{evaluation: {n_samples: '4,5'}, seed: 2}", [("mlp", 2, 4), ("mlp", 2, 5)]),
    ],
)
def test_every_job_has_its_own_values(
    tmp_path: Path, params: str, expected: list[tuple[str, int, int]]
) -> None:
    found = [
        (cfg.hydra.runtime.choices.model, cfg.seed, min(cfg.evaluation.n_samples, 9))
        for cfg in configurations(tmp_path, params)
    ]
    assert found == expected


@pytest.mark.sample(4)
@pytest.mark.sample(4, others="slow")
@pytest.mark.parametrize("key", ["''", "+seed", "~seed", "'a b'"])
def test_what_is_no_name_of_a_setting_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(UsageError, match=r"hydra\.sweeper\.params: .* is no name of a setting"):
        configurations(tmp_path, f"{{{key}: '1'}}")


@pytest.mark.slow
@pytest.mark.parametrize("value", ["'${nothing}'", "'???'"])
def test_what_cannot_be_resolved_is_a_sentence(tmp_path: Path, value: str) -> None:
    with pytest.raises(UsageError, match=r"hydra\.sweeper\.params has no value, or one"):
        configurations(tmp_path, f"{{seed: {value}}}")
