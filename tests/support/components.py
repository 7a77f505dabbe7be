"""Every explainer and metric that `conf/` offers, found by looking, so that none is forgotten."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import CONF
from tests.support.toy_worlds import World
from xai_bench.certify import explainer as certify_explainer
from xai_bench.runner.components import build
from xai_bench.types import Explainer, Unsupported, tags_of

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
    return build({**_with_baselines(_content(CONF / group / f"{name}.yaml")[name]), **changes})


def _with_baselines(node: Any) -> Any:
    """What `${baseline.explain}` and `${baseline.measure}` stand for, in their places.

    By hand, for OmegaConf takes seconds for all components.
    """
    if isinstance(node, dict):
        return {key: _with_baselines(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_with_baselines(value) for value in node]
    reference = re.fullmatch(r"\$\{baseline\.(\w+)\}", str(node))
    return BASELINES[reference[1]] if reference else node


def ready(name: str, world: World) -> Explainer:
    """The explainer, quick and fitted; the test is skipped where it says that it cannot."""
    try:
        return certify_explainer.ready(component("explainer", name), world)
    except Unsupported as reason:
        pytest.skip(str(reason))


def library(name: str) -> str:
    """The package whose code an explainer calls; empty where that is ours."""
    return tags_of(component("explainer", name)).library


def takes_long(name: str) -> bool:
    """Whether an explainer is one of those that take half of the time: libraries and searches."""
    searches = component("explainer", name).category == "counterfactual"
    return bool(library(name)) or searches


def each_of(names: list[str]) -> pytest.MarkDecorator:
    """Explainers by name; of those that take long, representatives with the slow tests."""

    def marks(name: str) -> list[pytest.MarkDecorator]:
        if not takes_long(name):
            return []
        here = name in representatives("explainer")
        return [pytest.mark.slow if here else pytest.mark.exhaustive]

    return pytest.mark.parametrize("name", [pytest.param(n, marks=marks(n)) for n in names])


@cache
def able(where: str) -> tuple[str, ...]:
    """The explainers that state no need which this toy world lacks."""
    missing = certify_explainer.missing_needs
    return tuple(n for n in options("explainer") if not missing(component("explainer", n), where))


@cache
def representatives(group: str) -> frozenset[str]:
    """The first component of every module and base class: the others share most of its code."""
    first: dict[object, str] = {}
    for name in options(group):
        made = type(component(group, name))
        first.setdefault((made.__module__, made.__bases__), name)
    return frozenset(first.values())


def all_of(group: str, names: Sequence[str] | None = None) -> pytest.MarkDecorator:
    """Every component by name, or these; all but the representatives with the exhaustive tests."""
    names = options(group) if names is None else names
    slow = {n for n in names if group == "explainer" and takes_long(n)}
    marks = {
        name: [pytest.mark.slow] * (name in slow)
        + [pytest.mark.exhaustive] * (name not in representatives(group))
        for name in names
    }
    return pytest.mark.parametrize("name", [pytest.param(n, marks=m) for n, m in marks.items()])


@cache
def _content(path: Path) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), loader)
