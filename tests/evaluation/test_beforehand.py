"""A budget that the units need more than is refused before any model is trained."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import command_line
from tests.support.components import component, options
from tests.support.toy_worlds import WORLDS, World
from xai_bench.certify import explainer as certify_explainer
from xai_bench.evaluation.beforehand import refusal
from xai_bench.types import Unsupported, tags_of


def budgeted() -> list[Any]:
    """Names of explainers with a budget; those of libraries take seconds."""
    named = {name: component("explainer", name, budget=1) for name in with_a_budget()}
    marks = {
        name: [pytest.mark.exhaustive] if tags_of(e).library else [] for name, e in named.items()
    }
    return [pytest.param(name, marks=own) for name, own in marks.items()]


def with_a_budget() -> list[str]:
    named = {name: component("explainer", name) for name in options("explainer")}
    return [name for name, one in named.items() if "budget" in {f.name for f in fields(one)}]


def refused_later(explainer: Any, world: World) -> str:
    """Why the explainer refuses once there is a model; empty where it explains."""
    try:
        ready: Any = certify_explainer.ready(explainer, world)
        world.explain(replace(ready, budget=explainer.budget))
    except Unsupported as reason:
        return str(reason)
    return ""


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize("name", budgeted())
def test_a_budget_too_small_is_refused_before_the_model_is_asked(name: str) -> None:
    explainer = component("explainer", name, budget=1)
    for world in (WORLDS["tabular"](), WORLDS["image"]()):
        before, later = refusal(explainer, world.inputs), refused_later(explainer, world)
        assert later or before is None
        # How many layers share a budget is known by the model only.
        by_layer = "module" in tags_of(explainer).needs
        assert before or by_layer or not any(w in later for w in ("budget", "coalitions"))


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize("name", ["kernel_shap", "integrated_gradients", "rise", "grad_cam"])
def test_whoever_can_explain_is_not_refused(name: str) -> None:
    explainer = component("explainer", name)
    assert refusal(explainer, WORLDS["image"]().inputs) is None
    assert (refusal(explainer, WORLDS["tabular"]().inputs) is None) == (name != "rise")


@pytest.mark.slow
def test_nothing_is_trained_where_nothing_can_be_explained(tmp_path: Path) -> None:
    small = ("explainer.lime.budget=4", "report.figures=[]")
    ended = command_line.run(tmp_path, *command_line.small_run("explainer=[lime]", *small))
    assert ended.code == 1
    assert "nothing is trained: lime: a budget of 4 model rows is too small for 4" in ended.text
    assert not (tmp_path / "results/cache/models").exists()
    both = command_line.small_run("explainer=[lime,random]", *small)
    ended = command_line.run(tmp_path, *both)
    assert ended.code == 0
    first, *_ = [line for line in ended.text.splitlines() if "lime" in line]
    assert "will be skipped: a budget of 4" in first
