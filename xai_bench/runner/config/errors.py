"""What is wrong with a configuration, as one sentence: Hydra's errors, and the folders it reads."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from xai_bench.core.spelling import suggest
from xai_bench.runner.config import hydra_settings, messages
from xai_bench.runner.config.catalogue import GROUPS, SETS, folder, options, read_yaml
from xai_bench.runner.config.command import Command
from xai_bench.runner.config.file_mistakes import mistake
from xai_bench.runner.config.messages import UsageError
from xai_bench.runner.config.yaml_files import not_utf8

_MISTAKES = (HydraException, OmegaConfBaseException, ValueError)
# Hydra takes it for granted that options are names and sections mappings.
_TAKEN_FOR_GRANTED = (TypeError, AttributeError, AssertionError, LookupError, RecursionError)


def folders_of(command: Command) -> list[Path]:
    """The folders that Hydra composes from: ours, then those of its search path."""
    with errors_in_one_sentence(command, []):
        main = OmegaConf.create(read_yaml(command.conf / f"{command.config_name}.yaml"))
        places = OmegaConf.select(main, "hydra.searchpath") or []
    for override in [*command.overrides, *searchpath(command)]:
        if override.lstrip("+").startswith("hydra.searchpath="):
            try:
                places = OverridesParser.create().parse_override(override).value()
            except (HydraException, ValueError):
                raise UsageError(messages.not_understood(override)) from None
    if not isinstance(places, (list, ListConfig)):
        raise UsageError(f"hydra.searchpath={places} is not a list: write [file://PATH]")
    hydra_settings.check_searchpath(places, command.allowed)
    return [command.conf, *(folder(str(place)) for place in places)]


def searchpath(command: Command) -> list[str]:
    """The override that `--config-dir` stands for. Raises `UsageError` where there is no folder."""
    folder = command.parsed.config_dir
    if folder is None:
        return []
    if not Path(folder).is_dir():
        raise UsageError(f"--config-dir {folder}: there is no such folder")
    if any(override.startswith("hydra.searchpath=") for override in command.overrides):
        raise UsageError("both --config-dir and hydra.searchpath are given: put all in one of them")
    return [f"hydra.searchpath=['file://{Path(folder).absolute()}']"]


@contextlib.contextmanager
def errors_in_one_sentence(command: Command, overrides: list[str]) -> Iterator[None]:
    """What is wrong with a configuration becomes a `UsageError`."""
    try:
        yield
    except YAMLError as error:
        raise UsageError(f"a YAML file cannot be read: {messages.one_line(error)}") from None
    except UnicodeDecodeError as error:
        raise UsageError(messages.no_utf8(not_utf8(folders_of(command)), error)) from None
    except (*_MISTAKES, *_TAKEN_FOR_GRANTED, OSError) as error:
        raise UsageError(
            _in_a_file(command, overrides)
            or (
                _sentence(error, command, overrides)
                if isinstance(error, _MISTAKES)
                else messages.no_names(_odd(overrides), error)
            )
        ) from None


def _in_a_file(command: Command, overrides: list[str]) -> str:
    """A sentence on a mistake in a chosen file: Hydra does not say so, or not in which."""
    return mistake(folders_of(command), chosen(command, overrides)) if overrides else ""


def chosen(command: Command, overrides: Sequence[str]) -> set[str]:
    """The names of the files that are chosen on the command line."""
    values = [override.partition("=")[2] for override in overrides]
    return {command.config_name, *(n for value in values for n in re.findall(r"[\w.+-]+", value))}


def _odd(overrides: Sequence[str]) -> list[str]:
    """The overrides that choose an option by something else than a name or a list of names."""
    name, odd = re.compile(r" *[A-Za-z_][\w./ -]*"), []
    for override in overrides:
        key, _, value = override.partition("=")
        chooses = key.lstrip("+~").partition("@")[0] in GROUPS or "/" in key
        items = value.removeprefix("[").removesuffix("]").split(",")
        if chooses and not all(name.fullmatch(item) for item in items):
            odd.append(override)
    return odd


def _sentence(error: Exception, command: Command, overrides: list[str]) -> str:
    """Hydra's error as one sentence with a remedy."""
    if isinstance(error, OverrideParseException):
        return messages.not_understood(error.override)
    if isinstance(error, MissingConfigException):
        return _no_option(error, command, overrides)
    if str(error).startswith(_MERGING):
        override = messages.one_line(error).removeprefix(_MERGING)
        return f"{override} does not fit: {messages.one_line(error.__cause__ or error)}"
    empty = [o for o in overrides if o.partition("=")[2] == "null"]
    if isinstance(error, ValueError) and empty:
        return f"{empty[0]} chooses nothing: name an option, or several as 'explainer=[a,b]'"
    for pattern, sentence in _PATTERNS.items():
        match = re.match(pattern, str(error))
        if match:
            return sentence(match[1], command, overrides)
    return messages.one_line(error)


def _no_option(error: MissingConfigException, command: Command, overrides: list[str]) -> str:
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    inner = group.removeprefix("experiment/").strip()
    if group.startswith("experiment/") and inner in GROUPS:
        return _without_slash(f"{inner}: {name}")
    typed = [o for o in overrides if o.lstrip("+~").startswith((f"{group}=", f"{group}@"))]
    names = error.options or list(options(group, folders_of(command)))
    where = "" if typed else messages.one_line(error).partition(":")[0] + ": "
    return where + messages.no_option(group, name, names)


def _without_slash(entry: str) -> str:
    return (
        f"`{entry}` in the defaults list of an experiment is looked for below experiment/: write "
        f"`- override /{entry}`"
    )


def _no_entry(key: str, command: Command, overrides: list[str]) -> str:
    """`override` in a defaults list, of a group that is not chosen before."""
    group = key.partition("@")[0]
    inner = group.removeprefix("experiment/")
    if group.startswith("experiment/") and inner in (*GROUPS, "hydra/launcher"):
        return _without_slash(f"{inner}: ...")
    return (
        f"a defaults list says `override {key}`, and nothing of that name is chosen: "
        f"{suggest(inner, (*GROUPS, 'hydra/launcher'))}"
    )


def _no_key(key: str, command: Command, overrides: list[str]) -> str:
    parent = key.partition("@")[0].rpartition(".")[0]
    group, _, name = key.partition(".")
    others = [o for o in overrides if not o.lstrip("+~").startswith(key)]
    try:
        cfg = compose(command.config_name, others, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:  # a second mistake is told first
        is_another = len(others) < len(overrides)
        return _sentence(error, command, others) if is_another else messages.one_line(error)
    if group in SETS and name:
        name = name.partition(".")[0]
        if name not in cfg[group]:
            names = options(group, folders_of(command))
            return messages.not_selected(key, group, name, [str(n) for n in cfg[group]], names)
    if key == "baseline":
        return (
            "there are two baselines: write baseline@baseline.explain=NAME, "
            "baseline@baseline.measure=NAME, or both"
        )
    inside = OmegaConf.select(cfg, key)
    if isinstance(inside, DictConfig):
        return f"{key} has other settings than those written for it: {', '.join(map(str, inside))}"
    section = OmegaConf.select(cfg, parent) if parent else cfg
    siblings = [str(sibling) for sibling in section if sibling != "hydra"] if section else []
    return messages.no_key(key, siblings if parent else [*siblings, *GROUPS])


def _twice(key: str, command: Command, overrides: list[str]) -> str:
    return messages.twice(key, next((o for o in overrides if o.startswith(f"+{key}")), key))


def _nothing(key: str, command: Command, overrides: list[str]) -> str:
    return messages.nothing_to_leave_out(key)


def _other_value(key: str, command: Command, overrides: list[str]) -> str:
    return f"~{key}: this setting has another value, and cannot be left out: write {key}=..."


_MERGING = "Error merging override "
_PATTERNS: Mapping[str, Callable[[str, Command, list[str]], str]] = {
    r"Could not append to config\. An item is already at '(.+?)'": _twice,
    r"Multiple values for (.+?)\. ": _twice,
    r"Could not delete from config\. '(.+?)' does not exist": _nothing,
    r"Could not delete from config\. The value of '(.+?)'": _other_value,
    r"In '.+?': Could not override '(.+?)'\. No match in the defaults list": _no_entry,
    r"Could not override '(.+?)'": _no_key,
}
"""Pattern of Hydra's message -> the function that makes our sentence of it."""
