"""The contract of an explainer, tried on every kind of input."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from xai_bench.certify import axioms
from xai_bench.certify.check_result import Check, CheckResult, Verdict, run_checks
from xai_bench.certify.toy_worlds import OFFERS, WORLDS, World
from xai_bench.core import units
from xai_bench.core.cost import Metered
from xai_bench.core.seeds import Seeds
from xai_bench.evaluation.failures import attempt
from xai_bench.types import Explainer, Fitted, Imputer, Inputs, Unsupported, tags_of

QUICK = {"budget": 64, "n_samples": 4, "n_draws": 3, "n_repeats": 2}
"""Settings that make a method quick, where it has them: a contract holds at any size."""

GROUPS = ([2], [3, 0], [1, 1])
"""Rows of a batch: one alone, two in another order, one twice."""

READABLE = ("linear", "trees", "glass_box")
"""Needs that are met by what can be read of a model's structure."""


@dataclass(frozen=True, eq=False)
class Trial:
    """An explainer made ready in one toy world."""

    explainer: Explainer
    world: World

    def explain(self, world: World | None = None) -> Tensor:
        """`[B, *S]`: the map in this world, or of some of its samples."""
        return (world or self.world).explain(self.explainer)


Trials = Mapping[str, Trial]
"""Name of a world -> the trial there, for the worlds in which the explainer can explain."""


@dataclass(frozen=True)
class BlackBox(Metered):
    """The same outputs; no gradients, nothing to hook or to read."""

    @property
    def differentiable(self) -> bool:
        """Never."""
        return False

    @property
    def module(self) -> None:
        """None to hook."""
        return None

    def structure(self) -> None:
        """None that can be read."""
        return

    @torch.no_grad()
    def outputs(self, inputs: Inputs) -> Tensor:
        """`[B, C]`: those of the model, detached."""
        return self.model.outputs(inputs)

    @torch.no_grad()
    def target_output(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """`[B]`: that of the model, detached."""
        return self.model.target_output(inputs, targets)


def check_map(trial: Trial) -> str:
    """A map is finite, detached, of the shape of x, and 0 in padding."""
    attribution, x = trial.explain(), trial.world.inputs.x
    if attribution.shape != x.shape:
        return f"gives shape {tuple(attribution.shape)} for inputs {tuple(x.shape)}"
    if not attribution.isfinite().all() or attribution.requires_grad:
        return "gives NaN or infinity, or a map that still requires gradients"
    return "gives padding an attribution" * bool(
        (attribution[trial.world.inputs.units < 0] != 0).any()
    )


def check_no_side_effects(trial: Trial) -> str:
    """Model, inputs and the global generator stay as they were; no hook is left."""
    module, x = trial.world.model.module, trial.world.inputs.x
    assert module is not None
    # Copies: what is written in place would change what it is compared with.
    x_before, weights = x.clone(), copy.deepcopy(module.state_dict())
    generator = torch.get_rng_state()
    trial.explain()
    if not torch.equal(x, x_before) or x.grad is not None or x.requires_grad:
        return "changes its inputs"
    if not all(torch.equal(v, weights[k]) for k, v in module.state_dict().items()):
        return "changes the weights of the model"
    if not torch.equal(torch.get_rng_state(), generator):
        return "draws from the global generator of torch"
    hooked = any(
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m.training
        for m in module.modules()
    )
    return "leaves hooks behind or another mode" * hooked


def check_batch_invariance(trial: Trial) -> str:
    """The same stream gives a sample the same map, whatever else is in the batch."""
    together = trial.explain()
    if not torch.equal(together, trial.explain()):
        return "gives another map when asked again with the same stream"
    for rows in GROUPS:
        part = trial.explain(trial.world.take(torch.tensor(rows)))
        # Not to the bit: the model itself rounds differently for few rows.
        if not torch.allclose(part, together[rows], rtol=1e-9, atol=1e-11):
            return "gives a sample another map in another batch"
    return ""


def check_few_rows(trial: Trial) -> str:
    """A model that takes two rows a call with a way back gives the same map as one that takes all.

    Only of explainers that go back through the model: others have one bound, and every world has
    fewer samples than that of its model.
    """
    if not {"gradient", "module"} & set(tags_of(trial.explainer).needs):
        return ""
    world = trial.world
    few = replace(world, model=replace(world.model, max_gradient_rows=2))
    same = torch.allclose(trial.explain(few), trial.explain(), rtol=1e-9, atol=1e-11)
    return "" if same else "gives another map where fewer rows go back in one call"


def check_rows(trial: Trial) -> str:
    """Counted rows equal what `rows` states, where it states anything."""
    rows_of: Any = getattr(trial.explainer, "rows", lambda *_: None)
    counts = units.count(trial.world.inputs.units)
    stated = rows_of(int(counts.max()), n_references(trial.explainer, trial.world))
    if stated is None:
        return ""
    metered = Metered(trial.world.model)
    # The sample with most units, which is the one the statement is made for.
    largest = trial.world.take(counts.argmax()[None])
    trial.explainer.explain(metered, largest.inputs, largest.targets, rng=largest.rng)
    taken = metered.usage.rows
    return "" if taken == stated else f"states {stated} and takes {taken}"


def n_references(explainer: Explainer, world: World) -> int:
    """How many references the explainer's own baseline gives a sample; 1 where it has none."""
    baseline: Any = getattr(explainer, "baseline", None)
    if baseline is None:
        return 1
    if isinstance(baseline, Imputer):
        return baseline.n_references
    references: Tensor = baseline.references(world.inputs, rng=world.rng)
    return references.shape[1]


def check_black_box(trial: Trial) -> str:
    """Without gradients and structure it works, or says that it needs them."""
    world = trial.world
    needs = set(tags_of(trial.explainer).needs) & {"gradient", "module", "attention", *READABLE}
    model = BlackBox(world.model)
    try:
        trial.explainer.explain(model, world.inputs, world.targets, rng=world.rng)
    except Unsupported:
        return "" if needs else "declines a black box but states no needs of the model"
    return "works without gradients but states that it needs them" if needs else ""


CHECKS: Sequence[tuple[str, Callable[[Trial], str]]] = (
    ("finite map of the shape of x", check_map),
    ("no trace left behind", check_no_side_effects),
    ("same map in any batch", check_batch_invariance),
    ("same map with few rows a call", check_few_rows),
    ("counted rows as stated", check_rows),
    ("black box as stated", check_black_box),
)
"""Property -> what is wrong in one world, empty where nothing is."""


def contract(name: str, explainer: Explainer) -> list[CheckResult]:
    """One result per property: the worlds in which it holds.

    Where an explainer raises before it has explained anything, nothing else is checked.
    """
    outcomes = {
        where: attempt(False, lambda build=build: _trial(explainer, build()))  # type: ignore[misc]
        for where, build in WORLDS.items()
    }
    trials = {where: trial for where, (trial, _) in outcomes.items() if trial is not None}
    raised = {w: o.reason for w, (_, o) in outcomes.items() if o.status == "failed"}
    declined = {w: o.reason for w, (_, o) in outcomes.items() if o.status == "skipped"}
    checks = [
        *(
            Check[Trials](title, lambda trials, check=check: _in_every_world(name, check, trials))  # type: ignore[misc]
            for title, check in CHECKS
        ),
        Check[Trials]("needs as stated", lambda _: _needs(name, explainer, declined)),
        Check[Trials]("axioms as stated", lambda _: _axioms(name, explainer)),
    ]
    if not raised:
        return run_checks(name, trials, checks)
    fault = f"{name} {_by_reason({w: f'raised: {reason}' for w, reason in raised.items()})}"
    failure = Check[Trials]("explains", lambda _: Verdict("", fault))
    return run_checks(name, trials, [failure, *(checks if trials else [])])


def _trial(explainer: Explainer, world: World) -> Trial:
    """The explainer made ready. Raises what it raises when it first explains."""
    trial = Trial(ready(explainer, world), world)
    trial.explain()
    return trial


def ready(explainer: Explainer, world: World) -> Explainer:
    """The explainer with `QUICK` settings, and fitted where it has a `fit`."""
    fields = getattr(explainer, "__dataclass_fields__", {})
    # By name, so that whoever adds an explainer states nothing for the check.
    settings: Any = {field: value for field, value in QUICK.items() if field in fields}
    made: Any = explainer
    quick: Explainer = replace(made, **settings) if settings else made
    if not isinstance(quick, Fitted):
        return quick
    rng = Seeds(0).stream("fit", samples=torch.zeros(1, dtype=torch.long))
    return quick.fit(world.model, world.background(), rng=rng)


def missing_needs(explainer: Explainer, where: str) -> set[str]:
    """What the explainer states to need and a toy world does not offer.

    Among it `max_units`, where it has such a setting and the world has more units.
    """
    missing = set(tags_of(explainer).needs) - OFFERS[where]
    max_units = getattr(explainer, "max_units", None)
    if max_units is None or units.width(WORLDS[where]().inputs.units) <= max_units:
        return missing
    return missing | {"max_units"}


def _needs(name: str, explainer: Explainer, declined: Mapping[str, str]) -> Verdict:
    """An explainer works where all that it states to need is there, and only there."""
    wrong = {}
    for where in WORLDS:
        missing = missing_needs(explainer, where)
        if where in declined and not missing:
            wrong[where] = f"declines a world that lacks nothing of its `needs`: {declined[where]}"
        if where not in declined and missing:
            # Statements of too many needs are wrong, too: they hide an explainer where it would
            # work.
            wrong[where] = f"works without what it states to need: {', '.join(sorted(missing))}"
    shown = ", ".join(tags_of(explainer).needs) or "none"
    return Verdict(shown, f"{name} {_by_reason(wrong)}" if wrong else "")


def _axioms(name: str, explainer: Explainer) -> Verdict:
    """The axioms it breaks; a fault where it states others. Raises `Unsupported` where it must."""
    maps: axioms.Maps = lambda world: world.explain(ready(explainer, world))  # noqa: E731
    broken = {axiom for axiom, satisfied in axioms.SATISFIES.items() if not satisfied(maps)}
    stated = axioms.stated_to_break(explainer)
    shown = f"breaks {', '.join(sorted(broken))}" if broken else "all satisfied"
    if stated == broken or not hasattr(explainer, "breaks_axioms"):
        return Verdict(shown)
    statement = f"states {', '.join(sorted(stated)) or 'none'} in `breaks_axioms`"
    return Verdict(shown, f"{name} {shown} and {statement}")


def _in_every_world(name: str, check: Callable[[Trial], str], trials: Trials) -> Verdict:
    """The worlds that the explainer can explain, and what is wrong in them."""
    if not trials:
        raise Unsupported("none of the small worlds has what it needs")
    outcomes = {where: attempt(False, lambda t=t: check(t)) for where, t in trials.items()}  # type: ignore[misc]
    problems = {
        where: f"raised: {outcome.reason}" if outcome.status == "failed" else problem or ""
        for where, (problem, outcome) in outcomes.items()
    }
    wrong = {where: problem for where, problem in problems.items() if problem}
    return Verdict(", ".join(trials), f"{name} {_by_reason(wrong)}" if wrong else "")


def _by_reason(problems: Mapping[str, str]) -> str:
    """World -> what is wrong there, as one sentence that names each problem once."""
    worlds: dict[str, list[str]] = {}
    for where, problem in problems.items():
        worlds.setdefault(problem, []).append(f"'{where}'")
    return "; ".join(f"{problem} (on {', '.join(where)})" for problem, where in worlds.items())
