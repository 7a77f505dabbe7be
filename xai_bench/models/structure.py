"""The structure of a torch module, read from its weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xai_bench.types import AdditiveStructure, LinearStructure, Structure


@torch.no_grad()
def read(module: nn.Module) -> Structure | None:
    """The structure of a linear module, or of one whose hidden units read one element each.

    Recognised are sequences of `Flatten`, `Linear` and at most one `ReLU`; None for any other.
    """
    layers = _chain(module)
    match layers:
        case [nn.Linear() as head]:
            return LinearStructure(head.weight.double())
        case [nn.Linear() as hidden, nn.ReLU(), nn.Linear() as head] if _one_element_each(hidden):
            return AdditiveStructure(_Terms(hidden, head))
    return None


@dataclass(frozen=True, eq=False)
class _Terms:
    """The terms of a network whose hidden units read one element each."""

    hidden: nn.Linear
    head: nn.Linear

    @torch.no_grad()
    def __call__(self, x: Tensor, targets: Tensor) -> Tensor:
        """`[N, *S], [N] -> [N, *S]` float64: the term of each element in the output `targets`."""
        # The only weight that is not 0; a unit that reads nothing adds a constant to the first
        # term.
        element = self.hidden.weight.abs().argmax(1)
        slope = self.hidden.weight.double().gather(1, element[:, None])[:, 0]
        # [N, H]
        bent = (x.flatten(1).double()[:, element] * slope + self.hidden.bias.double()).relu()
        out = torch.zeros(x.shape, dtype=torch.float64).flatten(1)
        out.scatter_add_(1, element.expand(len(x), -1), bent * self.head.weight.double()[targets])
        return out.view(x.shape)


def _chain(module: nn.Module) -> list[nn.Module]:
    """The layers of a sequence in order, those that only change the shape left out."""
    # Not a subclass, whose forward may be another one.
    if type(module) is nn.Sequential:
        return [layer for part in module for layer in _chain(part)]
    return [] if isinstance(module, nn.Flatten | nn.Identity) else [module]


def _one_element_each(layer: nn.Linear) -> bool:
    return layer.bias is not None and bool(((layer.weight != 0).sum(1) <= 1).all())
