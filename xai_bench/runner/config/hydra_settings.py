"""What a configuration may say to Hydra, which would else import and call whatever it names.

Callbacks, log handlers, launchers, sweepers and environment variables are ours or Hydra's own. A
configuration may set where and how jobs run, and nothing else under `hydra`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xai_bench.runner.components import is_allowed, outside
from xai_bench.runner.config.catalogue import conf_dir, folder
from xai_bench.runner.config.messages import UsageError

FREE = (
    "mode",
    "searchpath",
    "verbose",
    "run.dir",
    "sweep.dir",
    "sweeper.params",
    "launcher.n_jobs",
    "launcher.verbose",
)
"""Settings under `hydra` that a user or an experiment may set."""

FILLED = (
    "overrides", "runtime", "job.name", "job.id", "job.num", "job.config_name", "job.chdir",
    "job.override_dirname", "help", "hydra_help",
)  # fmt: skip
"""What Hydra fills in itself. Texts that nothing calls."""

_CANNOT = f"cannot be set: of hydra, a configuration may set {', '.join(FREE)}"

LAUNCHERS = ("basic", "joblib")
"""One job after the other, or several at a time."""


def changed(cfg: DictConfig) -> list[str]:
    """One sentence per setting under `hydra` that differs from ours and is not free."""
    given = OmegaConf.to_container(cfg.hydra, resolve=False)
    paths = _differences(given, _ours(_launcher(given)), "")
    verbose = cfg.hydra.verbose
    names = verbose if OmegaConf.is_list(verbose) else [verbose]
    if not all(isinstance(name, (bool, str)) for name in names):
        return [f"hydra.verbose={verbose} is neither true, false nor the names of loggers"]
    return [
        f"hydra.{path} {_CANNOT}"
        for path in dict.fromkeys(paths)
        if not f"{path}.".startswith(tuple(f"{free}." for free in (*FREE, *FILLED)))
    ]


def check_typed(overrides: Sequence[str]) -> None:
    """Raise `UsageError` for an override of the whole of `hydra`, which Hydra cannot compose."""
    for override in overrides:
        if re.fullmatch(r"[+~]*hydra(=.*)?", override, re.DOTALL):
            raise UsageError(f"{override} {_CANNOT}")


def without_value(cfg: DictConfig) -> list[str]:
    """One sentence per free setting that is missing or cannot be resolved.

    What is wrong with it is not told: it may hold what the environment does.
    """
    unclear = []
    for free in FREE:
        try:
            value = OmegaConf.select(cfg, f"hydra.{free}", throw_on_missing=True)
            if OmegaConf.is_config(value):
                OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
        except OmegaConfBaseException:
            unclear.append(f"hydra.{free} has no value, or one that cannot be resolved")
    return unclear


def folders(cfg: DictConfig) -> list[Path]:
    """The user's own folders of options."""
    try:
        places = OmegaConf.select(cfg, "hydra.searchpath") or []
    except OmegaConfBaseException:
        return []
    return [folder(str(place)) for place in places]


def typed_allow(overrides: Sequence[str]) -> list[str]:
    """The packages that the command line allows. Raises `UsageError` where that is no list."""
    allowed: list[str] = []
    for override in overrides:
        if override.lstrip("+").startswith("allow="):
            try:
                parsed = OverridesParser.create().parse_override(override)
            except HydraException:
                continue  # answered where all overrides are parsed
            values = (
                list(parsed.sweep_iterator()) if parsed.is_sweep_override() else [parsed.value()]
            )
            for value in values:
                allowed += [str(name) for name in value] if isinstance(value, list) else []
    return allowed


def granted_by_a_file(cfg: DictConfig, allowed: Sequence[str]) -> list[str]:
    """One sentence where a file allows a package that the command line does not."""
    allow = _plain(cfg).get("allow")
    if allow is None:
        return []
    if not isinstance(allow, list) or not all(re.fullmatch(r"[\w.]+", str(name)) for name in allow):
        return [f"allow={allow} is not a list of packages: write 'allow=[my_package]'"]
    return [
        f"a file says allow: [{name}], and no file can trust itself: if you trust it, write "
        f"'allow=[{','.join(map(str, allow))}]' on the command line"
        for name in allow
        if name not in allowed
    ]


def check_searchpath(places: Sequence[Any], allowed: Sequence[str]) -> None:
    """Raise `UsageError` for a package that Hydra would import and for what cannot be read."""
    for place in map(str, places):
        scheme, _, rest = place.rpartition("://")
        if "${" in place or scheme not in ("", "file", "pkg"):
            raise UsageError(f"hydra.searchpath: {place!r} is no folder; write file://PATH")
        if scheme == "pkg" and not is_allowed(rest, allowed):
            raise UsageError(outside(f"hydra.searchpath: {place}", rest, allowed))


@cache
def _ours(launcher: str) -> Mapping[str, Any]:
    """What stands under `hydra` without a user's settings, with a launcher of `LAUNCHERS`.

    Read once: every job of a sweep is compared with it.
    """
    folder, store = _hydra_conf() / "hydra", ConfigStore.instance()
    groups = ("job_logging", "hydra_logging")
    of_hydra = {
        **_plain(OmegaConf.structured(HydraConf)),
        **{group: _plain(OmegaConf.load(folder / group / "default.yaml")) for group in groups},
        "sweeper": _plain(store.load("hydra/sweeper/basic.yaml").node),
        "launcher": _plain(store.load(f"hydra/launcher/{launcher}.yaml").node),
    }
    ours = _plain(OmegaConf.load(conf_dir() / "config.yaml"))["hydra"]
    del of_hydra["defaults"]
    return _plain(OmegaConf.merge(of_hydra, ours))


def _plain(cfg: Any) -> dict[str, Any]:
    return dict(cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=False)))


def _launcher(given: Any) -> str:
    """The launcher of `LAUNCHERS` that was chosen; the basic one where it is none of them."""
    chosen = given.get("runtime", {}).get("choices", {}).get("hydra/launcher")
    stored = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
    found = chosen in LAUNCHERS and f"{chosen}.yaml" in stored
    return str(chosen) if found else LAUNCHERS[0]


def _hydra_conf() -> Path:
    spec = find_spec("hydra.conf")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the configuration files of Hydra")
    return Path(spec.origin).parent


def _differences(given: Any, ours: Any, path: str) -> Iterator[str]:
    """The paths at which two containers differ."""
    if isinstance(given, Mapping) and isinstance(ours, Mapping):
        for key in {**given, **ours}:
            below = f"{path}.{key}" if path else str(key)
            yield from _differences(given.get(key), ours.get(key), below)
    elif given != ours and not (not given and not ours):
        yield path
