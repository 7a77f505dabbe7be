"""The tensor that stands for what a layer gives, where the layer gives more than one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

SEQUENCES = (nn.RNNBase, nn.MultiheadAttention)
"""Recurrent and attention layers: what they give is a sequence `[B, T, H]`, and more beside it."""


def network_output(output: Any) -> Any:
    """What a whole network gives: of an object with `.logits` these, else the output itself."""
    return output if isinstance(output, Tensor) else getattr(output, "logits", output)


def output_of(layer: nn.Module, output: Any) -> Tensor | None:
    """`[B, ...]`: the output itself; of a recurrent or attention layer its sequence `[B, T, H]`,
    samples first whatever `batch_first` says. None where that is no tensor of numbers.
    """
    tensor = output[0] if isinstance(layer, SEQUENCES) and isinstance(output, tuple) else output
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        return None
    return tensor.transpose(0, 1) if _steps_first(layer, tensor) else tensor


def with_output(layer: nn.Module, output: Any, value: Tensor) -> Any:
    """The same output with another `output_of`.

    The last state of a recurrent layer is the last step of its sequence, so it follows; the states
    of the layers below the last one, and the cells of an LSTM, stay as they are.
    """
    if not isinstance(layer, SEQUENCES) or not isinstance(output, tuple):
        return value
    sequence = value.transpose(0, 1) if _steps_first(layer, output[0]) else value
    if not isinstance(layer, nn.RNNBase):
        return sequence, *output[1:]
    states = output[1] if isinstance(output[1], tuple) else (output[1],)
    last = _last_states(layer, value, states[0])
    return sequence, ((last, *states[1:]) if len(states) > 1 else last)


def _steps_first(layer: nn.Module, sequence: Tensor) -> bool:
    """Whether the steps stand before the samples; one sequence alone has no axis of samples."""
    return isinstance(layer, SEQUENCES) and not layer.batch_first and sequence.dim() == 3


def _last_states(layer: nn.RNNBase, sequence: Tensor, states: Tensor) -> Tensor:
    """`sequence [B, T, D * H], states [L * D, B, H]`: with those of the last layer read off the
    sequence: its last step, and of the way back its first.
    """
    if sequence.dim() != 3:
        return states
    ways = sequence.chunk(2 if layer.bidirectional else 1, dim=2)
    # The way back ends at the first step: index -0 is 0.
    ends = torch.stack([way[:, -k] for k, way in zip((1, 0), ways, strict=False)])
    return torch.cat([states[: -len(ways)], ends])
