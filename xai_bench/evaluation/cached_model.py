"""A cache of model outputs: metrics of texts remove the same words again and again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from xai_bench.core.calls.model_wrapper import ModelWrapper
from xai_bench.core.calls.module_state import ModuleState, settings_of
from xai_bench.core.tokens import TokenNetwork
from xai_bench.evaluation.guard import Copies
from xai_bench.types import Inputs, Model

_MAX_ROWS = 1 << 18
"""So many outputs are kept, of some hundred bytes each; beyond them the cache starts anew."""


class Selector(Protocol):
    """A target: which scalar of the outputs is explained."""

    def select(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`[B, C], [B] -> [B]`."""
        ...


@runtime_checkable
class SelectingModel(Model, Protocol):
    """A model whose explained scalar is a function of its outputs alone."""

    @property
    def exact(self) -> bool:
        """Whether a row has the same bits in every batch."""
        ...

    @property
    def target(self) -> Selector:
        """The function."""
        ...


@dataclass(frozen=True, eq=False)
class CachedModel(ModelWrapper):
    """A model of tokens that computes every different row once, for the metrics of all explainers.

    A row of an exact model has the same bits in any batch, so its outputs may come from any. The
    cache is passed by for embeddings, where a hook or a dispatch mode of torch watches the
    computation, and where the network is not what it was. Explainers are given the model itself, or
    the seconds of one would depend on which others ran before.

    Attributes:
        model: the one that computes.
        state, settings: of the network when the cache was made.
        cache: outputs by a digest of all that the network is given of a row.
    """

    model: SelectingModel
    state: ModuleState
    settings: Sequence[tuple[str, str, object]]
    cache: dict[bytes, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Model, copies: Copies) -> Model:
        """The model with a cache; itself, where it reads no tokens, or where a row has other bits
        in another batch, so that scores would depend on who asked first.
        """
        network = model.module
        if not isinstance(model, SelectingModel) or not model.exact:
            return model
        state = copies.of_module(network) if isinstance(network, TokenNetwork) else None
        return model if state is None else cls(model, state, settings_of(state.module))

    def outputs(self, inputs: Inputs) -> Tensor:
        """`[B, C]`: those of the model."""
        if not self._may_use_cache(inputs):
            return self.model.outputs(inputs)
        if len(self.cache) > _MAX_ROWS:
            self.cache.clear()
        keys = _digests({"x": inputs.x, **inputs.context})
        new = {key: row for row, key in enumerate(keys) if key not in self.cache}
        if new:
            rows = torch.tensor(list(new.values()), device=inputs.x.device)
            out = self.model.outputs(inputs.take(rows))
            self.cache.update(zip(new, out.detach(), strict=True))
        return torch.stack([self.cache[key] for key in keys])

    def target_output(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """`[B]`: that of the model."""
        # From the outputs, so that a row is computed once whichever of the two is asked for.
        return self.model.target.select(self.outputs(inputs), targets)

    def relaxed(self, inputs: Inputs) -> tuple[Model, Inputs]:
        """Those of the model: a point between tokens hardly ever comes again."""
        return ModelWrapper(self.model).relaxed(inputs)

    def _may_use_cache(self, inputs: Inputs) -> bool:
        # Of embeddings there may be gradients, of ids never.
        is_ids = inputs.x.dim() == 2
        if not is_ids or is_in_torch_dispatch_mode() or self.state.changes():
            return False
        return self.settings == settings_of(self.state.module)


def _digests(named: Mapping[str, Tensor]) -> list[bytes]:
    """One for each row, of the names, types and shapes of all tensors, and of its own values."""
    what = repr([(name, values.dtype, values.shape[1:]) for name, values in named.items()])
    start = blake2b(what.encode(), digest_size=16)
    parts = [
        # A second axis first, since a tensor of one number per row has none to be flattened.
        values.detach().cpu()[:, None].flatten(1).contiguous().view(torch.uint8).numpy()
        for values in named.values()
    ]
    digests = []
    for row in np.concatenate(parts, axis=1):
        digest = start.copy()
        digest.update(row.tobytes())
        digests.append(digest.digest())
    return digests
