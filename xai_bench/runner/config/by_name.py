"""Components by the names of their options, for Python users: no Hydra, no command line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, cast

from omegaconf import OmegaConf

from xai_bench.core.spelling import listed, suggest
from xai_bench.runner.components import build, fields_of, locate, parameters
from xai_bench.runner.config.catalogue import conf_dir, members, options
from xai_bench.runner.config.signatures import METHODS, arguments

_SCALARS = (str, int, float, bool, type(None))
_PLAIN = (str, int, float, bool, type(None), list, tuple, Mapping)


def load(group: str, name: Any) -> dict[str, Any]:
    """The YAML of one option. Raises ValueError with the near misses where there is none."""
    paths = options(group, [conf_dir()])
    if name not in paths:
        raise ValueError(f"there is no {group} '{name}'; {suggest(str(name), paths)}")
    return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(paths[name])))


def choices(group: str) -> str:
    """`choose from ...`: the options of a group, for a message."""
    return suggest("", options(group, [conf_dir()]))


def component(
    group: str, chosen: Any, settings: Mapping[str, Any], baselines: Mapping[str, Any]
) -> Any:
    """The component of a name, with some of its settings changed; any other one as it is.

    `baselines` are `explain` and `measure`, each a configuration or a baseline. A setting may be an
    object, such as a baseline, or the name of one. Raises ValueError for what is no component, and
    for settings that it does not have.
    """
    if not isinstance(chosen, str):
        if isinstance(chosen, type) or not hasattr(chosen, METHODS[group]):
            raise ValueError(f"{chosen!r} is no {group}; {choices(group)}, or give one of your own")
        if settings:
            raise ValueError(
                f"the settings {listed(settings)} are those of a {group} by name; make "
                f"{type(chosen).__name__} with them"
            )
        return chosen
    if all(isinstance(value, _SCALARS) for value in settings.values()):
        with suppress(TypeError):  # a baseline that is an object
            return _component_of_text(group, chosen, json.dumps([settings, baselines]))
    return _component(group, chosen, settings, baselines)


@lru_cache(maxsize=512)
def _component_of_text(group: str, chosen: str, text: str) -> Any:
    """Made once: on a small model, reading the YAML takes longer than the explanation."""
    settings, baselines = json.loads(text)
    return _component(group, chosen, settings, baselines)


def _component(
    group: str, chosen: str, settings: Mapping[str, Any], baselines: Mapping[str, Any]
) -> Any:
    loaded = load(group, chosen)
    if (inside := members(group, chosen, [conf_dir()])) != [chosen]:
        raise ValueError(
            f"{chosen!r} is a set of {group}s: name one of them, such as {inside[0]!r}"
        )
    kept = _Objects()
    named = {name: _baseline(name, value) for name, value in settings.items()}
    node = OmegaConf.merge(loaded.get(chosen, loaded), kept.without(named))
    config = OmegaConf.create({"baseline": kept.without(baselines), "node": node})
    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))["node"]
    settings_of = {name: kept.put_back(value) for name, value in fields_of(plain).items()}
    given = [f"{chosen}.{name}=" for name in settings_of if settings_of[name] is not plain[name]]
    mistakes = arguments(chosen, locate(plain["_target_"]), fields_of(plain))
    # In the place of an object stands a text, whose type is no mistake of the caller.
    if problems := [each for each in mistakes if not each.startswith(tuple(given))]:
        raise ValueError("; ".join(problems))
    return build({**settings_of, "_target_": plain["_target_"]})


def components(
    group: str, chosen: Any, settings: Mapping[str, Any], baselines: Mapping[str, Any]
) -> dict[str, Any]:
    """Name -> component, of names of options, names of sets, and components of your own.

    Each takes those of the `settings` that it has. Two of one class are told apart by the fields in
    which they differ. Raises ValueError where nothing is chosen, or nobody has a setting.
    """
    made: dict[str, Any] = {}
    single = isinstance(chosen, str) and members(group, chosen, [conf_dir()]) == [chosen]
    for each in several(chosen):
        if isinstance(each, str):
            names = [name for name in members(group, each, [conf_dir()]) if name not in made]
            for name in names:
                own = settings if single else _own(group, name, settings)
                made[name] = component(group, name, own, baselines)
        elif not any(equal(each, other) for other in made.values()):
            made[free_name(component(group, each, {}, baselines), made)] = each
    if not made:
        raise ValueError(f"no {group} is named; {choices(group)}")
    unknown = [s for s in settings if not any(s in _fields(group, name) for name in made)]
    if unknown:
        raise ValueError(f"no {group} that is chosen has a setting {unknown[0]!r}")
    return made


def mapping(options: Any) -> Mapping[str, Any]:
    """The options, none where nothing is given. Raises ValueError for what holds none by name."""
    if options is not None and not isinstance(options, Mapping):
        raise ValueError(f"options={options!r}; expected settings by name, {{'budget': 2000}}")
    return options or {}


def several(chosen: Any) -> list[Any]:
    """What was chosen, as a list: one name or component stands for itself."""
    return list(chosen) if isinstance(chosen, list | tuple | set) else [chosen]


def equal(first: Any, second: Any) -> bool:
    """Whether two values are equal, where that is a question with one answer."""
    try:
        return first is second or (type(first) is type(second) and bool(first == second))
    except (RuntimeError, ValueError):  # tensors and arrays compare element by element
        return False


def free_name(component: Any, made: Mapping[str, Any]) -> str:
    """The name of its class; where that is taken, with the fields in which they differ."""
    name = type(component).__name__
    other = made.get(name)
    if other is None:
        return name
    mine, its = (getattr(each, "__dict__", {}) for each in (component, other))
    fields = [f"{k}={v}" for k, v in mine.items() if k not in its or not equal(its[k], v)]
    longer = f"{name}({', '.join(fields)})" if fields else name
    number = 2
    while longer in made:
        longer, number = f"{name} {number}", number + 1
    return longer


def _own(group: str, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    fields = _fields(group, name) if settings else ()
    return {key: value for key, value in settings.items() if key in fields}


def _fields(group: str, name: str) -> Iterable[str]:
    """What can be set of a component; nothing of one that has no name in `conf`."""
    paths = options(group, [conf_dir()])
    if name not in paths:
        return ()
    loaded = load(group, name)
    return parameters(locate(loaded.get(name, loaded)["_target_"]))


def _baseline(name: str, value: Any) -> Any:
    """The configuration of a baseline that is given by its name."""
    if name == "baseline" and isinstance(value, str):
        return load("baseline", value)
    return value


class _Objects:
    """Keeps objects that no configuration holds, with a text in the place of each."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def without(self, named: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._stand_in(value) for name, value in named.items()}

    def put_back(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.put_back(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.put_back(inner) for inner in value]
        return self.kept.get(value, value) if isinstance(value, str) else value

    def _stand_in(self, value: Any) -> Any:
        if isinstance(value, _PLAIN) or OmegaConf.is_config(value):
            return list(value) if isinstance(value, tuple) else value
        if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:  # a number of NumPy
            return value.item()
        # Begins as no text of a user does.
        text = f"\0{len(self.kept)}"
        self.kept[text] = value
        return text
