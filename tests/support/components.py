"""Every explainer and metric that `conf/` offers, found by looking, so that none is forgotten."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import yaml
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tests.support.paths import CONF
from tests.support.toy_worlds import World
from xai_bench.core.seeds import Seeds
from xai_bench.types import Explainer, Fitted, Unsupported

BASELINES = {
    "explain": {"_target_": "xai_bench.core.baselines.Constant", "value": 0.1},
    "measure": {"_target_": "xai_bench.core.baselines.Marginal", "n_draws": 2},
}


def options(group: str) -> list[str]:
    """Names of the single components of a group; sets, which have a defaults list, are left out."""
    paths = sorted((CONF / group).glob("*.yaml"))
    return [path.stem for path in paths if path.stem in _content(path)]


def component(group: str, name: str, **changes: Any) -> Any:
    """One component as its YAML configures it, with a quick baseline and the given changes."""
    if changes:
        return _made(group, name, changes)
    return _as_shipped(group, name)


@cache
def _as_shipped(group: str, name: str) -> Any:
    """Components are frozen, so that all tests can share one."""
    return _made(group, name, {})


def _made(group: str, name: str, changes: dict[str, Any]) -> Any:
    node = OmegaConf.merge(_content(CONF / group / f"{name}.yaml")[name], changes)
    config = OmegaConf.create({"baseline": BASELINES, "node": node})
    return instantiate(OmegaConf.to_container(config, resolve=True)["node"], _convert_="all")


QUICK = {"budget": 64, "n_samples": 4, "n_draws": 3, "n_repeats": 2}
"""Smaller settings for methods that have them: a property holds at any size."""


def ready(name: str, world: World) -> Explainer:
    """The explainer, quick and fitted; the test is skipped where it says that it cannot."""
    made = component("explainer", name)
    fields = getattr(made, "__dataclass_fields__", {})
    made = component("explainer", name, **{k: v for k, v in QUICK.items() if k in fields})
    if isinstance(made, Fitted):
        rng = Seeds(0).stream("fit", samples=torch.zeros(1, dtype=torch.long))
        try:
            made = made.fit(world.model, world.background(), rng=rng)
        except Unsupported as reason:
            pytest.skip(str(reason))
    return cast(Explainer, made)


LIBRARIES = ("captum_", "shap_", "lime_tabular", "lime_image", "lime_text", "dice")
"""How the names of explainers begin that are other people's: they are slow."""


def each_of(names: list[str]) -> pytest.MarkDecorator:
    """Explainers by name; those of libraries, which take half of the time, with the slow tests."""
    slow = {name: pytest.mark.slow for name in names if name.startswith(LIBRARIES)}
    return pytest.mark.parametrize("name", [pytest.param(n, marks=slow.get(n, ())) for n in names])


@cache
def _content(path: Path) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), loader)
