"""Metrics of texts remove the same words again and again: each different row is computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from xai_bench.core.calls.model_wrapper import ModelWrapper
from xai_bench.core.calls.module_state import ModuleState, settings_of
from xai_bench.core.tokens import TokenNetwork
from xai_bench.evaluation.guard import Copies
from xai_bench.types import Inputs, Model

_MOST = 1 << 18
"""So many answers are kept, of some hundred bytes each; beyond them memory starts anew."""


@dataclass(frozen=True, eq=False)
class RememberedRows(ModelWrapper):
    """A model of tokens that keeps what it answered, for the metrics of all explainers.

    A row has the same bits in any batch, so its answer may come from any. Computed anew is whatever
    needs a way back, is looked at by a hook or a mode of torch, or is asked of a network that is
    not what it was. Explainers are given the model itself, or the seconds of one would depend on
    who was there before.

    Attributes:
        state, settings: of the network when it was asked first.
        answers: by a digest of all that the network is given of a row.
    """

    state: ModuleState
    settings: Sequence[tuple[str, str, object]]
    answers: dict[bytes, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Model, copies: Copies) -> Model:
        """The model with a memory; itself, where it reads no tokens."""
        network = model.module
        state = copies.of_module(network) if isinstance(network, TokenNetwork) else None
        return model if state is None else cls(model, state, settings_of(state.module))

    def outputs(self, inputs: Inputs) -> Tensor:
        """`[B, C]`: those of the model."""
        return self._answered(inputs, None)

    def target_output(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """`[B]`: that of the model."""
        return self._answered(inputs, targets)

    def relaxed(self, inputs: Inputs) -> tuple[Model, Inputs]:
        """Those of the model: a point between tokens hardly ever comes again."""
        return ModelWrapper(self.model).relaxed(inputs)

    def _answered(self, inputs: Inputs, targets: Tensor | None) -> Tensor:
        if not self._may_remember(inputs):
            return self._asked(inputs, targets)
        if len(self.answers) > _MOST:
            self.answers.clear()
        named = {"x": inputs.x, **inputs.context}
        keys = _digests(named if targets is None else {**named, "targets": targets})
        new = {key: row for row, key in enumerate(keys) if key not in self.answers}
        if new:
            rows = torch.tensor(list(new.values()), device=inputs.x.device)
            out = self._asked(inputs.take(rows), None if targets is None else targets[rows])
            self.answers.update(zip(new, out.detach(), strict=True))
        return torch.stack([self.answers[key] for key in keys])

    def _asked(self, inputs: Inputs, targets: Tensor | None) -> Tensor:
        if targets is None:
            return self.model.outputs(inputs)
        return self.model.target_output(inputs, targets)

    def _may_remember(self, inputs: Inputs) -> bool:
        if inputs.x.dim() != 2 or (torch.is_grad_enabled() and inputs.x.requires_grad):
            return False
        if is_in_torch_dispatch_mode() or self.state.changes():
            return False
        return self.settings == settings_of(self.state.module)


def _digests(named: Mapping[str, Tensor]) -> list[bytes]:
    """One for each row, of the names, types and shapes of all tensors, and of its own values."""
    what = repr([(name, values.dtype, values.shape[1:]) for name, values in named.items()])
    parts = [
        values.detach().cpu().flatten(1).contiguous().view(torch.uint8).numpy()
        for values in (v.view(len(v), -1) for v in named.values())
    ]
    start = blake2b(what.encode(), digest_size=16)
    digests = []
    for row in np.concatenate(parts, axis=1):
        digest = start.copy()
        digest.update(row.tobytes())
        digests.append(digest.digest())
    return digests
