"""All options: read from `conf/` and from the source of the classes.

No component is imported, so that lists and help appear at once.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

GROUPS = {
    "data": "data",
    "model": "models",
    "view": "views",
    "target": "targets",
    "baseline": "baselines",
    "explainer": "explainers",
    "metric": "metrics",
    "recorder": "recorders",
    "experiment": "experiments",
}
"""Group -> its plural, as in `xai-bench list explainers`."""

SETS = ("explainer", "metric")
"""Groups that are maps of named nodes: several options can be chosen at once."""

ALL = "all"
"""The set of every component of a group. It is read from the folders and written in no file."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One option of one group.

    Attributes:
        members: the options a set is made of; empty for a single component.
        traits: class attributes whose values are literals, e.g. `kind`, `paper`.
    """

    group: str
    name: str
    summary: str
    target: str = ""
    members: tuple[str, ...] = ()
    traits: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arrow(self) -> str:
        """Towards the better scores of a metric; empty for anything else."""
        return {True: "↑", False: "↓"}.get(self.traits.get("higher_is_better", ""), "")

    @property
    def grade(self) -> str:
        """How well one of our metrics ranks explanations of known truth, `A` to `D`; else empty."""
        ours = self.group == "metric" and self.target.startswith("xai_bench.")
        return _grades().get(self.name, "") if ours else ""


@cache
def _grades() -> Mapping[str, str]:
    """Metric -> grade, from the study `metric_report_card`."""
    cards = json.loads(Path(__file__).with_name("metric_grades.json").read_text(encoding="utf-8"))
    return {card["metric"]: card["grade"] for card in cards}


def conf_dir() -> Path:
    """`conf/`: in the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[2]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def folder(place: str) -> Path:
    """The folder of an entry of `hydra.searchpath`: a path, `file://...` or `pkg://...`."""
    scheme, _, rest = place.rpartition("://")
    if scheme != "pkg":
        return Path(rest)
    top, *inner = rest.split(".")
    spec = find_spec(top)
    places = spec.submodule_search_locations if spec else None
    return Path(places[0] if places else top, *inner)


def options(group: str, folders: Sequence[Path]) -> dict[str, Path]:
    """Option -> its file; an earlier folder wins, as in Hydra."""
    paths: dict[str, Path] = {}
    for folder in reversed(folders):
        with suppress(FileNotFoundError, NotADirectoryError):
            files = [file for file in (folder / group).iterdir() if file.suffix == ".yaml"]
            paths |= {file.stem: file for file in files}
    return dict(sorted(paths.items()))


def components(group: str, folders: Sequence[Path]) -> list[str]:
    """The options of a group that are one component each, by name; sets are left out."""
    paths = options(group, folders)
    return [name for name, path in paths.items() if not _is_set(path.read_text(encoding="utf-8"))]


def members(group: str, name: str, folders: Sequence[Path]) -> list[str]:
    """The components that an option stands for: those of a set, each once, or the option itself."""
    path = options(group, folders).get(name)
    if path is None and name == ALL and group in SETS:
        return components(group, folders)
    text = path.read_text(encoding="utf-8") if path else ""
    if not _is_set(text):
        return [name]
    nested = [members(group, option, folders) for option in _members(_yaml(text)["defaults"])]
    return list(dict.fromkeys(name for names in nested for name in names))


def _is_set(text: str) -> bool:
    """Whether a YAML file has a defaults list, without parsing: there are hundreds of files."""
    return re.search(r"^defaults:", text, re.MULTILINE) is not None


def entries(group: str, folders: Sequence[Path]) -> list[Entry]:
    """All options of a group: components by category and name, then sets."""
    listed = [entry(group, name, path) for name, path in options(group, folders).items()]
    if group in SETS:
        names = tuple(e.name for e in listed if not e.members)
        listed.append(Entry(group, ALL, f"every {group} there is", members=names))
    return sorted(listed, key=lambda e: (bool(e.members), e.traits.get("category", ""), e.name))


def entry(group: str, name: str, path: Path) -> Entry:
    """What an option's file and the class that it names say."""
    text = path.read_text(encoding="utf-8")
    content = _yaml(text)
    node = content.get(name, content) if group in SETS else content
    target = node.get("_target_", "") if isinstance(node, dict) else ""
    source = source_of(target)
    doc = (ast.get_docstring(source) or "") if source else ""
    return Entry(
        group=group,
        name=name,
        summary=_comment(text) or _first_sentence(doc),
        target=target,
        members=tuple(_members(content.get("defaults", []))) if group in SETS else (),
        traits=_traits(target),
    )


def read_yaml(path: Path) -> Any:
    """The content of an option's file."""
    return _yaml(path.read_text(encoding="utf-8"))


def _yaml(text: str) -> Any:
    import yaml

    # The parser in C, where PyYAML was built with it, takes a tenth of the time.
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}


def _members(defaults: Sequence[Any]) -> Iterator[str]:
    for item in defaults:
        names = list(item.values()) if isinstance(item, dict) else [item]
        for name in names:
            yield from name if isinstance(name, list) else [str(name)] * (name != "_self_")


def _comment(text: str) -> str:
    """The comment at the head of a YAML file, without Hydra's own directives."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if "@package" not in line:
            lines.append(line.lstrip("# ").rstrip())
    return _first_sentence(" ".join(lines))


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s+(?=[A-Z`])", paragraph)[0].rstrip(".")


def source_of(target: str) -> ast.ClassDef | None:
    """The class that `_target_` names, parsed from its source down to the first method.

    Parsing whole files would take seconds over all components.
    """
    module, _, name = target.rpartition(".")
    text = _source(module) if module else ""
    opening = rf"^(class {re.escape(name)}\b[^:]*:)\n((?:    .*\n|\n)*)"
    match = re.search(opening, text, re.MULTILINE)
    if not match:
        return None
    head = re.split(r"^    (?:@|def |async def )", match[2], maxsplit=1, flags=re.MULTILINE)[0]
    # The dots, because a class needs a body.
    [node] = ast.parse(f"{match[1]}\n{head}    ...\n").body
    return node if isinstance(node, ast.ClassDef) else None


@cache
def _source(module: str) -> str:
    top, *rest = module.split(".")
    # A user's own module in the current folder is read, too, and not imported.
    spec = find_spec(top) or PathFinder.find_spec(top, [str(Path.cwd())])
    if spec is None or spec.origin is None:
        return ""
    stem = Path(spec.origin).parent.joinpath(*rest)
    for path in (stem.with_suffix(".py"), stem / "__init__.py", Path(spec.origin)):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return ""


def _bases(source: ast.ClassDef, module: str) -> Iterator[str]:
    """Base classes of the same package as targets; the first one last, as Python lets it win."""
    for base in reversed([base.id for base in source.bases if isinstance(base, ast.Name)]):
        imported = rf"^from (\S+) import (?:\([^)]*|.*)\b{re.escape(base)}\b"
        match = re.search(imported, _source(module), re.MULTILINE)
        home = match[1] if match else module
        if home.partition(".")[0] == module.partition(".")[0]:
            yield f"{home}.{base}"


def _traits(target: str) -> dict[str, Any]:
    """The literal class attributes and defaults of a class, with those of its bases."""
    source, module = source_of(target), target.rpartition(".")[0]
    if source is None:
        return {}
    traits: dict[str, Any] = {}
    for base in _bases(source, module):
        traits |= _traits(base)
    for node in source.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            try:
                traits[node.target.id] = ast.literal_eval(node.value)
            except ValueError:  # no literal, such as a call
                continue
    return traits
