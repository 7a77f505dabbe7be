"""Pictures of every mode and depth, and arrays of every layout: right, or refused."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from xai_bench.data import sizes
from xai_bench.data.arrays import CustomArrays
from xai_bench.data.custom import Custom, CustomImages
from xai_bench.data.images import pictures
from xai_bench.data.images.images import cubes
from xai_bench.data.images.pictures import read_picture

SIDE = 16
RAMP = np.linspace(0, 1, SIDE * SIDE).reshape(SIDE, SIDE)
"""From black at the upper left to white at the lower right."""


def saved(folder: Path, image: Image.Image, suffix: str = "png", **options: Any) -> Path:
    path = folder / f"a.{suffix}"
    image.save(path, **options)
    return path


def floats(values: Any) -> Image.Image:
    return Image.fromarray(values.astype(np.float32))


def eight_bits(mode: str) -> Image.Image:
    return Image.fromarray((RAMP * 255).round().astype(np.uint8)).convert(mode)


@pytest.mark.parametrize(
    ("image", "suffix", "error"),
    [
        pytest.param(eight_bits("L"), "png", 1 / 255, id="grey"),
        pytest.param(eight_bits("RGB"), "png", 1 / 255, id="colours"),
        pytest.param(eight_bits("RGB").quantize(256), "png", 3 / 255, id="palette"),
        pytest.param(eight_bits("RGB").quantize(256), "gif", 3 / 255, id="gif"),
        pytest.param(eight_bits("LA"), "png", 1 / 255, id="grey_alpha"),
        pytest.param(eight_bits("RGBA"), "png", 1 / 255, id="alpha"),
        pytest.param(eight_bits("CMYK"), "tif", 2 / 255, id="cmyk"),
        pytest.param(eight_bits("CMYK"), "jpg", 0.1, id="cmyk_jpeg"),
        pytest.param(eight_bits("YCbCr"), "tif", 3 / 255, id="ycbcr"),
        pytest.param(Image.fromarray((RAMP * 65535).astype(np.uint16)), "png", 2e-5, id="png16"),
        pytest.param(Image.fromarray((RAMP * 65535).astype(np.uint16)), "tif", 2e-5, id="tif16"),
        pytest.param(
            Image.fromarray((RAMP * 65535).astype(">u2")),
            "tif",
            2e-5,
            id="tif16_big_endian",
        ),
        pytest.param(floats(RAMP), "tif", 1e-6, id="floats"),
    ],
)
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_ramp_is_a_ramp_in_every_mode(
    tmp_path: Path, image: Image.Image, suffix: str, error: float, grey: bool
) -> None:
    x = read_picture(saved(tmp_path, image, suffix), SIDE, grey=grey)
    assert x.shape == (1 if grey else 3, SIDE, SIDE)
    assert x.dtype == torch.float32
    assert float((x - torch.from_numpy(RAMP)).abs().max()) <= error + 1e-6


def test_black_and_white_is_0_and_1(tmp_path: Path) -> None:
    image = Image.fromarray(RAMP > 0.5)
    assert image.mode == "1"
    x = read_picture(saved(tmp_path, image), SIDE, grey=True)
    assert torch.equal(x[0] == 1, torch.from_numpy(RAMP > 0.5))
    assert set(x.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white_whatever_lies_below(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, SIDE // 2, SIDE))
    path = saved(tmp_path, image.convert(mode) if mode != "P" else image.quantize(4))
    for grey in (False, True):
        x = read_picture(path, SIDE, grey=grey)
        assert x[..., : SIDE // 2].eq(0).all()
        assert x[..., SIDE // 2 :].eq(1).all()


@pytest.mark.parametrize(
    ("mark", "corner"), [(1, (0, 0)), (3, (-1, -1)), (6, (0, -1)), (8, (-1, 0))]
)
def test_a_mark_of_orientation_is_followed(
    tmp_path: Path, mark: int, corner: tuple[int, int]
) -> None:
    """One white corner; as it is stored it is at the upper left."""
    dots = np.zeros((SIDE, SIDE), np.uint8)
    dots[:4, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = mark
    path = saved(tmp_path, Image.fromarray(dots), "png", exif=exif)
    assert read_picture(path, SIDE, grey=True)[0][corner] == 1


@pytest.mark.parametrize(
    ("image", "suffix", "options", "sentence"),
    [
        pytest.param(
            Image.fromarray((RAMP * 255).astype(np.float32)),
            "tif",
            {},
            "0 to 255.*divide",
            id="255",
        ),
        pytest.param(floats(RAMP - 2), "tif", {}, "-2 to", id="below"),
        pytest.param(floats(np.full((9, 9), np.nan)), "tif", {}, "nan", id="nan"),
        pytest.param(Image.fromarray((RAMP * 1e6).astype(np.int32)), "tif", {}, "'I'", id="int32"),
        pytest.param(Image.new("LAB", (SIDE, SIDE)), "tif", {}, "'LAB'", id="lab"),
        pytest.param(
            eight_bits("L"),
            "gif",
            {"save_all": True, "append_images": [Image.new("L", (SIDE, SIDE))]},
            "2 frames",
            id="animated",
        ),
        pytest.param(
            eight_bits("L"),
            "tif",
            {"save_all": True, "append_images": [Image.new("L", (SIDE, SIDE))]},
            "2 frames",
            id="pages",
        ),
    ],
)
def test_pictures_without_one_reading_are_refused(
    tmp_path: Path, image: Image.Image, suffix: str, options: dict[str, Any], sentence: str
) -> None:
    path = saved(tmp_path, image, suffix, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=f"cannot be read as an image: .*{sentence}"):
            read_picture(path, SIDE, grey=True)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "webp", "tif"])
def test_a_file_that_ends_too_early_is_refused(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), suffix)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="cannot be read as an image: "):
        read_picture(path, SIDE, grey=True)


def test_a_picture_of_too_many_pixels_is_refused_by_its_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MAX_PIXELS", 100)
    with pytest.raises(ValueError, match="16 x 16 pixels, more than 100"):
        read_picture(saved(tmp_path, eight_bits("L")), SIDE, grey=True)
    monkeypatch.undo()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    with pytest.raises(ValueError, match="cannot be read as an image"):
        read_picture(saved(tmp_path, eight_bits("L")), SIDE, grey=True)


@pytest.mark.parametrize("size", [0, -3, 100_000])
def test_sizes_that_are_none_are_refused(tmp_path: Path, size: int) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        saved(tmp_path / name, eight_bits("L"))
    with pytest.raises(ValueError, match=r"data\.size must lie in 1\.\.4096 pixels; found"):
        CustomImages(str(tmp_path), size=size).load()


# Arrays


def arrays(folder: Path, x: Any, **more: Any) -> str:
    values = {"x": x, "y": np.arange(len(x)) % 2, **more}
    np.savez(folder / "a.npz", **values)
    return str(folder / "a.npz")


def noise(*shape: int, kind: str = "f8") -> Any:
    values = np.random.default_rng(0).integers(0, 256, (40, *shape))
    return (values / 255 if kind.startswith("f") else values).astype(kind)


@pytest.mark.parametrize(
    ("shape", "kind", "modality", "expected"),
    [
        ((5,), "f8", "tabular", (5,)),
        ((28, 28), "u1", "image", (1, 28, 28)),
        ((20, 32), "u1", "image", (1, 20, 32)),
        ((1, 50), "f4", "series", (1, 50)),
        ((6, 100), "f4", "series", (6, 100)),
        ((1, 8, 8), "f4", "image", (1, 8, 8)),
        ((3, 8, 12), "u1", "image", (3, 8, 12)),
        ((8, 12, 3), "u1", "image", (3, 8, 12)),
        ((8, 8, 1), "f4", "image", (1, 8, 8)),
        ((3, 4, 4), "f4", "image", (3, 4, 4)),
        ((4, 4, 3), "f4", "image", (3, 4, 4)),
        ((1, 6, 8, 10), "f4", "image", (1, 6, 8, 10)),
        ((6, 8, 10, 1), "f4", "image", (1, 6, 8, 10)),
    ],
)
def test_shapes_of_one_reading_are_recognised(
    tmp_path: Path, shape: tuple[int, ...], kind: str, modality: str, expected: tuple[int, ...]
) -> None:
    x = noise(*shape, kind=kind)
    bundle = CustomArrays(arrays(tmp_path, x)).load()
    assert (bundle.modality, tuple(bundle.train.x.shape[1:])) == (modality, expected)
    if modality == "image":
        rows = {row.tobytes() for row in bundle.test.x.numpy()}
        moved = x if x.shape[1:] == expected else x.reshape(40, *expected)
        moved = np.moveaxis(x, -1, 1) if x.shape[-1] == expected[0] != x.shape[1] else moved
        scaled = torch.from_numpy(np.ascontiguousarray(moved)).float() / (
            255 if kind == "u1" else 1
        )
        assert rows <= {row.tobytes() for row in scaled.numpy()}


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize(
    ("shape", "choices"),
    [
        ((28, 28), ["NHW", "NCT"]),
        ((100, 6), ["NTC", "NHW"]),
        ((64, 128), ["NCT", "NHW"]),
        ((16, 32, 32), ["NCHW", "NHWC"]),
        ((3, 4, 2), ["NCHW", "NHWC"]),
        ((6, 8, 10, 12), ["NCDHW", "NDHWC"]),
    ],
)
def test_shapes_of_several_readings_are_asked_about(
    tmp_path: Path, shape: tuple[int, ...], choices: list[str]
) -> None:
    path, x = arrays(tmp_path, noise(*shape)), noise(*shape)
    with pytest.raises(ValueError, match="can be read in several ways") as caught:
        Custom(path).load()
    for layout in choices:
        assert f"data.layout={layout}" in str(caught.value)
        bundle = Custom(path, layout=layout, patch=2).load()
        moved = np.moveaxis(x, -1, 1) if layout.endswith("C") else x
        expected = moved[:, None].shape if layout == "NHW" else moved.shape
        assert bundle.train.x.shape[1:] == expected[1:]
    with pytest.raises(ValueError, match="axes, and x has the shape"):
        Custom(path, layout="NF").load()
    with pytest.raises(ValueError, match=r"data\.layout must be auto or one of NF"):
        Custom(path, layout="HWC").load()


def test_unsigned_numbers_of_any_depth_are_scaled_by_their_white(tmp_path: Path) -> None:
    for kind in ("u1", "u2"):
        x = np.zeros((40, 1, 8, 8), kind)
        x[:, 0, 0, 0] = np.iinfo(kind).max
        pixels = CustomArrays(arrays(tmp_path, x)).load().train.x
        assert pixels[:, 0, 0, 0].eq(1).all()


def test_other_orders_of_bytes_are_the_same_numbers(tmp_path: Path) -> None:
    x = noise(3)
    expected = CustomArrays(arrays(tmp_path, x)).load().fingerprint()
    assert CustomArrays(arrays(tmp_path, x.astype(">f8"))).load().fingerprint() == expected


def test_cubes_are_units_of_a_volume() -> None:
    units, names = cubes((2, 4, 4, 6), 2)
    assert len(names) == 2 * 2 * 3
    assert torch.equal(units[0], units[1])
    assert units.unique().tolist() == list(range(12))
    assert units[0, :2, :2, :2].eq(0).all()
    assert names[int(units[0, 3, 3, 5])] == "d1r1c2"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"x": np.zeros((40, 0))}, "no axis empty"),
        ({"x": np.zeros((0, 4)), "y": np.zeros(0)}, "no axis empty"),
        ({"x": np.zeros((40, 2), np.longdouble)}, "at most 64 bits"),
        ({"x": np.zeros((40, 2), complex)}, "complex128.*expected numbers"),
        ({"x": np.zeros((40, 2), "M8[s]")}, "expected numbers"),
        ({"x": np.ones((40, 2)), "y": np.zeros(40, complex)}, "y holds complex128"),
        ({"x": np.ones((40, 2)), "y": np.zeros(40, np.longdouble)}, "y holds"),
        ({"x": np.ones((40, 2)), "units": np.array([0.5, 1])}, "expected whole numbers"),
        ({"x": np.ones((40, 2)), "units": np.array([-1, -1])}, "ids from 0 on"),
        ({"x": np.ones((40, 2)), "units": np.array([0, 2**40])}, "ids from 0 on"),
        ({"x": np.ones((40, 2)) * 1e308}, "'x' holds numbers as large as 1e[+]308"),
    ],
)
def test_arrays_that_are_no_samples_are_told(
    tmp_path: Path, values: dict[str, Any], sentence: str
) -> None:
    given = dict(values)
    with pytest.raises(ValueError, match=sentence) as caught:
        CustomArrays(arrays(tmp_path, given.pop("x"), **given)).load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(2, 8), (1, 8, 8), (1, 6, 8, 10)])
@pytest.mark.parametrize("patch", [-1, 0, 99])
def test_patches_that_are_none_are_refused(
    tmp_path: Path, shape: tuple[int, ...], patch: int
) -> None:
    with pytest.raises(ValueError, match=rf"data\.patch must lie in 1\.\.\d+ .*; found {patch}"):
        CustomArrays(arrays(tmp_path, noise(*shape)), patch=patch).load()


def test_arrays_that_unpack_to_far_more_are_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.zeros((2**18, 2)), y=np.zeros(2**18))
    monkeypatch.setattr(sizes, "MAX_UNPACKED", 2**20)
    monkeypatch.setattr(np, "load", None)
    with pytest.raises(ValueError, match="unpacks to"):
        CustomArrays(str(path)).load()


def test_files_that_are_no_arrays_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for content in (b"", b"no zip", b"\x93NUMPY\x01\x00"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is not a whole ZIP file"):
            CustomArrays(str(path)).load()
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", b"no array")
        file.writestr("y.npy", b"\x93NUMPY\x01\x00\xff\xff{")
    with pytest.raises(ValueError, match="not an NPZ file of plain arrays"):
        CustomArrays(str(path)).load()
