"""What "absent" means, in the caller's own numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from xai_bench.core.baselines import Constant
from xai_bench.types import Inputs, Rng, Symbols, Unsupported

SLOTS = ("explain", "measure")


@dataclass(frozen=True, eq=False)
class GivenReference:
    """One reference for all samples, `values [*S]`, or one for each, `[N, *S]`.

    Attributes:
        x: `[N, *S]`, the samples that these are references of.
    """

    values: Tensor
    x: Tensor

    def references(self, inputs: Inputs, *, rng: Rng) -> Tensor:
        """`[B, 1, *S]`. Raises `Unsupported` for other rows where each sample has its own."""
        if self.values.dim() < self.x.dim():
            values = self.values.to(inputs.x)
            return values.expand(len(inputs), 1, *values.shape)
        if len(inputs) and int(inputs.index.max()) >= len(self.x):
            raise Unsupported("only the samples of x have a baseline each, and these are others")
        if inputs.x is inputs.domain.background:
            raise Unsupported(
                "what is fitted to background rows needs a baseline for them, and each sample of "
                "x has its own: give one for all, or the name of one"
            )
        return self.values[inputs.index].to(inputs.x)[:, None]


def slots_of(given: Any) -> dict[str, Any]:
    """`explain` and `measure` -> what was given for each.

    Raises ValueError for a mapping with other keys, and for other than two in a tuple.
    """
    if isinstance(given, Mapping):
        if set(given) != set(SLOTS):
            raise ValueError(
                f"baselines={sorted(map(str, given))}; expected one to 'explain' and one to "
                "'measure'"
            )
        return dict(given)
    if isinstance(given, tuple | list):
        if len(given) != len(SLOTS):
            raise ValueError(
                f"baselines={given!r}; expected two, for explaining and for measuring, or one for "
                "both"
            )
        return dict(zip(SLOTS, given, strict=True))
    return dict.fromkeys(SLOTS, given)


def baseline_of(given: Any, x: Tensor, encode: Callable[[Any, str], Tensor]) -> Any:
    """A baseline of a number, rows `[N, *S]`, one row `[1, *S]` or `[*S]`, or a baseline.

    `encode` brings rows as the caller has them into x. Raises ValueError for anything else.
    """
    if hasattr(given, "references") and not isinstance(given, type):
        return given
    if isinstance(given, int | float) and not isinstance(given, bool):
        return Constant(float(given))
    rows = given
    if hasattr(given, "to_frame"):  # one row of a data frame
        # A row of several types is one of objects, and so is each column when it is turned.
        rows = given.to_frame().T.infer_objects()
    elif isinstance(given, Tensor) or hasattr(given, "__array__"):
        if tuple(getattr(given, "shape", ())) == tuple(x.shape[1:]):
            rows = given[None] if hasattr(given, "dim") or hasattr(given, "ndim") else [given]
    elif not isinstance(given, Mapping):
        raise ValueError(
            f"a baseline is {given!r}; expected the name of one, a number, one row, or a row for "
            "each sample"
        )
    values = encode(rows, "a baseline")
    if values.shape[1:] != x.shape[1:] or len(values) not in (1, len(x)):
        raise ValueError(
            f"a baseline has shape {list(values.shape)}; expected that of one sample, "
            f"{list(x.shape[1:])}, or of all, {list(x.shape)}"
        )
    own = values[0] if len(values) == 1 else values
    # Of x, only the shape is asked: one number stands for all.
    return GivenReference(own.detach().clone(), x.new_empty(()).expand(x.shape))


def loaded_slots(
    given: Any,
    x: Tensor,
    encode: Callable[[Any, str], Tensor],
    symbols: Symbols | None,
    load: Callable[[str, str], Any],
) -> dict[str, Any]:
    """`explain` and `measure` -> a baseline, or the configuration that `load` gives of a name."""
    if given is None:
        padded = symbols is not None and symbols.padding is not None
        of_tokens = "padding_token" if padded else "zero_embedding"
        given = ("mean", "marginal") if symbols is None else (of_tokens, of_tokens)
    return {
        slot: load("baseline", each) if isinstance(each, str) else baseline_of(each, x, encode)
        for slot, each in slots_of(given).items()
    }
