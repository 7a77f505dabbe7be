"""What explaining took, kept beside an explanation; and the model of maps that have none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NoReturn

import torch
from torch import Tensor

from xai_bench.types import Case, Explanation, Inputs, Kind, Rng, Unsupported

SPENT = ("forward_rows", "gradient_rows", "seconds")


@dataclass(frozen=True)
class Spent:
    """One of `SPENT` of each sample, as a metric, so that the loop measures it."""

    category: ClassVar[str] = "spent"
    higher_is_better: ClassVar[bool] = False
    what: str = "forward_rows"

    def score(self, case: Case) -> Tensor:
        """`[B]`."""
        value: Tensor = getattr(case.cost, self.what)
        return value.double()


@dataclass(frozen=True, eq=False)
class Given:
    """Stands in for the explainer of attributions that the user computed elsewhere."""

    kind: Kind
    category: str = "given"
    needs: tuple[str, ...] = ()
    paper: str = ""
    version: int = 1

    def explain(self, model: object, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported`: there is nothing here that could explain other inputs."""
        raise Unsupported(
            "the metric explains other inputs; use judge(explainer, metrics) instead of score"
        )


@dataclass(frozen=True, eq=False)
class NoModel:
    """The model of attributions that come without one: whoever asks it is told so."""

    differentiable: bool = False
    module: None = None
    max_rows: int = 512
    n_outputs: int = 1

    def outputs(self, inputs: Inputs) -> Tensor:
        """Raises `Unsupported`."""
        return self._none()

    def target_output(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """Raises `Unsupported`."""
        return self._none()

    def structure(self) -> None:
        """None: there is nothing to read."""
        return

    def _none(self) -> NoReturn:
        raise Unsupported("the metric asks the model, and there is none: use workbench(model, x)")


def unknown_like(values: Tensor) -> Tensor:
    """NaN everywhere: the samples of a map that comes without them."""
    return torch.full_like(values, torch.nan)
