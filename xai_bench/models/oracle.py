"""The generating function of a synthetic task, as a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from xai_bench.data.bundle import Bundle
from xai_bench.models.base import OnEpoch, Predictor, Trained
from xai_bench.models.text.predictor import predictor_of
from xai_bench.types import Unsupported


@dataclass(frozen=True)
class Oracle:
    """The function that generated a synthetic task, whose exact attributions are known."""

    needs: ClassVar[tuple[str, ...]] = ("oracle",)
    differentiable: ClassVar[bool] = True
    trains: ClassVar[bool] = False

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        """Take the function from the data. Raises `Unsupported` where there is none."""
        return Trained(_predictor(bundle))

    def save(self, predictor: Predictor, folder: Path) -> None:
        """Write nothing: the function comes with the data."""

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        """Take the function from the data; `folder` holds nothing."""
        return _predictor(bundle)


def _predictor(bundle: Bundle) -> Predictor:
    if bundle.oracle is None:
        raise Unsupported("oracle needs a synthetic task; this data has no generating function")
    return predictor_of(bundle.oracle, bundle.n_outputs)
