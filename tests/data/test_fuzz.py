"""Random and broken files: a sentence or the right numbers, never anything else."""

from __future__ import annotations

import csv
import io
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.random import Generator
from PIL import Image

from xai_bench.data.arrays import CustomArrays
from xai_bench.data.bundle import Bundle
from xai_bench.data.images.pictures import read_picture
from xai_bench.data.layouts import LAYOUTS
from xai_bench.data.tables.files import CustomTable

SHARE = 1 if os.environ.get("XAI_BENCH_FUZZ") == "full" else 9
"""`make test-fuzz` tries all of them, `make test-all` a ninth."""
N_TABLES, N_ARRAYS, N_PICTURES = 5_000 // SHARE, 7_000 // SHARE, 6_000 // SHARE
N_WORKERS = 8
"""Parts that a run in several processes shares out."""
N_ROWS = 24
SECONDS = 10
"""An input that takes longer hangs."""
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
EMPTY = ("", "NA", "None", "null", "nan", "N/A", "NaN", "NULL", "none", "n/a")


def clear(read: Callable[[], Any]) -> Any:
    """What was read, or None after one sentence; every other answer fails the test."""
    start = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read()
    except ValueError as error:
        require_sentence(error)
        return None
    finally:
        assert time.monotonic() - start < SECONDS, "a hang"


def require_sentence(error: ValueError) -> None:
    sentence = str(error)
    assert type(error) is ValueError, repr(error)
    assert 20 < len(sentence) < 2_000, sentence
    assert "\n" not in sentence.strip(), sentence


def broken(content: bytes, rng: Generator) -> bytes:
    """The content with bytes flipped, cut out, put in or repeated."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, max(len(data), 1)))
        match int(rng.integers(0, 5)):
            case 0:
                data = data[:at]
            case 1 if data:
                data[at] ^= 1 << int(rng.integers(0, 8))
            case 2:
                data[at:at] = rng.bytes(int(rng.integers(1, 6)))
            case 3:
                del data[at : at + int(rng.integers(1, 40))]
            case _:
                data[at:at] = data[at : at + int(rng.integers(1, 40))]
    return bytes(data)


# Tables


WORDS = ("red", "blue", "None", "NA", "a,b", 'say "so"', "größe", "年", " x", "y ", "-", "0x1F")
STRANGE = ("inf", "-inf", "1e400", "1e308", "1_000", "--5", "1 2", "+.5", "5.")


def column(rng: Generator) -> list[str]:
    """`N_ROWS` texts of one kind, or of several."""
    kinds: list[Callable[[], str]] = [
        lambda: str(rng.integers(-5, 5)),
        lambda: str(rng.integers(0, 10**9)),
        lambda: repr(float(rng.normal() * 10.0 ** rng.integers(-8, 8))),
        lambda: f"{rng.normal():.3e}",
        lambda: f"{rng.integers(0, 100)}%",
        lambda: f"{rng.integers(0, 99)},{rng.integers(0, 99)}",
        lambda: f"{rng.integers(1, 99)},{rng.integers(100, 999)}",
        lambda: f"20{rng.integers(10, 25)}-0{rng.integers(1, 9)}-1{rng.integers(0, 9)}",
        lambda: f"{rng.integers(0, 23)}:{rng.integers(10, 59)}",
        lambda: str(rng.choice(WORDS)),
        lambda: str(rng.choice(["yes", "no"])),
        lambda: str(rng.choice(["True", "False"])),
        lambda: str(rng.choice(EMPTY)),
        lambda: str(rng.choice(STRANGE)),
        lambda: f"0{rng.integers(0, 10)}",
        lambda: f"${rng.integers(0, 10)}",
    ]
    main, other = kinds[rng.integers(len(kinds))], kinds[rng.integers(len(kinds))]
    share = rng.choice([0, 0, 0.1, 0.4])
    return [other() if rng.random() < share else main() for _ in range(N_ROWS)]


def grid(rng: Generator) -> tuple[list[str], list[list[str]]]:
    """Names and columns: a key that counts the rows, up to three others, and the target `y`."""
    own = [column(rng) for _ in range(int(rng.integers(1, 4)))]
    names = ["key", *(f"c{k}" for k in range(len(own))), "y"]
    if rng.random() < 0.1:
        names[int(rng.integers(len(names)))] = str(rng.choice(["", "c0", " c0", "c0 ", "年", "y"]))
    target = column(rng) if rng.random() < 0.3 else [str(rng.choice(["p", "q"])) for _ in own[0]]
    return names, [[str(k) for k in range(N_ROWS)], *own, target]


def written(names: list[str], columns: list[list[str]]) -> str:
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows([names, *zip(*columns, strict=True)])
    return sink.getvalue()


def meaning(text: str) -> float | None:
    """The number that a text is, by a reading of our own; None where it is none."""
    text = text.strip().removesuffix("%").strip()
    text = {"True": "1", "False": "0"}.get(text, text)
    return float(text) if NUMBER.fullmatch(text) else None


def decoded(bundle: Bundle) -> Iterator[tuple[dict[str, Any], Any]]:
    """The rows of a bundle and their targets, in the words of the file."""
    units = bundle.train.units[0].tolist()
    for part in (bundle.train, bundle.valid, bundle.test):
        for x, y in zip(part.x.tolist(), part.y.tolist(), strict=True):
            row: dict[str, Any] = {}
            for value, unit, element in zip(x, units, bundle.elements, strict=True):
                name = bundle.unit_names[unit]
                if not element.label:
                    row[name] = (element.mean + element.scale * value, element.scale)
                elif value == 1:
                    row[name] = element.label
            yield row, bundle.class_names[y] if bundle.class_names else y


def assert_same(bundle: Bundle, names: list[str], columns: list[list[str]]) -> None:
    """Every cell says in x what it says in the file."""
    texts = dict(zip((name.strip() for name in names), columns, strict=True))
    rows = list(decoded(bundle))
    assert len(rows) == N_ROWS
    for row, label in rows:
        key = round(row["key"][0])
        for name, found in row.items():
            text = texts[name][key].strip()
            if text == "" or (not isinstance(found, str) and text in EMPTY):
                continue  # a gap, which is filled
            if isinstance(found, str):
                assert found.strip() in (text, text.lstrip("0")), (name, text, found)
                continue
            number = meaning(text)
            assert number is not None, f"{text!r} became the number {found[0]}"
            assert abs(found[0] - number) <= 1e-5 * (abs(number) + 10 * found[1]), (text, found)
        if bundle.class_names:
            text = texts["y"][key].strip()
            number = meaning(text)
            assert label.strip() == text or number == meaning(label), (text, label)


@pytest.mark.exhaustive
@pytest.mark.parametrize("worker", range(N_WORKERS))
def test_tables_are_read_right_or_refused_in_a_sentence(tmp_path: Path, worker: int) -> None:
    path, n_read = tmp_path / "t.csv", 0
    for seed in range(worker, N_TABLES, N_WORKERS):
        rng = np.random.default_rng(seed)
        names, columns = grid(rng)
        content = written(names, columns).encode()
        whole = seed // N_WORKERS % 2 == 0
        path.write_bytes(content if whole else broken(content, rng))
        table = CustomTable(str(path), "y", missing=str(rng.choice(["mean", "drop", "error"])))  # type: ignore[arg-type]
        bundle = clear(table.load)
        if bundle is not None:
            n_read += 1
            assert len(list(decoded(bundle))) <= 2 * N_ROWS
        has_key = "key" in (name.strip() for name in names)
        if bundle is not None and whole and has_key and table.missing == "mean":
            assert_same(bundle, names, columns)
    assert n_read > N_TABLES / N_WORKERS / 20, "a fuzzer whose inputs are all refused tries nothing"


# Arrays


KINDS = ("f8", "f4", "f2", "i8", "u1", "u2", "?", ">f8", "<U3", "c16", "M8[s]", "S2", "longdouble")


def some_array(rng: Generator, shape: tuple[int, ...]) -> Any:
    kind = str(rng.choice(KINDS)) if rng.random() < 0.15 else "f8"
    values = rng.integers(0, 200, shape) * (1.0 if rng.random() < 0.95 else 1e305)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = values.astype("i8").astype(kind) if kind == "M8[s]" else values.astype(kind)
    if rng.random() < 0.05 and found.dtype.kind == "f" and found.size:
        found.flat[int(rng.integers(found.size))] = rng.choice([np.nan, np.inf])
    return found


def npz(rng: Generator) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays of a file, and settings."""
    n_sides = int(rng.choice([0, 1, 2, 3, 4], p=[0.03, 0.25, 0.25, 0.25, 0.22]))
    sides = tuple(rng.choice([1, 2, 3, 5, 8, 12, 12, 30], n_sides).tolist())
    sides = (0, *sides[1:]) if rng.random() < 0.03 else sides
    n = int(rng.choice([30, 12, 1, 0], p=[0.8, 0.1, 0.05, 0.05]))
    arrays = {"x": some_array(rng, (n, *sides) if rng.random() < 0.95 else sides)}
    y = np.arange(n) % 2 if rng.random() < 0.9 else some_array(rng, (n,))
    arrays["y"] = y if rng.random() < 0.95 else y[:, None]
    if rng.random() < 0.2:
        arrays["units"] = rng.integers(-2, 4, sides) / rng.choice([1, 2])
    if rng.random() < 0.2:
        arrays |= {"x_test": some_array(rng, (6, *sides)), "y_test": np.arange(6) % 2}
    if rng.random() < 0.1:
        arrays["masks"] = rng.integers(0, 2, (n, *sides[1:]))
    if rng.random() < 0.03:
        del arrays[str(rng.choice(list(arrays)))]
    fitting = [name for name in LAYOUTS if len(name) == 1 + n_sides]
    layouts = ["auto", "HW"] if rng.random() < 0.3 or not fitting else fitting
    layouts = list(LAYOUTS) if rng.random() < 0.05 else layouts
    return arrays, {
        "patch": int(rng.choice([2, 1, 1, 1, 4, 0, -1, 9])),
        "layout": str(rng.choice(layouts)),
        "channels_last": bool(rng.random() < 0.1),
        "scale": str(rng.choice(["standard", "none"])),
    }


def assert_rows(bundle: Bundle, arrays: dict[str, Any]) -> None:
    """Without scaling, every sample is there once, with its numbers in any order of its axes."""
    given = [arrays["x"], *([arrays["x_test"]] if "x_test" in arrays else [])]
    expected = np.concatenate([np.sort(x.reshape(len(x), -1).astype(np.float32)) for x in given])
    parts = torch.cat([part.x for part in (bundle.train, bundle.valid, bundle.test)])
    found = parts.flatten(1).sort(1).values.numpy()
    assert sorted(map(bytes, expected)) == sorted(map(bytes, found))


@pytest.mark.exhaustive
@pytest.mark.parametrize("worker", range(N_WORKERS))
def test_arrays_are_read_right_or_refused_in_a_sentence(tmp_path: Path, worker: int) -> None:
    path, n_read = tmp_path / "a.npz", 0
    for seed in range(worker, N_ARRAYS, N_WORKERS):
        rng = np.random.default_rng(seed)
        arrays, settings = npz(rng)
        whole = seed % 3 > 0
        (np.savez if rng.random() < 0.7 else np.savez_compressed)(path, **arrays)
        if not whole:
            path.write_bytes(broken(path.read_bytes(), rng))
        bundle = clear(CustomArrays(str(path), **settings).load)
        n_read += bundle is not None
        if bundle is not None and whole and settings["scale"] == "none":
            assert_rows(bundle, arrays)
    assert n_read > N_ARRAYS / N_WORKERS / 10


# Pictures


def picture(rng: Generator) -> tuple[Image.Image, Any]:
    """A picture and its grey values in 0..1 `[side, side]`, where these are known."""
    side = int(rng.integers(1, 12))
    grey = rng.random((side, side))
    match int(rng.integers(0, 8)):
        case 0:
            return Image.fromarray((grey * 65535).astype(np.uint16)), grey
        case 1:
            return Image.fromarray(grey.astype(np.float32)), grey
        case 2:
            return Image.fromarray(grey > 0.5), grey > 0.5
        case 3:
            return Image.fromarray((grey * 1e6).astype(np.int32)), None
        case 4:
            return Image.fromarray((grey * 300 - 20).astype(np.float32)), None
    mode = str(rng.choice(["L", "RGB", "P", "LA", "RGBA", "CMYK", "YCbCr", "PA"]))
    return Image.fromarray((grey * 255).round().astype(np.uint8)).convert("L").convert(mode), grey


@pytest.mark.exhaustive
@pytest.mark.parametrize("worker", range(N_WORKERS))
def test_pictures_are_read_right_or_refused_in_a_sentence(tmp_path: Path, worker: int) -> None:
    n_read = 0
    for seed in range(worker, N_PICTURES, N_WORKERS):
        rng = np.random.default_rng(seed)
        image, grey = picture(rng)
        suffix = str(rng.choice(["png", "tif", "gif", "bmp", "jpg", "webp"]))
        path, whole = tmp_path / f"a.{suffix}", seed % 3 == 0
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                image.save(path)
        except (OSError, ValueError, KeyError):
            path = tmp_path / "a.tif"
            suffix = "tif"
            try:
                image.save(path)
            except (OSError, ValueError, KeyError):
                continue
        if not whole:
            path.write_bytes(broken(path.read_bytes(), rng))
        x = clear(lambda path=path, image=image: read_picture(path, image.width, grey=True))
        if x is None:
            continue
        n_read += 1
        assert x.shape == (1, image.width, image.width)
        assert bool(((x >= 0) & (x <= 1)).all())
        if whole and suffix in ("png", "tif", "bmp"):
            assert grey is not None, f"{image.mode} of unknown range was read"
            assert float(np.abs(x[0].numpy() - grey).max()) < 4 / 255
    assert n_read > N_PICTURES / N_WORKERS / 10
