"""What the models of all libraries have in common: rows of a table go in, outputs come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from xai_bench.data.bundle import Task
from xai_bench.types import Column, TreeStructure, Unsupported

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
FLOOR = 1e-12
"""Every class gets at least this probability, so that no logarithm is minus infinity."""


@dataclass(frozen=True, eq=False)
class TableTrees:
    """Trees that ask about the columns of a table, or about what is made of them.

    Attributes:
        make: `table of N rows -> [N, Q]`, what the trees ask about; None: the numbers of the table.
        source: `[Q, columns of the table]` bool, what each is made of; None: the column itself.
    """

    trees: TreeStructure
    make: Callable[[Any], Floats] | None = None
    source: Bools | None = None


class TableModel(Protocol):
    """A fitted model of a library.

    Attributes:
        library: as people write it.
        takes: whether `outputs` wants a `frame` (a data frame where the columns have names, else
            an array) or `numbers` (`[N, Q]` float64 with codes for categories, NaN for gaps).
        columns: the names that it was fitted on; empty where it was fitted on an array.
        n_columns: how many; 0 where nobody knows.
        categories: column number -> the categories in the order of their codes, where the model
            knows them.
        class_names: empty for regression.
    """

    @property
    def library(self) -> str:
        """The name of the package."""
        ...

    @property
    def takes(self) -> Literal["frame", "numbers"]:
        """Whether `outputs` wants a frame or numbers."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The names that it was fitted on, or none."""
        ...

    @property
    def n_columns(self) -> int:
        """How many; 0 where nobody knows."""
        ...

    @property
    def categories(self) -> Mapping[int, Sequence[Any]]:
        """Column number -> its categories, in the order of their codes."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """Empty for regression."""
        ...

    @property
    def n_outputs(self) -> int:
        """`C`: the number of classes; 1 for regression."""
        ...

    def outputs(self, table: Any) -> Floats:
        """`[N, C]`: logits of a classifier, values of a regressor."""
        ...

    def trees(self, column: Column) -> TableTrees | None:
        """How outputs or probabilities come about; None where there is nothing to read.

        Raises `Unsupported` where the trees add up to something else.
        """
        ...


def task_of(model: TableModel) -> Task:
    """A model without classes is a regressor."""
    return "classification" if model.class_names else "regression"


def split_in_two(scores: Floats) -> Floats:
    """`[N] -> [N, 2]`: the logits `[-z/2, z/2]` of a binary score, whose softmax is its sigmoid."""
    return np.stack([-scores / 2, scores / 2], axis=1)


def outputs_of(values: Floats, *, binary: bool) -> Floats:
    """`[N]` or `[N, C]` to `[N, C]`: a binary score as two logits, a lone output as a column."""
    if binary:
        return split_in_two(values)
    return values if values.ndim == 2 else values[:, None]


def log_probabilities(probabilities: Floats, floor: float = FLOOR) -> Floats:
    """`[N, C] -> [N, C]`: their logarithms, mixed with equal shares of `floor`."""
    mixed: Floats = np.log(floor + (1 - probabilities.shape[1] * floor) * probabilities)
    return mixed


def require_logits(column: Column, library: str) -> None:
    """Raise `Unsupported` where a probability is explained, and the trees add up to logits."""
    if column == "probabilities":
        raise Unsupported(
            f"the trees of {library} add up to logits, and a probability is explained: "
            "use target=predicted_logit"
        )


def require_identity(library: str, objective: str, identities: Sequence[str]) -> None:
    """Raise `Unsupported` where the sum of the trees is turned into something else."""
    if not objective.startswith(tuple(identities)):
        raise Unsupported(
            f"{library} turns the sum of its trees into the prediction by the objective "
            f"{objective!r}: explain the sum itself (margin=true), or ask an explainer that needs "
            "no trees"
        )


def not_installed(library: str, extra: str) -> ValueError:
    """The error where a model needs a library that is not there."""
    return ValueError(
        f"{library} is not installed, and this model needs it: pip install 'xai-bench[{extra}]'"
    )


def loadings(n_trees: int, *, binary: bool) -> list[list[float]]:
    """What one tree of each of the `n_trees` of a round adds to the outputs `[C]`."""
    if binary:
        return [[-0.5, 0.5]]
    return np.eye(n_trees).tolist()
