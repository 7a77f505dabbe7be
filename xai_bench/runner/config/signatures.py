"""Whether a component takes its arguments, checked without calling it."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Any

from xai_bench.runner.components import locate, not_permitted, parameters
from xai_bench.runner.config.messages import no_key

WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "empty (null)",
}
"""Plain types in words for users."""

COUNTED = frozenset({
    "batch_size", "hidden", "max_flips", "mlp_size", "n_candidates", "n_counterfactuals", "n_draws",
    "n_estimators", "n_filters", "n_heads", "n_hidden", "n_models", "n_neighbours", "n_orders",
    "n_pairs", "n_references", "n_repeats", "n_rounds", "n_steps", "patch", "size", "stride",
})  # fmt: skip
"""Settings of our components of which there is nothing to compute with 0."""

METHODS: Mapping[str, str] = {
    "data": "load",
    "model": "train",
    "view": "look",
    "target": "select",
    "baseline": "references",
    "explainer": "explain",
    "metric": "score",
    "recorder": "record",
}
"""Group -> the method by which its components are known."""


def belongs(path: str, target: Any) -> Iterator[str]:
    """One sentence where a class is no component of the group at `path`."""
    group = path.partition(".")[0]
    if inspect.isclass(target) and not hasattr(target, METHODS[group]):
        yield (
            f"{path}: {target.__name__} has no '{METHODS[group]}', so it is no {group} "
            f"(`xai-bench list {group}`)"
        )


def arguments(
    path: str, target: Any, given: Mapping[str, Any], allow: Sequence[str] = ()
) -> Iterator[str]:
    """One sentence per mistake in calling `target(**given)`; `path` is its path in the config."""
    accepted = parameters(target)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
    for name, value in given.items():
        if name in accepted:
            mistakes = list(_argument(f"{path}.{name}", accepted[name].annotation, value, allow))
            yield from mistakes
            if not mistakes and _is_ours(target) and name in COUNTED and _is_too_few(value):
                yield f"{path}.{name}={value} must be 1 or more"
        elif not open_ended:
            yield no_key(f"{path}.{name}", accepted)
    for name, parameter in accepted.items():
        optional = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if parameter.default is parameter.empty and name not in given and not optional:
            yield f"{path}.{name} has no value: write {path}.{name}=..."


def _is_ours(target: Any) -> bool:
    return str(getattr(target, "__module__", "")).startswith("xai_bench.")


def _is_too_few(value: object) -> bool:
    """Whether a number, or one of a list, is below 1."""
    numbers = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(number, int) and number < 1 for number in numbers)


def _argument(path: str, hint: Any, value: object, allow: Sequence[str]) -> Iterator[str]:
    if not accepts(hint, value, allow):
        # What a recorder is given may come from the environment, and be secret.
        shown = path if path.startswith("recorder.") else f"{path}={value!r}"
        yield f"{shown} is not {_word(hint)}"
    elif reason := not_permitted(hint, value, allow):
        yield f"{path}{reason}"


def accepts(hint: Any, value: object, allow: Sequence[str] = ()) -> bool:
    """Whether a plain value fits a type; where a component is expected, whether a node is one."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return value in parts
    if origin in (typing.Union, UnionType):
        return any(accepts(part, value, allow) for part in parts)
    if origin is typing.Annotated:
        return accepts(parts[0], value, allow)
    if hint is type(None):
        return value is None
    if hint in (int, float):
        is_number = isinstance(value, (int, hint)) and not isinstance(value, bool)
        return is_number and value == value  # NaN is none
    if hint in (str, bool):
        return isinstance(value, hint)
    if inspect.isclass(origin) and issubclass(origin, (Sequence, Mapping)):
        return _accepts_items(origin, parts, value, allow)
    if inspect.isclass(hint) and hint not in (inspect.Parameter.empty, object):
        return _is_component(hint, value, allow)
    return True


def _accepts_items(
    origin: type, parts: tuple[Any, ...], value: object, allow: Sequence[str]
) -> bool:
    """Whether a list, or a mapping, holds what it should."""
    if issubclass(origin, Mapping):
        return isinstance(value, Mapping) and "_target_" not in value
    if not isinstance(value, (list, tuple)):
        return False
    one_kind = len(parts) == 1 or parts[1:] == (...,)
    return not one_kind or all(accepts(parts[0], item, allow) for item in value)


def _is_component(hint: type, value: object, allow: Sequence[str]) -> bool:
    """Whether a node names a class of this kind; functions and what does not exist count, too.

    The sentence about a class that does not exist is another one.
    """
    if not isinstance(value, Mapping) or "_target_" not in value:
        return False
    try:
        target = locate(value["_target_"], allow)
    except (ImportError, AttributeError, ValueError):
        return True
    if not inspect.isclass(target):
        return True
    if getattr(hint, "_is_protocol", False):
        return all(hasattr(target, name) for name in vars(hint) if name[0] != "_")
    return issubclass(target, hint)


def _word(hint: Any) -> str:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, parts))
    if origin is typing.Annotated:
        return _word(parts[0])
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return "a mapping, as {name: value}"
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        return f"a list, as [...], of {WORDS.get(parts[0], 'values')}" if parts else "a list"
    if parts:
        return " or ".join(map(_word, parts))
    name = getattr(hint, "__name__", "")
    return WORDS.get(hint) or f"a {name[:1].lower()}{name[1:]}, which is a mapping with _target_"
