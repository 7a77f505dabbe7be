"""The one place where a configuration becomes objects.

A node, a mapping with `_target_`, names one of our component classes, or any class or function of
a package in `allow`. All other keys are fields, passed by name. Nothing else is ever called.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from xai_bench.core.spelling import suggest
from xai_bench.core.system.permissions import ImportPath, RunsPickle

PACKAGE = Path(__file__).resolve().parents[1]

ROOMS = ("core", "data", "explainers", "metrics", "models", "results.tracking")
"""Where our component classes are: the public frozen dataclasses that are defined there."""


def build(node: object, allow: Sequence[str] = ()) -> Any:
    """What a plain node stands for, innermost nodes first; plain values stay as they are.

    Raises ValueError, ImportError or AttributeError for whatever is no component.
    """
    if isinstance(node, list):
        return [build(item, allow) for item in node]
    if not isinstance(node, Mapping):
        return node
    values = {name: build(value, allow) for name, value in fields_of(node).items()}
    if "_target_" not in node:
        return values
    target = locate(node["_target_"], allow)
    for name, parameter in parameters(target).items():
        if reason := not_permitted(parameter.annotation, values.get(name), allow):
            raise ValueError(f"{node['_target_']}: {name}{reason}")
    return target(**values)


def fields_of(node: Mapping[Any, Any]) -> dict[Any, Any]:
    """All of a node but its `_target_`. Raises ValueError for Hydra's other keys, as `_args_`."""
    for name in node:
        if re.fullmatch(r"_\w+_", str(name)) and name != "_target_":
            raise ValueError(
                f"{name} is no setting: a component takes its fields by name, so leave it out"
            )
    return {name: value for name, value in node.items() if name != "_target_"}


def locate(target: object, allow: Sequence[str] = ()) -> Any:
    """The class or function that `_target_` names.

    Raises ValueError for what no configuration may name, ImportError or AttributeError for what
    does not exist.
    """
    if not isinstance(target, str) or not re.fullmatch(r"\w+(\.\w+)+", target):
        raise ValueError(f"_target_ {target!r} is not the path of a class, such as package.Name")
    if target.partition(".")[0] == "xai_bench":
        return _ours(target)
    if not is_allowed(target, allow):
        raise ImportError(outside(f"_target_ {target}", target, allow))
    _make_current_folder_importable()
    member = _member(target)
    if not callable(member):
        raise ValueError(f"_target_ {target} is neither a class nor a function")
    return member


def is_allowed(name: str, allow: Sequence[str]) -> bool:
    """Whether a dotted name lies in one of these packages; `package.module:name` counts, too."""
    path = name.partition(":")[0]
    # With the dot, or a package would let in others whose names begin like its own.
    return any(f"{path}.".startswith(f"{package}.") for package in allow if package)


def outside(what: str, name: str, allow: Sequence[str]) -> str:
    """One sentence: what is named is not allowed."""
    package = re.split(r"[.:]", name)[0]
    return (
        f"{what} lies outside {', '.join(('xai_bench', *allow))}; if you trust it, add "
        f"'allow=[{','.join((*allow, package))}]'"
    )


def parameters(target: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a class or function with their types; none where it does not say."""
    try:
        # Annotations are texts, because modules postpone them.
        return inspect.signature(target, eval_str=True).parameters
    except NameError:  # a type of a field that is inherited, or imported for type checkers only
        hints, stated = _hints(target), inspect.signature(target).parameters
        return {n: p.replace(annotation=hints.get(n, p.annotation)) for n, p in stated.items()}
    except ValueError:  # written in C
        return {}


def _hints(target: Any) -> Mapping[str, Any]:
    """The types of all fields, each read in the module that declares it; empty where one fails."""
    try:
        return typing.get_type_hints(target, include_extras=True)
    except NameError:
        return {}


def not_permitted(hint: Any, value: object, allow: Sequence[str]) -> str:
    """Why a value may not be set, to be read after its path; empty where it may."""
    if hint == RunsPickle and value not in (None, False) and "pickle" not in allow:
        return (
            "=true runs whatever the writer of the file put into it; if you trust it, add "
            f"'allow=[{','.join((*allow, 'pickle'))}]'"
        )
    names = value if isinstance(value, list) else [value]
    if hint == ImportPath or ImportPath in getattr(hint, "__args__", ()):
        for name in names:
            if isinstance(name, str) and not is_allowed(name, allow):
                return f": {outside(name, name, allow)}"
    return ""


def _ours(target: str) -> Any:
    """One of our component classes."""
    module = target.rpartition(".")[0].removeprefix("xai_bench.")
    is_module = (PACKAGE / Path(*module.split("."))).with_suffix(".py").is_file()
    if is_module and not any(f"{module}.".startswith(f"{room}.") for room in ROOMS):
        raise ValueError(f"_target_ {target} is no component")
    member = _member(target)
    public = (
        inspect.isclass(member) and member.__name__[0] != "_" and not inspect.isabstract(member)
    )
    # Where it is defined, so that a component has one path and one address.
    if public and member.__module__ == f"xai_bench.{module}" and is_dataclass(member):
        return member
    raise ValueError(
        f"_target_ {target} is no component: name one of the classes that `xai-bench list` shows"
    )


def _member(target: str) -> Any:
    module_name, _, last = target.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ImportError(_moved(target) or _no_module(module_name, error)) from error
    if not hasattr(module, last):
        if moved := _moved(target):
            raise ImportError(moved)
        public = [
            name
            for name, value in vars(module).items()
            if getattr(value, "__module__", "") == module_name and name[0] != "_"
        ]
        raise AttributeError(f"{module_name} has no '{last}'; {suggest(last, public)}")
    return getattr(module, last)


def _make_current_folder_importable() -> None:
    """As with `python`; last, so that it hides nothing. Only for who allows a package of theirs."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
        importlib.invalidate_caches()


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
    package = importlib.import_module(parent)
    names = [module.name for module in iter_modules(getattr(package, "__path__", ()))]
    return f"there is no module {missing}; {suggest(last, names)}"
