"""Whether a `_target_` exists and takes its arguments, checked without calling it."""

from __future__ import annotations

import importlib
import inspect
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pkgutil import iter_modules
from types import UnionType
from typing import Any

from xai_bench.core.spelling import suggest
from xai_bench.runner.config.messages import no_key

PACKAGE = Path(__file__).resolve().parents[2]

WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
"""Plain types in words for users."""


def locate(target: str, allow: Sequence[str] = ()) -> Any:
    """The class or function that `_target_` names. Raises ImportError or AttributeError."""
    parts = target.split(".")
    if allow and not any(target.startswith(f"{prefix}.") for prefix in allow):
        raise ImportError(
            f"_target_ {target} lies outside {', '.join(allow)}; if you trust it, add "
            f"'allow=[{parts[0]}]'"
        )
    name = ".".join(parts[:-1])
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ImportError(_moved(target) or _no_module(name, error)) from error
    if not hasattr(module, parts[-1]):
        if moved := _moved(target):
            raise ImportError(moved)
        public = [
            k
            for k, v in vars(module).items()
            if getattr(v, "__module__", "") == name and k[0] != "_"
        ]
        raise AttributeError(f"{name} has no '{parts[-1]}'; {suggest(parts[-1], public)}")
    return getattr(module, parts[-1])


def _moved(target: str) -> str:
    """One sentence with the new path of one of our classes; empty where there is none."""
    top, name = target.partition(".")[0], target.rpartition(".")[2]
    if top != "xai_bench":
        return ""
    new_paths = [
        ".".join(("xai_bench", *path.relative_to(PACKAGE).with_suffix("").parts, name))
        for path in sorted(PACKAGE.rglob("*.py"))
        if re.search(rf"^class {re.escape(name)}\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    if not new_paths:
        return ""
    return f"{target} is now {' or '.join(new_paths)}: write that in _target_"


def _no_module(name: str, error: ModuleNotFoundError) -> str:
    missing = error.name or name
    if not f"{name}.".startswith(f"{missing}."):
        return f"{name} needs the package '{missing}', which is not installed"
    parent, _, last = missing.rpartition(".")
    if not parent:
        return f"there is no package '{missing}'; install it or put its folder on PYTHONPATH"
    names = [module.name for module in iter_modules(importlib.import_module(parent).__path__)]
    return f"there is no module {missing}; {suggest(last, names)}"


def arguments(path: str, target: Any, given: Mapping[str, Any]) -> Iterator[str]:
    """One sentence per mistake in calling `target(**given)`; `path` is its path in the config."""
    if not callable(target):
        yield f"{path}: _target_ {target!r} is neither a class nor a function"
        return
    parameters = _parameters(target)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name, value in given.items():
        if name in parameters:
            hint = parameters[name].annotation
            if not accepts(hint, value):
                yield f"{path}.{name}={value!r} is not {_word(hint)}"
        elif not open_ended:
            yield no_key(f"{path}.{name}", parameters)
    for name, parameter in parameters.items():
        optional = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if parameter.default is parameter.empty and name not in given and not optional:
            yield f"{path}.{name} has no value: write {path}.{name}=..."


def accepts(hint: Any, value: object) -> bool:
    """Whether a plain value fits a plain type; any other type is checked by the class itself."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return value in parts
    if origin in (typing.Union, UnionType):
        return any(accepts(part, value) for part in parts)
    if hint is type(None):
        return value is None
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    return isinstance(value, hint) if hint in (str, bool) else True


def _parameters(target: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(target, eval_str=True).parameters
    except NameError:  # a type of a field that is inherited, or imported for type checkers only
        hints, parameters = _hints(target), inspect.signature(target).parameters
        return {n: p.replace(annotation=hints.get(n, p.annotation)) for n, p in parameters.items()}


def _hints(target: Any) -> Mapping[str, Any]:
    """The types of all fields, each read in the module that declares it; empty where one fails."""
    try:
        return typing.get_type_hints(target)
    except NameError:
        return {}


def _word(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    parts = typing.get_args(hint)
    return " or ".join(map(_word, parts)) if parts else WORDS.get(hint, "empty (null)")
