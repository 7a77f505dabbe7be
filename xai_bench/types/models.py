"""What is asked: a model, and what stands in for what is absent."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from xai_bench.types.inputs import Inputs, Rng

ROW_BLOCK = 16
"""Rows per call are padded to a multiple of this, so that a row has the same bits in any batch."""


@runtime_checkable
class Model(Protocol):
    """A model seen as one scalar per sample. `max_rows` bounds what any engine builds at once."""

    @property
    def differentiable(self) -> bool:
        """Whether outputs have gradients with respect to x."""
        ...

    @property
    def module(self) -> nn.Module | None:
        """For methods that hook layers; every call still goes through `outputs`."""
        ...

    @property
    def n_outputs(self) -> int:
        """`C`: the number of classes; 1 for a regressor."""
        ...

    @property
    def max_rows(self) -> int:
        """The most rows that any engine sends through the model in one call."""
        ...

    def outputs(self, inputs: Inputs) -> Tensor:
        """`[B, C]`: logits of a classifier, values of a regressor."""
        ...

    def target_output(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """`[B]`: the scalar that is explained."""
        ...


@runtime_checkable
class Relaxable(Protocol):
    """A model of tokens that can be asked between them, at points of their embedding space."""

    def relaxed(self, inputs: Inputs) -> tuple[Model, Inputs]:
        """The same scalar and samples, where `x [B, T, D]` holds the embeddings of the tokens.

        Raises `Unsupported` where there are no tokens, or no embeddings to be had.
        """
        ...


class Baseline(Protocol):
    """What an absent unit is replaced by. A frozen dataclass, so that it can be part of a key."""

    def references(self, inputs: Inputs, *, rng: Rng) -> Tensor:
        """`[B, R, *S]`: `R` stand-ins per sample; results are means over them."""
        ...


@runtime_checkable
class Imputer(Protocol):
    """A baseline whose stand-ins depend on what is kept: conditional draws, inpainting."""

    @property
    def n_references(self) -> int:
        """`R`: how many stand-ins `impute` gives for each coalition."""
        ...

    def impute(self, inputs: Inputs, kept: Tensor, *, rng: Rng) -> Tensor:
        """`kept [B, K, U] -> [B, K, R, *S]`: x with the absent units replaced."""
        ...
