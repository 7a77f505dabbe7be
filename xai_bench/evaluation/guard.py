"""Nobody's neighbours are harmed: what components share is watched, and put back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn

from xai_bench.core.calls.module_state import ModuleState, Sighting, same
from xai_bench.core.spelling import listed
from xai_bench.evaluation.memory import ProbeMemory
from xai_bench.types import Case, Inputs


@dataclass(frozen=True, eq=False)
class _Copied:
    """A tensor as it was seen, and its values then."""

    seen: Sighting
    values: Tensor


@dataclass(eq=False)
class Copies:
    """Copies of what many guards watch, each made once.

    Attributes:
        module: the state of the module when it was watched last.
        tensors: by identity, which the copy keeps alive.
    """

    module: ModuleState | None = None
    tensors: dict[tuple[int, ...], _Copied] = field(default_factory=dict)

    def of(self, tensor: Tensor) -> _Copied:
        """The tensor with a copy of its values."""
        # By its place in memory: views of broadcast tensors are made anew each time.
        key = (tensor.data_ptr(), *tensor.shape, *tensor.stride())
        copied = self.tensors.get(key)
        if copied is None or copied.values.dtype != tensor.dtype or not copied.seen.holds():
            copied = _Copied(Sighting.of(tensor), tensor.detach().clone())
            self.tensors[key] = copied
        return copied

    def for_batch(self) -> Copies:
        """These, to which those of one batch are added that end with it."""
        return Copies(self.module, dict(self.tensors))

    def of_module(self, module: nn.Module | None) -> ModuleState | None:
        """The state of the module now."""
        if module is not None:
            earlier = self.module if self.module and self.module.module is module else None
            self.module = ModuleState.of(module, earlier)
        return self.module if module is not None else None


@dataclass(frozen=True, eq=False)
class Guard:
    """What several components read: each tensor beside a copy, and the state of the module."""

    tensors: Sequence[tuple[str, _Copied]]
    module: ModuleState | None = None
    memories: Sequence[ProbeMemory] = ()

    @classmethod
    def of(
        cls,
        named: Mapping[str, Tensor | None],
        module: ModuleState | None = None,
        memories: Sequence[ProbeMemory] = (),
        copies: Copies | None = None,
    ) -> Guard:
        """Watch the tensors that are there, the weights and hooks of a module, and memories.

        `copies` made before serve again where nothing has been written since.
        """
        copies = Copies() if copies is None else copies
        parts = {name: _own_memory(t) for name, t in named.items() if t is not None}
        return cls([(name, copies.of(t)) for name, t in parts.items()], module, memories)

    @contextmanager
    def watched(self, who: str) -> Iterator[None]:
        """Raises ValueError where `who` wrote into what is watched; it is put back in any case.

        So are the settings of torch, which nobody can see in a number.
        """
        with settings_as_before():
            try:
                yield
            finally:
                changed = self._put_back()
        if changed:
            raise ValueError(
                f"{who} changed {listed(changed, 3)}, which others read; "
                "it has been put back: work on a copy, such as x.clone()"
            )

    def _put_back(self) -> list[str]:
        """What had been changed."""
        changed = []
        if self.module is not None and self.module.changes():
            # Buffers are put back unsaid: a module may write into its own when it is called.
            changed = self.module.changes(buffers=False)
            self.module.restore()
        for name, copied in self.tensors:
            tensor = copied.seen.tensor
            if tensor.is_leaf and tensor.requires_grad and not copied.values.requires_grad:
                tensor.requires_grad_(False)  # harmless once it is taken off again
            if not copied.seen.holds() and not same(tensor.detach(), copied.values):
                with torch.no_grad():
                    tensor.copy_(copied.values)
                changed.append(name)
        return changed + [name for memory in self.memories for name in memory.drop_altered()]


@contextmanager
def settings_as_before() -> Iterator[None]:
    """Gradient mode, default type and threads of torch are after the block what they were."""
    gradients, threads = torch.is_grad_enabled(), torch.get_num_threads()
    dtype = torch.get_default_dtype()
    try:
        yield
    finally:
        torch.set_grad_enabled(gradients)
        torch.set_default_dtype(dtype)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def of_inputs(inputs: Inputs) -> dict[str, Tensor | None]:
    """Name -> tensor of all that a batch and its domain hold."""
    domain = inputs.domain
    return {
        "inputs.x": inputs.x,
        "inputs.units": inputs.units,
        "inputs.index": inputs.index,
        **{f"inputs.context[{name!r}]": value for name, value in inputs.context.items()},
        "domain.background": domain.background,
        "domain.scale": domain.scale,
        "domain.labels": domain.labels,
        "domain.sensitive": domain.sensitive,
        **_fields("domain.actionability", domain.actionability),
        **_fields("domain.symbols", domain.symbols),
        **{f"domain.context[{name!r}]": value for name, value in domain.context.items()},
    }


def of_case(case: Case) -> dict[str, Tensor | None]:
    """Name -> tensor of all that a case holds."""
    return {
        **of_inputs(case.inputs),
        "targets": case.targets,
        **case.explanation.tensors(),
        "truth": case.truth,
        "rationale": case.rationale,
        "labels": case.labels,
        **{f"groups[{name!r}]": codes for name, codes in case.groups.items()},
    }


def _fields(name: str, value: Any) -> dict[str, Tensor | None]:
    """The tensors among the fields of a dataclass, or of nothing."""
    named = [] if value is None else [(f.name, getattr(value, f.name)) for f in fields(value)]
    return {f"{name}.{field}": v for field, v in named if isinstance(v, Tensor)}


def _own_memory(tensor: Tensor) -> Tensor:
    """The part of a broadcast view that has memory of its own; any other tensor itself."""
    if 0 not in tensor.stride():
        return tensor
    return tensor[tuple(slice(0, 1) if step == 0 else slice(None) for step in tensor.stride())]
