"""Layer-wise relevance propagation through transformers, as a gradient of a changed graph.

Every step is replaced by one with the same value that is linear in what relevance is passed to: the
input times the gradient is then the relevance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from xai_bench.core.tokens import AttentionLayer, HiddenLayer
from xai_bench.explainers.backprop.layer_types import ELEMENTWISE, hooked, module_of
from xai_bench.explainers.function_calls import node_name
from xai_bench.explainers.gradient.engine import value_and_gradient
from xai_bench.explainers.stated_rows import OneBackwardPass
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Unsupported

Step = Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]


@dataclass(frozen=True)
class AttnLRP(OneBackwardPass):
    """Relevance by the rules of AttnLRP: a product of two variables gives half to each, the softmax
    is passed by its first-order expansion, activations pass relevance on, and norms divide by a
    constant. Achtibat+ 2024.

    Biases, positions and the first-order expansion keep their part: the sum is not the output. The
    target is differentiated as it is, which a logit suits best.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module", "attention")
    paper: ClassVar[str] = "Achtibat+ 2024, arXiv:2402.05602"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """`[B, T, D]`, at the embeddings. Raises `Unsupported` for what has no rule."""
        module = module_of(model.module, "LRP")
        require_transformer(module)
        with replaced(module, self._steps(module)):
            _, slopes = value_and_gradient(model, inputs, targets)
        return Explanation(slopes * inputs.x)

    def _steps(self, module: nn.Module) -> list[tuple[nn.Module, Step]]:
        # Attention multiplies twice: queries with keys, weights with values. The softmax between
        # keeps its gradient, which times its input is the first-order expansion of the paper.
        products = [layer.heads for layer in _all(module, AttentionLayer)]
        products += [layer.scores for layer in _all(module, AttentionLayer)]
        products += [layer.hidden for layer in _all(module, HiddenLayer) if layer.gated]
        return [(layer, _half) for layer in products]


@dataclass(frozen=True)
class ConservativeLRP(AttnLRP):
    """Relevance with attention weights and norms as constants, so that a linear path is left; gates
    of gated layers are constants, too. Ali+ 2022 (CP-LRP).

    In a network without biases and positions the relevances add up to the output.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module", "attention")
    paper: ClassVar[str] = "Ali+ 2022, arXiv:2202.07304"

    def _steps(self, module: nn.Module) -> list[tuple[nn.Module, Step]]:
        constants = [layer.weights for layer in _all(module, AttentionLayer)]
        constants += [layer.activation for layer in _all(module, HiddenLayer) if layer.gated]
        return [(layer, _constant) for layer in constants]


def require_transformer(module: nn.Module) -> None:
    """Raise `Unsupported`, naming the first layer without a rule."""
    if not _all(module, AttentionLayer):
        raise Unsupported(
            "LRP for transformers knows the steps of those that are written out here "
            "(text_transformer, causal_transformer, minilm, smollm2, transformer); for other "
            "networks take lrp_epsilon"
        )
    for name, layer in module.named_modules():
        if next(layer.children(), None) is None and not isinstance(layer, _KNOWN):
            raise Unsupported(
                f"LRP for transformers has no rule for {type(layer).__name__} (layer '{name}')"
            )


@contextmanager
def replaced(module: nn.Module, steps: list[tuple[nn.Module, Step]]) -> Iterator[None]:
    """The network with these steps changed, and by the rules that all share, while in the block."""
    with hooked(module, {ELEMENTWISE: _passed_on, (nn.LayerNorm, nn.RMSNorm): _divided}):
        # After the shared rules, for a gate that is constant passes nothing on.
        handles = [layer.register_forward_hook(step) for layer, step in steps]
        handles.append(module.register_forward_hook(_require_layers))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


_KNOWN = (nn.Linear, nn.Embedding, nn.LayerNorm, nn.RMSNorm, nn.Softmax, nn.Identity, *ELEMENTWISE)


def _all(module: nn.Module, kind: Any) -> list[Any]:
    return [layer for layer in module.modules() if isinstance(layer, kind)]


def _half(layer: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
    """The same value and half the slope: each factor of the product has half of the relevance."""
    return out.detach() + (out - out.detach()) / 2


def _constant(layer: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
    return out.detach()


def _passed_on(layer: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
    """The slope is output over input, so that all relevance goes on; 0 of an input that is 0."""
    x = args[0].detach()
    slope = torch.where(x == 0, 0, out.detach() / torch.where(x == 0, 1, x))
    replaced_out: Tensor = out.detach() + slope * (args[0] - x)
    return replaced_out


def _divided(layer: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
    """What varies over a token's numbers is divided by a constant and weighted."""
    assert isinstance(layer, nn.LayerNorm | nn.RMSNorm)
    x: Tensor = args[0]
    if isinstance(layer, nn.LayerNorm):
        x = x - x.mean(-1, keepdim=True)
    epsilon = torch.finfo(x.dtype).eps if layer.eps is None else layer.eps
    # Detached: the division by a constant is what conserves relevance (Ali+ 2022).
    size = (x.detach().square().mean(-1, keepdim=True) + epsilon).sqrt()
    weight = 1.0 if layer.weight is None else layer.weight.detach()
    return out.detach() + (x - x.detach()) / size * weight


_NONLINEAR = {
    "Relu", "LeakyRelu", "PreluKernel", "Elu", "Celu", "Gelu", "Silu", "Mish", "Sigmoid",
    "LogSigmoid", "Tanh", "Softplus", "Hardtanh", "Hardsigmoid", "Hardswish", "Threshold",
}  # fmt: skip
"""Nonlinear functions, as autograd names the nodes of its graph. Softmax, its logarithm and the
exponential may stand between layers: weights of attention, and a target that is no logit."""


def _require_layers(module: nn.Module, args: tuple[Any, ...], out: Tensor) -> None:
    if names := sorted(_functions(out) & _NONLINEAR):
        raise Unsupported(
            f"LRP cannot hook nonlinearities that are not layers; found {', '.join(names)}"
        )


def _functions(out: Tensor) -> set[str]:
    """The functions that autograd passes through on its way from `out`."""
    visited, waiting = set(), [out.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in visited:
            visited.add(node)
            waiting += [before for before, _ in node.next_functions]
    return {node_name(node) for node in visited}
