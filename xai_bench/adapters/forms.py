"""How samples as people have them lie in x: tensors, arrays, data frames, several inputs by name.

Letters: `N` samples, `*S` the shape of one sample in x, `E` elements of a row of a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from xai_bench.core.caller_tensors import require_samples
from xai_bench.core.spelling import listed
from xai_bench.data.tables.encoding import TableEncoding, require_same_columns

if TYPE_CHECKING:
    import pandas as pd


class Form(Protocol):
    """The way from what a caller gives to x, and back.

    Attributes:
        unit_names: one for each number in `units`; empty where nobody has named them.
    """

    @property
    def unit_names(self) -> tuple[str, ...]:
        """One for each number in `units`; empty where nobody has named them."""
        ...

    def encode(self, rows: Any, name: str) -> Tensor:
        """`[N, *S]`; `name` is what messages call the rows. Raises ValueError."""
        ...

    def decode(self, x: Tensor) -> Any:
        """What a function of the caller takes."""
        ...

    def units(self, shape: Sequence[int]) -> Tensor:
        """`[*S]` long: what is removed as one where the caller says nothing."""
        ...


@dataclass(frozen=True, eq=False)
class TensorForm:
    """Tensors, or arrays, of numbers in the type of x.

    Attributes:
        dtype: of x.
        given: the type in which the model takes them; whole numbers are rounded.
        array: whether the caller's functions take NumPy arrays.
        dtype_of_array: of these.
    """

    dtype: torch.dtype
    given: torch.dtype
    array: bool = False
    dtype_of_array: Any = None
    unit_names: tuple[str, ...] = ()

    def encode(self, rows: Any, name: str) -> Tensor:
        """`[N, *S]` in the type of x."""
        return require_samples(name, numbers(rows, name).to(self.dtype))

    def decode(self, x: Tensor) -> Any:
        """Tensors, or arrays, in the type in which the model takes them."""
        whole = not self.given.is_floating_point
        values = (x.detach().round() if whole else x).to(self.given)
        return values.detach().numpy().astype(self.dtype_of_array) if self.array else values

    def units(self, shape: Sequence[int]) -> Tensor:
        """`[*S]`: every element is a unit."""
        return each_element(shape)


@dataclass(frozen=True, eq=False)
class NumberFrameForm:
    """Data frames of numbers for models that take tensors; the columns are elements of x."""

    columns: tuple[str, ...]
    dtype: torch.dtype

    @property
    def unit_names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self.columns

    def encode(self, rows: Any, name: str) -> Tensor:
        """`[N, F]` of a frame with these columns, or of numbers in their order."""
        if is_frame(rows):
            require_same_columns([str(c) for c in rows.columns], self.columns, f"{name} needs")
            return require_samples(name, frame_numbers(rows, name).to(self.dtype))
        return require_samples(name, numbers(rows, name).to(self.dtype))

    def decode(self, x: Tensor) -> Any:
        """The numbers themselves."""
        return x

    def units(self, shape: Sequence[int]) -> Tensor:
        """`[F]`: every column is a unit."""
        return each_element(shape)


@dataclass(frozen=True, eq=False)
class TableForm:
    """Rows of a table: a column is a unit, a category one element for each of its values."""

    encoding: TableEncoding

    @property
    def unit_names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self.encoding.names

    def encode(self, rows: Any, name: str) -> Tensor:
        """`[N, E]` of a table of numbers and categories."""
        return require_samples(name, self.encoding.encode(table_of(rows, name)))

    def decode(self, x: Tensor) -> Any:
        """The table again, as the model takes it."""
        return self.encoding.decode(x)

    def units(self, shape: Sequence[int]) -> Tensor:
        """`[E]`: a column is a unit, with all its elements."""
        return self.encoding.units


@dataclass(frozen=True, eq=False)
class SeveralForm:
    """Several inputs by name, flattened and one after the other in x `[N, E]`.

    Attributes:
        forms: of each input.
        shapes: `*S` of each input.
    """

    forms: Mapping[str, TensorForm]
    shapes: Mapping[str, tuple[int, ...]]
    dtype: torch.dtype

    @property
    def unit_names(self) -> tuple[str, ...]:
        """Those of all inputs, one after the other."""
        return tuple(
            f"{name}[{', '.join(map(str, place))}]"
            for name, shape in self.shapes.items()
            for place in np.ndindex(*shape)
        )

    def encode(self, rows: Any, name: str) -> Tensor:
        """`[N, E]`: all inputs flattened, side by side. Raises ValueError where one is missing."""
        self._require_names(rows, name)
        parts = [self._encoded(key, rows[key], name) for key in self.forms]
        lengths = {key: len(part) for key, part in zip(self.forms, parts, strict=True)}
        if len(set(lengths.values())) > 1:
            raise ValueError(
                f"the inputs of {name} have {lengths} samples; expected as many of each"
            )
        for (key, shape), part in zip(self.shapes.items(), parts, strict=True):
            if tuple(part.shape[1:]) != shape:
                raise ValueError(
                    f"{name}[{key!r}] has samples of shape {list(part.shape[1:])}; expected that "
                    f"of x, {list(shape)}"
                )
        return torch.cat([part.reshape(len(part), -1) for part in parts], dim=1)

    def _encoded(self, key: str, rows: Any, name: str) -> Tensor:
        """One input, `[N, *S]`; `[N]` where each sample has one number."""
        given = numbers(rows, f"{name}[{key!r}]")
        is_flat = given.dim() == 1
        encoded = self.forms[key].encode(given[:, None] if is_flat else given, f"{name}[{key!r}]")
        return (encoded[:, 0] if is_flat else encoded).to(self.dtype)

    def decode(self, x: Tensor) -> dict[str, Any]:
        """Name -> the input, as the model takes it."""
        return {key: self.forms[key].decode(part) for key, part in self.parts(x).items()}

    def parts(self, values: Tensor) -> dict[str, Tensor]:
        """`[..., E]` to `[..., *S]` of each input, such as of attributions."""
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        cut = zip(self.shapes.items(), values.split(sizes, dim=-1), strict=True)
        return {key: part.reshape(*part.shape[:-1], *shape) for (key, shape), part in cut}

    def joined(self, parts: Mapping[str, Tensor]) -> Tensor:
        """The inverse of `parts`, of samples `[N, *S]`."""
        return torch.cat([parts[key].reshape(len(parts[key]), -1) for key in self.shapes], dim=1)

    def units(self, shape: Sequence[int]) -> Tensor:
        """`[E]`: every element is a unit."""
        return each_element(shape)

    def _require_names(self, rows: Any, name: str) -> None:
        if not isinstance(rows, Mapping) or set(rows) != set(self.forms):
            shown = listed(map(str, rows)) if isinstance(rows, Mapping) else type(rows).__name__
            raise ValueError(
                f"{name} has {shown}; expected the inputs {listed(self.forms)} by name, as in x"
            )


def each_element(shape: Sequence[int]) -> Tensor:
    """`[*S]`: every element is its own unit."""
    return torch.arange(int(np.prod(shape))).view(tuple(shape))


def is_frame(rows: Any) -> bool:
    """Whether these rows are a data frame; pandas is not imported for the answer."""
    return type(rows).__name__ == "DataFrame" and hasattr(rows, "columns")


def numbers(rows: Any, name: str) -> Tensor:
    """A tensor of a tensor, an array, a data frame of numbers or nested lists.

    Raises ValueError for what holds no numbers.
    """
    if isinstance(rows, Tensor):
        return _plain(rows.detach(), name).cpu()
    if is_frame(rows):
        return frame_numbers(rows, name)
    _require_dense(rows, name)
    try:
        values = np.asarray(rows)
    except ValueError:
        raise ValueError(f"the rows of {name} are not of one length; expected [N, ...]") from None
    if values.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} is a {type(rows).__name__} of {values.dtype}; expected numbers: a torch "
            "tensor, a NumPy array or a pandas DataFrame"
        )
    # torch takes numbers in the order of bytes of this machine only.
    native = values.dtype.newbyteorder("=")
    return torch.from_numpy(np.ascontiguousarray(values, dtype=native).copy())


def _plain(rows: Tensor, name: str) -> Tensor:
    """The tensor itself, 0 and 1 of truth values. Raises ValueError where it lies nowhere whole."""
    if rows.is_nested or rows.layout != torch.strided or rows.is_meta or rows.is_quantized:
        kind = "nested" if rows.is_nested else "without values" if rows.is_meta else "sparse"
        kind = "quantised" if rows.is_quantized else kind
        raise ValueError(f"{name} is a tensor that is {kind}; expected plain numbers [N, ...]")
    if rows.is_complex():
        raise ValueError(f"{name} holds {rows.dtype}; expected real numbers")
    return rows.to(torch.uint8) if rows.dtype == torch.bool else rows


def frame_numbers(frame: pd.DataFrame, name: str) -> Tensor:
    """`[N, columns]` float64. Raises ValueError for a column of anything but numbers."""
    for column in frame.columns:
        if frame[column].dtype.kind not in "biuf":
            raise ValueError(
                f"column {str(column)!r} of {name} holds {frame[column].dtype}, and this model "
                "takes numbers: give the pipeline that encodes it, or a frame of numbers "
                "(pandas.get_dummies) with units=xai_bench.columns(frame)"
            )
    return torch.from_numpy(frame.to_numpy(dtype=np.float64, na_value=np.nan).copy())


def table_of(rows: Any, name: str) -> Any:
    """A data frame as it is, anything else as an array `[N, columns]`. Raises ValueError."""
    if is_frame(rows):
        if len(rows) == 0:
            raise ValueError(f"{name} has no rows; expected at least one")
        return rows
    _require_dense(rows, name)
    values = rows.detach().cpu().numpy() if isinstance(rows, Tensor) else np.asarray(rows)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(
            f"{name} has shape {list(values.shape)}; expected rows and columns, [N, columns]"
        )
    return values


def _require_dense(rows: Any, name: str) -> None:
    if hasattr(rows, "toarray"):
        raise ValueError(f"{name} is a sparse {type(rows).__name__}: give {name}.toarray()")
