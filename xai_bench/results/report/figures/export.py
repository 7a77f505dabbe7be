"""Figures as files, drawn anew only where what they show has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from xai_bench.results.drawing.style import saved, settled, style
from xai_bench.results.store import digests, files
from xai_bench.results.store.reader import Reader

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEYS = "keys.json"
_PACKAGE = Path(__file__).resolve().parents[2]


class Picture(Protocol):
    """A frozen dataclass of plain values, arrays and strings, that can be drawn."""

    def draw(self) -> Figure:
        """The picture, drawn anew; nothing is kept of it."""
        ...


def write(
    folder: Path,
    pictures: Mapping[str, Picture],
    kinds: Sequence[str],
    drawn: Collection[str] | None = None,
) -> list[Path]:
    """Write every picture in every kind of file to `folder`; the paths, in order.

    `keys.json` there holds a hash of what each picture shows: a file whose picture has the same is
    left alone. Files of pictures that are no longer there, or show something else, are removed.
    With `drawn`, only these are drawn, and others stay where they are up to date.
    """
    reader = Reader()
    # Without an index nobody knows whether the files are those that were drawn.
    stored = (reader.json(folder / KEYS, dict) or {}) if digests.read(folder) else {}
    keys = {name: content_key(picture) for name, picture in pictures.items()}
    same = {name for name, key in keys.items() if stored.get(name) == key}
    paths: list[Path] = []
    contents: dict[str, bytes] = {}
    for name, picture in pictures.items():
        wanted = [folder / f"{name}.{kind}" for kind in kinds]
        missing = [path for path in wanted if not (name in same and reader.intact(path))]
        if drawn is None or name in drawn:
            contents |= {p.name: c for p, c in zip(missing, _drawn(picture, missing), strict=True)}
            missing = []
        paths += [path for path in wanted if path not in missing]
    old = [path.name for name in stored.keys() - same for path in folder.glob(f"{name}.*")]
    gone = [name for name in old if name not in contents]
    kept = {n: k for n, k in keys.items() if n in same or drawn is None or n in drawn}
    if contents or gone or kept != stored:
        files.write(folder, {**contents, KEYS: files.dumps(kept)}, removed=gone)
    return paths


def content_key(picture: Picture) -> str:
    """A hash of all that a picture shows and of the code that draws it."""
    digest = hashlib.sha256(_code().encode())
    for part in _parts(picture):
        digest.update(part)
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def _drawn(picture: Picture, paths: Sequence[Path]) -> Iterator[bytes]:
    """The bytes of each file, of one figure."""
    if not paths:
        return
    figure = picture.draw()
    with style():
        settled(figure)
        for path in paths:
            yield saved(figure, path.suffix[1:])


def _parts(value: Any) -> Iterator[bytes]:
    """The bytes of a nested value, each with its kind."""
    if is_dataclass(value) and not isinstance(value, type):
        yield type(value).__qualname__.encode()
        for part in fields(value):
            yield from _parts(getattr(value, part.name))
    elif isinstance(value, np.ndarray):
        # Arrays with the same bytes in another shape or of another kind are not the same picture.
        yield f"{value.dtype}{value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _parts(key)
            yield from _parts(inner)
    elif isinstance(value, tuple | list):
        yield str(len(value)).encode()
        for inner in value:
            yield from _parts(inner)
    else:
        yield repr(value).encode()


@cache
def _code() -> str:
    """A hash of the files that draw, and of the library's version."""
    from importlib.metadata import version

    folders = (_PACKAGE / "drawing", _PACKAGE / "report" / "figures")
    sources = sorted(path for folder in folders for path in folder.glob("*.py"))
    # Another version of the library may draw the same picture differently.
    digest = hashlib.sha256(version("matplotlib").encode())
    for path in sources:
        digest.update(path.read_bytes())
    return json.dumps(digest.hexdigest())
