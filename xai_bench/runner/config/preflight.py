"""Every setting and every argument is checked in the first seconds, before any work."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xai_bench.core.spelling import suggest
from xai_bench.core.system.secrets import has_password
from xai_bench.runner.components import fields_of, locate
from xai_bench.runner.config import devices
from xai_bench.runner.config.catalogue import SETS, components, conf_dir
from xai_bench.runner.config.environment import without_environment
from xai_bench.runner.config.hydra_settings import folders
from xai_bench.runner.config.messages import no_folder, no_key, one_line, reason
from xai_bench.runner.config.signatures import WORDS, accepts, arguments, belongs
from xai_bench.types import tags_of

SETTINGS: Mapping[str, type] = {
    "study": str,
    "seed": int,
    "n_jobs": int,
    "results": str,
    "device": str,
    "precision": str,
    "strict": bool,
    "allow": list,
    "budget": int,
    "anytime": list,
    "tune": bool,
    "tuning.n_trials": int,
    "tuning.metric": str,
    "tuning.n_samples": int,
    "report.tables": list,
    "report.metrics": list,
    "report.figures": list,
    "report.pictures": int,
    "report.samples": int,
    "evaluation.n_samples": int,
    "evaluation.n_background": int,
    "evaluation.batch_size": int,
    "evaluation.max_rows": int,
    "evaluation.memory": int,
    "evaluation.n_workers": int,
}
"""The settings of a configuration and their types; all other keys are components."""

OPTIONAL = ("budget", "n_jobs", "precision", "evaluation.memory", "report.pictures")
"""Settings that may be null."""

LONGEST_NAME = 120
"""Bytes of the name of a study: file systems take 255, of which others use some."""

COUNTS = ("evaluation.", "budget", "tuning.n_", "n_jobs")
"""Settings that start like this are counts: 1 or more."""

NODES = ("data", "model", "view", "target", "baseline.explain", "baseline.measure", "recorder")
"""Single components."""

STRUCTURES: Mapping[str, str] = {
    "linear": "is not linear",
    "trees": "is not made of trees",
    "glass_box": "is no glass box",
}
"""Structure that an explainer may need -> what a model without it is."""


def check(cfg: DictConfig, *, components_too: bool = True, writes: bool = True) -> list[str]:
    """Everything that is wrong with a composed configuration, one sentence each.

    Components are checked only when the settings are right, because that imports torch; without
    `components_too`, where they are those of a configuration that was checked. `writes` says
    whether folders will be written to.
    """
    if problems := list(_passwords(cfg)):
        return problems
    with without_environment():
        problems = [*_unknown(cfg), *_names(cfg), *_settings(cfg)] or [
            *(_folders_to_write(cfg) if writes else ()),
            *devices.problems(cfg),
            *_budgets(cfg),
            *_tuning(cfg),
            *_report(cfg),
        ]
    if problems or not components_too:
        return problems
    return [p for path in _component_paths(cfg) for p in _component_at(cfg, path)]


def is_setting(override: str) -> bool:
    """Whether an override changes a setting alone, such as `seed=3`, that no component needs."""
    name = override.partition("=")[0]
    return name in SETTINGS and name != "allow"


def _passwords(cfg: DictConfig) -> Iterator[str]:
    """Addresses with a password, which would be kept with the results and shown in commands."""
    for path, text in _texts(OmegaConf.to_container(cfg, resolve=False), ""):
        if has_password(text) and not path.startswith(("hydra.job", "hydra.overrides")):
            yield (
                f"{path} holds an address with a user or password, which would be kept with the "
                "results: leave it out and set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, or write recorder.tracking_uri=${oc.env:NAME}"
            )


def _texts(node: Any, path: str) -> Iterator[tuple[str, str]]:
    """The path and content of every text, at any depth."""
    if isinstance(node, str):
        yield path, node
    items = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for key, value in items:
        yield from _texts(value, f"{path}.{key}" if path else str(key))


def _component_at(cfg: DictConfig, path: str) -> list[str]:
    """The mistakes in the component at a path; only the recorder's is not kept with the results."""
    keeps_environment = nullcontext() if path == "recorder" else without_environment()
    try:
        with keeps_environment:
            node = OmegaConf.select(cfg, path)
            if OmegaConf.is_config(node):
                node = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        return [_unresolved(path, error)]
    return _component(path, node, list(_select(cfg, "allow") or []))


def notes(cfg: DictConfig) -> list[str]:
    """What a user may not expect of a configuration without mistakes, one sentence each."""
    return [*_will_be_skipped(cfg), *_without_budget(cfg)]


def _will_be_skipped(cfg: DictConfig) -> list[str]:
    """Explainers that need gradients or a structure that the model does not have."""
    allow = list(cfg.allow)
    model = locate(cfg.model._target_, allow)
    targets = {str(name): locate(node._target_, allow) for name, node in cfg.explainer.items()}
    needs = {name: set(tags_of(target).needs) for name, target in targets.items()}
    sentences = []
    if getattr(model, "differentiable", True) is False:
        names = [name for name, needed in needs.items() if "gradient" in needed]
        sentences += _skipped(cfg, "has no gradients", names)
    # A model that does not state its structure may have any: no warning.
    gives = getattr(model, "gives", tuple(STRUCTURES))
    for structure, fault in STRUCTURES.items():
        if structure not in gives:
            names = [name for name, needed in needs.items() if structure in needed]
            sentences += _skipped(cfg, fault, names)
    return sentences


def _skipped(cfg: DictConfig, fault: str, names: Sequence[str]) -> list[str]:
    model = cfg.model._target_.rpartition(".")[2]
    return [f"{model} {fault}: {', '.join(names)} will be skipped"] if names else []


def _without_budget(cfg: DictConfig) -> list[str]:
    """A budget that is set for explainers none of which has one."""
    given = [name for name in ("budget", "anytime") if cfg.get(name)]
    if not given or any("budget" in node for node in cfg.explainer.values()):
        return []
    return [f"{given[0]}={cfg[given[0]]} changes nothing: no chosen explainer has a budget"]


def _unknown(cfg: DictConfig) -> Iterator[str]:
    tops = {path.partition(".")[0] for path in (*SETTINGS, *NODES, *SETS)}
    for key in cfg:
        if key == "experiment":
            yield (
                "the file of the experiment sets nothing: its first line is '# @package _global_', "
                "and settings as on the command line follow"
            )
        elif key not in tops and key != "hydra":
            yield no_key(str(key), tops)
    for parent in ("evaluation", "tuning", "report", "baseline"):
        allowed = [p.rpartition(".")[2] for p in (*SETTINGS, *NODES) if p.startswith(parent)]
        section = _select(cfg, parent)
        keys = [str(key) for key in section] if isinstance(section, DictConfig) else []
        yield from (no_key(f"{parent}.{key}", allowed) for key in keys if key not in allowed)


def _names(cfg: DictConfig) -> Iterator[str]:
    """Names of options stand in tables, pictures and names of files."""
    choices = _select(cfg, "hydra.runtime.choices") or {}
    chosen = [(group, name) for group, name in choices.items() if not group.startswith("hydra")]
    nodes = [(group, _select(cfg, group)) for group in SETS]
    keys = [(group, key) for group, node in nodes if isinstance(node, DictConfig) for key in node]
    own = _select(cfg, "data.name") if _select(cfg, "data.path") else None
    if own and not re.fullmatch(r"\w[\w .+-]*", str(own)):
        yield f"data.name={own!r} stands in names of files: use letters, digits, ' ', '.' and '-'"
    for group, name in [*chosen, *keys]:
        names = name if OmegaConf.is_list(name) else [name]
        odd = [str(each) for each in names if not re.fullmatch(r"\w[\w.+-]*", str(each))]
        if odd:
            yield (
                f"{group}={odd[0]!r}: the name of an option stands in tables and names of files: "
                "use letters, digits, '.', '_', '+' and '-' only"
            )


def _settings(cfg: DictConfig) -> Iterator[str]:
    for path, kind in SETTINGS.items():
        try:
            value = OmegaConf.select(cfg, path, throw_on_missing=True)
        except OmegaConfBaseException as error:
            yield _unresolved(path, error)
            continue
        if value is None:
            if path not in OPTIONAL:
                yield f"{path} has no value: write {path}=..., {WORDS.get(kind, 'a list')}"
        elif kind in WORDS and not accepts(kind, value):
            yield f"{path}={value!r} is not {WORDS[kind]}"
        elif kind is int and path.startswith(COUNTS) and value < 1:
            yield f"{path}={value} must be 1 or more"
        elif path == "seed" and not 0 <= value < 2**32:
            yield f"seed={value} must be a whole number from 0 to {2**32 - 1}"
        elif path == "study" and not _names_a_folder(value):
            yield (
                f"study={value!r} names a folder: use letters, digits, '.', '_' and '-' only, a "
                f"letter or digit first, at most {LONGEST_NAME} bytes, and none of the names that "
                "Windows keeps, such as con"
            )


def _names_a_folder(name: str) -> bool:
    """Whether a name is one folder on every system, and no option on a command line."""
    reserved = re.fullmatch(r"(?i:con|prn|aux|nul|com\d|lpt\d)(\..*)?|.*\.", name)  # by Windows
    plain = bool(re.fullmatch(r"\w[\w.-]*", name)) and not reserved
    return plain and len(name.encode()) <= LONGEST_NAME


def _budgets(cfg: DictConfig) -> Iterator[str]:
    """Budgets are whole numbers that rise, and are set in one way."""
    given = cfg.get("anytime", [])
    budgets: list[Any] = list(given) if isinstance(given, (list, ListConfig)) else [None]
    are_numbers = all(accepts(int, budget) and budget >= 1 for budget in budgets)
    if not are_numbers or any(low >= high for low, high in pairwise(budgets)):
        yield (
            f"anytime={given} is not a list of rising budgets, each a whole number of 1 or more: "
            "write e.g. 'anytime=[32,128,512]'"
        )
    if budgets and cfg.get("budget") is not None:
        yield f"budget={cfg.budget} and anytime={given} are both set: leave one of them out"


def _tuning(cfg: DictConfig) -> Iterator[str]:
    """Tuning needs a metric, which may be no part of the run, and Optuna."""
    if not cfg.get("tune"):
        return
    metrics = components("metric", [conf_dir(), *folders(cfg)])
    if cfg.tuning.metric not in metrics:
        advice = suggest(cfg.tuning.metric, metrics)
        yield f"tuning.metric={cfg.tuning.metric}: there is no such metric; {advice}"
    if find_spec("optuna") is None:
        yield "tune=true needs Optuna: pip install 'xai-bench[tune]'"


def _report(cfg: DictConfig) -> Iterator[str]:
    """The report has such tables, files and metrics."""
    from xai_bench.results.report.options import ReportOptions

    settings: Any = OmegaConf.to_container(cfg.report, resolve=True)
    try:
        options = ReportOptions.of(settings)
    except ValueError as error:
        yield str(error)
        return
    metrics = components("metric", [conf_dir(), *folders(cfg)])
    for name in options.metrics:
        if name not in metrics:
            yield f"report.metrics: there is no metric '{name}'; {suggest(name, metrics)}"


def _folders_to_write(cfg: DictConfig) -> Iterator[str]:
    """The folders of results and of jobs can be made and written to."""
    for path in ("results", "hydra.run.dir", "hydra.sweep.dir"):
        try:
            folder = OmegaConf.select(cfg, path)
        except OmegaConfBaseException as error:
            yield _unresolved(path, error)
            return
        if folder is not None and (problem := _no_folder(path, str(folder))):
            yield problem
            return


def _no_folder(setting: str, place: str) -> str:
    """Why a folder cannot be made; empty where it can."""
    folder = Path(place).absolute()
    advice = f"give a folder that can be written to: {setting}=..."
    if not place.strip() or place.startswith("~"):
        return f"{setting}={place!r} would be a folder of that name; write its whole path"
    if re.match(r"\w+://", place):
        return f"{setting}={place} is an address; {setting} is a folder of this machine"
    try:
        str(folder).encode()  # as libraries do that write there
        existing = next(p for p in (folder, *folder.parents) if p.is_symlink() or p.exists())
    except (OSError, ValueError) as error:
        return f"{setting}={place!r} cannot be a folder ({reason(error)}); {advice}"
    if problem := no_folder(existing):
        return f"{setting}={place}: {problem}; {advice}"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{setting}={place}: {existing} cannot be written to; {advice}"
    return ""


def _component_paths(cfg: DictConfig) -> list[str]:
    """The dotted paths of all components; `explainer` or `metric` itself where none is chosen."""
    paths = list(NODES)
    for group in SETS:
        nodes = _select(cfg, group)
        named = list(nodes) if isinstance(nodes, DictConfig) else [] if nodes is None else [None]
        paths += [group if name is None else f"{group}.{name!s}" for name in named]
    return [*paths, *(group for group in SETS if not _select(cfg, group))]


def _component(path: str, node: object, allow: Sequence[str]) -> list[str]:
    """The mistakes in one component and in those inside its arguments."""
    if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
        return [_no_component(path, node)]
    try:
        of_group = list(belongs(path, locate(node["_target_"], allow)))
    except (ImportError, AttributeError, ValueError) as error:
        return [f"{path}: {one_line(error)}"]
    return of_group or list(_nodes(path, node, allow))


def _nodes(path: str, node: object, allow: Sequence[str]) -> Iterator[str]:
    """The mistakes in a node, in a list or mapping of nodes, and below, at any depth."""
    if isinstance(node, list):
        for number, item in enumerate(node):
            yield from _nodes(f"{path}.{number}", item, allow)
        return
    if not isinstance(node, dict):
        return
    try:
        given = fields_of(node)
        if "_target_" in node:
            yield from arguments(path, locate(node["_target_"], allow), given, allow)
    except (ImportError, AttributeError, ValueError) as error:
        yield f"{path}: {one_line(error)}"
        return
    for name, value in given.items():
        yield from _nodes(f"{path}.{name}", value, allow)


def _no_component(path: str, node: object) -> str:
    group, _, name = path.partition(".")
    if path in SETS:
        few = {"explainer": "saliency,random", "metric": "abpc,entropy"}[path]
        return f"no {path} is chosen: write e.g. '{path}=[{few}]' or {path}=default"
    if node is None and group not in SETS:
        return f"no {group} is chosen: write {_choice(path)}=NAME (`xai-bench list {group}`)"
    if group in SETS:
        return (
            f"{path} has no _target_, so it is no {group}: choose '{name}' as part of "
            f"'{group}=[...]' before you set its fields"
        )
    return (
        f"{path} is {node!r}, which is no component: write {_choice(path)}=NAME, or give _target_"
    )


def _choice(path: str) -> str:
    group = path.partition(".")[0]
    return f"{group}@{path}" if "." in path else group


def _unresolved(path: str, error: OmegaConfBaseException) -> str:
    key = error.full_key or path
    if "Missing mandatory value" in str(error):
        return f"{key} has no value: write {key}=..."
    reason = re.sub(r"^\w+ raised while resolving interpolation: ", "", one_line(error))
    return f"{key}: {reason}"


def _select(cfg: DictConfig, path: str) -> Any:
    """The value at `path`; None where it is absent, missing or cannot be resolved."""
    try:
        return OmegaConf.select(cfg, path)
    except OmegaConfBaseException:
        return None
