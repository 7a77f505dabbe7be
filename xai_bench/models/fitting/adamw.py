"""AdamW, the optimiser of small networks, without what torch's own loads at its first step.

The steps are those of `torch.optim.AdamW`, to the last bit; that class brings in the compiler of
torch, which takes longer than most trainings here.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_BETAS, _EPSILON = (0.9, 0.999), 1e-8


class AdamW:
    """Adam with decoupled weight decay. Loshchilov & Hutter 2019, arXiv:1711.05101."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float
    ) -> None:
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self._parameters = list(parameters)
        self._moments = [_zeros(parameter) for parameter in self._parameters]
        self._steps = [0] * len(self._parameters)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for i, parameter in enumerate(self._parameters):
            if parameter.grad is not None:
                self._steps[i] += 1
                self._move(parameter, parameter.grad, self._moments[i], self._steps[i])

    def _move(
        self, parameter: nn.Parameter, gradient: Tensor, moments: tuple[Tensor, Tensor], step: int
    ) -> None:
        """One step, in place: the decay first, then along the corrected first moment."""
        first, second = moments
        beta_1, beta_2 = _BETAS
        if self.weight_decay:
            parameter.mul_(1 - self.learning_rate * self.weight_decay)
        # The very operations of torch: the same sum written otherwise rounds otherwise.
        first.lerp_(gradient, 1 - beta_1)
        second.mul_(beta_2).addcmul_(gradient, gradient, value=1 - beta_2)
        root = (1 - beta_2**step) ** 0.5
        # Epsilon after the correction, as in torch; Kingma & Ba's shorter form adds it before.
        scale = (second.sqrt() / root).add_(_EPSILON)
        parameter.addcdiv_(first, scale, value=-self.learning_rate / (1 - beta_1**step))


def _zeros(parameter: nn.Parameter) -> tuple[Tensor, Tensor]:
    """Both moments at the start."""
    value = parameter.detach()
    return torch.zeros_like(value), torch.zeros_like(value)
