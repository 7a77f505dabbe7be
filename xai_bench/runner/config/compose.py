"""From a command line to the configurations of its jobs; Hydra's errors become one sentence."""

from __future__ import annotations

import contextlib
import copy
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xai_bench.core.spelling import suggest
from xai_bench.runner.config import hydra_settings, messages
from xai_bench.runner.config.catalogue import (
    ALL,
    SETS,
    components,
)
from xai_bench.runner.config.command import Command
from xai_bench.runner.config.errors import chosen, errors_in_one_sentence, folders_of, searchpath
from xai_bench.runner.config.messages import UsageError
from xai_bench.runner.config.yaml_files import check_marks, check_size


def configurations(command: Command) -> Iterator[DictConfig]:
    """Compose the jobs whose configurations are checked. Raises `UsageError`.

    Every value of a sweep is in one of them; checking all combinations would take minutes.
    """
    with composed(command) as jobs:
        yield from map(jobs.config, jobs.checked())


@contextlib.contextmanager
def composed(command: Command) -> Iterator[Jobs]:
    """The jobs of a command, while Hydra can compose them. Raises `UsageError`."""
    if not (command.conf / f"{command.config_name}.yaml").is_file():
        names = [path.stem for path in command.conf.glob("*.yaml")]
        raise UsageError(
            f"--config-name {command.config_name}: there is no such file in {command.conf}; "
            f"{suggest(command.config_name, names)}"
        )
    hydra_settings.check_typed(command.overrides)
    folders = folders_of(command)
    theirs = [folder for folder in folders if folder != command.conf]
    check_size(theirs)
    check_marks(theirs, chosen(command, command.overrides))
    with initialize_config_dir(str(command.conf), version_base="1.3"):
        typed = _values(command.overrides)
        register_all(folders)
        composed_of = [values[0] for values in typed.values()]
        first = _compose(command, [*composed_of, *searchpath(command)])
        swept = _values(_swept(command, first, typed)) | typed
        yield Jobs(command, first, list(swept.values()), composed_of)


@dataclass(eq=False)
class Jobs:
    """The jobs of a command.

    Attributes:
        first: what is composed with the first value of every setting that is typed.
        values: for each setting that is typed or swept, an override per value.
        typed: what `first` is composed of: no value of a sweep that an experiment defines.
    """

    command: Command
    first: DictConfig
    values: Sequence[Sequence[str]]
    typed: Sequence[str]
    _bases: dict[tuple[str, ...], DictConfig] = field(default_factory=dict)

    @property
    def is_sweep(self) -> bool:
        """Whether there may be several."""
        return bool(self.command.parsed.multirun) or self.first.hydra.mode is RunMode.MULTIRUN

    @property
    def results(self) -> Path:
        """Where results go; some path where that is no text, which is told when it is checked."""
        try:
            return Path(str(OmegaConf.select(self.first, "results"))).absolute()
        except OmegaConfBaseException:
            return Path.cwd()

    def overrides(self) -> list[tuple[str, ...]]:
        """The overrides of each job, in the order of Hydra's own sweeper."""
        return list(itertools.product(*self.values))

    def checked(self) -> Iterator[tuple[str, ...]]:
        """One job per value, with all other settings at their first value."""
        first = tuple(of_key[0] for of_key in self.values)
        yield first
        for i, of_key in enumerate(self.values):
            yield from ((*first[:i], value, *first[i + 1 :]) for value in of_key[1:])

    def config(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of a job.

        Jobs that differ in the values of settings only, such as seeds, are composed once, and so is
        what is checked first and run later: it takes some tenths of a second. Values are set in it
        as Hydra sets them.
        """
        others = tuple(override for override in overrides if not _is_plain(override))
        if others not in self._bases:
            same = not self._bases and list(overrides) == list(self.typed)
            cfg = self.first if same else _compose(self.command, [*overrides, *self.extra])
            if len(self._bases) == _MOST_BASES:
                del self._bases[next(iter(self._bases))]
            self._bases[others] = cfg
        try:
            return _with_values(self._bases[others], overrides)
        except (OmegaConfBaseException, HydraException):  # told as Hydra tells it
            return _compose(self.command, [*overrides, *self.extra])

    @property
    def extra(self) -> list[str]:
        """The override that stands for `--config-dir`."""
        return searchpath(self.command)


_MOST_BASES = 32
"""Of so many a command remembers what was composed: a megabyte or two each."""


def _is_plain(override: str) -> bool:
    """Whether an override sets a value, and chooses neither an option nor anything of Hydra's."""
    return bool(re.fullmatch(r"seed=\d+|[a-z]\w*(\.\w+)+=[\w.-]+", override)) and not (
        override.startswith("hydra.")
    )


def _with_values(base: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """A copy of a configuration with the values that these overrides set."""
    cfg = copy.deepcopy(base)
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    for override in parsed:
        if _is_plain(str(override.input_line)):
            OmegaConf.update(cfg, override.key_or_group, override.value(), merge=True)
    task = [override for override in parsed if not override.is_hydra_override()]
    cfg.hydra.overrides.task = [override.input_line for override in task]
    settings = cfg.hydra.job.config.override_dirname
    cfg.hydra.job.override_dirname = get_overrides_dirname(
        task, settings.exclude_keys, settings.item_sep, settings.kv_sep
    )
    return cfg


def jobs(command: Command, wanted: Mapping[str, str]) -> Iterator[DictConfig]:
    """Compose the jobs of a command, sweeps written out, that `wanted` does not rule out.

    `wanted` is key -> value: of the values of a key that is swept, only this one is composed.
    Raises `UsageError`.
    """
    with composed(command) as configuration:
        keys = [values[0].partition("=")[0] for values in configuration.values]
        narrow = [
            _narrowed(k, list(v), wanted) for k, v in zip(keys, configuration.values, strict=True)
        ]
        yield from map(configuration.config, itertools.product(*narrow))


def _narrowed(key: str, values: list[str], wanted: Mapping[str, str]) -> list[str]:
    chosen = f"{key}={wanted.get(key)}"
    return [chosen] if chosen in values else values


def register_all(folders: Sequence[Path]) -> None:
    """Give Hydra the sets `explainer=all` and `metric=all`: every component of these folders.

    They go where Hydra keeps configurations that lie in no file, which jobs of a sweep see, too.
    """
    for group in SETS:
        node = {"defaults": components(group, folders)}
        ConfigStore.instance().store(ALL, node, group, provider="xai_bench")


def _values(overrides: Sequence[str]) -> dict[str, list[str]]:
    """Key -> one override per value; as in Hydra, a later one with the same key wins."""
    loader = GlobalHydra.instance().config_loader()
    try:
        parsed = OverridesParser.create(loader).parse_overrides(list(overrides))
    except OverrideParseException as error:
        raise UsageError(messages.not_understood(error.override)) from None
    by_key = {}
    for override in parsed:
        key = override.get_key_element()
        if override.is_discrete_sweep():
            by_key[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
            if not by_key[key]:
                raise UsageError(f"{override.input_line} names nothing")
        elif override.is_sweep_override():
            raise UsageError(messages.no_values(str(override.input_line)))
        else:
            by_key[key] = [str(override.input_line)]
    return by_key


def _swept(command: Command, cfg: DictConfig, typed: Mapping[str, list[str]]) -> list[str]:
    """The sweep that an experiment defines. Raises `UsageError` for several values without `-m`."""
    if not command.parsed.multirun and cfg.hydra.mode is not RunMode.MULTIRUN:
        for override in command.overrides:
            if len(typed.get(override.partition("=")[0], ())) > 1:
                raise UsageError(messages.several_values(override, sets=SETS))
        return []
    params = OmegaConf.select(cfg, "hydra.sweeper.params") or {}
    if not isinstance(params, (dict, DictConfig)):
        raise UsageError("hydra.sweeper.params is no mapping of settings and values")
    return [f"{key}={value}" for key, value in _flat(_plain(params), "")]


def _flat(params: Mapping[Any, Any], above: str) -> Iterator[tuple[str, Any]]:
    """Settings as they are typed: what is nested, as `{model: {lr: 1,2}}`, with dots.

    Raises `UsageError` for what is no name of a setting.
    """
    for key, value in params.items():
        name = f"{above}.{key}" if above else str(key)
        if not re.fullmatch(r"[A-Za-z_][\w./@-]*", str(key)):
            raise UsageError(f"hydra.sweeper.params: {key!r} is no name of a setting")
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        else:
            yield name, value


def _plain(params: Any) -> Any:
    return OmegaConf.to_container(params, resolve=True) if OmegaConf.is_config(params) else params


def _compose(command: Command, overrides: list[str]) -> DictConfig:
    with errors_in_one_sentence(command, overrides):
        cfg = compose(command.config_name, overrides, return_hydra_config=True)
    try:
        OmegaConf.select(cfg, "hydra.mode", throw_on_missing=True)
    except OmegaConfBaseException:  # whose text may hold what the environment does
        raise UsageError("hydra.mode is neither RUN nor MULTIRUN") from None
    # A folder of Hydra's that is named by a study without a name is the study's own mistake.
    is_named = not OmegaConf.is_missing(cfg, "study")
    problems = (hydra_settings.without_value(cfg) if is_named else []) or [
        *hydra_settings.changed(cfg),
        *hydra_settings.granted_by_a_file(cfg, command.allowed),
    ]
    if problems:
        raise UsageError("\n".join(problems))
    return cfg
