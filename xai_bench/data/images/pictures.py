"""One picture of any depth and mode, as numbers in 0..1."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 89_478_485
"""A quarter of a gigabyte in RGB, at which Pillow warns, too."""
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_BYTES = ("1", "L", "P", "RGB", "LA", "PA", "La", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV")
_ALPHA = ("LA", "PA", "La", "RGBA", "RGBa")
_FAULTS = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    EOFError,
    OverflowError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""What Pillow raises for files that are broken somewhere."""


def read_picture(path: Path, size: int, *, grey: bool) -> Tensor:
    """`[channels, size, size]` float32 in 0..1, one channel if grey, else three.

    A mark of orientation is followed, and what is transparent is laid on white. Values of 16 bits
    keep their depth; floats must lie in 0..1. Raises ValueError for what is broken, moves, has
    more than `MAX_PIXELS`, or whose numbers have no known range.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Up to twice its limit, Pillow only warns.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                _require_single(image)
                return _numbers(image, size, grey=grey)
    except (*_FAULTS, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} cannot be read as an image: {reason}") from error


def _require_single(image: Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(
            f"it has {image.width} x {image.height} pixels, more than {MAX_PIXELS:,}; make it "
            "smaller"
        )
    # Phones write a JPEG with its own preview, which moves nothing.
    n_frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if n_frames > 1:
        raise ValueError(f"it has {n_frames} frames; expected a single picture")


def _numbers(image: Image, size: int, *, grey: bool) -> Tensor:
    from PIL import Image, ImageOps

    if image.mode not in (*_BYTES, *_SIXTEEN_BITS, "F"):
        raise ValueError(
            f"its mode {image.mode!r} has no known range of values; expected 8 or 16 bits, or "
            "floats in 0..1"
        )
    upright = ImageOps.exif_transpose(image)
    if image.mode not in _BYTES:
        # Scaled first: Pillow brings 16 bits to 8 by cutting off at 255.
        values = Image.fromarray(_unit_range(upright))
        small = np.array(values.resize((size, size), Image.Resampling.BILINEAR))
        return torch.from_numpy(small).clamp(0, 1).expand(1 if grey else 3, size, size).clone()
    mode = "L" if grey else "RGB"
    small_bytes = _opaque(upright).convert(mode).resize((size, size), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(small_bytes)).float() / 255
    return pixels[None] if grey else pixels.permute(2, 0, 1)


def _unit_range(image: Image) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """`[height, width]` of one channel of 16 bits or floats, in 0..1."""
    values = np.array(image).astype(np.float32)
    if image.mode in _SIXTEEN_BITS:
        return values / np.float32(65535)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise ValueError(
            f"its floats go from {values.min():.5g} to {values.max():.5g}; expected 0 to 1: divide "
            "them by what is white"
        )
    return values


def _opaque(image: Image) -> Image:
    """The picture on white where it is transparent; others unchanged."""
    from PIL import Image

    if image.mode not in _ALPHA and "transparency" not in image.info:
        return image
    drawn = image.convert("RGBA")
    white = Image.new("RGBA", drawn.size, "white")
    return Image.alpha_composite(white, drawn).convert("RGB")
