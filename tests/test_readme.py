"""Proves that the commands and code in README.md and FOOTGUNS.md run or pass the checks."""

from __future__ import annotations

import re
import shlex

import pytest
import torch
from torch import nn

from tests.support import pages
from tests.support.paths import ROOT
from xai_bench import cli
from xai_bench.runner.config import command, compose, preflight

README = ROOT / "README.md"
COMMANDS = [words for text in pages.blocks(README) for words in pages.commands(text)]
RUNS = [words[2:] for words in COMMANDS if words[:2] == ["xai-bench", "run"]]


def test_the_five_lines_of_python() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    names = {"model": model, "x": torch.ones(5, 6), "x_train": torch.eye(6).repeat(3, 1)}
    [text] = pages.blocks(README, "python")
    exec(text, names)
    assert names["attributions"].shape == (5, 6)
    assert set(names["scores"]) == {"abpc", "faithfulness_correlation"}
    assert list(names["table"].index) == ["integrated_gradients", "kernel_shap", "random"]


def test_every_command_exists() -> None:
    commands = {words[1] for words in COMMANDS if words[0] == "xai-bench"}
    assert commands == set(cli.COMMANDS)


@pytest.mark.exhaustive
@pytest.mark.parametrize("arguments", RUNS, ids=shlex.join)
def test_every_run_passes_the_preflight(arguments: list[str]) -> None:
    """Composed and checked; your own folder and package are those of docs/how-to, run there."""
    if "--help" in arguments or "my_conf" in arguments:
        return
    for cfg in compose.configurations(command.parse(arguments)):
        assert preflight.check(cfg) == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "FOOTGUNS.md", "CHANGELOG.md"])
def test_every_page_and_folder_that_is_named_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([\w./-]+)\)", text)
    named = re.findall(r"`((?:docs|conf|tests|xai_bench|benchmarks|experiments)/[\w./-]*)`", text)
    missing = [path for path in {*linked, *named} if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_that_is_named_exists(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make ([\w-]+)", (ROOT / page).read_text("utf-8"), re.MULTILINE):
        assert f"\n{target}: " in makefile, target
