"""Named random streams: every number is a hash of (seed, purpose, sample, multi-index).

There is no generator to advance, so nothing depends on batch size, order, other components or
workers. The hash is the finaliser of SplitMix64 (Steele, Lea & Flood 2014), once per key part.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xai_bench.types import Rng

_Keys = npt.NDArray[np.uint64]
_CPU = torch.device("cpu")
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio, the step between words in SplitMix64."""


@dataclass(frozen=True, slots=True)
class Seeds:
    """The root of all randomness of one run."""

    base: int

    def stream(self, *names: str | int, samples: Tensor) -> Rng:
        """One stream per purpose, with a row for each sample id (long `[B]`).

        Numbers are drawn on the CPU, and are given where the ids are.
        """
        keys = _absorb(_word(self.base), samples.cpu().numpy().astype(np.uint64))
        return Draws(keys[0], self.base, device=samples.device).child(*names)

    def number(self, *names: str | int) -> int:
        """A 31-bit seed for libraries that ask for one."""
        return int(_fold(_word(self.base), names)[0] >> np.uint64(33))


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """A stream with one 64-bit key per sample, and the seed and the names it came by; see `Rng`.

    `device` is where the numbers are wanted; they are drawn on the CPU.
    """

    keys: _Keys
    base: int
    names: tuple[str | int, ...] = ()
    device: torch.device = _CPU

    def child(self, *names: str | int) -> Draws:
        """An independent stream, with a key folded from these names."""
        return Draws(_fold(self.keys, names), self.base, self.names + names, self.device)

    def take(self, rows: Tensor) -> Draws:
        """The streams of the samples at `rows` (long `[M]`)."""
        return Draws(self.keys[rows.cpu().numpy()], self.base, self.names, self.device)

    def shared(self) -> Draws:
        """A stream of one row, keyed by the seed and the names alone."""
        # By a name that no purpose has, so that no sample's own stream is the shared one.
        names = ("all samples", *self.names)
        return Draws(_fold(_word(self.base), names), self.base, names, self.device)

    def uniform(self, *shape: int) -> Tensor:
        """`[B, *shape]` float64 in the open interval (0, 1), 53 bits each."""
        return self._uniform(shape).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        """`[B, *shape]` float64, standard normal: the inverse distribution of a uniform draw."""
        # One word for each number, unlike pairs by Box and Muller: a draw stays a prefix.
        normal: Tensor = torch.special.ndtri(self._uniform(shape))
        return normal.to(self.device)

    def integers(self, high: int, *shape: int) -> Tensor:
        """`[B, *shape]` long in `[0, high)`, for `high` far below 2^53."""
        return (self._uniform(shape) * high).long().to(self.device)

    def _uniform(self, shape: tuple[int, ...]) -> Tensor:
        """As `uniform`, on the CPU."""
        # The upper 53 bits: as many as a float64 holds.
        mantissa = (self._bits(shape) >> np.uint64(11)).astype(np.float64)
        # Half a step off both ends: the normal quantile of 0 or 1 would be infinite.
        return torch.from_numpy((mantissa + 0.5) * 2.0**-53)

    def _bits(self, shape: tuple[int, ...]) -> _Keys:
        """`[B, *shape]`: a word for every element."""
        keys = self.keys
        for size in shape:
            keys = _absorb(keys, np.arange(size, dtype=np.uint64))
        return _mix(keys if shape else keys.copy())


_CHUNK = 1 << 14
"""Words that are mixed at a time, while they lie in the cache."""


def _mix(z: _Keys) -> _Keys:
    """The finaliser, in place: `z` is a fresh array."""
    flat = z.reshape(-1)
    for start in range(0, len(flat), _CHUNK):
        part = flat[start : start + _CHUNK]
        part ^= part >> np.uint64(30)
        part *= np.uint64(0xBF58476D1CE4E5B9)
        part ^= part >> np.uint64(27)
        part *= np.uint64(0x94D049BB133111EB)
        part ^= part >> np.uint64(31)
    return flat.reshape(z.shape)


def _absorb(keys: _Keys, words: _Keys) -> _Keys:
    """`[...], [W] -> [..., W]`: a new key for every pair."""
    return _mix(keys[..., None] + (words + np.uint64(1)) * _GOLDEN)


def _fold(keys: _Keys, names: tuple[str | int, ...]) -> _Keys:
    """`[B] -> [B]`: keys after all parts of a name, one after the other."""
    for name in names:
        keys = _absorb(keys, _word(name))[..., 0]
    return keys


def _word(name: str | int) -> _Keys:
    """`[1]`: one key part as 64 bits."""
    digest = hashlib.blake2b(repr(name).encode(), digest_size=8).digest()
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)
