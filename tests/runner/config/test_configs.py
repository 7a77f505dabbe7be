"""Proves that every option of every group composes and passes the preflight check."""

from __future__ import annotations

import inspect
import itertools
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from tests.support.paths import ROOT
from xai_bench.runner.components import build, locate
from xai_bench.runner.config import preflight
from xai_bench.runner.config.catalogue import (
    GROUPS,
    SETS,
    components,
    conf_dir,
    entries,
    members,
    options,
)
from xai_bench.runner.config.compose import register_all
from xai_bench.types import tags_of

CONF = conf_dir()
SINGLE = [(group, name) for group in SETS for name in components(group, [CONF])]

OTHERS = [
    (group, name)
    for group in GROUPS
    for name in options(group, [CONF])
    if (group, name) not in SINGLE
]


def read(path: Path) -> dict[str, Any]:
    """What a YAML says."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # C is ten times as fast
    content: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), loader)
    return content


def options_of(
    cases: list[tuple[str, str]], quick: Collection[tuple[str, str]] = SINGLE
) -> pytest.MarkDecorator:
    """Cases by group and name; all but the quick ones with the exhaustive tests."""
    marks = [() if case in quick else (pytest.mark.exhaustive,) for case in cases]
    params = [
        pytest.param(*case, marks=mark, id="-".join(case))
        for case, mark in zip(cases, marks, strict=True)
    ]
    return pytest.mark.parametrize(("group", "name"), params)


def first_of_each_module() -> set[tuple[str, str]]:
    """A component of every module, and a set and a study: composing takes a while."""
    first: dict[tuple[str, str], tuple[str, str]] = {}
    for group, name in OTHERS:
        target = str(read(CONF / group / f"{name}.yaml").get("_target_", ""))
        first.setdefault((group, target.rpartition(".")[0]), (group, name))
    return set(first.values())


@pytest.fixture(scope="module", autouse=True)
def _hydra() -> Iterator[None]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        register_all([CONF])
        yield


@pytest.fixture(scope="module")
def everything(_hydra: None) -> DictConfig:
    """All explainers and metrics in one configuration: composing takes a while."""
    return compose("config", [f"{group}=all" for group in SETS])


def small(group: str, name: str) -> DictConfig:
    """One option, beside as little else as possible; a study has explainers and metrics already."""
    chosen = {} if group == "experiment" else {"explainer": "random", "metric": "entropy"}
    chosen["baseline@baseline.explain" if group == "baseline" else group] = name
    return compose("config", [f"{key}={value}" for key, value in chosen.items()])


def problems(cfg: DictConfig) -> list[str]:
    """What pre-flight says, but for values that every user has to give (a path)."""
    return [p for p in preflight.check(cfg) if "has no value" not in p]


@pytest.mark.slow
def test_the_default_configuration_is_in_order() -> None:
    assert preflight.check(compose("config")) == []


@pytest.mark.slow
def test_all_explainers_and_metrics_pass_the_preflight(everything: DictConfig) -> None:
    assert {*everything.explainer, *everything.metric} == {name for _, name in SINGLE}
    assert problems(everything) == []


@pytest.mark.sample(3)
@pytest.mark.slow
@options_of(OTHERS, first_of_each_module())
def test_every_option_composes_and_passes_the_preflight(group: str, name: str) -> None:
    assert problems(small(group, name)) == []


def test_the_key_is_the_name_and_the_only_one() -> None:
    keys = {(group, name): list(read(CONF / group / f"{name}.yaml")) for group, name in SINGLE}
    assert [single for single in SINGLE if keys[single] != [single[1]]] == []


@pytest.mark.sample(15, others="slow")
@options_of(SINGLE)
def test_components_are_built_as_they_are(group: str, name: str, everything: DictConfig) -> None:
    node = everything[group][name]
    component = build(OmegaConf.to_container(node, resolve=True))
    assert type(component) is locate(node._target_)
    assert callable(component.explain if group == "explainer" else component.score)


def test_every_component_has_its_class_attributes(everything: DictConfig) -> None:
    listed = [entry for group in SETS for entry in entries(group, [CONF])]
    traits = {(entry.group, entry.name): entry.traits for entry in listed}
    for group, name in SINGLE:
        target = locate(everything[group][name]._target_)
        wanted = {"explainer": ("kind",), "metric": ("higher_is_better",)}[group]
        for trait in ("category", *wanted):
            assert hasattr(target, trait), f"{name} has no {trait}"
        assert tags_of(target).version >= 1, name
        # Read without importing it, for `xai-bench list`; inherited ones, too.
        assert traits[group, name]["category"] == target.category, name
        assert inspect.getdoc(target), name


def test_a_setting_that_takes_a_mapping_can_be_set() -> None:
    """Hydra adds no keys to a mapping that is there, be it empty: `null` can be replaced by one."""
    contents = {path: read(path) for path in sorted(CONF.rglob("*.yaml"))}
    assert [path for path, content in contents.items() if {} in content.values()] == []


def test_no_two_options_have_the_same_content() -> None:
    """Aliases would be two rows with one content in every table."""
    for group in SETS:
        written = {}
        for _, name in (single for single in SINGLE if single[0] == group):
            content = read(CONF / group / f"{name}.yaml")[name]
            assert written.setdefault(repr(content), name) == name


@pytest.mark.parametrize("group", SETS)
def test_members_of_sets_exist(group: str) -> None:
    for entry in entries(group, [CONF]):
        assert set(entry.members) <= {*options(group, [CONF]), "all"}


@pytest.mark.exhaustive
@pytest.mark.parametrize("group", SETS)
def test_members_of_a_set_are_what_hydra_composes(group: str) -> None:
    for name in [entry.name for entry in entries(group, [CONF]) if entry.members]:
        assert members(group, name, [CONF]) == list(compose("config", [f"{group}={name}"])[group])


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["all", "default"])
@pytest.mark.parametrize("group", SETS)
def test_sets_merge(group: str, name: str) -> None:
    one = compose("config", [f"{group}=[{name}]"])[group]
    two = compose("config", [f"{group}=[{name},{next(iter(one))}]"])[group]
    assert list(one) == list(two)


@pytest.mark.slow
def test_the_two_baselines_are_independent() -> None:
    cfg = compose("config", ["baseline@baseline.measure=zero", "baseline@baseline.explain=blur"])
    assert cfg.baseline.measure._target_.endswith("Constant")
    assert cfg.baseline.explain._target_.endswith("Blur")
    explain = compose("config", ["explainer=integrated_gradients"]).explainer
    assert explain.integrated_gradients.baseline == compose("config").baseline.explain


def test_every_public_component_has_a_yaml() -> None:
    """A component that cannot be chosen on the command line does not exist for its users."""
    for group, method in (("explainer", "explain"), ("metric", "score")):
        used = {e.target for e in entries(group, [CONF]) if e.target}
        modules = {target.rpartition(".")[0] for target in used}
        for module, (name, value) in itertools.chain.from_iterable(
            ((m, item) for item in vars(__import__(m, fromlist=["_"])).items()) for m in modules
        ):
            public = inspect.isclass(value) and value.__module__ == module and name[0] != "_"
            if public and hasattr(value, method) and hasattr(value, "category"):
                assert f"{module}.{name}" in used


def test_no_yaml_is_ignored_by_git() -> None:
    """An ignored file would work here and be missing for everybody else."""
    listed = [str(path.relative_to(ROOT)) for path in CONF.rglob("*.yaml")]
    done = subprocess.run(
        ["git", "check-ignore", *listed], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == ""
