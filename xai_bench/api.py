"""Without Hydra: your own torch model and tensors, our explainers and metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast, get_args

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from xai_bench.core.caller_tensors import (
    dense_units,
    first_nan,
    require_labels,
    require_samples,
    require_tensor,
)
from xai_bench.core.seeds import Seeds
from xai_bench.core.spelling import suggest
from xai_bench.data.bundle import Task
from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric, EvaluationContext
from xai_bench.evaluation.loop import evaluate
from xai_bench.models.base import Explained, Target
from xai_bench.models.caller import CallerModel
from xai_bench.models.targets import PredictedLogit
from xai_bench.results import ExplainerResult
from xai_bench.results.sample_scores import SampleScores, nothing_scored, sample_scores
from xai_bench.runner.components import build, fields_of, locate
from xai_bench.runner.config.catalogue import conf_dir, members, options
from xai_bench.runner.config.signatures import arguments
from xai_bench.types import Domain, Explainer, Explanation, Inputs, Kind, Metric, Rng, Unsupported

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
_METHODS = {"explainer": "explain", "metric": "score"}


@dataclass(frozen=True, eq=False)
class Workbench:
    """A model and samples on which explanations are made and scored; made by `workbench`.

    The model is used in evaluation mode and given back as it was: modes, weights, gradients,
    buffers and hooks. Every method raises ValueError where its weights have changed since.

    Attributes:
        context: the model, the samples and the random seeds.
        baselines: `explain` and `measure` -> the configuration of that baseline.
        caller: the model that was given.
    """

    context: EvaluationContext
    baselines: Mapping[str, Any]
    caller: CallerModel

    def explain(
        self, explainer: str | Explainer, options: Mapping[str, Any] | None = None
    ) -> Tensor:
        """`[N, *S]` float64 attributions by an explainer, named as in `xai-bench list explainers`.

        `options` override what its YAML says, such as `{"budget": 2000}`. Raises `Unsupported`
        where the explainer cannot work with this model, ValueError for options it does not have.
        """
        made = _component("explainer", explainer, options, self.baselines)
        result = self._evaluate(self.context, made, {}, None)
        if result.explanation is None:
            raise Unsupported(result.outcome.reason)
        return result.explanation.attribution

    def score(
        self,
        attribution: Tensor,
        metrics: str | Metric | Sequence[str | Metric],
        kind: Kind = "contribution",
    ) -> SampleScores:
        """Metric name -> `[N]` scores of your own attributions `[N, *S]`; NaN is "not scored".

        A sample whose attributions are not all finite is unscored by every metric. Metrics that
        explain other inputs, such as max_sensitivity, and those of cost need `judge` and an
        explainer: here they are NaN, with the reason in `reasons`. Raises ValueError for
        attributions of another shape, and `Unsupported` where no metric can score.
        """
        if kind not in get_args(Kind):
            raise ValueError(f"there is no kind {kind!r}; {suggest(str(kind), get_args(Kind))}")
        given = require_tensor("attribution", attribution)
        if given.shape != self.context.inputs.x.shape:
            raise ValueError(
                f"attributions have shape {tuple(given.shape)}; "
                f"expected that of x, {tuple(self.context.inputs.x.shape)}"
            )
        named = self._components("metric", metrics)
        scored = {n: m for n, m in named.items() if m.category != "cost"}
        explainer = cast(Explainer, _Given(kind))
        tolerant = replace(self.context, strict=False)
        result = self._evaluate(tolerant, explainer, scored, given.detach().clone().double())
        return _answered(result, named, metrics)

    def judge(
        self, explainer: str | Explainer, metrics: str | Metric | Sequence[str | Metric]
    ) -> SampleScores:
        """Metric name -> `[N]` scores of an explainer, by any metric or set of metrics.

        A metric that cannot work with this model is NaN, with the reason in `reasons`. Raises
        `Unsupported` or ValueError where that holds for all of them.
        """
        named = self._components("metric", metrics)
        made = _component("explainer", explainer, None, self.baselines)
        result = self._evaluate(replace(self.context, strict=False), made, named, None)
        return _answered(result, named, metrics)

    def compare(
        self,
        explainers: str | Explainer | Sequence[str | Explainer],
        metrics: str | Metric | Sequence[str | Metric],
    ) -> pd.DataFrame:
        """Mean scores, a row per explainer and a column per metric; all face the same draws.

        Sets stand for their members: `compare(["default"], ["fidelity"])`. What cannot work with
        this model is NaN; `frame.attrs["reasons"]` has a mapping explainer -> metric -> reason.
        Raises `Unsupported` or ValueError where nothing at all could be scored.
        """
        import pandas as pd

        named = self._components("metric", metrics)
        tolerant = replace(self.context, strict=False)
        results = {
            name: self._evaluate(tolerant, explainer, named, None)
            for name, explainer in self._components("explainer", explainers).items()
        }
        rows = {name: sample_scores(result, named) for name, result in results.items()}
        reasons = {name: row.reasons for name, row in rows.items() if row.reasons}
        if all(row.nothing for row in rows.values()):
            each = {name: f"{m}: {why}" for name, of in reasons.items() for m, why in of.items()}
            raise nothing_scored(each, results.values())
        frame = pd.DataFrame(
            {name: {m: v.nanmean().item() for m, v in row.items()} for name, row in rows.items()}
        ).T
        frame.attrs["reasons"] = reasons
        return frame

    def _evaluate(
        self,
        context: EvaluationContext,
        explainer: Explainer,
        metrics: Mapping[str, Metric],
        attribution: Tensor | None,
    ) -> ExplainerResult:
        configured_metrics = [ConfiguredMetric(name, metric) for name, metric in metrics.items()]
        configured = ConfiguredExplainer(type(explainer).__name__, explainer)
        given = None if attribution is None else Explanation(attribution)
        with self.caller.used():
            return evaluate(context, configured, configured_metrics, given=given)

    def _components(self, group: str, chosen: Any) -> dict[str, Any]:
        """Name -> component, of names of options, names of sets, and components of your own.

        Two of one class are told apart by the fields in which they differ.
        """
        made: dict[str, Any] = {}
        for each in _several(chosen):
            if isinstance(each, str):
                names = [name for name in members(group, each, [conf_dir()]) if name not in made]
                made |= {n: _component(group, n, None, self.baselines) for n in names}
            elif not any(_equal(each, other) for other in made.values()):
                component = _component(group, each, None, self.baselines)
                made[_free_name(each, made)] = component
        if not made:
            raise ValueError(f"no {group} is named; {_choose(group)}")
        return made


def workbench(
    model: nn.Module | Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    background: Tensor,
    units: Tensor | None = None,
    target: Target | str | None = None,
    labels: Tensor | None = None,
    baselines: tuple[str, str] = ("mean", "marginal"),
) -> Workbench:
    """A torch module `x [N, *S] -> [N, C]` and samples, ready to be explained and scored.

    The module may also return an object with `.logits`. It is tried on a few samples first, in
    evaluation mode, and is given back as it was.

    `background [M, *S]` are training rows. `units [*S]` or `[N, *S]` says which elements are
    removed as one; left out, every element is its own unit. `target` is the scalar explained or the
    name of one, the predicted logit by default: of several outputs each sample explains its
    largest, and `FixedOutput(j)` explains output `j` of all. `labels [N]` are true labels, which
    some targets and metrics need. `baselines` are the options for explaining and for measuring.

    Raises ValueError for tensors that do not fit, and for a model that cannot be explained sample
    by sample.
    """
    inputs = _inputs(x, background, units)
    loaded = _baselines(baselines)
    caller = CallerModel.of(model, inputs)
    explained = Explained(caller.predictor, _target(target))
    classes = caller.predictor.n_outputs if caller.predictor.n_outputs > 1 else 0
    if labels is not None:
        labels = require_labels(labels, len(inputs), classes)
    with caller.used():
        targets = _targets(explained, inputs, labels)
    follows = getattr(explained.target, "follows_output", True)
    context = EvaluationContext(
        explained,
        inputs if follows else inputs.without_truth(),
        targets,
        Seeds(0),
        labels=labels,
        strict=True,
    )
    return Workbench(context, loaded, caller)


def _inputs(x: object, background: object, units: object) -> Inputs:
    samples, rows = require_samples("x", x), require_samples("background", background)
    if rows.shape[1:] != samples.shape[1:]:
        raise ValueError(
            f"background rows have shape {tuple(rows.shape[1:])}; "
            f"expected that of one sample, {tuple(samples.shape[1:])}"
        )
    if units is None:
        units = torch.arange(samples[0].numel()).view(samples.shape[1:])
    rows = rows.detach().to(samples, copy=True)
    if len(rows) == 1:
        log.warning("the background is one row: how far elements spread is taken to be 1")
    for problem in (first_nan("x", samples), first_nan("the background", rows)):
        if problem:
            log.warning("%s: what is computed from it is NaN, or refused", problem)
    scale = rows.std(0, correction=0)
    return Inputs(
        x=samples.detach().clone(),
        units=dense_units(units, samples),
        index=torch.arange(len(samples)),
        domain=Domain(rows, torch.where(scale > 0, scale, 1.0)),
    )


def _target(target: object) -> Target:
    """The target itself, or that of a name in `conf/target`."""
    if target is None:
        return PredictedLogit()
    if isinstance(target, str):
        return cast(Target, _component("target", target, None, {}))
    if not hasattr(target, "choose") or not hasattr(target, "select"):
        raise ValueError(
            f"target={target!r} is no target; {_choose('target')}, or one output of all samples by "
            "FixedOutput(j) of xai_bench.models.targets"
        )
    return cast(Target, target)


@torch.no_grad()
def _targets(model: Explained, inputs: Inputs, labels: Tensor | None) -> Tensor:
    """`[N]`, chosen once. Raises ValueError where the target needs labels and there are none."""
    target = model.target
    if labels is None and getattr(target, "needs_labels", False):
        raise ValueError(
            f"target {type(target).__name__} needs the true labels: workbench(..., labels=y)"
        )
    outputs = model.outputs(inputs)
    if bad := first_nan("what the model gives", outputs):
        log.warning("%s: what is computed from it is NaN, or refused", bad)
    task: Task = "classification" if outputs.shape[1] > 1 else "regression"
    # No class, so that a target that asks for labels without saying so cannot take one for true.
    known = torch.full((len(inputs),), -1) if labels is None else labels
    chosen = target.choose(outputs, known, task)
    try:
        target.select(outputs, chosen)
    except (RuntimeError, IndexError) as error:
        raise ValueError(
            f"target {type(target).__name__} cannot be read off outputs of shape "
            f"{list(outputs.shape)} {'without' if labels is None else 'with'} labels: {error}"
        ) from error
    return chosen


def _baselines(names: object) -> dict[str, Any]:
    if not isinstance(names, tuple | list) or len(names) != 2:
        raise ValueError(
            f"baselines={names!r}; expected two names, for explaining and for measuring"
        )
    slots = zip(("explain", "measure"), names, strict=True)
    return {slot: _load("baseline", name) for slot, name in slots}


def _component(
    group: str, chosen: Any, options: Mapping[str, Any] | None, baselines: Mapping[str, Any]
) -> Any:
    """The component of a name, with some of its settings changed; any other one as it is."""
    if not isinstance(chosen, str):
        if isinstance(chosen, type) or not hasattr(chosen, _METHODS.get(group, "choose")):
            raise ValueError(f"{chosen!r} is no {group}; {_choose(group)}, or give one of your own")
        return chosen
    loaded = _load(group, chosen)
    node = OmegaConf.merge(loaded.get(chosen, loaded), dict(options or {}))
    config = OmegaConf.create({"baseline": baselines, "node": node})
    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))["node"]
    if problems := list(arguments(chosen, locate(plain["_target_"]), fields_of(plain))):
        raise ValueError("; ".join(problems))
    return build(plain)


def _load(group: str, name: Any) -> Any:
    """The YAML of one option, or one sentence with the near misses."""
    paths = options(group, [conf_dir()])
    if name not in paths:
        raise ValueError(f"there is no {group} '{name}'; {suggest(str(name), paths)}")
    return OmegaConf.load(paths[name])


def _choose(group: str) -> str:
    return suggest("", options(group, [conf_dir()]))


def _several(chosen: Any) -> list[Any]:
    """What was chosen, as a list: one name or component stands for itself."""
    return list(chosen) if isinstance(chosen, list | tuple | set) else [chosen]


def _names(chosen: Any) -> set[str]:
    """The names under which components were asked for one by one, not as part of a set."""
    return {each if isinstance(each, str) else type(each).__name__ for each in _several(chosen)}


def _equal(one: Any, other: Any) -> bool:
    """Whether two values are equal, where that is a question with one answer."""
    try:
        return one is other or (type(one) is type(other) and bool(one == other))
    except (RuntimeError, ValueError):  # tensors and arrays compare element by element
        return False


def _answered(result: ExplainerResult, named: Mapping[str, Metric], chosen: object) -> SampleScores:
    """The scores, with a warning for each metric that was asked for by name and has none.

    Raises where no metric has any.
    """
    scores = sample_scores(result, named)
    if scores.nothing:
        raise nothing_scored(scores.reasons, [result])
    for name, reason in scores.reasons.items():
        if name in _names(chosen):
            log.warning("%s is not scored: %s", name, reason)
    return scores


def _free_name(component: Any, made: Mapping[str, Any]) -> str:
    """The name of its class; where that is taken, with the fields in which they differ."""
    name = type(component).__name__
    other = made.get(name)
    if other is None:
        return name
    mine, its = (getattr(each, "__dict__", {}) for each in (component, other))
    fields = [f"{k}={v}" for k, v in mine.items() if k not in its or not _equal(its[k], v)]
    longer = f"{name}({', '.join(fields)})" if fields else name
    number = 2
    while longer in made:
        longer, number = f"{name} {number}", number + 1
    return longer


@dataclass(frozen=True, eq=False)
class _Given:
    """Stands in for the explainer of attributions that the user computed elsewhere."""

    kind: Kind
    category: str = "given"
    needs: tuple[str, ...] = ()
    paper: str = ""
    version: int = 1

    def explain(self, model: object, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported`: there is nothing here that could explain other inputs."""
        raise Unsupported(
            "the metric explains other inputs; use judge(explainer, metrics) instead of score"
        )
