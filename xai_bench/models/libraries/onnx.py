"""Models in ONNX files, run by onnxruntime: black boxes; the one file that imports it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xai_bench.core.spelling import listed
from xai_bench.data.bundle import Task
from xai_bench.data.tables.encoding import TableEncoding, require_same_columns
from xai_bench.models.libraries.table_model import (
    FLOOR,
    Floats,
    log_probabilities,
    not_installed,
    split_in_two,
)

Reading = Literal["probabilities", "logits", "scores", "values"]
"""What the output holds: probabilities, logits, one logit of the second of two classes, values."""

_TYPES: Mapping[str, Any] = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
    "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(int16)": np.int16,
    "tensor(int8)": np.int8, "tensor(uint8)": np.uint8, "tensor(bool)": np.bool_,
    "tensor(string)": np.str_,
}  # fmt: skip
_FLOATS = ("tensor(float)", "tensor(double)", "tensor(float16)")
_LABELS = ("tensor(int64)", "tensor(int32)", "tensor(string)")
_N_TRIED = 64


@dataclass(frozen=True, eq=False)
class OnnxPredictor:
    """`x [B, *S]` to the inputs of an ONNX session, and one of its outputs back.

    Probabilities become their logarithms, mixed with a `floor`; logits and values stay.

    Attributes:
        x_name: the input that x goes to; empty where every column of a table has an input.
        encoding: how rows of a table lie in x.
        class_names: empty for regression.
    """

    session: Any
    x_name: str
    output: str
    reading: Reading
    class_names: tuple[str, ...]
    encoding: TableEncoding | None = None
    floor: float = FLOOR
    differentiable: bool = False
    module: None = None

    @property
    def n_outputs(self) -> int:
        """One for each class; 1 for regression."""
        return len(self.class_names) or 1

    @property
    def task(self) -> Task:
        """Classification where there are classes, else regression."""
        return "classification" if self.class_names else "regression"

    def __call__(self, x: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        feeds = _feeds(self.session, self.x_name, x, context, self.encoding)
        values = _matrix(_run(self.session, feeds, self.output))
        return torch.from_numpy(self._outputs(values)).to(x.dtype)

    def _outputs(self, values: Floats) -> Floats:
        if self.reading == "probabilities":
            both = np.hstack([1 - values, values]) if values.shape[1] == 1 else values
            return log_probabilities(both, self.floor)
        return split_in_two(values[:, -1]) if self.reading == "scores" else values


def is_onnx(model: Any) -> bool:
    """A path to an `.onnx` file, an `onnx.ModelProto`, or a session of onnxruntime."""
    if isinstance(model, str | Path):
        return Path(model).suffix == ".onnx"
    return type(model).__name__ in ("ModelProto", "InferenceSession")


def predictor_of(
    model: Any,
    x: Tensor,
    *,
    encoding: TableEncoding | None = None,
    output: str | None = None,
    floor: float = FLOOR,
    context: Mapping[str, Tensor] | None = None,
) -> OnnxPredictor:
    """What `is_onnx`, tried on the rows `x [N, *S]`. Raises ValueError where they do not fit."""
    session, rows = session_of(model), x[:_N_TRIED]
    named = {name: value[:_N_TRIED] for name, value in (context or {}).items()}
    x_name = _x_name(session, named, encoding)
    chosen = _output(session, output)
    feeds = _feeds(session, x_name, rows, named, encoding)
    answer = _run(session, feeds, chosen)
    values = _matrix(answer)
    reading = _reading(session, values)
    names = _class_names(answer, values, reading)
    return OnnxPredictor(session, x_name, chosen, reading, names, encoding, floor)


def session_of(model: Any) -> Any:
    """A session on one thread, whose sums have the same bits every time; a given one as it is."""
    if type(model).__name__ == "InferenceSession":
        return model
    if isinstance(model, str | Path) and not Path(model).expanduser().is_file():
        raise ValueError(f"there is no ONNX file {str(model)!r} (looked in {Path.cwd()})")
    runtime = library()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    source = (
        str(Path(model).expanduser())
        if isinstance(model, str | Path)
        else model.SerializeToString()
    )
    try:
        return runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except _errors() as error:
        raise ValueError(
            f"onnxruntime cannot read this ONNX model: {_one_line(error)}; export it again"
        ) from None


def _x_name(session: Any, context: Mapping[str, Tensor], encoding: TableEncoding | None) -> str:
    """The one input that the context does not name; none where each column has its own."""
    names = [argument.name for argument in session.get_inputs()]
    free = [name for name in names if name not in context]
    if len(free) == 1 or "x" in free:
        return free[0] if len(free) == 1 else "x"
    if encoding is not None:
        require_same_columns(encoding.names, names, "the ONNX model takes")
        return ""
    raise ValueError(
        f"the ONNX model takes the inputs {listed(names)}, and x is one of them: give the others "
        "by name, or a table with a column for each"
    )


def _output(session: Any, name: str | None) -> str:
    """The output of numbers, or the one that is asked for."""
    outputs = session.get_outputs()
    if name is not None:
        if name not in [candidate.name for candidate in outputs]:
            raise ValueError(
                f"the ONNX model has no output {name!r}; it has {listed(o.name for o in outputs)}"
            )
        return name
    numbers = [
        candidate.name
        for candidate in outputs
        if candidate.type in _FLOATS or candidate.type[:3] == "seq"
    ]
    if not numbers:
        raise ValueError(
            f"the ONNX model returns labels only ({listed(o.name for o in outputs)}), which move "
            "by jumps or not at all; export it with its probabilities"
        )
    likely = [n for n in numbers if "prob" in n.lower()] or numbers
    if len(likely) > 1:
        raise ValueError(
            f"the ONNX model has several outputs of numbers, {listed(likely)}: name the one to "
            "explain (output)"
        )
    return str(likely[0])


def _feeds(
    session: Any,
    x_name: str,
    x: Tensor,
    context: Mapping[str, Tensor],
    encoding: TableEncoding | None,
) -> dict[str, npt.NDArray[Any]]:
    inputs = {argument.name: argument for argument in session.get_inputs()}
    table: Any = None if encoding is None else encoding.decode(x)
    if x_name:
        rows = x.detach().numpy() if table is None else np.asarray(table)
        named = {name: value.detach().numpy() for name, value in context.items() if name in inputs}
        return {name: _fitted(inputs[name], v) for name, v in {x_name: rows, **named}.items()}
    return {
        # [N, 1]: converters of scikit-learn give each column an input of its own.
        name: _fitted(argument, np.asarray(table[name])[:, None])
        for name, argument in inputs.items()
    }


def _fitted(argument: Any, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Of the type and the shape that an input wants; axes without a number take any size."""
    kind = _TYPES.get(argument.type)
    if kind is None:
        raise ValueError(
            f"input {argument.name!r} of the ONNX model takes {argument.type}, not numbers"
        )
    wanted = list(argument.shape[1:])
    if len(wanted) == 1 and values.ndim > 2:
        values = values.reshape(len(values), -1)
    sizes = list(values.shape[1:])
    fits = len(wanted) == len(sizes) and all(
        not isinstance(size, int) or size in (have, -1)
        for size, have in zip(wanted, sizes, strict=True)
    )
    if not fits:
        raise ValueError(
            f"input {argument.name!r} of the ONNX model takes {_shape(argument.shape)}, and a "
            f"batch of x has {_shape(['N', *sizes])}"
        )
    if np.issubdtype(kind, np.integer) and values.dtype.kind == "f":
        # A conversion cuts off: a code that x holds as 1.9999 would become 1.
        values = np.rint(values)
    return values.astype(kind)


def _shape(sizes: Sequence[Any]) -> str:
    return "[" + ", ".join("any" if size is None else str(size) for size in sizes) + "]"


def _run(session: Any, feeds: Mapping[str, npt.NDArray[Any]], output: str) -> Any:
    """What the output says of all rows; in blocks where the batch is of a fixed size."""
    n_rows, size = len(next(iter(feeds.values()))), session.get_inputs()[0].shape[0]
    block = size if isinstance(size, int) and size > 0 else max(n_rows, 1)
    parts = []
    for start in range(0, n_rows, block):
        # A batch of a fixed size is filled up with the last row, whose further answers are cut.
        rows = np.arange(start, start + block).clip(max=n_rows - 1)
        here = {name: values[rows] for name, values in feeds.items()}
        try:
            (answer,) = session.run([output], here)
        except _errors() as error:
            raise ValueError(
                f"the ONNX model cannot take a batch of {len(rows)} rows: {_one_line(error)}"
            ) from None
        parts.append(answer)
    if isinstance(parts[0], list):
        return [row for part in parts for row in part][:n_rows]
    return np.concatenate(parts)[:n_rows]


def _matrix(answer: Any) -> Floats:
    """`[N, C]`; converters give a mapping of probabilities per row, too."""
    if isinstance(answer, list):
        return np.array([list(row.values()) for row in answer], dtype=np.float64)
    values = np.asarray(answer, dtype=np.float64)
    if values.ndim > 2:
        raise ValueError(
            f"the ONNX model gives {_shape(['N', *values.shape[1:]])} per batch; expected [N] or "
            "[N, classes]: name another output"
        )
    return values if values.ndim == 2 else values[:, None]


def _reading(session: Any, values: Floats) -> Reading:
    labelled = any(output.type in _LABELS for output in session.get_outputs())
    likely = bool((values >= 0).all() and (values <= 1).all())
    if values.shape[1] == 1:
        if not labelled:
            return "values"
        return "probabilities" if likely else "scores"
    # Converted models add up in single precision.
    if likely and np.allclose(values.sum(1), 1, atol=1e-4):
        return "probabilities"
    # Converters write the score z of two classes as -z and z, whose softmax is not its sigmoid.
    mirrored = values.shape[1] == 2 and np.array_equal(values[:, 0], -values[:, 1])
    return "scores" if labelled and mirrored else "logits"


def _class_names(answer: Any, values: Floats, reading: Reading) -> tuple[str, ...]:
    if isinstance(answer, list):
        return tuple(str(name) for name in answer[0])
    n_classes = 0 if reading == "values" else max(values.shape[1], 2)
    return tuple(str(number) for number in range(n_classes))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _errors() -> tuple[type[BaseException], ...]:
    """What onnxruntime raises; its errors have no base of their own."""
    state = library().capi.onnxruntime_pybind11_state
    names = (
        "Fail", "InvalidArgument", "NoSuchFile", "NoModel", "EngineError", "RuntimeException",
        "InvalidProtobuf", "NotImplemented", "InvalidGraph", "EPFail",
    )  # fmt: skip
    return tuple(getattr(state, name) for name in names)


def library() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise not_installed("onnxruntime", "onnx") from None
    return onnxruntime
