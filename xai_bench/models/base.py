"""From anything that predicts to the one scalar per sample that is explained."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from xai_bench.core.calls.module_state import freeze
from xai_bench.core.system.devices import CPU, device_of
from xai_bench.data.bundle import Bundle, Task
from xai_bench.models.structure import read
from xai_bench.types import ROW_BLOCK, Column, Inputs, Model, Structure, Unsupported


class Predictor(Protocol):
    """`x [B, *S]` and context to `[B, C]`: logits of a classifier, values of a regressor."""

    @property
    def differentiable(self) -> bool:
        """Whether gradients flow from the outputs to x."""
        ...

    @property
    def module(self) -> nn.Module | None:
        """The torch module, for methods that need layers; None for anything else."""
        ...

    @property
    def n_outputs(self) -> int:
        """`C`: the number of classes, 1 for a regressor."""
        ...

    def __call__(self, x: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        """`[B, *S] -> [B, C]`."""
        ...


@runtime_checkable
class ReadablePredictor(Protocol):
    """A predictor whose weights, terms or trees can be read."""

    def structure(self, column: Column) -> Structure | None:
        """How its outputs or probabilities come about; None where there is nothing to read.

        Raises `Unsupported` where the structure is that of the other of the two only.
        """
        ...


@runtime_checkable
class RelaxablePredictor(Protocol):
    """A predictor that takes token ids, or their embeddings and the ids as context `tokens`."""

    def relaxed(self, inputs: Inputs) -> Inputs:
        """The same samples as embeddings `x [B, T, D]`."""
        ...

    def rows_at_once(self, width: int, *, gradient: bool) -> int:
        """Rows of so many tokens that fit into bounded memory."""
        ...


@runtime_checkable
class BatchingPredictor(Protocol):
    """A predictor that calls its module in batches of its own, such as rows of one length."""

    def in_blocks(self, x: Tensor, context: Mapping[str, Tensor], *, block: int) -> Tensor:
        """`[B, *S] -> [B, C]`, every batch filled up to a multiple of `block` rows."""
        ...


class Target(Protocol):
    """Which scalar is explained.

    One that is a column of the outputs, or of their softmax, says so in the class attribute
    `column_of`: the structure of a model is that of such a scalar only. One that cannot be chosen
    without true labels says `needs_labels = True`.
    """

    @property
    def follows_output(self) -> bool:
        """Whether it rises with the output of the explained class: a task's truth then applies."""
        ...

    def choose(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        """`[B, C], [B] -> [B]`: the `targets` of `select`, fixed before anything is explained."""
        ...

    def select(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`[B, C], [B] -> [B]`: the scalar."""
        ...


@runtime_checkable
class PreparingTarget(Protocol):
    """A target that needs something of the inputs' context."""

    def prepare(self, inputs: Inputs) -> Inputs:
        """The same samples with it; raises `Unsupported` where it cannot be had."""
        ...


def prepared_for(target: Target, inputs: Inputs) -> Inputs:
    """The inputs with all that the target needs in their context."""
    return target.prepare(inputs) if isinstance(target, PreparingTarget) else inputs


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained predictor; `history` has one mapping of numbers per epoch of its training."""

    predictor: Predictor
    history: tuple[Mapping[str, float], ...] = ()


OnEpoch = Callable[[Mapping[str, float]], None]


class Recipe(Protocol):
    """One class and one YAML make a model.

    Class attributes: `differentiable`, whether its predictors have gradients; `trains`, False where
    there is nothing to train and so nothing to keep. Optional: `gives`, which of `linear`, `trees`
    and `glass_box` its structure is, so that a run can warn of explainers that will be skipped; and
    those of `Tags`, of which `version` is raised whenever the same configuration yields other
    weights.
    """

    differentiable: ClassVar[bool]
    trains: ClassVar[bool]

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        """Fit on `bundle.train`. Raises `Unsupported` where the model cannot take such data."""
        ...

    def save(self, predictor: Predictor, folder: Path) -> None:
        """Write the weights, without pickle."""
        ...

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        """Read what `save` wrote."""
        ...


@dataclass(frozen=True, eq=False)
class TorchPredictor:
    """A torch module called as `module(x, **context)`, in evaluation mode, with frozen weights.

    Rows are brought to the device of its weights, and its outputs back to that of x; with a
    `dtype` also to that type, and back.
    """

    module: nn.Module
    n_outputs: int
    differentiable: bool = True
    dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        freeze(self.module)

    def __call__(self, x: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        device = device_of(self.module)
        if x.device == device and self.dtype is None:
            return rows_of(self.module(x, **context))
        there = {name: self._brought(value, device) for name, value in context.items()}
        outputs = rows_of(self.module(self._brought(x, device), **there))
        return outputs.to(x.device, None if self.dtype is None else x.dtype)

    def _brought(self, values: Tensor, device: torch.device) -> Tensor:
        # Token ids and masks of a context are no numbers to be rounded.
        return values.to(device, self.dtype if values.is_floating_point() else None)

    def structure(self, column: Column) -> Structure | None:
        """The structure of a linear or additive module; None for any other.

        Raises `Unsupported` for its probabilities, which are no sum of terms.
        """
        # What reads a structure works on the CPU, and the module itself stays where it is asked.
        on_cpu = device_of(self.module) == CPU
        structure = read(self.module if on_cpu else copy.deepcopy(self.module).cpu())
        if structure is not None and column == "probabilities":
            raise Unsupported(
                "the terms of this model add up to logits, and a probability is explained: "
                "use target=predicted_logit"
            )
        return structure


@dataclass(frozen=True, eq=False)
class Explained:
    """The `Model` of explainers and metrics: a predictor, and the target that is explained.

    Attributes:
        max_rows: the most rows to build and evaluate at once; bounds memory.
        max_gradient_rows: the same where a way back follows; as many where it is not said.
        room: the most rows of a call that cannot be split; `max_rows` where it is not said.
        exact: whether a row has the same bits in every batch. A call is then filled up to a
            multiple of `ROW_BLOCK` rows, which costs up to `ROW_BLOCK` times as much for few.
    """

    predictor: Predictor
    target: Target
    max_rows: int = 512
    max_gradient_rows: int | None = None
    room: int | None = None
    exact: bool = True

    @property
    def differentiable(self) -> bool:
        """Whether gradients flow from the target to x."""
        return self.predictor.differentiable

    @property
    def module(self) -> nn.Module | None:
        """The torch module of the predictor, where it has one."""
        return self.predictor.module

    @property
    def n_outputs(self) -> int:
        """`C`: the number of classes, 1 for a regressor."""
        return self.predictor.n_outputs

    def outputs(self, inputs: Inputs) -> Tensor:
        """`[B, C]`; where it is to be exact, of a batch padded to a multiple of `ROW_BLOCK` rows.

        Matrix kernels round differently for few rows; padded, a row has the same bits in any batch.
        """
        block = ROW_BLOCK if self.exact else 1
        return outputs_in_blocks(self.predictor, inputs.x, inputs.context, block=block)

    def relaxed(self, inputs: Inputs) -> tuple[Model, Inputs]:
        """As in `Relaxable`; `max_rows` is bounded by the memory that a way back takes."""
        if not isinstance(self.predictor, RelaxablePredictor):
            raise Unsupported("this model has no word embeddings, so there is nothing between ids")
        there = self.predictor.relaxed(inputs)
        most = self.predictor.rows_at_once(inputs.x.shape[1], gradient=True)
        # Memory can only lower the bound, which may be the user's own.
        most = min(self.max_rows, most)
        return replace(self, max_rows=most, max_gradient_rows=most), there

    def target_output(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """`[B]`: the explained scalar."""
        return self.target.select(self.outputs(inputs), targets)

    def structure(self) -> Structure | None:
        """The structure of the explained scalar; None where there is nothing to read.

        Raises `Unsupported` where the structure is that of another scalar.
        """
        if not isinstance(self.predictor, ReadablePredictor):
            return None
        column: Column | None = getattr(self.target, "column_of", None)
        if column is None:
            raise Unsupported(
                "the structure of a model is that of its outputs or probabilities, and another "
                "scalar is explained: use target=predicted_logit or target=predicted_probability"
            )
        return self.predictor.structure(column)


def outputs_in_blocks(
    predictor: Predictor, x: Tensor, context: Mapping[str, Tensor], *, block: int
) -> Tensor:
    """`[B, *S] -> [B, C]`; the module is called with a multiple of `block` rows each time."""
    if isinstance(predictor, BatchingPredictor):
        return predictor.in_blocks(x, context, block=block)
    spare = -len(x) % block
    out = predictor(_padded(x, spare), {k: _padded(v, spare) for k, v in context.items()})
    return out[: len(x)]


def rows_of(output: Any) -> Tensor:
    """What a module gave, as `[B, C]`: a tensor, or an output object with `.logits`.

    Raises ValueError for anything else, such as a tuple, a dict, or a tensor of another rank.
    """
    logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if not isinstance(logits, Tensor):
        raise ValueError(
            f"the model gives {_described(output)}; expected a tensor [N, C] or an object with "
            ".logits: wrap it in a function that returns the tensor"
        )
    if logits.dim() not in (1, 2):
        raise ValueError(
            f"the model gives outputs of shape {list(logits.shape)}; expected [N, C], one row of "
            "numbers for each sample: wrap it in a function that picks or pools the others"
        )
    # Regressors often squeeze their one output away.
    return logits[:, None] if logits.dim() == 1 else logits


def _described(output: Any) -> str:
    kind = type(output).__name__
    if isinstance(output, Mapping):
        return f"a {kind} with {', '.join(map(repr, output))}"
    return f"a {kind} of {len(output)}" if isinstance(output, list | tuple) else f"a {kind}"


def _padded(rows: Tensor, spare: int) -> Tensor:
    """A copy, filled up with the last row: a model may write into what it is given."""
    if spare == 0:
        return rows.clone()
    # Detached: the outputs of these rows are thrown away, so no way back should run through them.
    return torch.cat([rows, rows[-1:].detach().expand(spare, *rows.shape[1:])])
