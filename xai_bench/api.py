"""Without Hydra: your own model and data, our explainers and metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from xai_bench.adapters import knowledge
from xai_bench.adapters import samples as adapters
from xai_bench.adapters import targets as answers
from xai_bench.adapters.attributions import attribution_of, kind_of
from xai_bench.adapters.baselines import loaded_slots
from xai_bench.adapters.explanation import NamedExplanation
from xai_bench.adapters.forms import TensorForm, is_frame
from xai_bench.adapters.layout import Layout
from xai_bench.adapters.measured import SPENT, Given, NoModel, Spent, unknown_like
from xai_bench.adapters.retraining import Fitting, variants_of
from xai_bench.adapters.units import fitted_units
from xai_bench.core.seeds import Seeds
from xai_bench.core.system.determinism import computing, require_threads
from xai_bench.core.system.devices import device_of
from xai_bench.core.system.memory import keep as keep_memory
from xai_bench.data.bundle import Task
from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric, EvaluationContext
from xai_bench.evaluation.guard import Copies
from xai_bench.evaluation.loop import evaluate
from xai_bench.models.base import Target
from xai_bench.models.caller import CallerModel
from xai_bench.models.sizing import require_memory, samples_at_once, sized
from xai_bench.results import ExplainerResult
from xai_bench.results.sample_scores import (
    SampleScores,
    asked_scores,
    nothing_scored,
    sample_scores,
)
from xai_bench.runner.config import by_name
from xai_bench.runner.config.catalogue import conf_dir, options
from xai_bench.types import Domain, Explainer, Explanation, Inputs, Kind, Metric, Unsupported

if TYPE_CHECKING:
    from xai_bench.adapters.comparison import Comparison


log = logging.getLogger(__name__)

Metrics = str | Metric | Sequence[str | Metric]
OnStep = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Workbench:
    """A model and samples on which explanations are made and scored; made by `workbench`.

    The model is used in evaluation mode and given back as it was: modes, weights, gradients,
    buffers and hooks. Every method raises ValueError where its weights have changed since.

    Attributes:
        context: the model, the samples and the random seeds.
        baselines: `explain` and `measure` -> that baseline, or its configuration.
        caller: the model that was given.
        layout: the samples in the words of the caller.
        explained: `[N]`, the scalar that is explained.
        exact: whether a row has the same bits in every batch.
        precision_deviation: how far outputs are from those of the model as it came, as a share of
            the largest; None where it is asked as it came.

    >>> import torch, xai_bench
    >>> bench = xai_bench.workbench(torch.nn.Linear(3, 2), torch.eye(3), target=1)
    >>> bench.explain("gradient").shape
    torch.Size([3, 3])
    >>> list(bench.compare(["gradient", "random"], ["gini"]).index)
    ['gradient', 'random']
    """

    context: EvaluationContext
    baselines: Mapping[str, Any]
    caller: CallerModel
    layout: Layout
    explained: Tensor
    exact: bool = False
    precision_deviation: float | None = None

    @property
    def threads(self) -> int:
        """Those of torch in which everything is computed."""
        return self.context.threads or torch.get_num_threads()

    def explain(
        self,
        explainer: str | Explainer,
        options: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> NamedExplanation:
        """The explanation of all samples by an explainer, as in `xai-bench list explainers`.

        Settings, such as `budget=2000`, override what its YAML says; `options` holds more of them
        by name. Raises `Unsupported` where the explainer cannot work with this model, ValueError
        for settings that it does not have.
        """
        chosen = {**by_name.mapping(options), **settings}
        made = by_name.component("explainer", explainer, chosen, self.baselines)
        name = explainer if isinstance(explainer, str) else type(made).__name__
        spent = {what: cast(Metric, Spent(what)) for what in SPENT}
        result = self._evaluate(self.context, made, spent, None)
        if result.explanation is None:
            raise Unsupported(result.outcome.reason)
        return NamedExplanation(
            explainer=name,
            kind=result.kind,
            explanation=result.explanation,
            layout=self.layout,
            outputs=self.explained,
            targets=self.context.targets,
            cost={what: result.scores[what].values for what in SPENT},
        )

    def score(
        self, attribution: Any, metrics: Metrics, kind: Kind | None = None, **settings: Any
    ) -> SampleScores:
        """Metric name -> `[N]` scores of attributions from anywhere; NaN is "not scored".

        Taken are what `explain` gives, tensors, arrays, lists, data frames, `shap.Explanation` and
        captum's tuples, `[N, *S]` or a number for each unit; `kind` says what the numbers mean, a
        contribution if left out. Settings go to the metrics that have them. A sample whose
        attributions are not all finite is unscored by every metric. Metrics that explain other
        inputs, such as max_sensitivity, and those of cost need `judge` and an explainer: here they
        are NaN, with the reason in `reasons`. Raises ValueError for attributions of another shape,
        and `Unsupported` where no metric can score.
        """
        given = self._given(attribution)
        named = by_name.components("metric", metrics, settings, self.baselines)
        scored = {n: m for n, m in named.items() if m.category != "cost"}
        explainer = cast(Explainer, Given(kind_of(kind, attribution)))
        result = self._evaluate(replace(self.context, strict=False), explainer, scored, given)
        return _answered(result, named, metrics)

    def judge(self, explainer: str | Explainer, metrics: Metrics, **settings: Any) -> SampleScores:
        """Metric name -> `[N]` scores of an explainer, by any metric or set of metrics.

        Settings go to the metrics that have them. A metric that cannot work with this model is NaN,
        with the reason in `reasons`. Raises `Unsupported` or ValueError where that holds for all.
        """
        named = by_name.components("metric", metrics, settings, self.baselines)
        made = by_name.component("explainer", explainer, {}, self.baselines)
        result = self._evaluate(replace(self.context, strict=False), made, named, None)
        return _answered(result, named, metrics)

    def compare(
        self,
        explainers: Any,
        metrics: Metrics,
        budget: int | None = None,
        on_step: OnStep | None = None,
        **settings: Any,
    ) -> Comparison:
        """Mean scores, a row per explainer and a column per metric; all face the same draws.

        Sets stand for their members: `compare(["default"], ["fidelity"])`. A mapping gives names of
        your own to explainers, and to attributions that were made elsewhere:
        `compare({"lime": "lime", "mine": array}, ...)`. `budget` is that of every explainer which
        has one; settings go to the metrics that have them. `on_step(explainer, number, of)` is
        called before each explainer.

        What cannot work with this model is NaN, with its reason in `table.reasons`;
        `table.attrs["threads"]` is the number of threads. Raises
        `Unsupported` or ValueError where nothing at all could be scored.
        """
        from xai_bench.adapters.comparison import comparison

        named = by_name.components("metric", metrics, settings, self.baselines)
        chosen = self._explainers(explainers, budget)
        results = {}
        for number, (name, explainer) in enumerate(chosen.items(), start=1):
            log.info("%s, %d of %d", name, number, len(chosen))
            if on_step is not None:
                on_step(name, number, len(chosen))
            results[name] = self._result(explainer, named)
        rows = {name: sample_scores(result, named) for name, result in results.items()}
        if all(row.nothing for row in rows.values()):
            each = {n: f"{m}: {why}" for n, row in rows.items() for m, why in row.reasons.items()}
            raise nothing_scored(each, results.values())
        table = comparison(rows, {name: metric.higher_is_better for name, metric in named.items()})
        table.attrs["threads"] = self.threads
        return table

    def _result(self, explainer: Any, named: Mapping[str, Metric]) -> ExplainerResult:
        tolerant = replace(self.context, strict=False)
        if hasattr(explainer, "explain"):
            return self._evaluate(tolerant, explainer, named, None)
        scored = {n: m for n, m in named.items() if m.category != "cost"}
        stand_in = cast(Explainer, Given(kind_of(None, explainer)))
        return self._evaluate(tolerant, stand_in, scored, self._given(explainer))

    def _explainers(self, chosen: Any, budget: int | None) -> dict[str, Any]:
        """Name -> explainer, or attributions that were made elsewhere."""
        settings = {} if budget is None else {"budget": budget}
        if not isinstance(chosen, Mapping):
            return by_name.components("explainer", chosen, settings, self.baselines)
        explainers: dict[str, Any] = {}
        for name, each in chosen.items():
            if isinstance(each, str):
                [made] = by_name.components("explainer", [each], {}, self.baselines).values()
                explainers[str(name)] = made
            elif hasattr(each, "explain") or isinstance(each, NamedExplanation):
                explainers[str(name)] = each
            else:
                explainers[str(name)] = self._given(each).attribution
        return explainers

    def _given(self, attribution: Any) -> Explanation:
        """Attributions from anywhere, on x. Raises ValueError for another shape."""
        if isinstance(attribution, NamedExplanation):
            return attribution.explanation
        n_outputs = self.caller.predictor.n_outputs
        return Explanation(
            attribution_of(attribution, self.layout, self.context.targets, n_outputs)
        )

    def _evaluate(
        self,
        context: EvaluationContext,
        explainer: Explainer,
        metrics: Mapping[str, Metric],
        given: Explanation | None,
    ) -> ExplainerResult:
        device = device_of(context.model.module)
        with (
            self.caller.used(),
            computing(exact=self.exact, threads=context.threads, device=device),
        ):
            return _evaluated(context, explainer, metrics, given)


def workbench(
    model: Any,
    x: Any,
    *,
    background: Any = None,
    units: Any = None,
    target: Any = None,
    task: Task | None = None,
    labels: Any = None,
    classes: Iterable[Any] | None = None,
    groups: Any = None,
    truth: Any = None,
    rationale: Any = None,
    baselines: Any = None,
    embedding: str | None = None,
    device: str | torch.device | None = None,
    seed: int = 0,
    memory: float | None = None,
    threads: int | None = None,
    exact: bool = False,
    background_labels: Any = None,
    recipe: Callable[[Any, Any], Any] | None = None,
    precision: str | None = None,
) -> Workbench:
    """A model and samples, ready to be explained and scored.

    `model` is a torch module or a function `x [N, *S] -> [N, C]`, a fitted estimator or pipeline of
    scikit-learn, a model of XGBoost, LightGBM or CatBoost, or an ONNX file or session. It is tried
    on a few samples first, in evaluation mode, and is given back as it was. A function is called
    with what x is: tensors, arrays or data frames.

    `x` holds the samples to explain and `background` training rows (left out: x itself): tensors,
    NumPy arrays, data frames, or mappings with several inputs by name. A column of a data frame is
    one unit, and is removed before a pipeline encodes it. Token ids `[N, T]` need the name of the
    layer that embeds them, `embedding="emb"`.

    Args:
        model: what predicts.
        x: the samples.
        background: training rows.
        units: which elements are removed as one, `[*S]` or `[N, *S]`, with or without channels; see
            `patches`, `superpixels` and `columns`. Left out, every element or column is one.
        target: the scalar explained: the number of an output, the name of a class or of one of our
            targets, a number for each sample, or a function of the outputs `[N, C] -> [N]`. Left
            out, of several outputs each sample explains its largest.
        task: `regression` where several outputs are values, not classes.
        labels: `[N]` true labels, as classes or their names, which some targets and metrics need.
        classes: names of the outputs, where the model does not know them.
        groups: sensitive columns, by name in x, or name -> `[N]` values.
        truth: attributions known to be right, `[N, *S]`, or a function of x.
        rationale: `[N, *S]` bool, where people say that the evidence lies.
        baselines: what absent means, for explaining and for measuring, or one for both: a name, a
            number, a row, or a row for each sample; `("mean", "marginal")` if left out.
        embedding: the layer that embeds token ids.
        device: where the model is called, `auto`, `cpu`, `cuda` or `mps`: a copy, where it is not
            there. What goes back through it or looks into its layers works there, too.
        seed: of all random draws.
        memory: bytes that a call of the model may take; a quarter of what is free, at most 2 GiB.
        threads: of torch; left out, as many as it has. Scores differ by rounding.
        exact: a row has the same bits in every batch, as in runs: calls are filled up to 16 rows,
            and there is one thread.
        background_labels: `[M]` true labels of the background; without one, `labels`.
        recipe: `recipe(rows, labels) -> model` fits another to it, for metrics that retrain.
        precision: of the weights of the copy that is asked, `float32`, `float64` or `bf16`.

    Raises ValueError for what does not fit, and for a model that cannot be explained sample by
    sample.

    >>> import torch, xai_bench
    >>> model = lambda x: x @ torch.tensor([3.0, 1.0])
    >>> bench = xai_bench.workbench(model, torch.eye(2), background=torch.zeros(4, 2))
    >>> bench.explain("leave_one_out").numpy()
    array([[3., 0.],
           [0., 1.]])
    """
    own = adapters.brought(model, x, background, embedding, device, precision)
    inputs = own.inputs(units)
    loaded = loaded_slots(baselines, own.x, own.form.encode, own.symbols, by_name.load)
    caller = CallerModel.of(own.predictor, own.modules, inputs)
    asked = answers.Asked(target, task, labels, classes, _named_target)
    known = asked.of(caller.predictor, len(inputs), list(options("target", [conf_dir()])))
    threads, most = require_threads(threads, exact=exact), require_memory(memory)
    keep_memory()  # freed memory stays at hand, which changes speed only
    fitted_to = labels if background is None and background_labels is None else background_labels
    inputs = knowledge.with_labels(inputs, fitted_to, known, caller.predictor.n_outputs)
    placed = device_of(caller.predictor.module)
    with caller.used(), computing(exact=exact, threads=threads, device=placed):
        explained = sized(caller.predictor, known.target, inputs, memory=most, exact=exact)
        targets, scalars = answers.chosen_targets(explained, inputs, known)
        gap = own.deviation(explained.predictor, inputs)
    rows = list(x.index) if is_frame(x) else range(len(inputs))
    layout = Layout(inputs, own.form, rows, known.classes)
    inputs = knowledge.with_truth(layout, truth, known.target, targets)
    sensitive = answers.groups_of(groups, x, len(inputs))
    context = EvaluationContext(
        explained,
        knowledge.with_sensitive(inputs, sensitive, layout),
        targets,
        Seeds(seed),
        groups=sensitive,
        labels=known.labels,
        rationale=knowledge.rationale_of(rationale, layout, targets),
        variants=variants_of(recipe, own, explained, given=Fitting(inputs, fitted_to, known, seed)),
        batch_size=samples_at_once(inputs, EvaluationContext.batch_size, most),
        threads=threads,
        strict=True,  # `explain` raises; what scores sets it to False
        copies=Copies(caller.state_of(caller.predictor.module)),
    )
    layout = replace(layout, inputs=inputs)
    return Workbench(context, loaded, caller, layout, scalars, exact, gap)


def score(
    attribution: Any,
    metrics: Metrics,
    *,
    units: Tensor | None = None,
    kind: Kind = "contribution",
    **settings: Any,
) -> SampleScores:
    """Metric name -> `[N]` scores of attributions `[N, *S]` alone, by metrics that need no model.

    A metric that asks the model is NaN, with the reason in `reasons`. Raises `Unsupported` where
    that holds for all of them.

    >>> import xai_bench
    >>> xai_bench.score([[1.0, 1.0], [0.0, 1.0]], "gini")["gini"]
    tensor([0.0000, 0.5000], dtype=torch.float64)
    """
    form = TensorForm(torch.float64, torch.float64)
    values = form.encode(getattr(attribution, "attribution", attribution), "attribution")
    layers = form.units(values.shape[1:]) if units is None else units
    x = unknown_like(values)
    domain = Domain(x, torch.ones_like(x[0]))
    inputs = Inputs(x, fitted_units(layers, x), torch.arange(len(x)), domain)
    context = EvaluationContext(NoModel(), inputs, torch.zeros(len(x)).long(), Seeds(0))
    slots = {slot: by_name.load("baseline", "zero") for slot in ("explain", "measure")}
    named = by_name.components("metric", metrics, settings, slots)
    scored = {n: m for n, m in named.items() if m.category != "cost"}
    explainer = cast(Explainer, Given(kind_of(kind, attribution)))
    return _answered(_evaluated(context, explainer, scored, Explanation(values)), named, metrics)


def _named_target(name: str) -> Target:
    return cast(Target, by_name.component("target", name, {}, {}))


def _evaluated(
    context: EvaluationContext,
    explainer: Explainer,
    metrics: Mapping[str, Metric],
    given: Explanation | None,
) -> ExplainerResult:
    configured_metrics = [ConfiguredMetric(name, metric) for name, metric in metrics.items()]
    configured = ConfiguredExplainer(type(explainer).__name__, explainer)
    return evaluate(context, configured, configured_metrics, given=given)


def _answered(result: ExplainerResult, named: Mapping[str, Metric], chosen: object) -> SampleScores:
    asked = {e if isinstance(e, str) else type(e).__name__ for e in by_name.several(chosen)}
    return asked_scores(result, named, asked)
