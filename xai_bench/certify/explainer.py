"""The contract of an explainer, tried on every kind of input."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from xai_bench.certify.finding import CheckResult, tried, verdict
from xai_bench.certify.toy_worlds import WORLDS, World
from xai_bench.core import units
from xai_bench.core.cost import Metered
from xai_bench.core.seeds import Seeds
from xai_bench.types import Explainer, Fitted, Imputer, Inputs, Unsupported, tags_of

QUICK = {"budget": 64, "n_samples": 4, "n_draws": 3, "n_repeats": 2}
"""Smaller settings for methods that have them: a contract holds at any size."""
GROUPS = ([2], [3, 0], [1, 1])
"""Alone, in another order, twice."""

READ = ("linear", "trees", "glass_box")
"""What the inside of a model must show."""

Property = Callable[["Trial"], str]


@dataclass(frozen=True, eq=False)
class Trial:
    """An explainer made ready in one world."""

    name: str
    explainer: Explainer
    world: World

    def explain(self, world: World | None = None) -> Tensor:
        return (world or self.world).explain(self.explainer)


@dataclass(frozen=True)
class BlackBox(Metered):
    """The same answers, no gradients, nothing to hook or to read."""

    @property
    def differentiable(self) -> bool:
        return False

    @property
    def module(self) -> None:
        return None

    def structure(self) -> None:
        return None

    @torch.no_grad()
    def outputs(self, inputs: Inputs) -> Tensor:
        return self.model.outputs(inputs)

    @torch.no_grad()
    def target_output(self, inputs: Inputs, targets: Tensor) -> Tensor:
        return self.model.target_output(inputs, targets)


def shape(trial: Trial) -> str:
    """Finite, detached, of the shape of x, 0 in padding."""
    found, x = trial.explain(), trial.world.inputs.x
    if found.shape != x.shape:
        return f"gives shape {tuple(found.shape)} for inputs {tuple(x.shape)}"
    if not found.isfinite().all() or found.requires_grad:
        return "gives NaN or infinity, or a map that still requires gradients"
    return "gives padding an attribution" * bool((found[trial.world.inputs.units < 0] != 0).any())


def no_trace(trial: Trial) -> str:
    """Model, inputs and the global generator stay as they were; no hook is left."""
    module, x = trial.world.model.module, trial.world.inputs.x
    assert module is not None
    before = (x.clone(), copy.deepcopy(module.state_dict()), torch.get_rng_state())
    trial.explain()
    if not torch.equal(x, before[0]) or x.grad is not None or x.requires_grad:
        return "changes its inputs"
    if not all(torch.equal(v, before[1][k]) for k, v in module.state_dict().items()):
        return "changes the weights of the model"
    if not torch.equal(torch.get_rng_state(), before[2]):
        return "draws from the global generator of torch"
    hooked = any(
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m.training
        for m in module.modules()
    )
    return "leaves hooks behind or another mode" * hooked


def company(trial: Trial) -> str:
    """The same stream gives the same map, whatever else is in the batch."""
    whole = trial.explain()
    if not torch.equal(whole, trial.explain()):
        return "gives another map when asked again with the same stream"
    for rows in GROUPS:
        part = trial.explain(trial.world.take(torch.tensor(rows)))
        if not torch.allclose(part, whole[rows], rtol=1e-9, atol=1e-11):
            return "gives a sample another map in another batch"
    return ""


def counted(trial: Trial) -> str:
    """Counted rows equal what `rows` states."""
    stated: Any = getattr(trial.explainer, "rows", lambda *_: None)
    counts = units.count(trial.world.inputs.units)
    rows = stated(int(counts.max()), n_references(trial.explainer, trial.world))
    if rows is None:
        return ""
    metered = Metered(trial.world.model)
    one = trial.world.take(counts.argmax()[None])
    trial.explainer.explain(metered, one.inputs, one.targets, rng=one.rng)
    bill = metered.usage.rows
    return "" if bill == rows else f"states {rows} and takes {bill}"


def n_references(explainer: Explainer, world: World) -> int:
    """Of the explainer's own baseline; 1 where it has none."""
    baseline: Any = getattr(explainer, "baseline", None)
    if baseline is None or isinstance(baseline, Imputer):
        return 1 if baseline is None else baseline.n_references
    references: Tensor = baseline.references(world.inputs, rng=world.rng)
    return references.shape[1]


def black_box(trial: Trial) -> str:
    """Without gradients it works, or says that it cannot."""
    world, needs = trial.world, set(tags_of(trial.explainer).needs)
    if needs - {"gradient", "module", *READ}:
        return ""
    model = BlackBox(world.model)
    try:
        trial.explainer.explain(model, world.inputs, world.targets, rng=world.rng)
    except Unsupported:
        return "" if needs else "declines a black box but states no needs"
    return "works without gradients but states that it needs them" if needs else ""


PROPERTIES: Sequence[tuple[str, Property]] = (
    ("finite map of the shape of x", shape),
    ("no trace left behind", no_trace),
    ("same map in any company", company),
    ("counted rows as stated", counted),
    ("honest needs", black_box),
)


def contract(name: str, explainer: Explainer) -> list[CheckResult]:
    """One finding per property: the worlds in which it holds."""
    trials = {where: _trial(name, explainer, build()) for where, build in WORLDS.items()}
    return [
        finding
        for title, prove in PROPERTIES
        for finding in tried(
            name,
            title,
            lambda title=title, prove=prove: _held(title, prove, trials),  # type: ignore[misc]
        )
    ]


def _trial(name: str, explainer: Explainer, world: World) -> Trial | None:
    """None where the explainer says that it cannot."""
    known = getattr(explainer, "__dataclass_fields__", {})
    quick: Any = {field: value for field, value in QUICK.items() if field in known}
    made: Any = explainer
    ready = replace(made, **quick) if quick else made
    try:
        if isinstance(ready, Fitted):
            rng = Seeds(0).stream("fit", samples=torch.zeros(1, dtype=torch.long))
            ready = ready.fit(world.model, world.background(), rng=rng)
        trial = Trial(name, ready, world)
        trial.explain()
    except Unsupported:
        return None
    return trial


def _held(title: str, prove: Property, trials: dict[str, Trial | None]) -> CheckResult:
    able = {where: trial for where, trial in trials.items() if trial is not None}
    if not able:
        raise Unsupported("none of the small worlds has what it needs")
    wrong = [(t.name, where, what) for where, t in able.items() if (what := prove(t))]
    fault = "; ".join(f"{name} {what} (in the world '{where}')" for name, where, what in wrong)
    return verdict(title, ", ".join(able), fault)
