"""What an explainer refuses before it has asked the model anything: known before any training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch

from xai_bench.core import units
from xai_bench.core.seeds import Seeds
from xai_bench.types import Explainer, Inputs, Model, Unsupported


def refusal(explainer: Explainer, inputs: Inputs) -> str | None:
    """Why the explainer cannot explain such inputs with any model; None where that is not known.

    It is called on copies of one sample, that of most units, with a model that cannot be asked: a
    budget below what the units need, or axes that x does not have, are then the reason whatever
    the model is. Tokens tell nothing, because many explainers see their embeddings.
    """
    if inputs.domain.discrete:
        return None
    sample = inputs.take(units.count(inputs.units).argmax()[None])
    domain = replace(sample.domain, background=sample.domain.background.clone())
    sample = replace(sample, x=sample.x.clone(), domain=domain)
    rng = Seeds(0).stream("explain", samples=sample.index)
    try:
        explainer.explain(cast(Model, _Unasked()), sample, torch.zeros(1).long(), rng=rng)
    except Unsupported as reason:
        return str(reason)
    except (Exception, SystemExit, _Asked):  # whatever else is wrong is told when it is explained
        return None
    return None


class _Asked(BaseException):
    """The model was asked; no `Exception`, so that no explainer takes it for the model's."""


class _Unasked:
    """A model of which only is known what no refusal may depend on."""

    differentiable = True
    max_rows = 512

    @property
    def module(self) -> _Unasked:
        """There is one, of which nothing is known."""
        return self

    def __getattr__(self, name: str) -> Any:
        raise _Asked(name)
